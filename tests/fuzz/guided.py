"""One target under atheris, which looks for inputs that reach new code.

`python -m tests.fuzz.guided NAME` and libFuzzer's options.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["h2gate"]):
    from tests.fuzz import known


def main(name: str, *options: str) -> None:
    with known.TARGETS[name]() as target:
        atheris.Setup([sys.argv[0], *options], target)
        atheris.Fuzz()  # ends the process


if __name__ == "__main__":
    main(*sys.argv[1:])
