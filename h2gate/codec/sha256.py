"""A SHA-256 (FIPS 180-4) whose running state can be saved and restored, also by another process or machine.

An upload that was cut goes on where it ended; without the state all of it would have to be read again. hashlib can't
save, so the functions of the interpreter's own libcrypto are called. They are trusted only after they agreed with
hashlib; where they are missing or differ, hashlib does the work and nothing can be saved.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import hashlib
import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Protocol

BLOCK_BYTES = 64
SHORT_BYTES = 4096
"""Up to here copying the bytes is cheaper than asking for their address, and than letting other threads run."""

_MAGIC = b"sha256\0\1"
"""The last byte is the version of the layout."""
_HEAD = struct.Struct(">8s8IQ")
"""Big-endian: magic, the eight words, how many bytes were hashed. The bytes of the unfinished block follow."""


class Running(Protocol):
    """The part of a hashlib object that is used."""

    def update(self, data: memoryview | bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> Running: ...


class _Context(ctypes.Structure):
    """SHA256_CTX of openssl/sha.h, the same since OpenSSL 0.9.8; numbers are in the machine's byte order."""

    _fields_ = (
        ("words", ctypes.c_uint32 * 8),
        ("bits_low", ctypes.c_uint32),
        ("bits_high", ctypes.c_uint32),
        ("pending", ctypes.c_ubyte * BLOCK_BYTES),
        ("n_pending", ctypes.c_uint),
        ("digest_bytes", ctypes.c_uint),
    )


class _Buffer(ctypes.Structure):
    """Py_buffer, part of the stable ABI since Python 3.11. Room for what follows suffices for 32 bits, too."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("owner", ctypes.c_void_p),
        ("n_bytes", ctypes.c_ssize_t),
        ("not_looked_at", ctypes.c_void_p * 8),
    )


_CONTEXT, _BUFFER = ctypes.POINTER(_Context), ctypes.POINTER(_Buffer)
_INIT = ctypes.PYFUNCTYPE(ctypes.c_int, _CONTEXT)
_UPDATE = ctypes.CFUNCTYPE(ctypes.c_int, _CONTEXT, ctypes.c_void_p, ctypes.c_size_t)
"""Lets other threads run. The rest does not: to get the turn back may take longer than hashing a few bytes."""
_UPDATE_SHORT = ctypes.PYFUNCTYPE(ctypes.c_int, _CONTEXT, ctypes.c_char_p, ctypes.c_size_t)
_FINAL = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_char_p, _CONTEXT)
_GET_BUFFER = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, _BUFFER, ctypes.c_int)
_RELEASE_BUFFER = ctypes.PYFUNCTYPE(None, _BUFFER)


class Libcrypto:
    """The functions that are used. Raises `AttributeError` where the library or the interpreter lacks one."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.init = _INIT(("SHA256_Init", library))
        self.update = _UPDATE(("SHA256_Update", library))
        self.update_short = _UPDATE_SHORT(("SHA256_Update", library))
        self.final = _FINAL(("SHA256_Final", library))
        self.get_buffer = _GET_BUFFER(("PyObject_GetBuffer", ctypes.pythonapi))
        self.release_buffer = _RELEASE_BUFFER(("PyBuffer_Release", ctypes.pythonapi))


class Saveable:
    """Does what a hashlib object does, and can be saved. For one thread at a time."""

    __slots__ = ("_api", "_context")

    def __init__(self, api: Libcrypto, context: _Context | None = None) -> None:
        self._api = api
        self._context = context or _Context()
        if context is None:
            api.init(self._context)

    @property
    def n_bytes(self) -> int:
        return int(self._context.bits_high << 32 | self._context.bits_low) // 8

    def update(self, data: memoryview | bytes, /) -> None:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if size <= SHORT_BYTES:
            self._api.update_short(self._context, bytes(data), size)
        else:
            self._update_in_place(data)

    def _update_in_place(self, data: memoryview | bytes) -> None:
        """ctypes gives the address of writable memory only, so the buffer is asked for as C does it."""
        buffer = _Buffer()
        self._api.get_buffer(data, buffer, 0)
        try:
            self._api.update(self._context, buffer.address, buffer.n_bytes)
        finally:
            self._api.release_buffer(buffer)

    def digest(self) -> bytes:
        out = ctypes.create_string_buffer(32)
        self._api.final(out, _Context.from_buffer_copy(self._context))
        return out.raw

    def copy(self) -> Saveable:
        return Saveable(self._api, _Context.from_buffer_copy(self._context))

    def state(self) -> bytes:
        pending = bytes(self._context.pending)[: self._context.n_pending]
        return _HEAD.pack(_MAGIC, *self._context.words, self.n_bytes) + pending

    @classmethod
    def restored(cls, api: Libcrypto, state: bytes) -> Saveable | None:
        """What `state` was taken from, None if it isn't one."""
        if len(state) < _HEAD.size:
            return None
        magic, *words, n_bytes = _HEAD.unpack_from(state)
        pending = state[_HEAD.size :]
        if magic != _MAGIC or n_bytes >= 2**61 or len(pending) != n_bytes % BLOCK_BYTES:
            return None
        found = cls(api)
        found._context.words[:] = words
        found._context.bits_high, found._context.bits_low = divmod(n_bytes * 8, 2**32)
        found._context.pending[: len(pending)] = pending
        found._context.n_pending = len(pending)
        return found


class Sha256:
    """A running SHA-256, safe to ask while another thread updates it (a hashlib object is, too)."""

    __slots__ = ("_lock", "_running", "n_bytes")

    def __init__(self, running: Running | None = None, n_bytes: int = 0) -> None:
        """`running` has taken `n_bytes` already; without it the hash begins, saveable where that can be had."""
        self._running: Running = running or begun(libcrypto())
        self._lock = threading.Lock()
        self.n_bytes = n_bytes
        """How many bytes were hashed."""

    def update(self, data: memoryview | bytes, /) -> None:
        """Take the next bytes, which must lie in one piece; from 4 KiB on other threads run meanwhile."""
        with self._lock:
            self._running.update(data)
            self.n_bytes += data.nbytes if isinstance(data, memoryview) else len(data)

    def digest(self) -> bytes:
        """The 32 bytes for what came so far; more may follow."""
        with self._lock:
            return self._running.digest()

    def copy(self) -> Sha256:
        with self._lock:
            return Sha256(self._running.copy(), self.n_bytes)

    def state(self) -> bytes | None:
        """What `restored` needs, at most 111 bytes; None where it can't be saved."""
        with self._lock:
            return self._running.state() if isinstance(self._running, Saveable) else None

    @classmethod
    def restored(cls, state: bytes) -> Sha256 | None:
        """None if `state` isn't one, is of a later version, or can't be restored here: read the bytes again then."""
        api = libcrypto()
        running = Saveable.restored(api, state) if api is not None else None
        return cls(running, running.n_bytes) if running is not None else None


def begun(api: Libcrypto | None) -> Running:
    return Saveable(api) if api is not None else hashlib.sha256()


@functools.cache
def libcrypto() -> Libcrypto | None:
    """The interpreter's libcrypto, else the system's, if it does what it should."""
    return first_usable(_names())


def first_usable(names: Iterable[str]) -> Libcrypto | None:
    """The first of these libraries that has the functions and agrees with hashlib."""
    for name in names:
        try:
            found = Libcrypto(ctypes.CDLL(name))
        except (OSError, AttributeError):
            continue
        if agrees(found):
            return found
    return None


def _names() -> Iterator[str]:
    """A symbol is looked up in what a library depends on, too, so hashlib's own extension leads to its libcrypto."""
    extension = getattr(sys.modules.get("_hashlib"), "__file__", None)
    if extension:
        yield extension
    # macOS ends a process that loads its libcrypto by this name.
    if sys.platform != "darwin" and (name := ctypes.util.find_library("crypto")):
        yield name


def agrees(api: Libcrypto) -> bool:
    """Whether some inputs, saved and restored on the way, get the digest that hashlib gives them."""
    inputs = (bytes(range(256)) * 80, bytes(200), bytes(range(BLOCK_BYTES)), b"abc", b"")
    return all(_resumed_digest(api, each) == hashlib.sha256(each).digest() for each in inputs)


def _resumed_digest(api: Libcrypto, data: bytes) -> bytes | None:
    cut = len(data) // 3
    first = Saveable(api)
    first.update(memoryview(data)[:cut])
    second = Saveable.restored(api, first.state())
    if second is None or second.n_bytes != cut:
        return None
    second.update(data[cut:])
    return second.digest()
