"""What every load test is asked for, and the place where it runs: bounded in time, and gone afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from h2gate.config import parse_bytes
from h2gate.errors import ConfigError
from loadtest import clients, peers, report, workloads
from loadtest.wan import LinkUnavailable

BASELINE = "nginx HTTP/2"
VOID = (LinkUnavailable, peers.PeerFailed, clients.SendFailed, workloads.BytesLost, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that every command has."""

    rounds: int
    folder: Path | None
    json_file: Path | None
    minutes: float
    servers: tuple[str, ...] = ()

    @contextmanager
    def workplace(self) -> Iterator[tuple[Path, ExitStack]]:
        """A folder that is deleted and a stack that is unwound, whatever happens."""
        try:
            with (
                bounded(self.minutes),
                tempfile.TemporaryDirectory(prefix="h2gate-loadtest-", dir=self.folder) as place,
                ExitStack() as stack,
            ):
                yield Path(place), stack
        except VOID as failure:
            raise click.ClickException(f"the run is void: {failure}") from None

    def conclude(
        self,
        what: str,
        place: Path,
        settings: dict[str, Any],
        samples: list[report.Sample],
        baseline: str = BASELINE,
    ) -> None:
        settings = {"rounds": self.rounds, "servers": list(self.servers), **settings}
        saved = report.document(what, settings, samples, baseline, place)
        report.show(saved)
        if self.json_file is not None:
            self.json_file.parent.mkdir(parents=True, exist_ok=True)
            self.json_file.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def bounded(minutes: float, *, so_far: str = "nothing is reported") -> Iterator[None]:
    """Ends the run, cleanly, when its time is up or somebody sends SIGTERM."""

    def give_up(number: int, _: object) -> None:
        raise click.ClickException(f"stopped by {signal.Signals(number).name}; {so_far}")

    before = {number: signal.signal(number, give_up) for number in (signal.SIGALRM, signal.SIGTERM)}
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


class Size(click.ParamType[int]):
    """64M, 1G, or plain bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_bytes(str(value))
        except ConfigError as error:
            self.fail(str(error), param, ctx)


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """The options of `Asked`."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Rounds that count."),
        click.option("--folder", type=path, help="Where to store.  [default: the folder for temporary files]"),
        click.option("--json", "json_file", type=path, help="Save every sample and the summary there."),
        click.option("--minutes", type=float, default=30.0, show_default=True, help="Give up after this time."),
    ):
        command = option(command)
    return command
