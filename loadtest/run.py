"""`python -m loadtest.run COMMAND`: the same bytes in turn, round after round.

Every upload goes to a fresh name, is compared with its source and deleted outside the measurement; a byte lost voids
the run. Ctrl-C, SIGTERM or `--minutes` ends it and leaves neither process nor file behind.
"""

from __future__ import annotations

import compileall
import sys
from pathlib import Path

import click

import h2gate
from loadtest import compare, crowded, gate, single

COMMANDS: tuple[click.Command, ...] = (
    compare.compare,
    gate.gate,
    single.upload,
    single.small,
    single.auth,
    single.wan,
    single.files,
    crowded.attacks_,
    crowded.shares,
    crowded.health,
    crowded.soak_,
)


@click.group()
def main() -> None:
    """Measure h2gate against what people would use instead."""
    if not compileall.compile_dir(Path(h2gate.__file__).parent, quiet=2):  # as installing a package does
        click.secho("h2gate's folder cannot be written to: each start compiles all of it", fg="yellow", err=True)


for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    sys.exit(main())
