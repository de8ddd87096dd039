"""Which local file goes to which URL, and back: the rules of `put` and `get`, without I/O on the network.

A URL that ends in "/" is a folder. A folder given as a PATH goes under its own name (like `cp -r`); "." has no name, so
its files go straight into the target. A URL without a path means `/files/`, where the gateway keeps the files.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

import httpx

from h2gate.client.failures import LocalFile
from h2gate.client.listener import Item
from h2gate.client.local import scan
from h2gate.client.selection import ALL, Selection
from h2gate.errors import ConfigError

STANDARD = "-"
"""The PATH that means standard input or output."""

_KEPT = "!$&'()*+,;=:@~"
"""What may stand in a path segment as it is, beside the unreserved characters (RFC 3986 section 3.3)."""


def parse_url(text: str) -> str:
    """A checked URL, `/files/` filled in. Raises `ConfigError`."""
    try:
        parts = urlsplit(text)
        known = httpx.URL(f"{parts.scheme}://{parts.netloc}/")
        whole = known.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
    except (ValueError, httpx.InvalidURL):
        whole = False
    if "@" in re.split("[/?#]", text.partition("://")[2], maxsplit=1)[0]:
        raise ConfigError("a URL with a user or password in it is not taken: it would be seen by others, and logged")
    if not whole:
        raise ConfigError(f"{text!r} is not a URL like https://HOST:PORT/files/NAME")
    if parts.query or parts.fragment:
        raise ConfigError(f"{text!r}: a query or fragment names no file; write ? as %3F and # as %23")
    path = parts.path if parts.path.strip("/") else "/files/"
    return f"{parts.scheme}://{parts.netloc}{quote(path, safe=_KEPT + '/%')}"


def origin(url: str) -> str:
    """Scheme, host and port (RFC 6454), the port only where it is not the scheme's own."""
    parts = httpx.URL(url)
    return str(httpx.URL(scheme=parts.scheme, host=parts.host, port=parts.port))


def is_confidential(url: str) -> bool:
    """Whether what goes there is seen by nobody on the way: TLS, or this machine."""
    parts = httpx.URL(url)
    if parts.scheme == "https":
        return True
    try:
        return ipaddress.ip_address(parts.host).is_loopback
    except ValueError:
        return parts.host == "localhost"


def resolve(base: str, target: str) -> str:
    """`target` as it is if it is a URL, else a plain path below the folder of `base`. Raises `ConfigError`."""
    if "://" in target:
        return parse_url(target)
    folder = base if is_folder(base) else base[: base.rindex("/") + 1]
    parts = target.strip("/").split("/") if target.strip("/") else []
    if any(part in ("", ".", "..") for part in parts):
        raise ConfigError(f"{target!r} is not a path below {folder}")
    found = below(folder, *parts) if parts else folder
    return found + "/" if parts and target.endswith("/") else found


def is_folder(url: str) -> bool:
    return url.endswith("/")


def below(url: str, *names: str) -> str:
    """The URL of `a/b` below a folder's URL, every name percent-encoded."""
    return url.rstrip("/") + "/" + "/".join(quote(os.fsencode(name), safe=_KEPT) for name in names)


def path_below_files(url: str) -> str:
    """Of a folder or file of a gateway, decoded and without slashes at its ends. Raises `ConfigError`."""
    path = urlsplit(url).path
    if not path.startswith("/files/"):
        raise ConfigError(f"{url}: not below /files/")
    return os.fsdecode(unquote_to_bytes(path.removeprefix("/files/"))).strip("/")


def last_name(url: str) -> str:
    """The decoded last segment of the path. Raises `LocalFile` when it cannot be a file's name here."""
    return safe_name(os.fsdecode(unquote_to_bytes(urlsplit(url).path.rstrip("/").rpartition("/")[2])))


def safe_name(name: str) -> str:
    """`name`, if a folder can hold it and nothing outside the folder is meant. Raises `LocalFile`."""
    if name in ("", ".", "..") or "/" in name or "\0" in name or (os.sep != "/" and os.sep in name):
        raise LocalFile(f"{name!r} cannot be a file's name here")
    return name


def uploads(
    paths: Sequence[str | Path], url: str, skipped: Callable[[str, str], None], selection: Selection = ALL
) -> Iterator[Item]:
    """What `put PATHS URL` sends where. Raises `ConfigError` for a target that cannot hold it, `LocalFile`."""
    url = parse_url(url)
    if not is_folder(url) and (len(paths) != 1 or (str(paths[0]) != STANDARD and Path(paths[0]).is_dir())):
        raise ConfigError(f"{url}: to put several files, or a folder, end the URL with /")
    for each in paths:
        if str(each) == STANDARD:
            if is_folder(url):
                raise ConfigError("standard input has no name: give a URL that names the file")
            yield Item(STANDARD, None, url)
            continue
        path = Path(each)
        above = path if path.name in ("", "..") else path.parent
        for file, size in scan(path, skipped, selection):
            target = below(url, *file.relative_to(above).parts) if is_folder(url) else url
            yield Item(str(file), file, target, size)


def download_target(url: str, target: str) -> Path | None:
    """Where `get URL TARGET` writes one file; None is standard output."""
    if target == STANDARD:
        return None
    return Path(target) / last_name(url) if is_local_folder(target) else Path(target)


def is_local_folder(target: str) -> bool:
    """It is one, or is meant to become one."""
    return target.endswith(("/", os.sep)) or Path(target).is_dir()
