"""A gateway as a process of its own, with `shim.c` between it and the system."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Spawn
from tests.faults.faults import Faults, Gateway

HERE = Path(__file__).parent
Start = Callable[..., Gateway]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("NOT TESTED: disks and systems that fail need a C compiler")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", library, HERE / "shim.c", "-ldl"], check=True, timeout=60)
    return library


@pytest.fixture
def start(tmp_path: Path, shim: Path, spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """`start("--flag", …, data=…)` starts a gateway; several share one set of faults."""
    with ExitStack() as stack:
        faults = stack.enter_context(Faults(tmp_path / "faults"))

        def begin(*flags: str, data: Path = tmp_path / "data") -> Gateway:
            probe = tmp_path / "probe"
            with monkeypatch.context() as environment:
                environment.setenv("LD_PRELOAD", str(shim))
                environment.setenv("H2GATE_FAULTS", str(tmp_path / "faults"))
                environment.setenv("H2GATE_PROBE", str(probe))
                environment.setenv("PYTHONPATH", str(HERE / "probe"), prepend=os.pathsep)
                process = spawn("--upkeep-seconds", "0.3", *flags, data=data)
            return Gateway(process, faults, probe)

        yield begin
