"""The options that several commands share, and a flag for every setting of the gateway."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from h2gate import config
from h2gate.errors import ConfigError

_FILE = click.Path(path_type=Path)


def trusting(command: Callable[..., int]) -> Callable[..., int]:
    """Whom to believe that they are who they say."""
    found = [
        click.option("--ca", type=_FILE, multiple=True, metavar="FILE",
                     help="Authorities to trust beside the system's (PEM). Without it, certs/ca.pem if it is there."),
        click.option("--insecure", is_flag=True, help="Believe any certificate. For tests only."),
        click.option("--http", type=click.Choice(["auto", "1.1", "2"]), default="auto", help="HTTP version."),
    ]  # fmt: skip
    for option in reversed(found):
        command = option(command)

    @wraps(command)
    def checked(*args: Any, **kwargs: Any) -> int:
        if kwargs["insecure"]:
            click.secho("h2gate: --insecure: anybody on the way can read and change what is sent", fg="red", err=True)
        if not kwargs["ca"] and Path("certs/ca.pem").is_file():
            kwargs["ca"] = (Path("certs/ca.pem"),)
        return command(*args, **kwargs)

    return checked


def remote(command: Callable[..., int]) -> Callable[..., int]:
    """What every command asks that talks to a gateway."""
    found = [
        click.option("--token-file", type=_FILE, metavar="FILE", help="Who you are: the file of a bearer token."),
        click.option("--token-command", metavar="CMD", help="Who you are: a command that prints a bearer token."),
        click.option("--client-cert", type=_FILE, metavar="FILE", help="Who you are: a certificate (PEM)."),
        click.option("--client-key", type=_FILE, metavar="FILE", help="Its key, if that is in a file of its own."),
        click.option("--streams", type=click.IntRange(1, 1024), default=32, metavar="N",
                     help="Files at once; up to three times as many that are below 1.5 MiB or wait for answers."),
        click.option("--connections", type=click.IntRange(1, 64), default=1, metavar="N",
                     help="HTTP/2 connections; over HTTP/1.1 each file at once has its own."),
        click.option("--retries", type=click.IntRange(0), default=8, metavar="N",
                     help="Tries in a row that do not get on, before a file is given up."),
        click.option("--digest/--no-digest", default=True, help="Send SHA-256 behind large files (as a trailer)."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each file, then a summary."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but failures."),
    ]  # fmt: skip
    for option in reversed(found):
        command = option(command)
    return trusting(command)


def _rate(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Bytes per second, written as `config.parse_bytes` takes them."""
    if value is None:
        return None
    try:
        rate = config.parse_bytes(value)
    except ConfigError as error:
        raise click.BadParameter(str(error), context, parameter) from error
    if rate < 1:
        raise click.BadParameter("a rate is at least 1 byte per second", context, parameter)
    return rate


def moving(command: Callable[..., int]) -> Callable[..., int]:
    """What put and get share: which files, how fast, and whether at all."""
    found = [
        click.option("--include", multiple=True, metavar="PATTERN",
                     help="Only files that match, as in .gitignore, relative to each PATH or URL. Repeatable."),
        click.option("--exclude", multiple=True, metavar="PATTERN",
                     help="No files that match; folders that match are not looked into. Repeatable."),
        click.option("-n", "--dry-run", is_flag=True, help="Say what would be moved, and move nothing."),
        click.option("--limit-rate", callback=_rate, metavar="RATE",
                     help="Bytes per second, as 500K or 2M, over all files together."),
    ]  # fmt: skip
    for option in reversed(found):
        command = option(command)
    return command


def comparing(command: Callable[..., int]) -> Callable[..., int]:
    """How put tells what need not be sent; the command gets it as `compare`."""

    @click.option("--checksum", is_flag=True, help="Compare digests of files of the same size, whatever their times.")
    @click.option("--ignore-times", is_flag=True, help="Send everything, whatever is there already.")
    @wraps(command)
    def chosen(*args: Any, checksum: bool, ignore_times: bool, **kwargs: Any) -> int:
        if checksum and ignore_times:
            raise click.UsageError("--checksum and --ignore-times: the one compares, the other does not.")
        compare = "checksum" if checksum else "never" if ignore_times else "time"
        return command(*args, compare=compare, **kwargs)

    return chosen


def settings(command: Callable[..., int]) -> Callable[..., int]:
    """A flag for every field of `config.Settings`."""
    for spec in reversed(dataclasses.fields(config.Settings)):
        default = spec.default_factory() if spec.default is dataclasses.MISSING else spec.default
        flag, kind = "--" + spec.name.replace("_", "-"), str(spec.type)
        meaning = spec.metadata["meaning"] + _told(default, spec.metadata)
        more: dict[str, Any] = {"help": meaning, "default": None, "show_default": False}
        if kind == "bool":
            flag += f"/--no-{flag[2:]}"
        else:
            more |= {"type": str, "multiple": kind.startswith("tuple"), "metavar": _metavar(kind, spec.metadata)}
        command = click.option(flag, spec.name, **more)(command)
    return command


def _told(default: Any, metadata: Any) -> str:
    """The default as a person writes it."""
    if default in (None, ()):
        return ""
    if metadata.get("unit") == "bytes":
        for unit, size in (("G", config.GIB), ("M", config.MIB), ("K", config.KIB)):
            if default and default % size == 0:
                return f"  [default: {default // size}{unit}]"
    words = ", ".join(default) if isinstance(default, tuple) else default
    return f"  [default: { ({True: 'yes', False: 'no'}[words] if isinstance(words, bool) else words) }]"


def _metavar(kind: str, metadata: Any) -> str:
    if metadata.get("unit") == "bytes":
        return "BYTES"
    return {"int": "N", "float": "SECONDS", "Path": "PATH", "Path | None": "PATH"}.get(kind, "TEXT")
