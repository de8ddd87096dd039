"""A server that is compared: how it is started, when it takes connections, where it stores, what it costs.

Only what was started here is ended, by process id.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trustme

from loadtest import processes

LOOPBACK = "127.0.0.1"
READY_SECONDS = 20.0
REPOSITORY = Path(__file__).resolve().parents[2]


class PeerFailed(RuntimeError):
    """A server did not come up; the message ends with the last lines it said."""


class PeerMissing(PeerFailed):
    """It is not installed; the message says what is missing, and how it comes."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """A throw-away authority and one certificate for every address the servers listen on. Paths of PEM files."""

    ca: Path
    cert: Path
    key: Path


def make_certificates(folder: Path, *hosts: str) -> Certificates:
    made = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", LOOPBACK, *hosts)
    authority.cert_pem.write_to_path(str(made.ca))
    leaf.private_key_pem.write_to_path(str(made.key))
    for index, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(str(made.cert), append=index > 0)
    return made


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that runs. What it stores lies in the folder `data`."""

    name: str
    host: str
    port: int
    data: Path
    process: subprocess.Popen[bytes]
    certificates: Certificates
    dialect: Literal["put", "tus"] = "put"
    """How a file is handed over: PUT, or one POST of tus that creates and uploads."""
    makes_folders: bool = True
    """Whether a PUT makes the folders above it; else `make_folder` has to."""
    authorization: str = ""
    """The field that says who sends; "" where nobody is asked."""

    def url(self, path: str) -> str:
        return f"https://{self.host}:{self.port}/files/{path}"

    def cpu_seconds(self) -> float:
        """Processor time of the whole tree since it started."""
        return processes.cpu_seconds(self.process.pid)

    def settled_cpu_seconds(self) -> float:
        """The same once it stands still."""
        return processes.settled_cpu_seconds(self.process.pid)

    def forget_peak(self) -> None:
        processes.forget_peak(self.process.pid)

    def peak_bytes(self) -> int:
        """Highest resident memory of the tree since `forget_peak`."""
        return processes.peak_bytes(self.process.pid)

    def curl_upload(self, source: Path, path: str, size: int) -> list[str]:
        """curl's arguments that hand over `source` as `path`."""
        if self.dialect == "put":
            return ["--upload-file", str(source), self.url(path)]
        name = base64.b64encode(path.encode()).decode()
        fields = ["Tus-Resumable: 1.0.0", f"Upload-Length: {size}", f"Upload-Metadata: filename {name}"]
        fields += ["Content-Type: application/offset+octet-stream", "Expect:"]
        headers = [each for field in fields for each in ("--header", field)]
        return ["--request", "POST", *headers, "--upload-file", str(source), self.url("").rstrip("/")]

    def make_folder(self, path: str) -> None:
        """Make a folder that uploads do not make by themselves; outside of what is measured."""
        if not self.makes_folders:
            (self.data / "files" / path).mkdir(parents=True, exist_ok=True)

    def stored(self, path: str) -> Path:
        """Where what was sent to `url(path)` lies. Raises `LookupError` when it does not."""
        place = self.data / "files" / path
        if not place.exists():
            raise LookupError(f"{self.name} has not stored {path}")
        return place


def free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    name: str,
    arguments: Sequence[str],
    folder: Path,
    host: str,
    port: int,
    certificates: Certificates,
    *,
    environment: Mapping[str, str] | None = None,
    dialect: Literal["put", "tus"] = "put",
    makes_folders: bool = True,
) -> Iterator[Peer]:
    """The server that `arguments` start, once it takes connections. Raises `PeerFailed`."""
    around = {key: value for key, value in os.environ.items() if not key.startswith("H2GATE_")}
    around["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    around |= environment or {}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=around,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await_ready(name, process, host, port, certificates, log)
        yield Peer(name, host, port, folder / "data", process, certificates, dialect, makes_folders)
    finally:
        processes.end(process)


def _await_ready(
    name: str, process: subprocess.Popen[bytes], host: str, port: int, certificates: Certificates, log: Path
) -> None:
    context = ssl.create_default_context(cafile=str(certificates.ca))

    def answers() -> bool:
        if process.poll() is not None:
            raise PeerFailed(f"{name} ended with code {process.returncode}: {_tail(log)}")
        with (
            suppress(OSError),
            socket.create_connection((host, port), timeout=2) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return True
        return False

    try:
        processes.wait_until(answers, f"{name} on {host}:{port}", seconds=READY_SECONDS)
    except TimeoutError as error:
        raise PeerFailed(f"{error}: {_tail(log)}") from None


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-5:]) or "(it said nothing)"
