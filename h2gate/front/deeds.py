"""What a request has done, or was refused: told to the audit log before its answer is sent, to traces and metrics.

A handler says what it did (`Request.did`); everything else that is to be known of it is with the request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from h2gate.auth.base import Via
from h2gate.auth.rights import Action
from h2gate.errors import GateError, Hidden
from h2gate.logs import ACCESS, errand
from h2gate.transfer.completing import Outcome
from h2gate.transfer.file import File
from h2gate.upload import Resumable

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span

    from h2gate.audit.event import Event
    from h2gate.front.request import Request
    from h2gate.gateway import Gateway
    from h2gate.traces import Traces

log = logging.getLogger(ACCESS)

_WRITING = ("PUT", "POST", "PATCH", "DELETE")
_DENIED = (401, 403)
_UNRECOGNISED = frozenset({"unauthenticated", "expired_credential", "unrecognisable"})
_SIGNED = ("create", "replace", "append", "complete")
_ACTIONS = {
    "create": Action.CREATE,
    "begin": Action.CREATE,
    "receive": Action.CREATE,
    "complete": Action.CREATE,
    "cancel": Action.CREATE,
    "replace": Action.MODIFY,
    "append": Action.MODIFY,
    "delete": Action.MODIFY,
    "read": Action.READ,
    "issue": Action.CREATE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One thing that was done; the words are those of `audit.event.Event`."""

    event: str
    path: str = ""
    upload_id: str = ""
    n_bytes: int | None = None
    size: int | None = None
    sha256: bytes | None = None
    detail: str = ""


def of_file(event: str, file: File) -> Deed:
    """A file is there that was not."""
    upload = file.upload
    sha256, upload_id = (upload.sha256, upload.id) if upload is not None else (None, "")
    return Deed(event=event, path=file.path, upload_id=upload_id, size=file.size, sha256=sha256)


def of_upload(record: Resumable, *, begun: bool = False, before: int = 0) -> Deed:
    """An upload was begun, or has more bytes than `before`, or is complete."""
    is_complete = record.state == "complete"
    return Deed(
        event="complete" if is_complete else "begin" if begun else "receive",
        path=record.path,
        upload_id=record.id,
        n_bytes=max(0, record.offset - before),
        size=record.offset,
        sha256=record.sha256 if is_complete else None,
    )


def of_outcome(outcome: Outcome, *, begun: bool = False, before: int = 0) -> Deed:
    """The same with the file that it became: of one that came coded, that has another size."""
    deed, file = of_upload(outcome.upload, begun=begun, before=before), outcome.file
    if file is None:
        return deed
    return replace(deed, size=file.size, sha256=file.upload.sha256 if file.upload is not None else None)


def completed_by(request: Request, record: Resumable) -> bool:
    """Whether an upload that was only asked for was found whole, and is complete since then."""
    return record.state == "complete" and record.changed_at >= request.began_at


class Witness:
    """One per gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def done(self, request: Request, deed: Deed, status: int) -> str:
        """Returns when it is written down; the receipt, where one is wanted, else "". Raises what `AuditLog.record`
        does: it must not be acknowledged then."""
        gateway = self._gateway
        if gateway.traces is not None:
            attributes = {"id": deed.upload_id, "event": deed.event, "size": deed.size, "path": deed.path}
            gateway.traces.upload(request.began_at, attributes)
        audit = gateway.audit
        if audit is None or (deed.event == "read" and not audit.reads):
            return ""
        event = _event(request, deed, status)
        link = await audit.record(event)
        return audit.receipt(link, event) if deed.event in _SIGNED and wants_receipt(request) else ""

    async def refused(self, request: Request, error: GateError, path: str = "") -> None:
        """Something was not done: what the request asks for, or the one file at `path` of several."""
        audit = self._gateway.audit
        is_denied = error.status in _DENIED or isinstance(error, Hidden)
        if audit is not None and (is_denied or request.method in _WRITING):
            await audit.refused(_refusal(request, error, path, "deny" if is_denied else "fail"))

    @contextmanager
    def watching(self, request: Request) -> Iterator[None]:
        """Count it, and log and trace it where that is wanted."""
        errand.set(request.errand)
        began = time.perf_counter()
        gateway = self._gateway
        traces = gateway.traces
        with nullcontext() if traces is None else self._span(traces, request) as span:
            try:
                yield
            finally:
                seconds = time.perf_counter() - began
                status, code = (request.status, request.code) if request.status else (499, "peer_gone")
                gateway.metrics.answered(request.method, status, code, seconds)
                if gateway.chain is not None:
                    self._count_recognition(request, code)
                if traces is not None and span is not None:
                    traces.answered(span, status, code)
                if gateway.settings.access_log:
                    _log(request, status, code, seconds)

    @staticmethod
    def _span(traces: Traces, request: Request) -> AbstractContextManager[Span]:
        path = request.raw_path.decode("latin1")
        return traces.request(request.method, path, request.headers, request.peer, request.errand.request_id)

    def _count_recognition(self, request: Request, code: str) -> None:
        via = request.access.principal.via
        if via is not Via.NOBODY or code in _UNRECOGNISED:
            self._gateway.metrics.count("authentications", via, code if code in _UNRECOGNISED else "recognised")


def wants_receipt(request: Request) -> bool:
    """`Prefer: receipt` (RFC 7240)."""
    wanted = request.headers.get("prefer", "").split(",")
    return any(each.partition(";")[0].strip().lower() == "receipt" for each in wanted)


def _event(request: Request, deed: Deed, status: int) -> Event:
    from h2gate.audit.event import Event  # noqa: PLC0415 - only where there is an audit log

    principal = request.access.principal
    action = _ACTIONS.get(deed.event)
    return Event(
        event=deed.event,
        who=principal.name,
        via=str(principal.via),
        credential=principal.credential,
        tenant=principal.tenant,
        peer=request.peer,
        forwarded=_forwarded(request),
        method=request.method,
        path=deed.path,
        upload_id=deed.upload_id,
        right=principal.rights.which(action, deed.path) if action is not None else "",
        n_bytes=deed.n_bytes,
        size=deed.size,
        sha256=deed.sha256.hex() if deed.sha256 is not None else "",
        status=status,
        request_id=request.errand.request_id,
        detail=deed.detail,
    )


def _refusal(request: Request, error: GateError, path: str, event: str) -> Event:
    from h2gate.audit.event import Event  # noqa: PLC0415

    principal = request.access.principal
    return Event(
        event=event,
        who=principal.name,
        via=str(principal.via) if principal.via != Via.NOBODY else "",
        credential=principal.credential,
        tenant=principal.tenant,
        peer=request.peer,
        forwarded=_forwarded(request),
        method=request.method,
        path=path or request.raw_path.decode("latin1"),
        upload_id=request.errand.upload_id,
        status=error.status,
        code=error.code,
        request_id=request.errand.request_id,
    )


def _forwarded(request: Request) -> str:
    return request.headers.get("forwarded") or request.headers.get("x-forwarded-for", "")


def _log(request: Request, status: int, code: str, seconds: float) -> None:
    path = request.raw_path.decode("latin1")
    members = {"method": request.method, "path": path, "status": status, "seconds": round(seconds, 6)}
    members |= {"peer": request.peer, "who": request.access.principal.name}
    if code:
        members["code"] = code
    log.info("%s %s %d %.3f s", request.method, path, status, seconds, extra={"members": members})
