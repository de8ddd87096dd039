"""By what right something is written: looked at before the body, and again when all of it is there.

Who may create and not replace writes as if with `If-None-Match: *`, and is told 403 instead of 412.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from h2gate.auth.base import Principal
from h2gate.auth.chain import ANYBODY
from h2gate.errors import Forbidden, PreconditionFailed
from h2gate.upload import Resumable

_CREATE_ONLY = "create-only"
"""Among the conditions of a resumable upload, where it is no field but the right of whoever began it: so it holds for
whatever completes it, a restart included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
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
    """The upload as it may go on by this grant: once somebody who may only create had a hand in it, it stays so."""
    if grant.may_replace or not may_replace(record):
        return record
    return replace(record, conditions={**record.conditions, _CREATE_ONLY: "?1"})


def may_replace(record: Resumable) -> bool:
    """Whether the file that it becomes may be put in the place of another."""
    return _CREATE_ONLY not in record.conditions


def fields(record: Resumable) -> dict[str, str]:
    """Its conditions as they were sent."""
    return {name: value for name, value in record.conditions.items() if name != _CREATE_ONLY}
