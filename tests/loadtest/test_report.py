"""A report says what was measured, and says just as plainly what was not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from loadtest.comparison.plan import full
from loadtest.report import Sample, bars, readme, summarise
from loadtest.report.__main__ import KEPT, REPOSITORY, load, main
from loadtest.report.figures import plots
from loadtest.report.files import write
from loadtest.report.page import page
from loadtest.report.plots import ceiling
from loadtest.report.tables import table
from loadtest.report.words import markdown
from tests.loadtest.canned import case, comparison, large


def test_median_spread_and_ratio_are_in_the_table() -> None:
    made = table(large())
    row = next(row for row in made.rows if row[0] == bars.H2)
    assert made.heads[:3] == ["", "MB/s", "ratio"]
    assert row[1:3] == ["630 (615–645)", "1.50"]  # noqa: RUF001


def test_a_figure_that_some_rounds_lack_is_summarised_over_the_others() -> None:
    samples = [Sample("a", 1, {"x": 1.0}), Sample("a", 2, {"x": 3.0, "y": 7.0}), Sample("base", 2, {"x": 2.0})]
    found = {(each.candidate, each.figure): each for each in summarise(samples, "base")}
    assert found["a", "x"].median == 2.0
    assert found["a", "x"].ratio == 1.5
    assert found["a", "y"].median == 7.0
    assert found["a", "y"].ratio is None


def test_who_was_cut_skipped_or_void_is_told_so_in_its_row() -> None:
    changed = large() | {"out": {bars.H1: "nginx is not installed"}, "void": {bars.BARE: "a byte was lost"}}
    made = table(changed)
    told = {row[0]: row[1] for row in made.rows}
    assert told[bars.H1] == "skipped: nginx is not installed"
    assert told[bars.BARE] == "VOID: a byte was lost"
    assert any(name.startswith(bars.PLAIN) and "✂" in name for name in told)
    assert any("cut after 20 s" in note for note in made.notes)
    assert told["nginx: HTTP/1.1, 1 connection, curl"] == "not measured"


def test_fewer_rounds_than_planned_and_a_case_that_was_skipped_are_noted() -> None:
    notes = table(case("stall", out={"*": "a disk that stalls needs root"}, rounds=0)).notes
    assert any("0 rounds of 1" in note for note in notes)
    assert any("Skipped: a disk that stalls needs root" in note for note in notes)


def test_bars_hold_do_not_hold_or_were_not_measured() -> None:
    verdicts = {row[0]: row[2:] for row in bars.rows(comparison(large()))}
    assert verdicts["1 GiB, loopback: MB/s by nginx"] == ["1.50", "holds"]
    assert verdicts["the same: MB/s by the plain stack"] == ["15.00", "holds"]
    assert verdicts["the same: server CPU by nginx, equal durability"] == ["0.70", "holds"]
    assert verdicts["256 MiB at 50 ms: HTTP/2 by HTTP/1.1"] == ["not measured", "?"]
    slower = case("rtt-50", (bars.H2, 1, {"MB/s": 80.0}), (bars.H1, 1, {"MB/s": 100.0}))
    verdicts = {row[0]: row[2:] for row in bars.rows(comparison(slower))}
    assert verdicts["256 MiB at 50 ms: HTTP/2 by HTTP/1.1"] == ["0.80", "**does not hold**"]


def test_growth_is_the_most_by_the_least() -> None:
    cases = [
        case(f"grow-{gib}", (bars.H2, 1, {"server CPU s/GiB": cpu})) for gib, cpu in ((1, 1.5), (4, 1.2), (16, 1.4))
    ]
    verdicts = {row[0]: row[2:] for row in bars.rows(comparison(*cases))}
    assert verdicts["1, 4, 16 GiB: CPU per GiB, most by least"] == ["1.25", "**does not hold**"]


def test_every_label_that_bars_and_readme_look_for_is_in_the_plan() -> None:
    planned = {case.name: {contestant.label for contestant in case.contestants} for case in full()}
    for _, name, _, columns in readme.ROWS:
        assert columns[0] in planned[name]
        assert columns[1] in planned[name]
    assert {bars.PUT, bars.SINGLES, bars.H1X6} <= planned["files-10k"]
    assert {bars.PUT, bars.H1X6} <= planned["files-64"]
    assert {bars.H2, bars.BARE, bars.NGINX, bars.PLAIN} <= planned["large-1g"]
    assert all({bars.H2, bars.H1} <= planned[f"rtt-{rtt}"] for rtt in (0, 10, 50, 100, 200))


def everything() -> dict[str, object]:
    over = [case(f"rtt-{rtt}", (bars.H2, 1, {"MB/s": 100.0 - rtt / 4})) for rtt in (0, 50)]
    small = [case(f"small-{rtt}", (bars.PUT, 1, {"files/s": 1000.0 - rtt})) for rtt in (0, 50)]
    stalled = case("stall", (bars.H2, 1, {"MiB in the stall": 80.0}), series={bars.H2: [[0, 60], [1, 80]]})
    traced = case("trace", series={"h2gate: HTTP/2": [[0, 0, 1], [0.5, 2, 6]]})
    seed = [case(f"seed-{gb}", (bars.H2, 1, {"seconds": 2.0 * gb})) for gb in (2, 10)]
    return comparison(large(), *over, *small, stalled, traced, *seed)


def test_each_plot_is_an_svg_with_a_title() -> None:
    titles = []
    for plot in plots(everything()):
        root = ElementTree.fromstring(plot)  # noqa: S314 - our own
        titles.append(root[0].text or "")
    wanted = ["Throughput over round trip", "Small files over round trip", "Server CPU", "Memory while", "Window of"]
    assert all(any(title.startswith(each) for title in titles) for each in wanted), titles
    assert any(title == "One large file" for title in titles)


def test_nothing_measured_makes_a_page_without_plots_that_says_so() -> None:
    saved = comparison(*(case(each.name, done=False) for each in full()))
    assert plots(saved) == []
    assert "not measured" in page(saved)
    assert f"{len(full())} cases were not measured to their end" in markdown(saved)


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_it_shows() -> None:
    made = page(everything())
    assert "a &lt;made-up&gt; processor" in made
    assert not re.search(r"(?:src|href)\s*=|@import|url\(|<script", made)
    assert made.count("<svg") == len(plots(everything()))


def test_a_lost_byte_stands_at_the_top() -> None:
    saved = comparison(large() | {"void": {bars.PLAIN: "lost"}})
    assert markdown(saved).index("VOID") < markdown(saved).index("## ")
    assert "VOID" in page(saved)


def test_files_are_written_whole_and_read_again(tmp_path: Path) -> None:
    write(everything(), tmp_path / "new", "comparison")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "comparison.html",
        "comparison.json",
        "comparison.md",
    ]
    outcome = CliRunner().invoke(main, [str(tmp_path / "new" / "comparison.json")])
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output == (tmp_path / "new" / "comparison.md").read_text()


def test_the_readme_is_what_the_kept_run_makes_of_it() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert readme.replaced(text, load(KEPT) if KEPT.exists() else None) == text


def test_the_table_of_the_readme_replaces_what_was_between_its_markers() -> None:
    text = f"before\n{readme.BEGIN}\nstale text\n{readme.END}\nafter\n"
    made = readme.replaced(text, json.loads(json.dumps(everything())))
    assert made.startswith("before\n")
    assert made.endswith("after\n")
    assert "stale text" not in made
    assert "| one file of 1 GiB, loopback, MB/s | 630 | 420 | 420 | 42 ✂ |" in made
    with pytest.raises(ValueError, match="markers"):
        readme.replaced("no markers", None)


@pytest.mark.parametrize(("value", "top"), [(0, 1), (0.7, 1), (1, 1), (1.1, 2), (21, 25), (26, 50), (999, 1000)])
def test_axes_end_at_a_round_number(value: float, top: float) -> None:
    assert ceiling(value) == top
