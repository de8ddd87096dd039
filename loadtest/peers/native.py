"""Servers in C and Go that take files by WebDAV: nginx, Apache and rclone.

nginx has one worker process, the others as many threads as they like. None asks the disk (no fsync) before it answers,
none makes a digest, as h2gate does with `--no-digest --no-fsync`.
"""

from __future__ import annotations

import getpass
import grp
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtest.peers.base import LOOPBACK, Certificates, Peer, PeerMissing, free_port, serving

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

APACHE = """\
ServerRoot {folder}
ServerName localhost
Listen {host}:{port}
PidFile {folder}/httpd.pid
DefaultRuntimeDir {folder}
ErrorLog /dev/stderr
LogLevel error
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule http2_module {modules}/mod_http2.so
LoadModule dav_module {modules}/mod_dav.so
LoadModule dav_fs_module {modules}/mod_dav_fs.so
Protocols h2 http/1.1
DavLockDB {folder}/lock
DocumentRoot {data}
SSLEngine on
SSLCertificateFile {cert}
SSLCertificateKeyFile {key}
LimitRequestBody 0
MaxKeepAliveRequests 0
<Directory {data}>
  Dav On
  Require all granted
</Directory>
"""
APACHE_MODULES = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


@contextmanager
def nginx(
    folder: Path, certificates: Certificates, *, host: str = LOOPBACK, tuning: str = "", name: str = "nginx"
) -> Iterator[Peer]:
    """nginx with DAV; `tuning` goes into its http block. Raises `PeerFailed`."""
    command = shutil.which("nginx", path=PATH)
    if command is None:
        raise PeerMissing("nginx is not installed (package nginx)")
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
def apache(folder: Path, certificates: Certificates, *, host: str = LOOPBACK, name: str = "Apache") -> Iterator[Peer]:
    """Apache with mod_dav and mod_http2. Raises `PeerFailed`."""
    command = shutil.which("apache2", path=PATH) or shutil.which("httpd", path=PATH)
    modules = next((each for each in APACHE_MODULES if Path(each, "mod_dav_fs.so").exists()), None)
    if command is None or modules is None:
        raise PeerMissing("Apache with mod_dav is not installed (package apache2-bin)")
    port, data = free_port(host), folder / "data"
    (data / "files").mkdir(parents=True, exist_ok=True)
    settings = folder / "httpd.conf"
    paths = {"folder": folder, "data": data, "cert": certificates.cert, "key": certificates.key, "modules": modules}
    settings.write_text(APACHE.format(**paths, host=host, port=port))
    # It will not serve as root; in a user namespace root is called somebody else and owns the same files.
    somebody = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"] if os.geteuid() == 0 else []
    arguments = [*somebody, command, "-DFOREGROUND", "-f", str(settings)]
    with serving(name, arguments, folder, host, port, certificates, makes_folders=False) as peer:
        yield peer


@contextmanager
def rclone(folder: Path, certificates: Certificates, *, host: str = LOOPBACK, name: str = "rclone") -> Iterator[Peer]:
    """`rclone serve webdav` with TLS. Raises `PeerFailed`."""
    if shutil.which("rclone") is None:
        raise PeerMissing("rclone is not installed (package rclone)")
    port, data = free_port(host), folder / "data"
    (data / "files").mkdir(parents=True)
    arguments = ["rclone", "serve", "webdav", "--config", "/dev/null", str(data), "--addr", f"{host}:{port}"]
    arguments += ["--cert", str(certificates.cert), "--key", str(certificates.key)]
    with serving(name, arguments, folder, host, port, certificates, makes_folders=False) as peer:
        yield peer
