"""The command line: argv in, exit code out. Every failure is one line on standard error, never a traceback.

Exit codes: 0 done, 1 some files failed, 2 usage, 4 not found, 5 may be retried, 7 refused, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from h2gate import config
from h2gate.errors import ConfigError, GateError, NotFound

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}


@click.group(context_settings=_CONTEXT)
@click.version_option(package_name="h2gate")
def cli() -> None:
    """Send many files over one HTTP/2 connection, straight to disk.

    \b
    h2gate serve                                    run a gateway here
    h2gate put photos/ https://HOST:8443/           send a folder
    h2gate ls https://HOST:8443/files/photos/       look
    h2gate get https://HOST:8443/files/photos/ .    fetch it back
    h2gate demo                                     see it work, in under a minute

    \b
    Exit codes: 0 done · 1 some files failed · 2 usage · 4 not found · 5 may be retried · 7 refused ·
    130 interrupted.
    """


def main() -> None:
    """The console script."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("h2gate: interrupted", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except GateError as error:
        click.echo(f"h2gate: {error}", err=True)
        code = exit_code([error], 1)
    sys.exit(code if isinstance(code, int) else 0)


def exit_code(errors: Sequence[GateError], total: int) -> int:
    """What `errors` among `total` files mean to a script: 1 when some went well, else what they have in common."""
    if not errors:
        return 0
    if len(errors) < total:
        return 1
    if any(isinstance(error, ConfigError) for error in errors):
        return 2
    if all(isinstance(error, NotFound) for error in errors):
        return 4
    if all(error.retry for error in errors):
        return 5
    return 7 if all(_refused(error) for error in errors) else 1


def _refused(error: GateError) -> bool:
    """The gateway looked at the request and will not take it."""
    return "seen" in error.members and 400 <= error.status < 500 and not error.retry


# -- options that put, get, ls and rm share


def _remote(command: Callable[..., int]) -> Callable[..., int]:
    options = [
        click.option("--ca", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
                     help="Authorities to trust beside the system's (PEM). Without it, certs/ca.pem if it is there."),
        click.option("--insecure", is_flag=True, help="Believe any certificate. For tests only."),
        click.option("--http", type=click.Choice(["auto", "1.1", "2"]), default="auto", help="HTTP version."),
        click.option("--streams", type=click.IntRange(1, 1024), default=32, metavar="N",
                     help="Files at once (files up to 64 KiB: three times as many)."),
        click.option("--connections", type=click.IntRange(1, 64), default=1, metavar="N", help="Connections."),
        click.option("--retries", type=click.IntRange(0), default=8, metavar="N",
                     help="Tries in a row that do not get on, before a file is given up."),
        click.option("--digest/--no-digest", default=True, help="Send SHA-256 behind large files (as a trailer)."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each file, then a summary."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but failures."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)

    @wraps(command)
    def checked(*args: Any, **kwargs: Any) -> int:
        if kwargs["insecure"]:
            click.secho("h2gate: --insecure: anybody on the way can read and change what is sent", fg="red", err=True)
        if not kwargs["ca"] and Path("certs/ca.pem").is_file():
            kwargs["ca"] = (Path("certs/ca.pem"),)
        return command(*args, **kwargs)

    return checked


def _transfer(verb: str, url: str, options: dict[str, Any], *args: Any, **kwargs: Any) -> int:
    """`Client.verb(*args, **kwargs)`, shown while it runs."""
    from h2gate.client import commands  # noqa: PLC0415 - a server does not need what a client needs, nor its memory

    errors, total = commands.transfer(verb, url, options, *args, **kwargs)
    return exit_code(errors, total)


# -- put, get, ls, rm


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.argument("url")
@click.option(
    "--compress",
    type=click.Choice(["auto", "zstd", "gzip", "none"]),
    default="none",
    help="Content coding for files that shrink by it, where the gateway takes it; auto: the best one.",
)
@_remote
def put(paths: tuple[str, ...], url: str, **options: Any) -> int:
    """Send files and folders to URL.

    A URL that ends in / is a folder; any other names the one file that is sent. A folder PATH is sent under its own
    name, as cp -r does ("." has none: its files go straight into URL). A URL without a path means /files/. Every file
    is hashed while it is sent, and the gateway compares. Links and special files inside folders are skipped.

    \b
    h2gate put a.bin https://host:8443/files/            as files/a.bin
    h2gate put a.bin https://host:8443/files/b.bin       as files/b.bin
    h2gate put photos notes.txt https://host:8443/       as files/photos/… and files/notes.txt
    h2gate put . https://host:8443/files/backup/         what is here, as files/backup/…
    tar c . | h2gate put - https://host:8443/files/all.tar
    """
    return _transfer("put", url, options, paths)


@cli.command()
@click.argument("args", nargs=-1, required=True, metavar="URL… [DIR|FILE]")
@_remote
def get(args: tuple[str, ...], **options: Any) -> int:
    """Fetch files, and folders (URLs that end in /) with everything below, into DIR (default: here) or as FILE.

    A file appears under its name once it is whole and its digest is right. A last argument of - is standard output.

    \b
    h2gate get https://host:8443/files/a.bin             as ./a.bin
    h2gate get https://host:8443/files/a.bin b.bin       as ./b.bin
    h2gate get https://host:8443/files/photos/ /tmp/     as /tmp/photos/…
    h2gate get https://host:8443/files/all.tar - | tar x
    """
    urls, target = (args, ".") if "://" in args[-1] else (args[:-1], args[-1])
    if not urls:
        raise click.UsageError("Name at least one URL.")
    return _transfer("get", urls[0], options, urls, target)


@cli.command()
@click.argument("url")
@_remote
def ls(url: str, **options: Any) -> int:
    """List a folder, or the one file that URL names.

    \b
    h2gate ls https://host:8443/
    h2gate ls --json https://host:8443/files/photos/ | jq .size
    """

    from h2gate.client import commands  # noqa: PLC0415

    for entry in commands.listing(url, options):
        if options["as_json"]:
            click.echo(json.dumps(dataclasses.asdict(entry)))
        else:
            name = entry.name + ("/" if entry.type == "directory" else "")
            click.echo(f"{'' if entry.size is None else entry.size:>15}  {entry.modified:29}  {name}")
    return 0


@cli.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL…")
@click.option("-r", "--recursive", is_flag=True, help="Also every file below URLs that end in /.")
@_remote
def rm(urls: tuple[str, ...], recursive: bool, **options: Any) -> int:
    """Delete files.

    \b
    h2gate rm https://host:8443/files/a.bin
    h2gate rm -r https://host:8443/files/photos/
    """
    return _transfer("rm", urls[0], options, urls, recursive=recursive)


# -- serve, certs, demo


def _settings(command: Callable[..., int]) -> Callable[..., int]:
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


@cli.command()
@_settings
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="Settings in TOML.")
def serve(file: Path | None, **flags: Any) -> int:
    """Run a gateway. Every setting is also H2GATE_NAME in the environment, or a line of the --config file.

    \b
    h2gate serve                                         on 127.0.0.1:8443, development certificate
    h2gate serve --listen 127.0.0.1:0 --data /srv/in     any free port
    h2gate serve --config h2gate.toml --cert c.pem --key k.pem --listen 0.0.0.0:443
    """
    settings = config.load(flags, file=file)
    from h2gate.front.app import create_app  # noqa: PLC0415 - the other commands do not need a server's imports
    from h2gate.server.run import run  # noqa: PLC0415

    return run(settings, create_app)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("certs"), metavar="[DIR]")
def certs(folder: Path) -> int:
    """Make a development authority and a certificate for this machine in DIR, unless they are there."""
    from h2gate.server.certificates import ensure  # noqa: PLC0415

    made = ensure(folder)
    for name in ("ca", "cert", "key"):
        click.echo(f"{name:5} {getattr(made, name)}")
    return 0


@cli.command("demo")
@click.option("--scale", type=click.FloatRange(0.01, 10), default=1.0, help="Make the files so many times as large.")
def demo_(scale: float) -> int:
    """Start a gateway, send 1,033 files over one connection, read them back, compare every byte, clean up."""
    from h2gate import demo  # noqa: PLC0415

    return demo.run(scale)
