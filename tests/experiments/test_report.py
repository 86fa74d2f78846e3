"""The files that show an experiment, and the sentences on them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from made_up_results import LABELS, realistic, results_of
from net2net.experiments import RECIPES, SIZES, Results, cells, findings, read, summarise, write_report
from net2net.experiments._looks import look
from net2net.experiments._page import command
from net2net.experiments._results import append, start_file
from net2net.experiments._tables import cost_cells, markdown, rate_cells, score_cells

SCRATCH = [(0.10, 0.70, 0.80, 0.87, 0.90), (0.10, 0.72, 0.82, 0.89, 0.90)]
# Differences to scratch and to each other that hardly depend on the seed.
WINS = [(0.80, 0.88, 0.90, 0.93), (0.80, 0.88, 0.90, 0.9501)]
LOSES = [(0.80, 0.80, 0.80, 0.81), (0.80, 0.80, 0.80, 0.8301)]
HALF = [(0.30, 0.80, 0.84, 0.86), (0.20, 0.81, 0.85, 0.91)]


def sentences(**scores: list[tuple[float, ...]]) -> str:
    return " ".join(findings(summarise(results_of({**scores, "scratch": SCRATCH})).groups[0], "accuracy"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(realistic("loss", ("wider", "deeper"), seeds=2), folder)
    return folder


def test_the_files(folder: Path) -> None:
    figures = {f"{kind}-{group}.{end}" for kind in ("curves", "compute") for group in ("wider", "deeper")
               for end in ("svg", "png")}  # fmt: skip
    assert {file.name for file in folder.iterdir()} == {"report.html", "table.md", "summary.json", *figures}
    summary = summarise(realistic("loss", ("wider", "deeper"), seeds=2))
    assert json.loads((folder / "summary.json").read_text()) == summary.as_json()
    assert (folder / "table.md").read_text() == markdown(summary)


def test_the_figures_are_small_and_the_same_for_the_same_numbers(folder: Path, tmp_path: Path) -> None:
    write_report(realistic("loss", ("wider", "deeper"), seeds=2), tmp_path)
    for file in folder.glob("*.svg"):
        text = file.read_bytes()
        assert len(text) < 150_000 and text == (tmp_path / file.name).read_bytes()
        assert not re.search(rb' d="[^"]*\d\.\d{3}', text)
    one, other = ((folder / f"compute-{name}.svg").read_text() for name in ("wider", "deeper"))
    assert one != other


def test_the_figures_show_every_arm_and_numbers_as_they_are(folder: Path) -> None:
    for kind in ("curves", "compute"):
        figure = (folder / f"{kind}-wider.svg").read_text()
        for arm in LABELS:
            assert f">{LABELS[arm]}</text>" in figure and look(arm, "")[0] in figure
        assert ">Where the teacher ended</text>" in figure
    assert ">1/8</text>" in (folder / "compute-wider.svg").read_text()


def test_the_arms_of_a_figure_look_different() -> None:
    for recipe in RECIPES.values():
        for group in recipe(SIZES["smoke"]).groups:
            looks = [look(arm.key, group.name) for arm in group.arms]
            for distinct in zip(*looks, strict=True):
                assert len(set(distinct)) == len(group.arms)
    assert look("net2net", "standard")[0] == "#0072b2" and look("mine", "standard") == look("mine_wider", "wider")


def test_the_page_loads_nothing(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(?!["']?#)""", page)
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe", page)
    assert not re.search(r"https?://", re.sub(r'xmlns(:\w+)?="[^"]*"', "", page))


def test_no_two_figures_of_the_page_share_what_they_refer_to(folder: Path) -> None:
    figures = re.findall(r"<svg.*?</svg>", (folder / "report.html").read_text(), re.DOTALL)
    paths = [set(re.findall(r"url\(#(\w+)\)", figure)) for figure in figures]
    assert len(figures) == 4 and all(paths)
    assert len(set.union(*paths)) == sum(map(len, paths))


def test_the_page_shows_what_was_measured(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    summary = summarise(realistic("loss", ("wider", "deeper"), seeds=2))
    for group in summary.groups:
        for line in findings(group, "loss"):
            assert line.replace("'", "&#x27;") in page
        for table in (cells, score_cells, cost_cells, rate_cells):
            headers, rows = table(group, summary)
            assert all(len(row) == len(headers) for row in rows)
            assert all(f">{cell}</td>" in page for row in rows for cell in row[1:])
    assert "made-up images" in page and "net2net reproduce wider" in page and "middle of its training" in page


def test_labels_are_escaped(tmp_path: Path) -> None:
    results = results_of({"net2net": WINS, "scratch": SCRATCH})
    header = replace(results.header, arms={**results.header.arms, "net2net": "<b>Ours</b> & more"})
    write_report(Results(header, results.runs), tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;Ours&lt;/b&gt; &amp; more" in page and "<b>Ours" not in page


def test_a_results_file_that_was_read_gives_the_same_report(tmp_path: Path) -> None:
    results = results_of({"net2net": WINS, "scratch": SCRATCH})
    start_file(tmp_path / "results.jsonl", results.header)
    for run in results.runs:
        append(tmp_path / "results.jsonl", run)
    assert summarise(read(tmp_path / "results.jsonl")) == summarise(results)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    results = results_of({"net2net": WINS, "random_pad": HALF, "scratch": SCRATCH})
    some = tuple(r for r in results.runs if r.arm != "random_pad" or (r.phase, r.seed) == ("final", 1))
    write_report(Results(results.header, some), tmp_path)
    for name in ("report.html", "table.md"):
        assert "Not finished: Random pad (1 of 2 seeds)." in (tmp_path / name).read_text()
    summary = summarise(Results(results.header, some))
    assert [row[0] for row in cells(summary.groups[0], summary)[1]] == [LABELS["net2net"], LABELS["scratch"]]
    nothing = write_report(Results(results.header, ()), tmp_path / "new")
    assert nothing.groups == () and "nothing to compare yet" in (tmp_path / "new" / "report.html").read_text()
    assert not list((tmp_path / "new").glob("*.svg"))


def test_goals_that_are_held() -> None:
    text = sentences(net2net=WINS, random_pad=LOSES)
    assert (
        "Goal of at most 0.5 with the teacher free: held; goal of less than 1 with the teacher counted: held." in text
    )
    assert "ends ahead of random initialisation with its full budget" in text
    assert (
        "Best way to grow at the longest budget: Net2Net, silent new units, 94.0 ± 12.8 %; behind it: Random pad."
        in text
    )
    assert "Random pad never reaches that score within its budgets." in text


def test_goals_that_are_missed() -> None:
    text = sentences(net2net=LOSES, random_pad=WINS)
    assert "never reaches the score that random initialisation ends at within its budgets" in text
    assert "teacher free: missed; goal of less than 1 with the teacher counted: missed." in text
    assert "ends behind random initialisation with its full budget" in text
    assert "Best way to grow at the longest budget: Random pad" in text
    assert "behind it: Net2Net, silent new units" in text


def test_goals_that_are_held_on_average_only() -> None:
    text = sentences(net2net=[(0.80, 0.84, 0.88, 0.91), (0.79, 0.85, 0.89, 0.92)])
    assert "teacher free: held on average, not by the whole interval" in text


def test_where_random_initialisation_catches_up() -> None:
    text = sentences(net2net=[(0.80, 0.84, 0.81, 0.80), (0.80, 0.8601, 0.81, 0.8201)])
    where = re.search(r"after as many steps, .* is (.*) of the full budget", text)
    assert where is not None
    assert re.sub(r" \([^)]*\)", "", where[1]) == "ahead at 1/4; level at 1/2; behind at 1"


def test_some_seeds_are_not_all() -> None:
    text = sentences(net2net=WINS, random_pad=HALF)
    assert "Random pad in 1 of 2 seeds reaches that score with 0.71 of its steps" in text
    summary = summarise(results_of({"net2net": WINS, "random_pad": HALF, "scratch": SCRATCH}))
    assert "0.71 (1 of 2 seeds)" in markdown(summary)


def test_one_seed_claims_nothing() -> None:
    alone = results_of({"net2net": WINS[:1], "random_pad": LOSES[:1], "scratch": SCRATCH[:1]}, teacher=(0.8,))
    summary = summarise(alone)
    assert "±" not in markdown(summary) and "one seed can't say whether that is chance" in markdown(summary)


def test_a_diverged_arm_is_shown_as_such(tmp_path: Path) -> None:
    nan = math.nan
    some = {"net2net": WINS, "random_pad": [(0.3, nan, 0.8, nan), (0.2, 0.8, 0.85, 0.91)], "scratch": SCRATCH}
    write_report(results_of(some), tmp_path)
    assert "diverged" in (tmp_path / "table.md").read_text() and "nan" not in (tmp_path / "table.md").read_text()


def test_the_command_repeats_the_settings() -> None:
    header = results_of({"scratch": SCRATCH}).header
    assert command(header) == "net2net reproduce wider --data DATA --seeds 2 --steps 100"
    assert (
        command(replace(header, seeds=(5, 6))) == "net2net reproduce wider --data DATA --seeds 2 --seed 4 --steps 100"
    )
