"""One tree of errors, raised where the fault is and used on both ends of the wire.

Status and stable code sit on the class; `front/problem.py` writes them as RFC 9457 problem+json and the client turns
the code back into the same class with `from_code`. A library's errors are translated at the edge where it is called.
"""

from __future__ import annotations

from collections.abc import Iterator

_IANA = "https://iana.org/assignments/http-problem-types"


class GateError(Exception):
    """Anything h2gate refuses or fails to do. `str(error)` is one sentence for a person; `code` is for programs."""

    status = 500
    code = "internal"
    title = "Internal error"
    retry = False
    retry_after_seconds = 0
    """When it is worth trying again (`Retry-After`, RFC 9110 section 10.2.3); 0 says nothing of it."""
    type_uri = ""
    """The problem type, where a standard has registered one; else it is made from `code`."""

    def __init__(self, detail: str = "", **members: object) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.members = members
        """Further members of the problem document (RFC 9457 section 3.2), e.g. `offset`."""
        self.headers: list[tuple[bytes, bytes]] = []
        """Fields the answer carries besides the document, e.g. `upload-offset`."""

    def __copy__(self) -> GateError:
        """Another one that says the same: what is added to one, such as `headers`, is not in the other."""
        other = type(self)(self.detail)
        other.__dict__ |= self.__dict__
        other.headers, other.members = list(self.headers), dict(self.members)
        other.__cause__ = self.__cause__
        return other


class BadRequest(GateError):
    status, code, title = 400, "bad_request", "Bad request"


class BadPath(BadRequest):
    code, title = "bad_path", "Not a path that can be stored"


class BadField(BadRequest):
    code, title = "bad_field", "A header field cannot be understood"


class BadForm(BadRequest):
    code, title = "bad_form", "The form cannot be understood"


class BadBundle(BadRequest):
    code, title = "bad_bundle", "The archive cannot be understood"


class BadCoding(BadRequest):
    """The body is not what its `Content-Encoding` says: damaged, cut short, or with something behind its end."""

    code, title = "bad_coding", "The content coding cannot be undone"


class BodyCut(BadRequest):
    """The body ended before it was whole: fewer bytes than its content-length, or a broken connection."""

    code, title, retry = "body_cut", "The body ended early", True


class BodyTimeout(BodyCut):
    """The sender had room to send and was silent for too long."""

    status, code, title = 408, "body_timeout", "The body stopped coming"


class InconsistentLength(BadRequest):
    """What says how long an upload is contradicts itself, or the upload has more bytes than that."""

    code, title = "inconsistent_length", "The lengths contradict each other"
    type_uri = f"{_IANA}#inconsistent-upload-length"


class TooSmall(BadRequest):
    code, title = "too_small", "Too small"


class CompletedUpload(BadRequest):
    code, title = "completed_upload", "The upload is complete already"
    type_uri = f"{_IANA}#completed-upload"


class ChecksumMismatch(GateError):
    """tus 1.0.0, checksum: the bytes of this request are discarded."""

    status, code, title, retry = 460, "checksum_mismatch", "The bytes do not have the checksum that was sent", True


class DigestMismatch(BadRequest):
    code, title = "digest_mismatch", "The bytes do not have the digest that was sent"


class BadScope(BadRequest):
    """A right whose words cannot be understood."""

    code, title = "bad_scope", "Not a right"


class BadTicket(BadRequest):
    """What a ticket is to allow cannot be understood."""

    code, title = "bad_ticket", "Not a ticket that can be made"


class Unauthenticated(GateError):
    """Nobody, or a credential that is not good. The answer has `WWW-Authenticate` (RFC 9110 section 11.6.1)."""

    status, code, title = 401, "unauthenticated", "Who are you?"


class ExpiredCredential(Unauthenticated):
    """It was good once: another one may do, and what was sent so far is kept."""

    code, title = "expired_credential", "The credential has expired"


class Refused(GateError):
    status, code, title = 403, "refused", "Refused"


class Forbidden(Refused):
    """Recognised, and not allowed."""

    code, title = "forbidden", "Not allowed"


class NotFound(GateError):
    status, code, title = 404, "not_found", "Not found"


class Hidden(NotFound):
    """It is there, or may be, and who asks is not told."""


class MethodNotAllowed(GateError):
    status, code, title = 405, "method_not_allowed", "Method not allowed"


class NotAcceptable(GateError):
    status, code, title = 406, "not_acceptable", "Not acceptable"


class Conflict(GateError):
    status, code, title = 409, "conflict", "Conflict"


class OffsetConflict(Conflict):
    """The write does not begin where the file may be written. The answer tells the offset (`Upload-Offset`)."""

    code, title = "offset_conflict", "The offset is not where this file ends"
    type_uri = f"{_IANA}#mismatching-upload-offset"


class Superseded(Conflict):
    """Another request for the same upload came, and this one let go of it. What it had brought is kept."""

    code, title = "superseded", "Another request has taken over this upload"


class Gone(GateError):
    """An upload that expired, was cancelled or has failed: it cannot be gone on with."""

    status, code, title = 410, "gone", "This upload is over"


class PreconditionFailed(GateError):
    status, code, title = 412, "precondition_failed", "Precondition failed"


class UnsupportedVersion(PreconditionFailed):
    """The protocol version that the client speaks, or does not name (tus 1.0.0)."""

    code, title = "unsupported_version", "Not a version of the protocol that is spoken here"


class TooLarge(GateError):
    status, code, title = 413, "too_large", "Too large"


class ExpandsTooMuch(TooLarge):
    """Undoing the content codings makes far more bytes than were sent."""

    code, title = "expands_too_much", "The body expands too much"


class UnsupportedMediaType(GateError):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class RangeNotSatisfiable(GateError):
    status, code, title = 416, "range_not_satisfiable", "Range not satisfiable"


class Locked(GateError):
    status, code, title, retry = 423, "locked", "Another request is writing this file", True
    retry_after_seconds = 1


class StorageFailed(GateError):
    """The disk answered with an error other than being full, or is read-only. Nothing was acknowledged."""

    status, code, title, retry = 500, "storage_failed", "The storage failed", True


class LedgerFailed(GateError):
    status, code, title, retry = 503, "ledger_failed", "The ledger failed", True
    retry_after_seconds = 5


class AuditFailed(GateError):
    """What was done, or was to be done, cannot be written down, so it is not acknowledged."""

    status, code, title, retry = 503, "audit_failed", "The audit log failed", True
    retry_after_seconds = 5


class Unrecognisable(GateError):
    """Who it is cannot be found out now: whoever is to be asked is slow, down or makes no sense. Nothing is allowed."""

    status, code, title, retry = 503, "unrecognisable", "Nobody can be recognised now; try again", True
    retry_after_seconds = 5


class Draining(GateError):
    status, code, title, retry = 503, "draining", "Going down; try again", True
    retry_after_seconds = 1


class Busy(GateError):
    """Something that is limited for all together was in use for too long."""

    status, code, title, retry = 503, "busy", "Busy; try again", True
    retry_after_seconds = 5


class Exhausted(GateError):
    """The system gives the gateway no more descriptors or memory now (EMFILE, ENFILE, ENOMEM)."""

    status, code, title, retry = 503, "exhausted", "Out of descriptors or memory; try again", True
    retry_after_seconds = 5


class StorageFull(GateError):
    """No space or quota left (ENOSPC, EDQUOT). What was sent is not stored."""

    status, code, title, retry = 507, "storage_full", "No space left", True


class OverQuota(GateError):
    """More than the tenant, or this credential, may have. `left` tells how many bytes or files there are left."""

    status, code, title = 507, "over_quota", "The quota is used up"


class TooManyUploads(GateError):
    """As many uploads as the tenant may have at once are running."""

    status, code, title, retry = 429, "too_many_uploads", "Too many uploads at once; try again", True
    retry_after_seconds = 2


TROUBLE = (StorageFailed, LedgerFailed, StorageFull, Exhausted)
"""What is wrong at the gateway's own place, and may end in the middle of anything that it does."""


class PeerGone(GateError):
    """The other end reset the stream or left; there is nobody to answer (499 is for the log only)."""

    status, code, title, retry = 499, "peer_gone", "The peer is gone", True


class ConfigError(GateError):
    """A setting, flag or file that cannot be used; the command line ends with exit code 2."""

    code, title = "bad_setting", "A setting cannot be used"


class ConnectFailed(GateError):
    """Client side: the gateway could not be reached, or the connection broke."""

    status, code, title, retry = 503, "connect_failed", "No connection to the gateway", True


def _tree(root: type[GateError]) -> Iterator[type[GateError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def from_code(code: str, status: int, detail: str) -> GateError:
    """The error that the other end named. An unknown code becomes the class with that status, else GateError."""
    classes = list(_tree(GateError))
    found = next((c for c in classes if c.code == code), None) or next((c for c in classes if c.status == status), None)
    error = (found or GateError)(detail)
    if found is None or found.status != status:
        error.status = status
        error.retry = status in (429, 502, 503, 504)
    return error
