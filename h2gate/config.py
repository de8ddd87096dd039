"""Every setting with its default, unit and meaning; defaults < file (`h2gate.toml`) < environment (`H2GATE_…`) < flags.

The command line makes its flags from the fields of `Settings`, so a setting is written down once.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from h2gate.errors import ConfigError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MIN_BUDGET = 32 * MIB
"""Less would not let a single connection do its work."""


def _setting(default: Any, meaning: str, unit: str = "") -> Any:
    """A dataclass field that knows what `--help` says of it. `unit` "bytes" lets values be written as 64K, 16M, 2G."""
    metadata = {"meaning": meaning, "unit": unit}
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one gateway is told. Sizes in bytes, times in seconds."""

    listen: tuple[str, ...] = _setting(
        ("127.0.0.1:8443",),
        "HOST:PORT to serve on with TLS, or http://HOST:PORT for cleartext; port 0 picks a free one",
    )
    data: Path = _setting(Path("data"), "folder for the files, the uploads in progress and the ledger")
    cert: Path | None = _setting(None, "certificate chain (PEM); without it a development certificate is made")
    key: Path | None = _setting(None, "private key of the certificate (PEM)")
    certs: Path = _setting(Path("certs"), "folder of the development certificates")
    workers: int = _setting(1, "processes, each with its own socket on the same port (SO_REUSEPORT)")
    anonymous: bool = _setting(False, "let anybody who reaches a non-loopback address read and write")

    log_format: str = _setting("text", "of the log, on standard error: text, or json (an object a line)")
    access_log: bool = _setting(False, "log a line for each request")
    traces: bool = _setting(
        False, "send OpenTelemetry traces to where the OTEL_ variables of the environment say; needs h2gate[otel]"
    )

    auth: Path | None = _setting(None, "TOML file that says who may what; without it nobody is asked who they are")
    expired_seconds: float = _setting(
        86400.0, "for how long after its credential has expired a request that runs may still end well"
    )

    cors_origins: tuple[str, ...] = _setting(
        (), "origin whose web pages may use the gateway, as https://example.com; repeatable; * is any"
    )

    digest: bool = _setting(
        True, "compute the SHA-256 of every file; without it Repr-Digest is verified only where sent"
    )
    fsync: bool = _setting(
        True, "wait for the disk before acknowledging; without it a power cut may lose acknowledged files"
    )
    direct_io: bool = _setting(True, "write large bodies past the page cache where the file system can")

    engine: str = _setting("nghttp2", "HTTP/2 engine: nghttp2, or reference (h2; slower, for comparison)")
    max_body: int = _setting(0, "largest body taken; 0 is no limit", "bytes")
    max_expansion: int = _setting(
        250, "how many bytes one byte of a coded body may become, once it has become 16 MiB; 0 is no limit"
    )
    max_bundle_members: int = _setting(1_000_000, "files taken of one bundle; further ones are refused, each by itself")
    max_size: int = _setting(0, "largest file that a resumable upload may become; 0 is no limit", "bytes")
    min_append: int = _setting(0, "smallest body that a resumable upload takes, but for its last", "bytes")
    max_append: int = _setting(0, "largest body that a resumable upload takes at once; 0 is no limit", "bytes")
    upload_seconds: float = _setting(
        7 * 86400.0, "how long a resumable upload is kept after its last bytes; what is unfinished then is removed"
    )
    progress_seconds: float = _setting(
        1.0, "how often the bytes of a resumable upload are made durable while they come in, and the sender is told"
    )
    takeover_seconds: float = _setting(
        5.0, "how long a request waits for an earlier one of the same upload to let go of it"
    )
    upkeep_seconds: float = _setting(60.0, "how often uploads that have expired are looked for")

    memory_budget: int = _setting(
        0,
        "memory that peers can make the gateway use for bodies, requests, answers and connections, in all; 0 is a "
        "quarter of what the machine or container has",
        "bytes",
    )
    stream_window: int = _setting(
        64 * KIB, "window a new stream is granted in any case; it has 1M at once where there is room", "bytes"
    )
    max_stream_window: int = _setting(64 * MIB, "window a stream may grow to while its path needs it", "bytes")

    max_streams: int = _setting(128, "streams at once on one connection; further ones are refused")
    max_connections: int = _setting(
        1000, "connections at once (of each worker); the longest idle one makes room, else the next ones wait"
    )
    max_address_connections: int = _setting(
        256, "connections at once of one address (IPv6: of one /64); further ones are closed; 0 is no limit"
    )
    max_address_offences: int = _setting(
        20,
        "connections of one address (IPv6: of one /64) that may be ended for too many frames in ten seconds; further "
        "ones are let in slowly, one in 500 ms, for as long; 0 is no limit",
    )
    max_header_list: int = _setting(
        32 * KIB,
        "longest header list taken, as RFC 9113 section 6.5.2 counts it; a longer one is answered 431",
        "bytes",
    )
    max_continuations: int = _setting(8, "CONTINUATION frames of one header")
    max_resets: int = _setting(
        200,
        "RST_STREAM that a connection may send in ten seconds, beyond one for each stream that is over; here and in "
        "the next eight 0 is no limit",
    )
    max_stream_errors: int = _setting(100, "errors of single streams that a connection may cause in ten seconds")
    max_excess_streams: int = _setting(1000, "streams beyond `max_streams` that are refused in ten seconds")
    max_pings: int = _setting(1000, "PING that a connection may send in ten seconds")
    max_settings: int = _setting(100, "SETTINGS that a connection may send in ten seconds")
    max_empty_data: int = _setting(1000, "empty DATA frames that a connection may send in ten seconds")
    max_tiny_data: int = _setting(
        20_000, "DATA frames (HTTP/1.1: chunks) of less than 64 bytes that a connection may send in ten seconds"
    )
    max_window_updates: int = _setting(
        2000, "WINDOW_UPDATE that a connection may send in ten seconds beyond one for every 2 KiB that it was sent"
    )
    max_overhead: int = _setting(
        4 * MIB,
        "bytes that are no body (padding, PRIORITY, unknown frames …) which a connection may send in ten seconds, "
        "beyond as many as its bodies have and 8 KiB a request",
        "bytes",
    )

    handshake_seconds: float = _setting(10.0, "how long the TLS handshake may take")
    header_seconds: float = _setting(10.0, "how long a header may take from its first to its last byte")
    min_body_rate: int = _setting(
        500, "bytes a second that a sender must bring while it may send, on average over `body_seconds`", "bytes"
    )
    body_seconds: float = _setting(
        60.0, "end a request whose body comes more slowly than `min_body_rate` for so long; 0 is never"
    )
    answer_seconds: float = _setting(
        60.0, "end an answer that is read more slowly than `min_body_rate` for so long; 0 is never"
    )
    request_seconds: float = _setting(
        2 * 86400.0, "end a request that has not been answered whole after this time; 0 is never"
    )
    idle_seconds: float = _setting(120.0, "close a connection without requests after this time")
    grace_seconds: float = _setting(30.0, "how long requests in flight may go on after SIGTERM")
    drain_bytes: int = _setting(
        4 * MIB, "body bytes taken and dropped after an early answer, before the stream is reset", "bytes"
    )
    drain_seconds: float = _setting(2.0, "how long bytes are taken and dropped after an early answer")


def parse_bytes(text: str) -> int:
    """`"64K"`, `"16M"`, `"2GiB"` or plain digits, in bytes (powers of 1024). Raises `ConfigError`."""
    cleaned = text.strip().upper().removesuffix("IB").removesuffix("B")
    scale = {"K": KIB, "M": MIB, "G": GIB, "T": GIB * KIB}.get(cleaned[-1:], 1)
    try:
        value = int(cleaned if scale == 1 else cleaned[:-1]) * scale
    except ValueError:
        raise ConfigError(f"{text!r} is not a size; write bytes, or a number with K, M, G or T") from None
    if value < 0:
        raise ConfigError(f"{text!r}: a size cannot be negative")
    return value


def load(
    flags: Mapping[str, Any], *, file: Path | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings that hold, from all four places. Raises `ConfigError`, naming the place and the setting."""
    known = {each.name: each for each in fields(Settings)}
    values: dict[str, Any] = {}
    if file is not None:
        for name, value in _read_file(file).items():
            if name not in known:
                raise ConfigError(f"{file}: no setting is called {name!r}")
            values[name] = _convert(name, value, f"{file}")
    for name in known:
        text = (os.environ if environment is None else environment).get(f"H2GATE_{name.upper()}")
        if text is not None:
            values[name] = _convert(name, text, f"H2GATE_{name.upper()}")
    for name, value in flags.items():
        if value is not None and value != ():
            values[name] = _convert(name, value, "--" + name.replace("_", "-"))
    settings = Settings(**values)
    _check(settings)
    return settings


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return {name.replace("-", "_"): value for name, value in tomllib.loads(file.read_text()).items()}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error


def _convert(name: str, value: Any, place: str) -> Any:
    spec = next(each for each in fields(Settings) if each.name == name)
    kind = str(spec.type)
    try:
        if spec.metadata["unit"] == "bytes":
            return parse_bytes(str(value))
        if kind.startswith("tuple"):
            return tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        if kind == "bool":
            return (
                value
                if isinstance(value, bool)
                else {"1": True, "true": True, "0": False, "false": False}[str(value).lower()]
            )
        if kind.startswith("Path"):
            return Path(value)
        return {"int": int, "float": float, "str": str}[kind](value)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{place}: {value!r} is not a {kind}") from error
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def _check(settings: Settings) -> None:
    if (settings.cert is None) != (settings.key is None):
        raise ConfigError("--cert and --key go together")
    if settings.anonymous and settings.auth is not None:
        raise ConfigError("--anonymous lets anybody in, and --auth does not: only one of them")
    if settings.engine not in ("nghttp2", "reference"):
        raise ConfigError("--engine is nghttp2 or reference")
    if settings.log_format not in ("text", "json"):
        raise ConfigError("--log-format is text or json")
    if settings.workers < 1:
        raise ConfigError("--workers must be at least 1")
    if not 65535 <= settings.stream_window <= settings.max_stream_window < 2**31:
        raise ConfigError("--stream-window must be from 64K-1 up to --max-stream-window, and that below 2G")
    if not 1 <= settings.max_streams <= 2**31 - 1:
        raise ConfigError("--max-streams must be at least 1")
    if settings.max_bundle_members < 1:
        raise ConfigError("--max-bundle-members must be at least 1")
    for each in fields(settings):
        value = getattr(settings, each.name)
        if isinstance(value, int | float) and value < 0:
            raise ConfigError(f"--{each.name.replace('_', '-')} cannot be negative")
    if 0 < settings.memory_budget < MIN_BUDGET:
        raise ConfigError("--memory-budget must be at least 32M")
    if settings.max_connections < 1:
        raise ConfigError("--max-connections must be at least 1")
    for name in ("upload_seconds", "upkeep_seconds", "idle_seconds", "handshake_seconds", "header_seconds"):
        if getattr(settings, name) <= 0:
            raise ConfigError(f"--{name.replace('_', '-')} must be more than 0")
    if settings.max_append and settings.min_append > settings.max_append:
        raise ConfigError("--min-append is larger than --max-append")
