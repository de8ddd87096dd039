"""Resumable uploads: one thing each, whatever protocol began it, asks for it or goes on with it.

The storage is asked how far an upload is, never remembered; what it answers is durable and in the ledger before anybody
is told. Each upload has one request that may write it, and a newcomer takes it over (`transfer.lease`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from h2gate.codec.sha256 import Sha256
from h2gate.config import Settings
from h2gate.errors import BadField, CompletedUpload, Conflict, GateError, Locked, NotFound, Refused
from h2gate.ledger.base import Ledger
from h2gate.storage.base import Partial, Storage
from h2gate.transfer.appending import Append, agreed_length, check_limits, check_size
from h2gate.transfer.completing import Completion, Outcome
from h2gate.transfer.expiring import Expiry
from h2gate.transfer.file import conditional
from h2gate.transfer.grant import FREELY, Grant, restrict
from h2gate.transfer.holding import Holder
from h2gate.transfer.joining import Joining
from h2gate.transfer.lease import LET_GO, Lease, Leases
from h2gate.transfer.mailbox import Mailbox
from h2gate.transfer.receiving import Receiving
from h2gate.transfer.recovering import recover
from h2gate.transfer.register import CHANGED, Register, over
from h2gate.transfer.undoing import check_codings
from h2gate.transfer.uploads import Uploads
from h2gate.upload import ENDING_STATES, Resumable

log = logging.getLogger("h2gate.transfer")

MAX_PARTS = 10_000
LISTED = 1000
_LEAVING_SECONDS = 0.5
"""So long a sender who has gone may still hold what he left: his last bytes are made durable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a request wants to create. `path` is "" for a part of a concatenation."""

    path: str
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    owner: str = ""
    length: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    metadata: str = ""
    expected: Mapping[str, bytes] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    modified_ns: int | None = None
    parts: Sequence[str] = ()
    grant: Grant = FREELY


class Resumables:
    """All that the dialects may ask for; to be closed. Raises what storage and ledger raise, besides what is said."""

    def __init__(self, storage: Storage, ledger: Ledger, uploads: Uploads, settings: Settings, words: Path) -> None:
        """`words` is the folder where the workers' mailboxes are."""
        self._storage = storage
        self._ledger = ledger
        self._uploads = uploads
        self._settings = settings
        self._mailbox = Mailbox(words, self._heard)
        self._register = Register(ledger, lambda name: self._mailbox.tell(CHANGED, name), settings.upload_seconds)
        ask_others = lambda name: self._mailbox.tell(LET_GO, name)  # noqa: E731
        self._leases = Leases(storage, ask_others, settings.takeover_seconds)
        self._beginning: dict[str, set[asyncio.Event]] = {}
        """By path: uploads that cannot be found yet."""
        self._completion = Completion(storage, self._register, uploads, settings)
        self._holding = Holder(storage, ledger, self._register, self._leases, self._completion.fail).hold
        self._joining = Joining(ledger, self._register, self._completion, self._holding, uploads.quotas, settings)
        self._expiry = Expiry(storage, ledger, self._register, self._leases, self._completion, self._holding)

    def _heard(self, word: str, upload_id: str) -> None:
        if word == LET_GO:
            self._leases.ask(upload_id)
        elif word == CHANGED:
            self._register.notify(upload_id)

    def listen(self, listener: Callable[[Resumable], None]) -> None:
        """See `Register.listen`."""
        self._register.listen(listener)

    async def create(self, plan: Plan) -> Resumable:
        """Begin an upload: durable when this returns, with no bytes yet. Raises `TooLarge`, `PreconditionFailed`, and
        what `Storage.look_ahead` raises."""
        check_size(self._settings, plan.length)
        await self._check_place(plan, None)
        return await self._begin(plan, "receiving", plan.length)

    async def _check_place(self, plan: Plan, n_bytes: int | None) -> None:
        if plan.path:
            condition = conditional(plan.conditions)
            await self._uploads.may_replace(plan.path, condition, allowed=plan.grant.may_replace)
        await self._storage.look_ahead(plan.path or None, n_bytes)

    async def _begin(self, plan: Plan, state: str, length: int | None) -> Resumable:
        record = _planned(plan, state, length)
        async with self._all_or_nothing(record):
            await self._uploads.quotas.begin(record, length, plan.grant.principal)
            jobs = self._register.begin(record), self._storage.begin(plan.id)
            begun, failure = await asyncio.gather(*jobs, return_exceptions=True)
            if isinstance(failure, BaseException):
                raise failure
            if isinstance(begun, BaseException):
                raise begun
        return begun

    @contextmanager
    def _being_begun(self, path: str) -> Iterator[asyncio.Event]:
        """An upload to `path` until it can be found, which the event says, or never will be."""
        begun = asyncio.Event()
        self._beginning.setdefault(path, set()).add(begun)
        try:
            yield begun
        finally:
            begun.set()
            self._beginning[path].discard(begun)
            if not self._beginning[path]:
                del self._beginning[path]

    @asynccontextmanager
    async def _all_or_nothing(self, record: Resumable) -> AsyncIterator[None]:
        """Of an upload that could not be begun, neither file nor record stays."""
        try:
            yield
        except Conflict:  # the id is another's
            raise
        except BaseException:
            with suppress(GateError):
                await self._storage.drop(record.id)
            with suppress(GateError):
                await self._ledger.drop(record)
            raise

    async def create_with(
        self, plan: Plan, first: Append, announce: Callable[[Resumable], Awaitable[None]] | None = None
    ) -> Outcome:
        """Begin an upload with its first bytes; `announce` is called when it is durable, before they are pulled.

        It is held from before anybody can know of it: whoever asks for it takes it over. Nothing is begun that `first`
        could not be appended to. Raises as `create` and `append` do; `look` tells whether it was begun.
        """
        length = agreed_length(first, 0, plan.length)
        check_limits(self._settings, first, 0, length)
        async with AsyncExitStack() as stack:
            begun = stack.enter_context(self._being_begun(plan.path))
            await self._check_place(plan, first.body.length)
            planned = _planned(plan, "receiving", length)
            async with self._all_or_nothing(planned):
                await self._uploads.quotas.begin(planned, length, plan.grant.principal)
                await self._storage.begin(plan.id)
                lease = await stack.enter_async_context(self._leases.hold(plan.id))
                record = await self._register.begin(planned)
            begun.set()
            if announce is not None:
                await announce(record)
            length_before = first.length if plan.length is None else plan.length
            return await self._append(lease, record, first, length_before)

    async def append(self, upload_id: str, request: Append) -> Outcome:
        """Append a body; whoever is writing this upload is asked to let go of it first.

        Raises what `Receiving.run` and `Completion.complete` raise, `NotFound`, `Gone`, `CompletedUpload`, `Locked`,
        `Refused` for a concatenation and `BadField` for another coding than that of the upload.
        """
        known = await self._register.open(upload_id)
        if known.parts:
            raise Refused("a concatenation takes no bytes of its own (tus 1.0.0)")
        check_codings(known, request.codings)
        await self._storage.look_ahead(None, request.body.length)
        async with self._holding(upload_id) as (lease, record):
            if record.state in ENDING_STATES:
                await self._completion.complete(lease.partial, restrict(record, request.grant))
                raise CompletedUpload("the upload is complete", offset=record.offset)
            return await self._append(lease, record, request, record.length)

    async def _append(self, lease: Lease, record: Resumable, request: Append, length_before: int | None) -> Outcome:
        hasher = await self._hasher(lease.partial, record, request.whole)
        record = restrict(record, request.grant)
        fail, settings, partial = self._completion.fail, self._settings, lease.partial
        length = agreed_length(request, partial.size, record.length)
        check_limits(settings, request, partial.size, length)
        by, quotas = request.grant.principal, self._uploads.quotas
        async with quotas.feeding(record, lambda: partial.size, request.body, length, by) as taken:
            request = replace(request, body=taken)
            run = Receiving(lease, record, request, hasher, self._register, fail, settings, length_before)
            after, whole = await run.run()
        if run.ends_upload:
            await self._check_grant(lease, after, request)
            return await self._completion.complete(lease.partial, after, hasher, whole)
        is_known = hasher is not None and hasher.n_bytes == after.offset
        return Outcome(after, sha256=hasher.digest() if hasher is not None and is_known else None)

    async def _check_grant(self, lease: Lease, record: Resumable, request: Append) -> None:
        """All has come, and stays, whatever has become of the credential: another one may complete it."""
        try:
            await request.grant.still_holds()
        except GateError:
            await self._register.change(record, offset=lease.partial.size, verified=None)
            raise

    async def _hasher(self, partial: Partial, record: Resumable, whole: Mapping[str, bytes]) -> Sha256 | None:
        """A running SHA-256 of what is there; None where that would mean to read all of it now.

        After a crash, what came since the last checkpoint is read.
        """
        if not (self._settings.digest or {"sha-256"} & {*record.expected, *whole}):
            return None
        hasher = Sha256.restored(record.hash_state) if record.hash_state is not None else Sha256()
        if hasher is None or hasher.n_bytes > partial.size or (hasher.n_bytes == 0 and partial.size > 0):
            return None
        await partial.feed(hasher.n_bytes, partial.size, hasher)
        return hasher

    async def offset(
        self, upload_id: str, *, length_ends: bool = False, digest: bool = False, grant: Grant = FREELY
    ) -> Resumable:
        """How far an upload is, for somebody who wants to go on with it: a request that writes it lets go.

        `length_ends`: it is complete when its length is reached (tus). `digest`: `sha256` of what is returned is that
        of the bytes so far, where it is known. By `grant` it is completed. Raises as `append` does, but for
        `CompletedUpload`.
        """
        record = await self._register.not_over(upload_id)
        if record.state not in ("receiving", *ENDING_STATES):
            return record
        try:
            async with self._holding(upload_id, patient=record.state != "decoding") as (lease, held):
                is_whole = length_ends and held.state == "receiving" and held.offset == held.length
                if not is_whole and held.state not in ENDING_STATES:
                    return await self._with_digest(lease.partial, held) if digest else held
                hasher = await self._hasher(lease.partial, held, {})
                return (await self._completion.complete(lease.partial, restrict(held, grant), hasher)).upload
        except CompletedUpload:
            return await self._register.not_over(upload_id)
        except Locked:
            if record.state != "decoding":
                raise
            return record  # somebody is at it, and all has come

    async def _with_digest(self, partial: Partial, held: Resumable) -> Resumable:
        hasher = await self._hasher(partial, held, {})
        return replace(held, sha256=hasher.digest()) if hasher is not None else held

    async def look(self, upload_id: str) -> Resumable:
        """What is known of an upload, over ones included; disturbs nobody. Raises `NotFound`."""
        return await self._register.known(upload_id)

    async def settled(self, upload_id: str, seconds: float) -> Resumable:
        """Like `look`, once the upload is complete or over, or the time has passed."""
        return await self._register.settled(upload_id, seconds)

    async def listed(self, owner: str) -> Sequence[Resumable]:
        """An owner's uploads, the last changed first, at most `LISTED`."""
        return await self._ledger.resumables(owner, limit=LISTED)

    async def left_at(self, owner: str, path: str) -> Sequence[Resumable]:
        """An owner's uploads of the file at `path` that nobody is writing now, the last changed first.

        Whoever asks may have been cut off a moment ago: what he began then is waited for, and for a short time that it
        is let go of."""
        await self._begun([path])
        until = asyncio.get_running_loop().time() + _LEAVING_SECONDS
        found = await self._ledger.resumables_at(owner, path)
        return [each for each in found if await self._leases.is_free(each.id, until)]

    async def begun_below(self, owner: str, folder: str) -> Sequence[Resumable]:
        """An owner's uploads of files below the folder at this path that may be gone on with, whoever writes them now;
        the last changed first, at most `LISTED`."""
        within = f"{folder}/" if folder else ""
        await self._begun([path for path in self._beginning if path.startswith(within)])
        return await self._ledger.resumables_below(owner, folder, limit=LISTED)

    async def _begun(self, paths: Sequence[str]) -> None:
        """The ledger knows of all uploads of these files whose beginning was asked for."""
        for begun in [each for path in paths for each in self._beginning.get(path, ())]:
            await begun.wait()

    async def cancel(self, upload_id: str) -> None:
        """End an upload and free its bytes. Of a complete one just the upload is forgotten: its file is a file.

        Raises `NotFound`, `Gone`, `Locked`.
        """
        record = await self._register.not_over(upload_id)
        if record.is_open:
            try:
                async with self._holding(upload_id) as (_, record):
                    await self._completion.end(record, "cancelled")
            except CompletedUpload:
                record = await self._register.not_over(upload_id)
        if record.state == "complete":
            await self._completion.end(record, "cancelled")

    async def join(self, plan: Plan) -> Resumable:
        """Begin a concatenation of `plan.parts`; complete when this returns, if they all are. Otherwise it becomes so
        with the last of them. Raises `BadField` for what is not a part, `Gone`, `TooLarge`, `PreconditionFailed`."""
        if not 0 < len(plan.parts) <= MAX_PARTS:
            raise BadField(f"a concatenation has from 1 to {MAX_PARTS} parts")
        parts = await asyncio.gather(*(self._part(each, plan.grant) for each in plan.parts))
        lengths = [each.length for each in parts]
        length = None if None in lengths else sum(filter(None, lengths))
        check_size(self._settings, length)
        await self._check_place(plan, None)
        record = await self._begin(plan, "joining", length)
        await self._joining.join_if_settled(record.id)
        return await self._register.not_over(record.id)

    async def _part(self, upload_id: str, grant: Grant) -> Resumable:
        try:
            found = await self._register.known(upload_id)
        except NotFound:
            raise BadField("Upload-Concat: there is no such part") from None
        if not grant.owns(found):  # nor is it told to others how it is
            raise BadField("Upload-Concat: there is no such part")
        if found.is_over:
            raise over(found)
        if not found.is_part:
            raise BadField("Upload-Concat: an upload that was not created as partial")
        return found

    async def expire(self, limit: int = 100) -> int:
        """See `Expiry.expire`."""
        return await self._expiry.expire(limit)

    async def rejoin(self) -> None:
        """Go on with concatenations that a crash interrupted, or a failure."""
        for record in await self._ledger.resumables_in(["joining"]):
            with suppress(GateError):  # logged by it, and no reason to leave the others
                await self._joining.join_if_settled(record.id)

    async def recover(self) -> int:
        """After a crash, while nobody serves: make ledger and storage agree about all uploads; how many differed."""
        return await recover(self._storage, self._ledger, self.offset)

    async def tidy(self) -> None:
        """See `Storage.tidy`, `Quotas.tidy`."""
        await self._storage.tidy()
        await self._uploads.quotas.tidy()

    async def close(self) -> None:
        """Let go of everything. No request may be left."""
        await self._joining.close()
        self._mailbox.close()


def _planned(plan: Plan, state: str, length: int | None) -> Resumable:
    record = Resumable(
        id=plan.id,
        path=plan.path,
        owner=plan.owner,
        state=state,
        length=length,
        fields=plan.fields,
        metadata=plan.metadata,
        expected=plan.expected,
        conditions=plan.conditions,
        modified_ns=plan.modified_ns,
        parts=tuple(plan.parts),
    )
    return restrict(record, plan.grant)
