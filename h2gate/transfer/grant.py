"""By what right something is written: looked at before the body, and again when all of it is there.

Who may create and not replace writes as if with `If-None-Match: *`, and is told 403 instead of 412.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from h2gate.auth.base import Principal
from h2gate.auth.chain import ANYBODY
from h2gate.errors import Forbidden, PreconditionFailed
from h2gate.upload import Resumable

_CREATE_ONLY = "create-only"
"""Among the conditions of a resumable upload, where it is no field but the right of whoever began it: so it holds for
whatever completes it, a restart included."""
_MAX_FILE_BYTES = "max-file-bytes"
"""As that: what it becomes may be larger than any of its bodies, when it is joined or decoded."""


class Grant(NamedTuple):
    """What a request may do to one path, or to the upload that it is for."""

    principal: Principal = ANYBODY
    may_replace: bool = True
    look_again: Callable[[], Awaitable[None]] | None = None
    """Raises `Unauthenticated` where the credential does not hold any more."""

    def owns(self, record: Resumable) -> bool:
        """Whether the upload is one's own; where nobody is asked who they are, all are everybody's."""
        return self.look_again is None or record.owner == self.principal.name

    async def still_holds(self) -> None:
        """To be called when the body is whole, before anything is shown. Raises `Unauthenticated`."""
        if self.look_again is not None:
            await self.look_again()


FREELY = Grant()


def forbidden(path: str) -> Forbidden:
    """The error for who may create only."""
    return Forbidden(f"/{path} is there, and may not be replaced")


@contextmanager
def telling_why(path: str, *, may_replace: bool) -> Iterator[None]:
    """A file that came between the last look and the showing is in the way of who may create only."""
    try:
        yield
    except PreconditionFailed:
        if may_replace:
            raise
        raise forbidden(path) from None


def restrict(record: Resumable, grant: Grant) -> Resumable:
    """The upload as it may go on by this grant: once somebody who may only create, or nothing large, had a hand in it,
    it stays so."""
    conditions = dict(record.conditions)
    if not grant.may_replace:
        conditions[_CREATE_ONLY] = "?1"
    limits = [each for each in (max_file_bytes(record), grant.principal.max_file_bytes) if each is not None]
    if limits:
        conditions[_MAX_FILE_BYTES] = str(min(limits))
    return replace(record, conditions=conditions) if conditions != record.conditions else record


def may_replace(record: Resumable) -> bool:
    """Whether the file that it becomes may be put in the place of another."""
    return _CREATE_ONLY not in record.conditions


def max_file_bytes(record: Resumable) -> int | None:
    """Of the file that it becomes, by who had a hand in it; None is no limit."""
    found = record.conditions.get(_MAX_FILE_BYTES)
    return int(found) if found is not None else None


def fields(record: Resumable) -> dict[str, str]:
    """Its conditions as they were sent."""
    return {name: value for name, value in record.conditions.items() if name not in (_CREATE_ONLY, _MAX_FILE_BYTES)}
