"""A comparison in Markdown: what was promised, every case, who was skipped, the machine and the versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtest.report import bars
from loadtest.report.tables import table


def markdown(saved: dict[str, Any]) -> str:
    parts = [f"# Comparison ({saved['plan']} run)", provenance(saved)]
    if warning := caution(saved):
        parts.append(f"**{warning}**")
    parts += ["## What it was to show", grid(["what", "wanted", "found", ""], bars.rows(saved))]
    for case in saved["cases"]:
        made = table(case)
        parts += [f"## {case['title']}", grid(made.heads, made.rows), "\n".join(made.notes)]
    parts += ["## Servers", grid(["server", "durability", "version"], servers(saved))]
    return "\n\n".join(parts) + "\n"


def caution(saved: dict[str, Any]) -> str:
    """What a reader has to know first, if anything."""
    void = sum(len(case["void"]) for case in saved["cases"])
    open_ = sum(not case["done"] for case in saved["cases"])
    said = [f"VOID: bytes were lost, {void} times"] if void else []
    said += [f"not finished: {open_} cases were not measured to their end"] if open_ else []
    said += ["a quick run: no figure of it is worth quoting"] if saved["plan"] == "quick" else []
    return "; ".join(said)


def provenance(saved: dict[str, Any]) -> str:
    """The machine, the command, the programs."""
    its = saved["machine"]
    programs = "; ".join(saved["programs"].values())
    return (
        f"`{saved['command']}`, begun {saved['begun']}. {its['cpu']}, {its['cores']} cores, {its['memory_gib']} GiB, "
        f"{its['file_system']}, Linux {its['kernel']}, TCP {its['congestion_control']}. Client and servers share it. "
        f"Network: {saved['network']}. Programs: {programs}."
    )


def servers(saved: dict[str, Any]) -> list[list[str]]:
    return [[name, each["durability"], each["version"]] for name, each in saved["servers"].items()]


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
