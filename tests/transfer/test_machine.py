"""Resumable uploads under random use and random trouble, against a model of them that fits on a page.

The gateway is a process on a real folder; it is killed, its requests are cancelled and its calls fail at any moment.
`H2GATE_LONG=1` searches for ten minutes, or `H2GATE_FUZZ_SECONDS`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from h2gate.config import Settings
from h2gate.errors import (
    BadField,
    ChecksumMismatch,
    DigestMismatch,
    GateError,
    Gone,
    InconsistentLength,
    NotFound,
    OffsetConflict,
    PeerGone,
    PreconditionFailed,
    Superseded,
)
from h2gate.transfer.resumables import Plan
from h2gate.upload import Resumable
from tests.conftest import staged
from tests.transfer.troubled import Killed, Piecewise, Process, Trouble, content

LONG_SECONDS = float(os.environ.get("H2GATE_FUZZ_SECONDS", "600")) if os.environ.get("H2GATE_LONG") else 0.0
LIMITS = settings(
    max_examples=50 if LONG_SECONDS else 15,
    stateful_step_count=30,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # what depends on how threads take turns cannot be made smaller
    suppress_health_check=list(HealthCheck),
)
PATHS = st.sampled_from(["a", "b", "d/c"])
SIZES = st.lists(st.sampled_from([0, 1, 4095, 4096, 8192]) | st.integers(0, 70_000), max_size=3)
KINDS = st.sampled_from(["kill", "kill", "cancel", "EIO", "ENOSPC"])
TROUBLES = st.none() | st.builds(Trouble, KINDS, st.integers(1, 12))
NOBODYS_PRECONDITION = {"if-none-match": "*"}


@dataclass
class Known:
    """An upload as its clients know it. `state` is "receiving", "joining", "complete", "over" or "forgotten"."""

    id: str
    seed: int
    path: str
    length: int | None
    expected: str = ""
    only_new: bool = False
    parts: tuple[str, ...] = ()
    size: int = 0
    state: str = "receiving"

    @property
    def is_open(self) -> bool:
        return self.state in ("receiving", "joining")

    @property
    def has_file(self) -> bool:
        """Whether its bytes are kept as an unfinished file."""
        return self.is_open or (self.state == "complete" and not self.path)


@dataclass
class Expectation:
    """What an append should come to: the error that is told, how far the upload is then, in which state."""

    error: type[GateError] | None
    size: int
    state: str = "receiving"


class Machine(RuleBasedStateMachine):
    n_examples = 0
    n_steps = 0
    n_troubles = 0

    @initialize(direct_io=st.booleans(), digest=st.booleans(), progress_seconds=st.sampled_from([0.0, 0.0, 1000.0]))
    def begin(self, **options: Any) -> None:
        Machine.n_examples += 1
        self.data = Path(tempfile.mkdtemp(prefix="h2gate-"))
        self.settings = Settings(data=self.data, **options)
        self.start()
        self.known: dict[str, Known] = {}
        self.visible: dict[str, bytes] = {}
        self.n_seeds = 0

    def start(self) -> None:
        self.process = Process(self.settings)
        self.at_start = self.process.ask("left_behind")
        self.process.ask("tidy")
        self.was_tidied = True
        self.debris: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "process"):
            try:
                assert self.process.ask("left_behind") == self.at_start
                self.process.close()
            finally:
                self.process.kill()
                shutil.rmtree(self.data)

    # What is asked, and what the model makes of it.

    def attempt(self, name: str, *args: Any, trouble: Trouble | None = None, **named: Any) -> Any:
        """The answer, or the error that was told; `Killed` is one of them. A gateway that was killed runs again."""
        try:
            return self.process.ask(name, *args, trouble=trouble, **named)
        except Killed as killed:
            Machine.n_troubles += 1
            self.start()
            return killed
        except GateError as error:
            note(f"{name}: {error!r}")
            return error
        finally:
            if trouble is not None:
                self.process.ask("tidy")
                self.was_tidied = True
                if name != "create":
                    self.debris |= self.files_of_nobody()

    def unfinished(self) -> list[Path]:
        return list((self.data / "partial").iterdir())

    def files_of_nobody(self) -> set[str]:
        """The storage could not remove them, which it does at the next start."""
        over = {
            each.id for each in self.process.ask("records").values() if not each.is_open and each.state != "complete"
        }
        return over & {each.name for each in self.unfinished()}

    def whole(self, known: Known) -> bytes:
        if known.parts:
            return b"".join(self.whole(self.known[each]) for each in known.parts)
        return content(known.seed)[: known.size]

    def take(self, known: Known, state: str) -> None:
        """It came to that state."""
        known.state = state
        if state == "complete" and known.path:
            self.visible[known.path] = self.whole(known)
        if state in ("complete", "over"):
            self.settle_concatenations(known)

    def settle_concatenations(self, part: Known | None = None) -> None:
        """Those that wait for nothing any more, looked at when a part is whole or over (or anew by upkeep)."""
        for known in self.chosen("joining"):
            parts = [self.known[each] for each in known.parts]
            is_lost = any(each.state in ("over", "forgotten") for each in parts)
            if not is_lost and any(each.is_open for each in parts):
                continue
            if part is not None and part.id not in known.parts:
                continue
            found = self.process.ask("settled", known.id)
            self.take(known, "complete" if all(each.state == "complete" for each in parts) else "over")
            assert found.state == ("complete" if known.state == "complete" else "failed"), found

    def chosen(self, *states: str) -> list[Known]:
        return [each for each in self.known.values() if each.state in states]

    def pick(self, data: st.DataObject, *states: str) -> Known:
        return data.draw(st.sampled_from(self.chosen(*states)))

    def after_trouble(
        self, known: Known, sizes: Sequence[int], states: Sequence[str], length: int | None = None
    ) -> None:
        """Whatever happened: where the upload is now must be a place where it may be."""
        try:
            found: Resumable | None = self.process.ask("offset", known.id)
        except (Gone, NotFound) as error:
            note(f"after the trouble: {error!r}")
            found = None
        except PreconditionFailed:
            found = self.process.ask("records")[known.id]
        if found is None:
            assert "over" in states
            self.take(known, "over")
            return
        assert found.state in states, found
        assert found.offset in sizes or known.parts, (found, sizes)
        assert found.length in (known.length, length, found.offset) or known.parts, found
        known.size, known.length = found.offset, None if known.parts else found.length
        if found.state != known.state:
            self.take(known, found.state)

    # Creation.

    @rule(
        path=PATHS | st.just(""),
        length=st.none() | st.integers(0, 200_000),
        expected=st.sampled_from(["", "", "right", "wrong"]),
        only_new=st.booleans(),
        trouble=TROUBLES,
    )
    def create(self, path: str, length: int | None, expected: str, only_new: bool, trouble: Trouble | None) -> None:
        self.n_seeds += 1
        known = Known("", self.n_seeds, path, length, expected if length is not None else "", only_new and bool(path))
        digest = bytes(32)
        if expected == "right":
            digest = hashlib.sha256(content(known.seed)[:length]).digest()
        plan = Plan(
            path=path,
            owner=str(known.seed),
            length=length,
            expected={"sha-256": digest} if known.expected else {},
            conditions=NOBODYS_PRECONDITION if known.only_new else {},
        )
        found = self.attempt("create", plan, trouble=trouble)
        if known.only_new and path in self.visible and trouble is None:
            assert isinstance(found, PreconditionFailed)
        elif not isinstance(found, Exception):
            known.id = found.id
            self.known[found.id] = known
        else:
            assert trouble is not None or isinstance(found, PreconditionFailed), found
        if isinstance(found, Killed):
            self.adopt(known)

    def adopt(self, known: Known) -> None:
        """An upload of which nobody was told may be there, or have been found to be nothing."""
        records = self.process.ask("records")
        for each in records.values():
            if each.id not in self.known and each.state != "failed":
                assert each.owner == str(known.seed)
                known.id = each.id
                self.known[each.id] = known

    @rule(size=st.integers(0, 20_000))
    def create_a_whole_part(self, size: int) -> None:
        self.n_seeds += 1
        known = Known("", self.n_seeds, "", size)
        known.id = self.process.ask("create", Plan(path="", owner=str(known.seed), length=size)).id
        self.known[known.id] = known
        given = Piecewise(upload_id=known.id, seed=known.seed, start=0, offset=0, sizes=[size])
        assert self.process.ask("append", given).state == "complete"
        known.size = size
        self.take(known, "complete")

    @precondition(lambda self: any(not each.path for each in self.known.values()))
    @rule(path=PATHS, data=st.data(), trouble=TROUBLES)
    def concatenate(self, path: str, data: st.DataObject, trouble: Trouble | None) -> None:
        there = [each for each in self.known.values() if not each.path]
        there += [each for each in there if each.has_file] * 4
        parts = data.draw(st.lists(st.sampled_from(there), min_size=1, max_size=4))
        self.n_seeds += 1
        known = Known("", self.n_seeds, path, None, parts=tuple(each.id for each in parts), state="joining")
        found = self.attempt("join", Plan(path=path, owner=str(known.seed), parts=known.parts), trouble=trouble)
        states = {each.state for each in parts}
        if trouble is not None:
            self.adopt(known)
        elif states & {"over", "forgotten"}:
            assert isinstance(found, Gone | BadField), found
        else:
            known.id = found.id
            self.known[found.id] = known
            if states == {"complete"}:
                self.take(known, "complete")
            assert found.state == known.state, found

    # Bytes.

    @precondition(lambda self: self.chosen("receiving"))
    @rule(
        data=st.data(),
        sizes=SIZES,
        ending=st.sampled_from(["whole", "whole", "cut"]),
        checksum=st.sampled_from(["", "", "", "right", "wrong", "right-trailer", "wrong-trailer", "no-trailer"]),
        content_digest=st.sampled_from(["", "", "right", "wrong", "wrong-trailer", "wrong-surprise"]),
        complete=st.sampled_from([None, None, True, False]),
        more=st.none() | st.integers(0, 100_000),
        knows_length=st.booleans(),
        names_offset=st.booleans(),
        trouble=TROUBLES,
    )
    def append(
        self,
        data: st.DataObject,
        sizes: list[int],
        more: int | None,
        names_offset: bool,
        trouble: Trouble | None,
        **options: Any,
    ) -> None:
        known = self.pick(data, "receiving")
        start = known.size
        given = Piecewise(
            upload_id=known.id,
            seed=known.seed,
            start=start,
            offset=start if names_offset else None,
            sizes=clipped(sizes, start, known.length),
            length=None if more is None or known.length is not None else start + sum(sizes) + more,
            **options,
        )
        expectation, length = self.expected(known, given)
        note(f"{expectation} of {known}")
        found = self.attempt("append", given, trouble=trouble)
        if trouble is None:
            error = expectation.error
            assert isinstance(found, error if error is not None else Resumable), (found, expectation)
            if isinstance(found, Resumable):
                assert (found.state, found.offset) == (expectation.state, expectation.size)
            known.size, known.length = expectation.size, length
            if expectation.error is PreconditionFailed:
                known.length = known.size
            if expectation.state != "receiving":
                self.take(known, expectation.state)
        else:
            places, states = self.possible(given, expectation), ["receiving", expectation.state]
            self.after_trouble(known, places, states, length if length is not None else self.told_length(given))

    def expected(self, known: Known, given: Piecewise) -> tuple[Expectation, int | None]:
        """What should happen, and the length that is known then."""
        start, end = given.start, given.start + sum(given.sizes)
        is_whole = given.ending == "whole"
        told = {known.length, given.length, self.told_length(given)} - {None}
        if len(told) > 1:
            return Expectation(InconsistentLength, start), known.length
        length = next(iter(told), None)
        kept = start if given.checksum else end
        if not is_whole:
            return Expectation(PeerGone, kept), known.length if given.checksum else length
        if given.content_digest.startswith("wrong"):
            is_surprise = given.content_digest == "wrong-surprise" and not given.checksum
            back = self.last_checkpoint(given) if is_surprise else start
            return Expectation(DigestMismatch, back), known.length if back == start else length
        if given.checksum not in ("", "right", "right-trailer"):
            return Expectation(ChecksumMismatch, start), known.length
        if given.complete and length not in (None, end):
            return Expectation(InconsistentLength, kept), known.length if given.checksum else length
        if not (end == length if given.complete is None else given.complete):
            return Expectation(None, end), length
        return self.completed(known, end), length

    def told_length(self, given: Piecewise) -> int | None:
        """What the request says of the length of the whole."""
        is_told = given.complete and given.knows_length and given.ending == "whole"
        return given.start + sum(given.sizes) if is_told else given.length

    def last_checkpoint(self, given: Piecewise) -> int:
        """The last checkpoint: there is one after each piece, or none; what was told is never taken back."""
        return given.start + (sum(given.sizes[:-1]) if self.settings.progress_seconds == 0 else 0)

    def completed(self, known: Known, end: int) -> Expectation:
        is_right = known.expected != "wrong"
        if known.expected == "right":
            is_right = end == known.length
        if not is_right:
            return Expectation(DigestMismatch, end, "over")
        if known.only_new and known.path in self.visible:
            return Expectation(PreconditionFailed, end)
        return Expectation(None, end, "complete")

    def possible(self, given: Piecewise, expectation: Expectation) -> Sequence[int]:
        """Where the upload may be after an append that got into trouble."""
        start, end = given.start, given.start + sum(given.sizes)
        if given.checksum:
            return [start, expectation.size]
        return range(max(start, self.process.acknowledged), end + 1)

    @precondition(lambda self: self.chosen("receiving", "complete", "over", "forgotten"))
    @rule(data=st.data(), distance=st.integers(-5000, 5000).filter(bool))
    def append_elsewhere(self, data: st.DataObject, distance: int) -> None:
        known = self.pick(data, "receiving", "complete", "over", "forgotten")
        offset = max(0, known.size + distance)
        given = Piecewise(upload_id=known.id, seed=known.seed, start=known.size, offset=offset, sizes=[10])
        found = self.attempt("append", given)
        if known.state == "receiving":
            if offset != known.size:
                assert isinstance(found, OffsetConflict), found
                assert found.members["offset"] == known.size
            else:
                self.after_trouble(known, [known.size, known.size + 10], ["receiving", "complete", "over"])
        else:
            wanted = {"complete": "completed_upload", "over": "gone", "forgotten": "not_found"}
            refused = "refused" if known.parts and known.state == "complete" else wanted[known.state]
            assert isinstance(found, GateError) and found.code in (refused, wanted[known.state]), found

    @precondition(lambda self: any(each.length is not None for each in self.chosen("receiving")))
    @rule(data=st.data(), beyond=st.integers(1, 9000))
    def append_beyond_the_length(self, data: st.DataObject, beyond: int) -> None:
        known = data.draw(st.sampled_from([each for each in self.chosen("receiving") if each.length is not None]))
        assert known.length is not None
        sizes = [known.length - known.size, beyond]
        given = Piecewise(
            upload_id=known.id, seed=known.seed, start=known.size, offset=known.size, sizes=sizes, knows_length=False
        )
        assert isinstance(self.attempt("append", given), InconsistentLength)
        self.take(known, "over")

    @precondition(lambda self: self.chosen("receiving"))
    @rule(
        data=st.data(),
        sizes=SIZES,
        checksum=st.sampled_from(["", "right"]),
        then=st.sampled_from(["offset", "cancelled", "cancel", "append"]),
    )
    def taken_over(self, data: st.DataObject, sizes: list[int], checksum: str, then: str) -> None:
        """A request whose body does not come any more, and the one that comes instead of it."""
        known = self.pick(data, "receiving")
        sizes = clipped(sizes, known.size, known.length)
        given = Piecewise(
            upload_id=known.id,
            seed=known.seed,
            start=known.size,
            offset=known.size,
            sizes=sizes,
            checksum=checksum,
            ending="hangs",
        )
        self.process.ask("hang", given)
        kept = known.size if checksum else known.size + sum(sizes)
        if then == "cancel":
            self.process.ask("cancel", known.id)
        elif then == "offset":
            assert self.process.ask("offset", known.id).offset == kept
        elif then == "append":
            wrong = Piecewise(upload_id=known.id, seed=known.seed, start=0, offset=kept + 1, sizes=[])
            assert isinstance(self.attempt("append", wrong), OffsetConflict)
        ended = self.attempt("hung", cancel=then == "cancelled")
        assert isinstance(ended, PeerGone if then == "cancelled" else Superseded), ended
        known.size = kept
        if then == "cancel":
            self.take(known, "over")

    @precondition(lambda self: any(each.size == each.length for each in self.chosen("receiving")))
    @rule(data=st.data(), trouble=TROUBLES)
    def complete(self, data: st.DataObject, trouble: Trouble | None) -> None:
        known = data.draw(st.sampled_from([each for each in self.chosen("receiving") if each.size == each.length]))
        expectation = self.completed(known, known.size)
        found = self.attempt("offset", known.id, length_ends=True, trouble=trouble)
        if trouble is None:
            error = expectation.error
            assert isinstance(found, error if error is not None else Resumable), (found, expectation)
            if expectation.state != "receiving":
                self.take(known, expectation.state)
        else:
            self.after_trouble(known, [known.size], ["receiving", expectation.state])

    # The end of uploads.

    @precondition(lambda self: self.known)
    @rule(data=st.data(), trouble=TROUBLES)
    def cancel(self, data: st.DataObject, trouble: Trouble | None) -> None:
        known = data.draw(st.sampled_from(list(self.known.values())))
        found = self.attempt("cancel", known.id, trouble=trouble)
        if known.state in ("over", "forgotten"):
            assert trouble is not None or isinstance(found, Gone if known.state == "over" else NotFound), found
        elif trouble is None:
            assert found is None, found
            self.take(known, "over")
        else:
            self.after_trouble(known, [known.size], [known.state, "complete", "over"])

    @precondition(lambda self: any(each.state != "forgotten" for each in self.known.values()))
    @rule(data=st.data(), trouble=TROUBLES)
    def expire(self, data: st.DataObject, trouble: Trouble | None) -> None:
        known = data.draw(st.sampled_from([each for each in self.known.values() if each.state != "forgotten"]))
        self.process.ask("outdate", known.id)
        self.attempt("expire", trouble=trouble)
        records = self.process.ask("records")
        ended = records.get(known.id)
        if trouble is not None and ended is not None and ended.expires_at == 1.0:
            self.process.ask("expire")
            self.process.ask("tidy")
            ended = self.process.ask("records").get(known.id)
        if ended is None:
            assert not known.has_file
            self.take(known, "forgotten")
        elif known.state == "joining" or any(known.id in each.parts for each in self.chosen("joining")):
            assert (ended.state, ended.expires_at > time.time()) == (known.state, True), ended
        else:
            assert known.has_file and ended.state == "expired", ended
            self.take(known, "over")

    # The rest of the gateway.

    @rule(path=PATHS, size=st.integers(0, 200_000), trouble=TROUBLES)
    def put(self, path: str, size: int, trouble: Trouble | None) -> None:
        self.n_seeds += 1
        found = self.attempt("put", path, self.n_seeds, size, trouble=trouble)
        body = content(self.n_seeds)[:size]
        if trouble is None or found is None:
            assert found is None, found
            self.visible[path] = body
        elif self.shown().get(path) == body:
            self.visible[path] = body

    @rule(path=PATHS)
    def remove(self, path: str) -> None:
        found = self.attempt("remove", path)
        assert (found is None) == (path in self.visible), found
        self.visible.pop(path, None)

    @rule(is_crash=st.booleans())
    def restart(self, is_crash: bool) -> None:
        if is_crash:
            self.process.kill()
        else:
            assert self.process.ask("left_behind") == self.at_start
            self.process.close()
        self.start()

    # What is always so.

    @invariant()
    def model_and_gateway_agree(self) -> None:
        if self.was_tidied:
            self.settle_concatenations()
        self.was_tidied = False
        Machine.n_steps += 1
        self.check_what_is_shown()
        self.check_what_clients_were_told()
        self.check_what_is_kept()

    def shown(self) -> dict[str, bytes]:
        root = self.data / "files"
        return {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()}

    def check_what_is_shown(self) -> None:
        assert self.shown() == self.visible
        for path, body in self.visible.items():
            digest = self.process.ask("sha256", path)
            if self.settings.digest:
                assert digest == hashlib.sha256(body).digest(), path
            assert digest in (None, hashlib.sha256(body).digest())

    def check_what_clients_were_told(self) -> None:
        records = self.process.ask("records")
        wanted = {each.id: each for each in self.known.values() if each.state != "forgotten"}
        assert {each.id for each in records.values() if each.id not in wanted and each.state != "failed"} == set()
        for known in wanted.values():
            found = records[known.id]
            if known.state == "over":
                assert found.state in ("expired", "cancelled", "failed"), found
            else:
                assert (found.state, found.verified) == (known.state, None), found
            if known.state == "receiving":
                assert (found.offset, found.length) == (known.size, known.length), found

    def check_what_is_kept(self) -> None:
        found = {each.name: each.read_bytes() for each in self.unfinished() if each.name not in self.debris}
        kept = [each for each in self.known.values() if each.has_file]
        assert found == {each.id: b"" if each.state == "joining" else self.whole(each) for each in kept}
        assert staged(self.data) == []


def clipped(sizes: Sequence[int], start: int, length: int | None) -> list[int]:
    """As many of these bytes as the upload may have."""
    room = length - start if length is not None else None
    kept = []
    for size in sizes:
        taken = size if room is None else min(size, room)
        room = room if room is None else room - taken
        kept.append(taken)
    return kept


@pytest.mark.timeout(LONG_SECONDS * 2 + 300)
def test_uploads_survive_whatever_happens(capsys: pytest.CaptureFixture[str]) -> None:
    deadline = time.monotonic() + LONG_SECONDS
    is_first = True
    while is_first or time.monotonic() < deadline:
        is_first = False
        with contextlib.suppress(FlakyStrategyDefinition):  # two threads had their calls in another order this time
            run_state_machine_as_test(Machine, settings=LIMITS)
    with capsys.disabled():
        print(f" {Machine.n_examples} examples, {Machine.n_steps} steps, {Machine.n_troubles} kills", end=" ")
