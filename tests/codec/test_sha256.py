"""However the bytes come and wherever the hash is saved, the digest is the one of hashlib."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import mmap
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2gate.codec import sha256
from h2gate.codec.sha256 import SHORT_BYTES, Libcrypto, Saveable, Sha256, agrees, first_usable, libcrypto

BEGIN = "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19"
"""The initial words of FIPS 180-4 section 5.3.3."""
ABC = b"sha256\0\1" + bytes.fromhex(BEGIN) + (3).to_bytes(8, "big") + b"abc"
"""The state after b"abc", as it is laid out for good."""
PATTERN = bytes(range(251)) * 100

LENGTHS = st.integers(0, 200) | st.sampled_from([63, 64, 65, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 20_000])
PIECES = st.lists(st.binary(max_size=200) | LENGTHS.map(lambda length: PATTERN[:length]), max_size=8)
FORMS: Sequence[Callable[[bytes], memoryview | bytes]] = (
    bytes,
    memoryview,
    lambda data: memoryview(bytearray(data)),
)


def restored(state: bytes | None) -> Sha256:
    assert state is not None
    found = Sha256.restored(state)
    assert found is not None
    return found


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@given(PIECES, st.data())
def test_any_split_saved_anywhere_has_the_digest_of_hashlib(pieces: list[bytes], data: st.DataObject) -> None:
    running, fed = Sha256(), b""
    for piece in pieces:
        running.update(data.draw(st.sampled_from(FORMS))(piece))
        fed += piece
        assert (running.digest(), running.n_bytes) == (digest(fed), len(fed))
        if data.draw(st.booleans()):
            running = restored(running.state())
    assert (running.digest(), running.n_bytes) == (digest(fed), len(fed))


@given(PIECES)
def test_fallback_has_the_digest_of_hashlib_and_no_state(pieces: list[bytes]) -> None:
    running = Sha256(sha256.begun(None))
    for piece in pieces:
        running.update(memoryview(piece))
    whole = b"".join(pieces)
    assert (running.digest(), running.n_bytes, running.state()) == (digest(whole), len(whole), None)


@pytest.mark.parametrize("api", [libcrypto(), None], ids=["libcrypto", "fallback"])
def test_copy_and_original_go_their_own_ways(api: Libcrypto | None) -> None:
    running = Sha256(sha256.begun(api))
    running.update(b"ab")
    other = running.copy()
    running.update(b"c")
    other.update(b"C!")
    assert (running.digest(), running.n_bytes) == (digest(b"abc"), 3)
    assert (other.digest(), other.n_bytes) == (digest(b"abC!"), 4)


def test_mapped_memory_is_hashed_and_let_go() -> None:
    running = Sha256()
    with mmap.mmap(-1, 1 << 20) as memory:
        memory.write(PATTERN)
        with memoryview(memory) as view, view[5 : len(PATTERN)] as part:
            running.update(part)
            running.update(part.toreadonly())
    assert running.digest() == digest(PATTERN[5:] * 2)


def test_view_of_wide_items_counts_bytes() -> None:
    running = Sha256()
    for length in (8, 80_000):
        running.update(memoryview(bytes(length)).cast("Q"))
    assert (running.digest(), running.n_bytes) == (digest(bytes(80_008)), 80_008)


def test_view_with_gaps_is_refused_and_changes_nothing() -> None:
    running = Sha256()
    with pytest.raises(BufferError):
        running.update(memoryview(PATTERN)[::2])
    assert (running.digest(), running.n_bytes) == (digest(b""), 0)


def test_state_has_the_same_bytes_on_every_machine() -> None:
    running = Sha256()
    running.update(b"abc")
    assert running.state() == ABC


def test_more_bytes_than_32_bits_of_bits_are_counted() -> None:
    n_bytes = 5 * 2**32 + 3
    running = restored(ABC[:40] + n_bytes.to_bytes(8, "big") + b"abc")
    assert running.n_bytes == n_bytes
    running.update(bytes(64))
    assert restored(running.state()).n_bytes == n_bytes + 64


def test_state_of_another_process_is_restored() -> None:
    command = "from h2gate.codec.sha256 import Sha256; s = Sha256(); s.update(b'x' * 5000); print(s.state().hex())"
    said = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True, timeout=60)
    running = restored(bytes.fromhex(said.stdout))
    running.update(b"y")
    assert running.digest() == digest(b"x" * 5000 + b"y")


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(b"", id="empty"),
        pytest.param(ABC[:47], id="cut in the head"),
        pytest.param(ABC[:-1], id="too few pending bytes"),
        pytest.param(ABC + b"d", id="too many pending bytes"),
        pytest.param(ABC + bytes(64), id="a whole block pending"),
        pytest.param(b"SHA256\0\1" + ABC[8:], id="another magic"),
        pytest.param(b"sha256\0\2" + ABC[8:], id="a later version"),
        pytest.param(ABC[:40] + (2**61 + 3).to_bytes(8, "big") + b"abc", id="more bytes than can be counted"),
    ],
)
def test_state_that_is_not_one_gives_none(state: bytes) -> None:
    assert restored(ABC)
    assert Sha256.restored(state) is None


@given(st.binary(max_size=130) | st.binary(max_size=100).map(lambda rest: ABC[:8] + rest))
def test_any_bytes_give_none_or_what_they_say(state: bytes) -> None:
    found = Sha256.restored(state)
    assert found is None or found.state() == state


def test_nothing_is_restored_without_libcrypto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sha256, "libcrypto", lambda: None)
    assert Sha256.restored(ABC) is None
    running = Sha256()
    running.update(b"abc")
    assert (running.digest(), running.state()) == (digest(b"abc"), None)


def test_library_that_is_missing_or_lacks_the_functions_is_not_used() -> None:
    with_no_sha = ctypes.util.find_library("c")
    assert with_no_sha
    assert first_usable(["no-such-library.so", with_no_sha]) is None


def test_library_that_hashes_otherwise_is_not_used() -> None:
    extension = sys.modules["_hashlib"].__file__
    assert extension
    library = ctypes.CDLL(extension)
    api = Libcrypto(library)
    assert agrees(api)
    api.init = type(api.init)(("SHA224_Init", library))
    assert not agrees(api)


def test_thread_that_asks_meanwhile_sees_a_state_between_updates() -> None:
    running, block, rounds = Sha256(), bytes(1 << 18), 100
    expected = hashlib.sha256()
    between = {expected.digest(): 0}
    for n in range(1, rounds + 1):
        expected.update(block)
        between[expected.digest()] = n * len(block)

    def write() -> None:
        for _ in range(rounds):
            running.update(block)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        seen = restored(running.state())
        assert between.get(seen.digest()) == seen.n_bytes
    assert between[running.digest()] == running.n_bytes == rounds * len(block)


def test_this_interpreter_can_save() -> None:
    api = libcrypto()
    assert api is not None
    assert isinstance(sha256.begun(api), Saveable)
