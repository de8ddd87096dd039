"""Who comes in, and whether it is their right: known before anything of the body is read.

Each room has its own way in, which says what its methods do to which path; OPTIONS is open, since a browser's preflight
carries no credential. What is written is looked at once more by its very path (`Access.grant`).
"""

from __future__ import annotations

import time

from h2gate.auth.base import Evidence, Principal, Via
from h2gate.auth.chain import Chain
from h2gate.auth.rights import Action
from h2gate.errors import Forbidden
from h2gate.front import resources, tickets, tus_fields
from h2gate.front.access import Access
from h2gate.front.interop import VERSION_FIELD
from h2gate.front.request import Request, file_path
from h2gate.gateway import Gateway

_ON_FILES = {"GET": Action.READ, "HEAD": Action.STAT, "PATCH": Action.MODIFY, "DELETE": Action.MODIFY}
_ON_UPLOADS = {"GET": Action.STAT, "HEAD": Action.CREATE, "PATCH": Action.CREATE, "DELETE": Action.CREATE}
"""HEAD is for who goes on with an upload, and may be what completes it."""
_MOMENT_SECONDS = 1.0
_SAFE = ("GET", "HEAD", "OPTIONS")
_PRIVATE = [("cache-control", "private, no-cache")]
"""Of what not everybody may see: a cookie, a certificate or a ticket in the URL keeps no cache from giving it to others
(RFC 9111 section 3.5 is about Authorization alone), and a right may be gone the next time."""


async def to_files(request: Request, gateway: Gateway) -> None:
    """Under /files/. The files of a form or an archive are looked at one by one, as they come."""
    if request.method == "OPTIONS" or not await _recognised(request, gateway):
        return
    if request.method in _SAFE:
        request.also += _PRIVATE
    path, _ = request.place
    if tickets.is_form(request):
        return
    if request.method in _ON_FILES:
        request.access.require(_ON_FILES[request.method], path)
    elif request.method in ("PUT", "POST"):
        request.access.require_below(Action.CREATE, path)


async def to_uploads(request: Request, gateway: Gateway) -> None:
    """Under /uploads/: to one's own. All who have a ticket are one, and none of them is told what the others have
    sent: who knows the path of an upload may find it, to go on with it."""
    if request.method == "OPTIONS" or not await _recognised(request, gateway):
        return
    if request.raw_path in resources.ROOTS:
        is_list = request.method in _SAFE and file_path(request.query.get("path", "").encode())[1]
        if is_list and request.access.principal.via is Via.TICKET:
            raise Forbidden("a ticket lists nothing; with ?path= the uploads of one file are found")
    elif request.method in _ON_UPLOADS:
        await _to_upload(request, gateway, _asks_as(request), resources.upload_id(request))


def _asks_as(request: Request) -> str:
    """GET by a version of the draft is what HEAD is: whoever writes lets go, and what is whole is completed."""
    return "HEAD" if request.method == "GET" and VERSION_FIELD in request.headers else request.method


async def to_tus(request: Request, gateway: Gateway) -> None:
    """Under /tus/: to one's own; where a new one goes to is told by its metadata."""
    method = tus_fields.method(request)
    if method == "OPTIONS" or not await _recognised(request, gateway, method):
        return
    if request.raw_path in tus_fields.ROOTS:
        if method == "POST":
            request.access.require_below(Action.CREATE, "")
    elif method in _ON_UPLOADS:
        await _to_upload(request, gateway, method, tus_fields.upload_id(request.raw_path.decode("latin1")))


async def to_tickets(request: Request, gateway: Gateway) -> None:
    """Under /tickets/. What one allows must be allowed to who makes it, which is looked at once it is read."""
    if request.method != "OPTIONS" and await _recognised(request, gateway):
        tickets.admit(request)


async def to_metrics(request: Request, gateway: Gateway) -> None:
    """They tell of everybody, so whoever reads them must be allowed to read everything."""
    if not await _recognised(request, gateway):
        return
    request.access.require_below(Action.READ, "")
    request.access.require(Action.READ, "")


async def open_to_all(request: Request, gateway: Gateway) -> None:
    """Nobody is asked."""


async def _to_upload(request: Request, gateway: Gateway, method: str, upload_id: str) -> None:
    record = await gateway.resumables.look(upload_id)
    request.access.require_for(_ON_UPLOADS[method], record)
    if method in ("PATCH", "HEAD"):  # whoever asks how far it is may be what completes it
        request.grant = request.access.grant_for(record)


async def _recognised(request: Request, gateway: Gateway, method: str = "") -> bool:
    """Who it is, told to the request; False where nobody is asked. Raises what `Chain.recognise` does.

    `method` is what is to be done, where that is not what the request is called: all who judge it must know."""
    chain = gateway.chain
    if chain is None:
        return False
    authorization = request.headers.get("authorization")
    principal = chain.recall(authorization) if authorization is not None else None
    asked: Evidence | None = None
    if principal is None:
        evidence = request.evidence(method or request.method)
        principal = await chain.recognise(evidence)
        _check_origin(request, evidence, principal, gateway.settings.cors_origins)
        if principal.via is Via.TICKET:  # it may be in the URL
            request.also.append(("referrer-policy", "no-referrer"))
        if principal.via is Via.FORWARD:
            asked = evidence
    request.known_as(principal.name)
    request.access = Access(principal, chain.root_of(principal), _Again(gateway, chain, principal, asked))
    return True


class _Again:
    """Tells who it is at the end of a request, or of one of its files: by what is set up then.

    `asked` is what another server was asked by, which alone knows: it is asked once more, at most once a moment.
    """

    __slots__ = ("_asked", "_asked_at", "_before", "_gateway", "_principal")

    def __init__(self, gateway: Gateway, before: Chain, principal: Principal, asked: Evidence | None) -> None:
        self._gateway = gateway
        self._before = before
        self._principal = principal
        self._asked = asked
        self._asked_at = time.monotonic() if asked is not None else 0.0

    async def __call__(self) -> Principal:
        """Raises what `Chain.recognise` does."""
        chain: Chain | None = self._gateway.chain
        if chain is None or (chain is self._before and chain.is_settled(self._principal)):
            return self._principal
        found = await chain.look_again(self._principal)
        if self._asked is None or time.monotonic() - self._asked_at < _MOMENT_SECONDS:
            return found
        return await self._vouched(chain, self._asked)

    async def _vouched(self, chain: Chain, asked: Evidence) -> Principal:
        found = await chain.recognise(asked)
        if found.name != self._principal.name:
            raise Forbidden("the credential is somebody else's by now")
        self._principal, self._asked_at = found, time.monotonic()
        return found


def _check_origin(request: Request, evidence: Evidence, principal: Principal, origins: tuple[str, ...]) -> None:
    """A browser sends cookies, certificates, Basic, Digest and Negotiate along by itself, also for a page of somebody
    else. Such a page may not write: Sec-Fetch-Site tells of it, or the origin does. Raises `Forbidden`."""
    headers = request.headers
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if evidence.method in _SAFE or (site is None and origin is None) or not _sent_by_itself(request, principal):
        return
    if site in ("same-origin", "none") or origin in origins:
        return
    if site is None and origin in (f"http://{evidence.authority}", f"https://{evidence.authority}"):
        return
    raise Forbidden("a page of another origin may not write with a credential that the browser adds")


def _sent_by_itself(request: Request, principal: Principal) -> bool:
    """Of what may stand in Authorization, only Bearer is never a browser's own doing."""
    given = request.headers.get("authorization")
    if given is None:
        return principal.via in (Via.CERTIFICATE, Via.FORWARD)
    return given.partition(" ")[0].lower() != "bearer"
