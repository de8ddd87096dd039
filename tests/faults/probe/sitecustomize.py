"""Loaded by a gateway under test as it starts: on SIGUSR1 it tells which tasks are not done."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from pathlib import Path


def tell(*_: object) -> None:
    """Into the file that the environment names, which appears when it is whole."""
    tasks = [each for each in gc.get_objects() if isinstance(each, asyncio.Task) and not each.done()]
    found = {"tasks": [getattr(each.get_coro(), "__qualname__", "") for each in tasks]}
    file = Path(os.environ["H2GATE_PROBE"])
    file.with_suffix(".new").write_text(json.dumps(found))
    file.with_suffix(".new").replace(file)


if "H2GATE_PROBE" in os.environ:
    signal.signal(signal.SIGUSR1, tell)
