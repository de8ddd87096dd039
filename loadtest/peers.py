"""h2gate and nginx as they are compared: one certificate, one file system, a free port each, one worker each.

nginx (its DAV module) answers as soon as a file is written and renamed; it never asks the disk (no fsync) and makes no
digest, as h2gate does with `--no-digest --no-fsync`. Its buffers are set as its users set them for large uploads.
Only what was started here is ended, by process id.
"""

from __future__ import annotations

import getpass
import grp
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

from loadtest import processes

LOOPBACK = "127.0.0.1"
READY_SECONDS = 20.0
REPOSITORY = Path(__file__).resolve().parent.parent

NGINX = """\
daemon off; {user} worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 1000000000;
  {tuning}
  client_body_temp_path {folder}/temp; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {host}:{port} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};
    location / {{ root {data}; dav_methods PUT DELETE; create_full_put_path on; }}
  }}
}}
"""


class PeerFailed(RuntimeError):
    """A server did not come up; the message ends with the last lines it said."""


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

    def stored(self, path: str) -> Path:
        """Where what was sent to `url(path)` lies. Raises `LookupError` when it does not."""
        place = self.data / "files" / path
        if not place.exists():
            raise LookupError(f"{self.name} has not stored {path}")
        return place


@contextmanager
def nginx(
    folder: Path, certificates: Certificates, *, host: str = LOOPBACK, tuning: str = "", name: str = "nginx"
) -> Iterator[Peer]:
    """nginx with DAV; `tuning` goes into its http block. Raises `PeerFailed`, also when there is no nginx here."""
    command = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if command is None:
        raise PeerFailed("nginx is not installed")
    port, data = free_port(host), folder / "data"
    for each in (data, folder / "temp"):
        each.mkdir(parents=True, exist_ok=True)
    settings = folder / "nginx.conf"
    user = f"user {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name};" if os.geteuid() == 0 else ""
    settings.write_text(
        NGINX.format(
            folder=folder,
            data=data,
            host=host,
            port=port,
            user=user,
            tuning=tuning,
            cert=certificates.cert,
            key=certificates.key,
        )
    )
    arguments = [command, "-p", str(folder), "-e", "stderr", "-c", str(settings)]
    with serving(name, arguments, folder, host, port, certificates) as peer:
        yield peer


@contextmanager
def h2gate(
    folder: Path,
    certificates: Certificates,
    *,
    host: str = LOOPBACK,
    options: Sequence[str] = (),
    name: str = "h2gate",
) -> Iterator[Peer]:
    """h2gate as shipped, plus `options`. On an address that is not loopback it lets anybody in."""
    port = free_port(host)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-m", "h2gate", "serve", "--listen", f"{host}:{port}", "--data", str(folder / "data")]
    arguments += ["--cert", str(certificates.cert), "--key", str(certificates.key), *options]
    if host != LOOPBACK:
        arguments.append("--anonymous")
    with serving(name, arguments, folder, host, port, certificates) as peer:
        yield peer


def free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    name: str, arguments: list[str], folder: Path, host: str, port: int, certificates: Certificates
) -> Iterator[Peer]:
    """The server that `arguments` start, once it takes connections. Raises `PeerFailed`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("H2GATE_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await_ready(name, process, host, port, certificates, log)
        yield Peer(name, host, port, folder / "data", process, certificates)
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
