"""To whom the CPU time is charged that a request takes in a thread, where that is far more than requests usually take.

The server says who pays, for the task that serves a request; whoever has something expensive done asks when, and says
what it took. Nobody in between hands it on.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import ParamSpec, Protocol, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Payer(Hashable, Protocol):
    """Who asked; equal to another one that is the same."""

    def spent(self, seconds: float) -> None:
        """It took so much CPU time."""

    def pause(self) -> float:
        """Seconds that it has to wait before it gets more of it."""


SMALL_SECONDS = 50e-6
"""Charged for every small thing, although it is usual: of what is worked off, a tenth of a second in a second, that is
two thousand, and half of the event loop."""

_payer: ContextVar[Payer | None] = ContextVar("payer", default=None)


def charge_to(payer: Payer) -> None:
    """Who pays for what this task does, and those that it makes."""
    _payer.set(payer)


def payer() -> Payer | None:
    """Who pays for what this task does; None is the gateway itself."""
    return _payer.get()


def spent(seconds: float) -> None:
    """Something took so much CPU time; to be called in the task."""
    if (who := _payer.get()) is not None:
        who.spent(seconds)


def pause() -> float:
    """Seconds to wait before something expensive is begun."""
    who = _payer.get()
    return who.pause() if who is not None else 0.0


async def worth(seconds: float) -> None:
    """Charge about so much for what is done now, and wait if too much has come together."""
    spent(seconds)
    if wait := pause():
        await asyncio.sleep(wait)


class _Collecting(threading.local):
    """What Python's collector took of a thread. It goes through what all have made, whenever it is that somebody makes
    one thing more: 50 ms, with a thousand connections."""

    seconds = 0.0
    _began = 0.0

    def heard(self, phase: str, info: dict[str, int]) -> None:
        """See `gc.callbacks`. Only of full collections: the others take no time worth mentioning."""
        if info["generation"] < 2:
            return
        now = time.thread_time()
        if phase == "start":
            self._began = now
        else:
            self.seconds += now - self._began


_collecting = _Collecting()
gc.callbacks.append(_collecting.heard)


def clock() -> float:
    """CPU seconds that this thread has taken for what it was told to do."""
    return time.thread_time() - _collecting.seconds


def timed(work: Callable[Given, Result], *args: Given.args, **named: Given.kwargs) -> tuple[Result, float]:
    """`work`'s result, and the CPU seconds of this thread that it took."""
    began = clock()
    result = work(*args, **named)
    return result, clock() - began
