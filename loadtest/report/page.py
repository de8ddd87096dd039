"""A comparison as one page that needs nothing else: tables, plots, machine, versions, commands."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from loadtest.report import bars, words
from loadtest.report.figures import plots
from loadtest.report.tables import table

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --grid: #d8dee6; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --grid: #38424f; --paper: #12161c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 76rem;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { border-bottom: 1px solid var(--grid); padding: .25rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; }
.caution { border: 2px solid #d1495b; padding: .5rem 1rem; font-weight: bold; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1.5rem; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .grid { stroke: var(--grid); } svg .ink { stroke: var(--ink); stroke-width: 2; }
"""


def page(saved: dict[str, Any]) -> str:
    title = f"h2gate: comparison ({saved['plan']} run)"
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{escape(words.provenance(saved))}</p>"]
    if warning := words.caution(saved):
        parts.append(f'<p class="caution">{escape(warning)}</p>')
    promised = [[cell.replace("**", "") for cell in row] for row in bars.rows(saved)]
    parts += ["<h2>What it was to show</h2>", _grid(["what", "wanted", "found", ""], promised)]
    parts += ["<h2>Plots</h2>", '<div class="plots">', *(f"<div>{plot}</div>" for plot in plots(saved)), "</div>"]
    for case in saved["cases"]:
        made = table(case)
        parts += [f"<h2>{escape(case['title'])}</h2>", _grid(made.heads, made.rows)]
        parts += [f"<p>{escape(note)}</p>" for note in made.notes]
    parts += ["<h2>Servers</h2>", _grid(["server", "durability", "version"], words.servers(saved))]
    head = f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>'
    style = f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n<body>'
    return "\n".join([head, style, *parts, "</body>\n</html>\n"])


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table>\n<tr>{top}</tr>\n{body}\n</table></div>'
