"""The image and the service hold together: no Docker engine is needed, their commands are run here as they stand."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from h2gate.config import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GATEWAY = COMPOSE["services"]["gateway"]
PROGRAM = str(Path(sys.executable).with_name("h2gate"))
SECONDS = 30


def words(instruction: str) -> list[str]:
    """The last JSON list that the Dockerfile gives to this instruction."""
    found: list[str] = json.loads(re.findall(rf"^{instruction}\s+(\[.*\])$", DOCKERFILE, re.MULTILINE)[-1])
    return found


def here(command: list[str], folder: Path) -> list[str]:
    """The command with this machine's folders and a free port."""
    places = {"/data": str(folder / "data"), "/certs": str(folder / "certs"), "0.0.0.0:8443": "0.0.0.0:0"}
    return [PROGRAM, *(places.get(word, word) for word in command)]


@contextmanager
def started(command: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The gateway and its port, once it accepts."""
    with subprocess.Popen(command, cwd=folder, env={}, stderr=subprocess.PIPE, text=True) as process:
        bound = threading.Timer(SECONDS, process.kill)
        bound.start()
        try:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if ready := re.search(r"h2gate ready on https://\S+:(\d+)", line):
                    yield process, int(ready[1])
                    break
            else:
                pytest.fail(f"the gateway did not get ready:\n{said}")
        finally:
            process.kill()
            bound.cancel()


def health(port: int) -> int:
    """The exit code of the image's own health check."""
    _, *arguments = [word.replace("8443", str(port)) for word in words(r"HEALTHCHECK.*\\\n\s+CMD")]
    return subprocess.run([sys.executable, *arguments], check=False, capture_output=True, timeout=SECONDS).returncode


def test_command_of_the_service_gets_ready_healthy_and_stops_on_sigterm(tmp_path: Path) -> None:
    with started(here(GATEWAY["command"], tmp_path), tmp_path) as (process, port):
        assert health(port) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert health(port) != 0
    assert {path.name for path in tmp_path.iterdir()} == {"data", "certs"}, "all else is read-only in the container"


def test_image_without_further_words_refuses_to_serve_the_world(tmp_path: Path) -> None:
    command = here(words("CMD"), tmp_path)
    refused = subprocess.run(
        command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert refused.returncode == 2
    assert "anonymous" in refused.stderr


def test_service_is_reached_from_this_host_only_and_has_time_to_drain() -> None:
    assert [port.partition(":")[0] for port in GATEWAY["ports"]] == ["127.0.0.1"]
    assert int(GATEWAY["stop_grace_period"].removesuffix("s")) > Settings().grace_seconds
    assert GATEWAY["read_only"] and GATEWAY["init"]


def test_every_folder_the_service_writes_to_is_a_volume_of_the_image_owner() -> None:
    mounted = dict(volume.split(":") for volume in GATEWAY["volumes"])
    assert mounted.keys() == COMPOSE["volumes"].keys()
    assert f"install -d -o 10001 -g 10001 {' '.join(mounted.values())}" in DOCKERFILE
    assert "USER 10001:10001" in DOCKERFILE
    assert set(mounted.values()) <= set(GATEWAY["command"])


def test_everything_the_image_copies_is_there_and_not_ignored() -> None:
    sources = {
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()
    }
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == let_in
    assert [source for source in sources if not (ROOT / source).exists()] == []
