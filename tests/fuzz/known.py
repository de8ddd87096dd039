"""The targets by name, and the inputs each has in `corpus/`: seeds, and one for every bug that was found.

A target takes bytes and raises when a promise is broken. What needs a gateway around it is opened and closed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeAlias

from tests.fuzz.targets import agreement, archive, coding, form, frame, gateway, target, value

Target: TypeAlias = Callable[[bytes], None]

Opening: TypeAlias = Callable[[], AbstractContextManager[Target]]


def _still(target: Target) -> Opening:
    """Nothing is around it."""
    return lambda: nullcontext(target)


CORPUS = Path(__file__).parent / "corpus"
TARGETS: Mapping[str, Opening] = {
    "agreement": _still(agreement.run),
    "archive": _still(archive.run),
    "coding": _still(coding.run),
    "form": _still(form.run),
    "frame": _still(frame.run),
    "gateway": gateway.running,
    "target": _still(target.run),
    "value": _still(value.run),
}


def inputs(name: str) -> list[Path]:
    """The corpus of a target."""
    return sorted((CORPUS / name).iterdir())


def seeds(name: str) -> list[bytes]:
    """What is in it."""
    return [each.read_bytes() for each in inputs(name)]
