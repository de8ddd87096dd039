"""Whether a file is sent with a content coding: only one that the gateway says it takes, and only where it helps."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from h2gate.client.asking import Asker
from h2gate.client.coded import CodedSource
from h2gate.client.listener import Listener
from h2gate.client.local import in_thread
from h2gate.client.source import FileSource
from h2gate.codec.encoding import ENCODERS, SHRUNK, encoded, shrinks
from h2gate.errors import GateError

Compress = Literal["auto", "zstd", "gzip", "none"]

SAMPLE = 1 << 16
"""Bytes of each piece that is tried: of the beginning, the middle and the end of a file."""
MIN_BYTES = 512
"""Less than that is not worth a header field."""


class Compression:
    """`auto` is the best coding that the gateway takes. Asks the gateway once."""

    def __init__(self, wanted: Compress, asker: Asker, listener: Listener) -> None:
        self._wanted = wanted
        self._asker = asker
        self._listener = listener
        self._coding: str | None = "" if wanted == "none" else None
        self._asking = asyncio.Lock()

    async def coding(self, url: str) -> str:
        """That of files that shrink; "" is none."""
        if self._coding is None:
            async with self._asking:
                if self._coding is None:
                    self._coding = self._chosen(await self._accepted(url))
        return self._coding

    def not_taken(self) -> None:
        """The gateway refused one after all."""
        self._coding = ""

    async def source(self, url: str, path: Path, file: FileSource) -> FileSource | CodedSource:
        """How this file is sent."""
        coding = await self.coding(url)
        if not coding or not await in_thread(_file_shrinks, path, file.n_bytes):
            return file
        return CodedSource(file, coding)

    async def encoded(self, url: str, data: bytes) -> tuple[str, bytes]:
        """The coding, and all of a small file with it."""
        coding = await self.coding(url) if len(data) >= MIN_BYTES else ""
        if coding:
            small = await in_thread(encoded, coding, data)
            if len(small) < SHRUNK * len(data):
                return coding, small
        return "", data

    def _chosen(self, accepted: set[str]) -> str:
        wanted = list(ENCODERS) if self._wanted == "auto" else [self._wanted]
        found = next((each for each in wanted if each in accepted), "")
        if not found:
            self._listener.noted(f"sent without a coding: the gateway takes no {' or '.join(wanted)}")
        return found

    async def _accepted(self, url: str) -> set[str]:
        """`Accept-Encoding` in an answer (RFC 9110 section 12.5.3)."""
        parts = urlsplit(url)
        try:
            answer = await self._asker.ask("OPTIONS", f"{parts.scheme}://{parts.netloc}/files/", {})
        except GateError as error:
            if error.retry:
                raise
            return set()
        listed = answer.headers.get("accept-encoding", "").lower().split(",")
        return {each.partition(";")[0].strip() for each in listed}


def _file_shrinks(path: Path, size: int) -> bool:
    """Looks into a file; what cannot be read is met again by who sends it."""
    if size < MIN_BYTES:
        return False
    try:
        with path.open("rb", buffering=0) as file:
            places = sorted({0, max(0, size // 2 - SAMPLE // 2), max(0, size - SAMPLE)})
            return shrinks([os.pread(file.fileno(), SAMPLE, place) for place in places])
    except OSError:
        return False
