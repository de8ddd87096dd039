"""`put --receipts DIR`: what the gateway signed for each file that it stored, kept as DIR/<path>.receipt.

A receipt is checked without the gateway: `h2gate audit verify --receipt FILE --key PUB`.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from h2gate.client.listener import Listener, Outcome
from h2gate.client.progress import Tally
from h2gate.errors import BadPath
from h2gate.upload import checked_path

WANTED = {"prefer": "receipt"}
"""Asks for them (RFC 7240)."""


class Receipts(Tally):
    """A tally that keeps them, each as soon as it is there."""

    def __init__(self, listener: Listener, folder: Path) -> None:
        super().__init__(listener)
        self._folder = folder

    def finished(self, outcome: Outcome) -> None:
        if outcome.error is None:
            self._keep(outcome)
        super().finished(outcome)

    def _keep(self, outcome: Outcome) -> None:
        if not outcome.receipt:
            self.noted(f"{outcome.item.name}: came without a receipt")
            return
        try:
            path = checked_path(unquote(urlsplit(outcome.item.url).path).removeprefix("/files/").strip("/"))
            file = self._folder / f"{path}.receipt"
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_name(f".{file.name}.{os.getpid()}")
            draft.write_text(outcome.receipt + "\n")
            draft.rename(file)
        except (OSError, BadPath) as error:
            self.noted(f"{outcome.item.name}: its receipt cannot be kept: {error}")
