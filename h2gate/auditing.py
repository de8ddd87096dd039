"""`h2gate audit`: looks at the audit log where it lies, or at a copy of it anywhere; no gateway is needed.

Exit codes: 0 all is as it was written, 1 something is not, 2 usage.
"""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.Path(path_type=Path, exists=True)


@click.group()
def audit() -> None:
    """Verify and read the audit log of a gateway, and the receipts that it signed."""


@audit.command()
@click.argument("files", nargs=-1, type=_FILE, metavar="[FILE|DIR]…")
@click.option("--head", type=_FILE, metavar="FILE", help="A head of the log (FILE.head): its end cannot be cut off.")
@click.option("--receipt", "receipts", type=_FILE, multiple=True, metavar="FILE", help="A receipt. Repeatable.")
@click.option(
    "--key", type=_FILE, metavar="PUB", help="The gateway's public key (PEM), which signed head and receipts."
)
@click.option("--begins-later", is_flag=True, help="Earlier files of the log are elsewhere.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but what is wrong.")
def verify(
    files: tuple[Path, ...],
    head: Path | None,
    receipts: tuple[Path, ...],
    key: Path | None,
    begins_later: bool,
    quiet: bool,
) -> int:
    """Verify the files of a log (or its folder), and receipts with the key that signed them.

    Every byte is looked at. What was changed, removed, added or moved is named by file and line. That the end was cut
    off shows beside a head or a receipt from later.

    \b
    h2gate audit verify data/audit
    h2gate audit verify data/audit --head kept/audit.jsonl.head --key data/audit/receipt.pub
    h2gate audit verify --receipt a.bin.receipt --key receipt.pub
    """
    from h2gate.audit import proofs  # noqa: PLC0415 - the other commands do not need cryptography
    from h2gate.audit.signing import BadSignature  # noqa: PLC0415
    from h2gate.audit.verifying import verify as verified  # noqa: PLC0415

    if receipts and key is None:
        raise click.UsageError("--receipt needs --key: whoever signs a receipt cannot vouch for himself.")
    if not files and not receipts:
        raise click.UsageError("Name files of a log, or a receipt.")
    if head is not None and not files:
        raise click.UsageError("--head is compared with a log: name its files.")
    anchors, faults, said = [], [], []
    for file, of in [*((each, "receipt") for each in receipts), *([(head, "head")] if head else [])]:
        try:
            assert file is not None
            claims = proofs.receipt(file, key) if of == "receipt" and key else proofs.head(file, key)
            anchors.append(proofs.anchor(claims, str(file)))
            said.append(f"{file}: {_told(claims)}")
        except BadSignature as error:
            faults.append(f"{file}: {error}")
    if head is not None and key is None:
        said.append(f"{head}: without --key it is not known who signed it")
    if files:
        report = verified(files, anchors, begins_later=begins_later)
        faults += report.faults
        said += [*report.notes, f"{report.n_lines} lines, the last is {report.last.seq} {report.last.hash}"]
    for line in said if not quiet else ():
        click.echo(line)
    for line in faults:
        click.echo(line, err=True)
    return 1 if faults else 0


def _told(claims: object) -> str:
    assert isinstance(claims, dict)
    return ", ".join(f"{name} {value}" for name, value in claims.items())


@audit.command("list")
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE|DIR…")
@click.option("--who", metavar="NAME", help="What this principal did.")
@click.option("--path", metavar="PATH", help="What was done to this file, or below this folder.")
@click.option("--since", metavar="TIME", help="From then on: 2026-01-31, or 2026-01-31T12:00 (UTC).")
@click.option("--json", "as_json", is_flag=True, help="The lines as they are, without their damaged ones.")
def list_(files: tuple[Path, ...], who: str | None, path: str | None, since: str | None, as_json: bool) -> int:
    """Show lines of the log. It is not verified.

    \b
    h2gate audit list data/audit --path inbox/ --since 2026-01-31
    h2gate audit list data/audit --json | jq 'select(.event == "deny")'
    """
    from h2gate.audit import listing  # noqa: PLC0415

    wanted = listing.Wanted(who=who, path=path.strip("/") if path is not None else None, since=since)
    for members in listing.lines(files, wanted):
        click.echo(listing.shown(members, as_json=as_json))
    return 0
