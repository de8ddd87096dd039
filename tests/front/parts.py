"""Forms written by hand."""

from __future__ import annotations

import httpx

BOUNDARY = "x-boundary"
TYPE = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(filename: str | None, body: bytes = b"x", *lines: str, name: str = "file") -> bytes:
    shown = f'; filename="{filename}"' if filename is not None else ""
    head = "\r\n".join([f"--{BOUNDARY}", f'Content-Disposition: form-data; name="{name}"{shown}', *lines])
    return head.encode() + b"\r\n\r\n" + body + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def statuses(response: httpx.Response) -> list[int]:
    return [each["status"] for each in response.json()["files"]]
