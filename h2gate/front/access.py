"""What whoever asks may do: the one place where a right meets a path, and where a refusal is put into words.

What somebody has no right near is not there for them (404); what they may see and not do is 403, and so is making
something where they may not: that it is not there is no secret.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from h2gate.auth.base import Principal
from h2gate.auth.chain import ANYBODY
from h2gate.auth.rights import Action
from h2gate.errors import BadPath, Forbidden, GateError, Hidden
from h2gate.transfer.grant import FREELY, Grant
from h2gate.upload import Resumable


class Access:
    """Of one request. `root` is what the rights in the credential are relative to."""

    def __init__(
        self, principal: Principal, root: str = "", look_again: Callable[[], Awaitable[Principal]] | None = None
    ) -> None:
        """`look_again` tells who it is at the end of the request, or raises."""
        self.principal = principal
        self._root = root
        self._look_again = look_again

    def require(self, action: Action, path: str) -> None:
        """Raises `NotFound`, `Forbidden`."""
        if self.principal.rights.allow(action, path):
            return
        if action is not Action.CREATE and not self.principal.rights.touch(path):
            raise Hidden(f"there is no /{path}")
        raise self._forbidden(action, path)

    def require_below(self, action: Action, path: str) -> None:
        """The same for something at `path` or below it, of which is told later what exactly. Raises `Forbidden`."""
        if not self.principal.rights.reach(action, path):
            raise self._forbidden(action, path)

    def require_for(self, action: Action, record: Resumable) -> None:
        """For an upload. Another's is not there (`NotFound`); the right to one's own may be gone (`Forbidden`)."""
        if record.owner != self.principal.name:
            raise Hidden("there is no such upload")
        if record.is_part:
            self.require_below(Action.CREATE, "")
        elif not self.principal.rights.allow(action, record.path):
            raise self._forbidden(action, record.path)

    def below_root(self, path: str) -> str:
        """A path that there is a right to, relative to what the rights in the credential are relative to."""
        return path.removeprefix(self._root).removeprefix("/")

    def grant(self, path: str) -> Grant:
        """For writing a file. Raises `Forbidden` for who may neither create it nor replace it; `BadPath` for a tenant's
        root, which is to who is of the tenant what "" is to all."""
        if self is ANYONE:
            return FREELY
        may_replace = self.principal.rights.allow(Action.MODIFY, path)
        if not may_replace and not self.principal.rights.allow(Action.CREATE, path):
            raise self._forbidden(Action.CREATE, path)
        if self._root and path == self._root:
            raise BadPath(f"/{path} is the folder of a tenant, and no file")
        needed = Action.MODIFY if may_replace else Action.CREATE
        return Grant(principal=self.principal, may_replace=may_replace, look_again=self._again(needed, path))

    def grant_for(self, record: Resumable) -> Grant:
        """For writing an upload that has begun. Raises as `require_for` does."""
        if not record.is_part:
            return self.grant(record.path)
        return self.grant_part()

    def grant_part(self) -> Grant:
        """For a part of a concatenation, which appears nowhere. Raises `Forbidden` for who may create nothing."""
        if self is ANYONE:
            return FREELY
        self.require_below(Action.CREATE, "")
        return Grant(principal=self.principal, look_again=self._again(Action.CREATE, None))

    def _again(self, action: Action, path: str | None) -> Callable[[], Awaitable[None]] | None:
        """Whether it is still their right when all has come: by the rights that they have then. None: anywhere."""
        if (look_again := self._look_again) is None:
            return None

        async def again() -> None:
            found = await look_again()
            if found is self.principal:  # as almost always; then their rights are those that were looked at
                return
            now = Access(found, self._root)
            if path is None:
                now.require_below(action, "")
            elif not now.principal.rights.allow(action, path):
                raise now._forbidden(action, path)

        return again

    def _forbidden(self, action: Action, path: str) -> GateError:
        """With the scope that would do (RFC 6750 section 3.1), as a credential of theirs would have it."""
        error = Forbidden(f"{self.principal.name} may not {action} /{path}")
        if path.startswith(f"{self._root}/" if self._root else "") or path == self._root:
            shown = quote(path.removeprefix(self._root).removeprefix("/"))
            scope = f"storage.{Action.READ if action is Action.STAT else action}:/{shown}"  # there is none of STAT
            value = f'Bearer realm="h2gate", error="insufficient_scope", scope="{scope}"'
            error.headers.append((b"www-authenticate", value.encode()))
        return error


ANYONE = Access(ANYBODY)
"""Where nobody is asked who they are."""
