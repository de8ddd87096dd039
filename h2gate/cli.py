"""The command line: argv in, exit code out. Every failure is one line on standard error, never a traceback.

Exit codes: 0 done, 1 some files failed, 2 usage, 4 not found, 5 may be retried, 7 refused, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import click
from click.shell_completion import get_completion_class

from h2gate import auditing, config, granting, options
from h2gate.errors import ConfigError, GateError, NotFound, Unauthenticated

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
    h2gate status https://HOST:8443/                what is under way
    h2gate demo                                     see it work, in under a minute

    \b
    Exit codes: 0 done · 1 some files failed · 2 usage · 4 not found · 5 may be retried · 7 refused ·
    130 interrupted.
    """


cli.add_command(auditing.audit)
cli.add_command(granting.ticket)
cli.add_command(granting.usage)


def main() -> None:
    """The console script."""
    # httpx brings its own command line, and does without where that cannot be imported; a fifth of the time to start.
    sys.modules.setdefault("httpx._main", cast(ModuleType, None))
    try:
        code = cli.main(prog_name="h2gate", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("h2gate: interrupted", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except GateError as error:
        click.echo(f"h2gate: {error}", err=True)
        code = exit_code([error], 1)
    gc.freeze()  # else it would all be looked through before the end, for a fiftieth of a second
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
    """The gateway looked at the request and will not take it, or this end cannot say who it is."""
    if isinstance(error, Unauthenticated):
        return not error.retry
    return "seen" in error.members and 400 <= error.status < 500 and not error.retry


# -- put, get, ls, rm


def _transfer(verb: str, url: str, given: dict[str, Any], *args: Any, **kwargs: Any) -> int:
    """`Client.verb(*args, **kwargs)`, shown while it runs."""
    from h2gate.client import commands  # noqa: PLC0415 - a server does not need what a client needs, nor its memory

    errors, total = commands.transfer(verb, url, given, *args, **kwargs)
    return exit_code(errors, total)


def _selection(given: dict[str, Any]) -> Any:
    from h2gate.client.selection import Selection  # noqa: PLC0415

    return Selection(given.pop("include"), given.pop("exclude"), given.pop("links", "skip"))


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…", type=click.Path(allow_dash=True))
@click.argument("url")
@options.moving
@options.comparing
@click.option(
    "--compress",
    type=click.Choice(["auto", "zstd", "gzip", "none"]),
    default="none",
    help="Content coding for files that shrink by it, where the gateway takes it; auto: the best one.",
)
@click.option(
    "--links",
    type=click.Choice(["skip", "follow"]),
    default="skip",
    help="What becomes of symbolic links below a folder.",
)
@click.option(
    "--receipts",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep what the gateway signs for each file that it stored, as DIR/PATH.receipt.",
)
@options.remote
def put(paths: tuple[str, ...], url: str, compare: str, dry_run: bool, **given: Any) -> int:
    """Send files and folders to URL; what the gateway has already is not sent again, and nothing is ever deleted.

    A URL that ends in / is a folder; any other names the one file that is sent. A folder PATH is sent under its own
    name, as cp -r does ("." has none: its files go straight into URL). A URL without a path means /files/. Every file
    is hashed while it is sent, and the gateway compares. Special files inside folders are skipped.

    A file is there already if one of the same size is, with the same time (to the second) or else the same SHA-256.

    \b
    h2gate put a.bin https://host:8443/files/            as files/a.bin
    h2gate put a.bin https://host:8443/files/b.bin       as files/b.bin
    h2gate put photos notes.txt https://host:8443/       as files/photos/… and files/notes.txt
    h2gate put . https://host:8443/files/backup/         what is here, as files/backup/…
    h2gate put -n --exclude '*.tmp' --exclude .git/ . https://host:8443/files/backup/
    h2gate put --limit-rate 2M photos https://host:8443/
    tar c . | h2gate put - https://host:8443/files/all.tar
    """
    return _transfer("put", url, given, paths, compare=compare, dry_run=dry_run, selection=_selection(given))


@cli.command()
@click.argument("args", nargs=-1, required=True, metavar="URL… [DIR|FILE]", type=click.Path(allow_dash=True))
@options.moving
@options.remote
def get(args: tuple[str, ...], dry_run: bool, **given: Any) -> int:
    """Fetch files, and folders (URLs that end in /) with everything below, into DIR (default: here) or as FILE.

    A file appears under its name once it is whole and its digest is right. A last argument of - is standard output.

    \b
    h2gate get https://host:8443/files/a.bin             as ./a.bin
    h2gate get https://host:8443/files/a.bin b.bin       as ./b.bin
    h2gate get https://host:8443/files/photos/ /tmp/     as /tmp/photos/…
    h2gate get --include '*.jpg' https://host:8443/files/photos/ /tmp/
    h2gate get https://host:8443/files/all.tar - | tar x
    """
    urls, target = (args, ".") if "://" in args[-1] else (args[:-1], args[-1])
    if not urls:
        raise click.UsageError("Name at least one URL.")
    return _transfer("get", urls[0], given, urls, target, dry_run=dry_run, selection=_selection(given))


@cli.command()
@click.argument("url")
@options.remote
def ls(url: str, **given: Any) -> int:
    """List a folder, or the one file that URL names.

    \b
    h2gate ls https://host:8443/
    h2gate ls --json https://host:8443/files/photos/ | jq .size
    """

    from h2gate.client import commands  # noqa: PLC0415

    for entry in commands.listing(url, given):
        if given["as_json"]:
            click.echo(json.dumps(dataclasses.asdict(entry)))
        else:
            name = entry.name + ("/" if entry.type == "directory" else "")
            click.echo(f"{'' if entry.size is None else entry.size:>15}  {entry.modified:29}  {name}")
    return 0


@cli.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL…")
@click.option("-r", "--recursive", is_flag=True, help="Also every file below URLs that end in /.")
@options.remote
def rm(urls: tuple[str, ...], recursive: bool, **given: Any) -> int:
    """Delete files.

    \b
    h2gate rm https://host:8443/files/a.bin
    h2gate rm -r https://host:8443/files/photos/
    """
    return _transfer("rm", urls[0], given, urls, recursive=recursive)


@cli.command()
@click.argument("url", required=False)
@options.remote
def status(url: str | None, **given: Any) -> int:
    """Show your resumable uploads at the gateway of URL, the last changed first; without URL, what put and get began
    here and can go on with.

    \b
    h2gate status https://host:8443/
    h2gate status --json https://host:8443/ | jq 'select(.complete | not)'
    h2gate status
    """
    from h2gate.client import status as shown  # noqa: PLC0415
    from h2gate.client.commands import uploads  # noqa: PLC0415

    rows = uploads(url, given) if url else shown.remembered()
    lines = map(json.dumps, rows) if given["as_json"] else shown.table(rows, of_gateway=bool(url))
    for line in lines:
        click.echo(line)
    return 0


# -- login, logout


@cli.command()
@click.argument("url")
@click.option(
    "--issuer", default="", show_default=False, metavar="URL", help="Where to log in, if not where the gateway says."
)
@click.option("--client-id", default="h2gate", metavar="ID", help="What the issuer knows this program as.")
@click.option(
    "--scope",
    default="",
    show_default=False,
    metavar="SCOPE",
    help="What to ask for.  [default: openid offline_access]",
)
@click.option(
    "--resource",
    default="",
    show_default=False,
    metavar="URI",
    help="What the token is for, where the issuer wants it said (RFC 8707).",
)
@options.trusting
def login(**given: Any) -> int:
    """Log in to the gateway of URL: shows a code to enter in a browser, here or elsewhere, and keeps what comes of it.

    put, get, ls, rm and status use it then, refreshed as needed, unless they are told who you are in another way.

    \b
    h2gate login https://host:8443/
    h2gate login --scope 'openid offline_access storage.create:/inbox' https://host:8443/
    h2gate login --issuer https://id.example.org --client-id uploads https://host:8443/
    """
    from h2gate.client.commands import log_in  # noqa: PLC0415
    from h2gate.client.login import Wanted  # noqa: PLC0415

    done = log_in(Wanted(**given))
    click.echo(f"logged in to {done.origin}, at {done.endpoints.issuer}", err=True)
    return 0


@cli.command()
@click.argument("url")
@options.trusting
def logout(url: str, **given: Any) -> int:
    """Forget what was logged in to the gateway of URL, and tell the issuer.

    \b
    h2gate logout https://host:8443/
    """
    from h2gate.client.commands import log_out  # noqa: PLC0415

    done, failure = log_out(url, **given)
    if failure is not None:
        click.echo(f"h2gate: forgotten here, but not at the issuer: {failure}", err=True)
        return exit_code([failure], 1)
    click.echo("logged out" if done is not None else "there was no login", err=True)
    return 0


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a script that makes a shell complete h2gate's commands, options and paths.

    \b
    bash:  source <(h2gate completion bash)            in ~/.bashrc
    zsh:   source <(h2gate completion zsh)             in ~/.zshrc
    fish:  h2gate completion fish | source             in ~/.config/fish/config.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "h2gate", "_H2GATE_COMPLETE").source())
    return 0


# -- serve, certs, demo


@cli.command()
@options.settings
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


@cli.command()
@click.argument("name")
@click.option("--rights", required=True, help="As storage.create:/in storage.read:/; relative to the tenant's folder.")
@click.option("--tenant", help="As in [tenants.NAME].")
@click.option("--expires", type=click.DateTime(), metavar="DATE", help="The last moment, UTC, as 2030-01-31.")
def token(name: str, rights: str, tenant: str | None, expires: datetime | None) -> int:
    """Make a key, and print it once: the gateway is to have what follows, which does not tell it.

    The key goes to standard error, the lines for the file of --auth to standard output.

    \b
    h2gate token scanner-7 --rights storage.create:/in >> auth.toml
    """
    from h2gate.auth import keys  # noqa: PLC0415

    if not keys.is_id(name):
        raise click.BadParameter("letters, digits and hyphens, 64 at most", param_hint="NAME")
    secret, lines = keys.written(name, rights, tenant, expires)
    click.echo(f"the key, which is not shown again: {secret}", err=True)
    click.echo(lines, nl=False)
    return 0


@cli.command("demo")
@click.option("--scale", type=click.FloatRange(0.01, 10), default=1.0, help="Make the files so many times as large.")
def demo_(scale: float) -> int:
    """Start a gateway, send 1,033 files over one connection, read them back, compare every byte, clean up."""
    from h2gate import demo  # noqa: PLC0415

    return demo.run(scale)
