"""`python -m loadtest.report`: a saved run in Markdown, a comparison's page, or the README's table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from loadtest.report import readme, summary, words
from loadtest.report.files import write

REPOSITORY = Path(__file__).resolve().parents[2]
KEPT = REPOSITORY / "docs" / "results" / "comparison.json"


def load(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--readme", "to_readme", is_flag=True, help="Make the README's table from the full run that was kept.")
@click.option(
    "--page", "to_folder", type=click.Path(path_type=Path), help="Write a comparison's files into this folder."
)
def main(file: Path | None, *, to_readme: bool, to_folder: Path | None) -> None:
    """Write a run saved as JSON as a Markdown table. FILE is by default the full run that was kept."""
    if to_readme:
        target = REPOSITORY / "README.md"
        target.write_text(readme.replaced(target.read_text(), load(KEPT) if KEPT.exists() else None))
        return
    if file is None and not KEPT.exists():
        raise click.UsageError("no full run has been kept: name a FILE")
    saved = load(file or KEPT)
    if to_folder is not None:
        write(saved, to_folder, (file or KEPT).stem)
    else:
        click.echo(words.markdown(saved) if "cases" in saved else summary.markdown(saved), nl=False)


if __name__ == "__main__":
    main()
