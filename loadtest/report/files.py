"""A comparison on disk: JSON with every sample, one page, and a summary in Markdown; `STEM.json`, `.html`, `.md`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loadtest.report.page import page
from loadtest.report.words import markdown


def write(saved: dict[str, Any], folder: Path, stem: str) -> None:
    """Each file is replaced whole: a run that is stopped while it writes leaves the old one."""
    folder.mkdir(parents=True, exist_ok=True)
    text = {"json": json.dumps(saved, indent=1, ensure_ascii=False) + "\n", "html": page(saved), "md": markdown(saved)}
    for kind, content in text.items():
        new = folder / f".{stem}.{kind}"
        new.write_text(content)
        new.replace(folder / f"{stem}.{kind}")
