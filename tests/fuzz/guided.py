"""One target under atheris, which looks for inputs that reach new code.

`python -m tests.fuzz.guided NAME FOLDER` and libFuzzer's options. FOLDER gets the input that breaks it: libFuzzer keeps
what takes too long or too much memory, but not always what raises.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["h2gate"]):
    from tests.fuzz import known, search


def main(name: str, folder: str, *options: str) -> None:
    with known.TARGETS[name]() as target:

        def keeping(data: bytes) -> None:
            try:
                target(data)
            except Exception:
                search.keep(data, Path(folder))
                raise

        atheris.Setup([sys.argv[0], *options], keeping)
        atheris.Fuzz()  # ends the process


if __name__ == "__main__":
    main(*sys.argv[1:])
