"""Which web pages of other origins may use the gateway (the Fetch standard's CORS protocol): those of `cors_origins`.

Uppy and tus-js-client run in such pages. They send fields that need asking first, and read fields of the answer that a
browser hides unless it is told to show them. Credentials of the browser's own are never invited.
"""

from __future__ import annotations

from collections.abc import Set

from h2gate.front.request import Request

ANY = "*"
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_MAX_AGE_SECONDS = 7200
"""As long as Chromium keeps it."""
_EXPOSED = (
    "Accept-Patch, Accept-Ranges, Allow, Content-Disposition, Content-Location, Content-Range, Date, ETag, "
    "Last-Modified, Link, Location, Preference-Applied, Repr-Digest, Retry-After, Tus-Checksum-Algorithm, "
    "Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Complete, Upload-Concat, Upload-Defer-Length, "
    "Upload-Draft-Interop-Version, Upload-Expires, Upload-Length, Upload-Limit, Upload-Metadata, Upload-Offset, "
    "Upload-Receipt, WWW-Authenticate, Want-Content-Digest, Want-Repr-Digest, X-Request-Id"
)


def allow(request: Request, origins: Set[str]) -> None:
    """Have the answer say whether the page that asks may read it, and for a preflight what it may send."""
    if not origins:
        return
    if ANY not in origins:  # what a cache keeps is for one origin only
        request.also.append(("vary", "origin"))
    headers = request.headers
    origin = headers.get("origin")
    if origin is None or origins.isdisjoint({origin, ANY}):
        return
    request.also.append(("access-control-allow-origin", ANY if ANY in origins else origin))
    if request.method != "OPTIONS" or "access-control-request-method" not in headers:
        request.also.append(("access-control-expose-headers", _EXPOSED))
        return
    request.also.append(("access-control-allow-methods", _METHODS))
    request.also.append(("access-control-max-age", str(_MAX_AGE_SECONDS)))
    if "access-control-request-headers" in headers:
        request.also.append(("access-control-allow-headers", headers["access-control-request-headers"]))
