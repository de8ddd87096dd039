"""The targets by name, and the inputs each has in `corpus/`: seeds, and one for every bug that was found.

A target takes bytes and raises when a promise is broken. What needs a gateway around it is opened and closed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TypeAlias

from tests.fuzz.targets import archive, coding, form, frame, gateway, target, value

Target: TypeAlias = Callable[[bytes], None]

CORPUS = Path(__file__).parent / "corpus"
TARGETS: Mapping[str, Callable[[], AbstractContextManager[Target]]] = {
    "archive": partial(nullcontext, archive.run),
    "coding": partial(nullcontext, coding.run),
    "form": partial(nullcontext, form.run),
    "frame": partial(nullcontext, frame.run),
    "gateway": gateway.running,
    "target": partial(nullcontext, target.run),
    "value": partial(nullcontext, value.run),
}


def inputs(name: str) -> list[Path]:
    """The corpus of a target."""
    return sorted((CORPUS / name).iterdir())


def seeds(name: str) -> list[bytes]:
    """What is in it."""
    return [each.read_bytes() for each in inputs(name)]
