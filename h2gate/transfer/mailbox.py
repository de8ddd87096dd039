"""Words between the workers of one gateway: each has a datagram socket in one folder, and writes to all the others.

What gets lost only delays somebody: whoever waits for an answer asks again, and looks for himself now and then.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_MAX_BYTES = 512
_HELD = Path("/proc/self/fd")

Handler = Callable[[str, str], None]
"""Takes a word and the id of the upload that it is about."""


class Mailbox:
    """`handler` is called for what the others say. To be made in the loop that uses it, and closed."""

    def __init__(self, folder: Path, handler: Handler) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handler = handler
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # By the descriptor, since an address has 107 bytes at most.
        self._base = _HELD / str(self._folder) if _HELD.exists() else folder
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self._base / self._name))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def tell(self, word: str, upload_id: str) -> None:
        """Say it to all other workers; those that have ended are forgotten. A folder or socket that fails is no fault
        of the request that this is said for."""
        with suppress(OSError):
            for name in os.listdir(self._folder):  # noqa: PTH208 - a descriptor, which no Path can be
                if name != self._name:
                    self._tell_one(name, f"{word} {upload_id}".encode())

    def _tell_one(self, name: str, words: bytes) -> None:
        try:
            self._socket.sendto(words, str(self._base / name))
        except (ConnectionRefusedError, FileNotFoundError):
            with suppress(OSError):  # another did, or it is tried again
                os.unlink(name, dir_fd=self._folder)
        except OSError:
            return  # it has much to read, or the system has no memory now; whoever needs it asks again

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while True:
                word, _, upload_id = self._socket.recv(_MAX_BYTES).decode("utf-8", "replace").partition(" ")
                self._handler(word, upload_id)

    def close(self) -> None:
        """Leave."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        with suppress(OSError):  # the others find out
            os.unlink(self._name, dir_fd=self._folder)
        os.close(self._folder)
