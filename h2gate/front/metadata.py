"""`Upload-Metadata` of tus 1.0.0: its grammar, where the file appears by it, and what of it describes the file.

Any value may be bytes of any kind. What is made a path or a header field of must be UTF-8 without control characters:
else one field could smuggle in another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from h2gate.errors import BadField
from h2gate.fields import from_base64
from h2gate.upload import checked_path

FIELD = "Upload-Metadata"
MAX_BYTES = 16384
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word
_MEDIA_TYPE = re.compile(rf'{_TOKEN}/{_TOKEN}(?:[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|"[^"\\]*"))*', re.ASCII)


def parse(value: str) -> dict[str, bytes]:
    """The pairs of the field. Raises `BadField`."""
    if len(value) > MAX_BYTES:
        raise BadField(f"{FIELD}: longer than {MAX_BYTES} bytes")
    found: dict[str, bytes] = {}
    for pair in value.split(",") if value.strip() else ():
        key, _, encoded = pair.strip().partition(" ")
        if not key or key in found:
            raise BadField(f"{FIELD}: {'a key is missing' if not key else f'{key[:60]!r} is there twice'}")
        found[key] = from_base64(encoded, f"{FIELD}: {key[:60]!r}")
    return found


def path(metadata: Mapping[str, bytes], upload_id: str) -> str:
    """Where the file appears under /files/. Raises `BadField`, `BadPath`.

    `path` wins: of a file, or with a slash at its end of the folder that it goes to. `relativePath` is Uppy's, which
    writes "null" for none. What has no name at all is called by its id.
    """
    wanted, relative = _text(metadata, "path"), _text(metadata, "relativePath")
    name = _text(metadata, "filename") or _text(metadata, "name") or upload_id
    if wanted.endswith("/"):
        wanted += name
    elif not wanted and relative != "null":
        wanted = relative
    return checked_path((wanted or name).removeprefix("/"))


def fields(metadata: Mapping[str, bytes]) -> dict[str, str]:
    """The fields that describe the file, as in `Upload`. Raises `BadField`."""
    media_type = _text(metadata, "filetype") or _text(metadata, "type")
    return {"content-type": media_type} if _MEDIA_TYPE.fullmatch(media_type) else {}


def _text(metadata: Mapping[str, bytes], key: str) -> str:
    try:
        text = metadata.get(key, b"").decode()
    except UnicodeDecodeError:
        raise BadField(f"{FIELD}: {key} is not UTF-8") from None
    if _CONTROL.search(text):
        raise BadField(f"{FIELD}: {key} has a control character")
    return text
