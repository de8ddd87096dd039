"""What can go wrong between this end and the gateway, in both vocabularies.

Each class is a `ConnectFailed` of h2gate (so `retry` and exit codes hold) and an exception of httpx (so that any httpx
user of `Transport` catches what they always caught). None of them says that the request was processed.
"""

from __future__ import annotations

import httpx

from h2gate.errors import ConnectFailed, GateError, Unauthenticated


class Unreachable(ConnectFailed, httpx.ConnectError):
    """No connection could be made: name, route, port or TLS."""


class ConnectTimedOut(ConnectFailed, httpx.ConnectTimeout):
    """No connection was made in time."""


class Broken(ConnectFailed, httpx.RemoteProtocolError):
    """The connection or the stream ended before the answer was whole."""


class Unprocessed(ConnectFailed, httpx.RemoteProtocolError):
    """The gateway says that it has not looked at this request (GOAWAY, REFUSED_STREAM): safe to send again."""


class ReadTimedOut(ConnectFailed, httpx.ReadTimeout):
    """The whole request was sent and nothing came back in time, or the connection fell silent."""


class WriteTimedOut(ConnectFailed, httpx.WriteTimeout):
    """The network or the gateway took no more bytes of the body in time."""


class PoolTimedOut(ConnectFailed, httpx.PoolTimeout):
    """The gateway allowed no further stream in time."""


class WrongLength(GateError, httpx.LocalProtocolError):
    """The body of a request is not as long as its content-length says."""

    status, code, title = 400, "wrong_length", "The body is not as long as announced"


class LocalFile(GateError):
    """A file at this end cannot be read or written."""

    status, code, title = 400, "local_file", "The file at this end cannot be used"


class FileChanged(LocalFile):
    """A file grew, shrank or was written to while it was being sent: what was sent is not a state it ever had."""

    code, title = "file_changed", "The file changed while it was sent"


class NoToken(Unauthenticated):
    """This end has nothing to say who it is, though it was told where to find it."""

    code, title = "no_token", "There is no token"


class LoginOver(NoToken):
    """The issuer gives no more tokens for what was logged in."""

    code, title = "login_over", "The login is over"


def from_httpx(error: httpx.HTTPError) -> GateError:
    """The error of the house for one of httpx's own (the HTTP/1.1 transport raises those)."""
    if isinstance(error, GateError):
        return error
    kind = type(error).__name__
    translated = ConnectFailed(f"{kind}: {error}" if str(error) else kind)
    translated.retry = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
    return translated
