"""`POST /files/{dir}/`: several files in one request, an answer for each."""

from __future__ import annotations

from h2gate.codec import coding
from h2gate.errors import BadForm, GateError, PeerGone
from h2gate.front import tickets
from h2gate.front.deeds import of_file
from h2gate.front.form import Form, Part
from h2gate.front.plain import description, expected_digests, modified
from h2gate.front.problem import of
from h2gate.front.request import Request
from h2gate.transfer.uploads import Uploads
from h2gate.upload import checked_path


async def post(request: Request, uploads: Uploads) -> None:
    """Store every file of the form in the folder named by the path. 201 when all are stored, 207 when only some.

    A form that breaks off is an error; what was stored before is told in its `files`.
    """
    folder, _ = request.place
    async with uploads.decoding.undone(request.body, request.headers, is_file=False) as (body, headers):
        form = Form(body, headers.get("content-type", ""))
        async with uploads.quotas.at_once(folder):
            outcomes = await _walk(form, folder, uploads, request)
    stored = sum(each["status"] in (201, 204) for each in outcomes)
    status = 201 if stored == len(outcomes) else 207
    if tickets.wants_page(request):
        await tickets.answer_outcomes(request, status, outcomes)
        return
    await request.answer_json(status, {"files": outcomes, "fields": form.fields})


async def _walk(form: Form, folder: str, uploads: Uploads, request: Request) -> list[dict[str, object]]:
    outcomes: list[dict[str, object]] = []
    try:
        while (part := await form.next_part()) is not None:
            if part.filename:
                outcomes.append(await _store(part, folder, uploads, request))
            elif await _drop(part):  # a browser sends an empty one when no file was chosen
                raise BadForm("a file of the form has no name")
    except GateError as error:
        error.members["files"] = outcomes
        raise
    return outcomes


async def _store(part: Part, folder: str, uploads: Uploads, request: Request) -> dict[str, object]:
    """One file of the form; an error of its own is its outcome, one of the whole request is raised."""
    try:
        _check_no_coding(part)
        path = checked_path(f"{folder}/{part.filename}" if folder else part.filename)
        file, replaced = await uploads.put(
            path,
            part.body,
            fields={name: value for name, value in description(part.headers).items() if name != "content-disposition"},
            expected=expected_digests(part.headers),
            modified_ns=modified(part.headers),
            grant=request.access.grant(path),
            alone=False,
        )
        status = 204 if replaced else 201
        more = await request.stored(of_file("replace" if replaced else "create", file), status)
    except PeerGone:
        raise
    except GateError as error:
        known = of(error, f"POST: {part.filename}")
        await request.refused(known, f"{folder}/{part.filename}" if folder else part.filename)
        await _drop(part)
        return {"name": part.filename, "status": known.status, "code": known.code, "detail": known.detail}
    return {
        "name": part.filename,
        "path": f"/files/{path}",
        "status": status,
        "size": file.size,
        "etag": file.etag,
        "repr_digest": file.repr_digest,
        **more,
    }


def _check_no_coding(part: Part) -> None:
    """Only a whole request is decoded: RFC 7578 knows no codings of parts. Raises `UnsupportedMediaType`."""
    if coding.parse(part.headers.get("content-encoding", "")):
        raise coding.unsupported("Content-Encoding: a part of a form has none", "identity")


async def _drop(part: Part) -> int:
    """Pull what is left of a part that is not stored, so that the next can be; how many bytes it was."""
    n_bytes = 0
    while not part.over:
        n_bytes += (await part.body.pull()).n_bytes
    return n_bytes
