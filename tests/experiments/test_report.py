"""What results say: crossings, intervals, censored seeds, and the files that show them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2net.experiments import Header, Point, Results, Run, findings, summarise, write_report
from net2net.experiments._report import markdown
from net2net.experiments._statistics import Reach, crossing, interval

BUDGETS = (0.25, 0.5, 1.0)
# Final accuracies at the budgets, before training, per seed; scratch has equal compute (1.4) too.
SCORES = {
    "net2net": [(0.80, 0.84, 0.88, 0.91), (0.79, 0.85, 0.89, 0.92)],
    "random_pad": [(0.30, 0.80, 0.84, 0.86), (0.20, 0.81, 0.85, 0.91)],
    "scratch": [(0.10, 0.70, 0.80, 0.87, 0.90), (0.10, 0.72, 0.82, 0.89, 0.90)],
}


def run(arm: str, budget: float, phase: str, seed: int, start: float, end: float, rate: float = 0.1) -> Run:
    steps = round(100 * budget)
    points = tuple(
        Point(i * steps // 4, None if i == 0 else 1 - s, None if i == 0 else s, 1 - s, s)
        for i, s in enumerate(start + (end - start) * i / 4 for i in range(5))
    )
    flops = 1e6 if arm in ("teacher", "continued") else 2e6
    return Run(arm, budget, phase, rate, steps, seed, flops, 0.01, 1000, 1e-8 if arm == "net2net" else None, points)


@pytest.fixture
def results() -> Results:
    labels = {"net2net": "Net2Net <default>", "random_pad": "Random pad", "scratch": "Random initialisation"}
    header = Header(
        "wider", "Wider", "made up", "accuracy", {**labels, "teacher": "Teacher"},
        {"standard": tuple(labels)}, BUDGETS, (0.1, 0.01), (1, 2), 100,
    )  # fmt: skip
    runs = []
    for arm, seeds in SCORES.items():
        runs += [run(arm, 0.5, "choice", 1000, 0.1, 0.8 - i / 10, rate) for i, rate in enumerate(header.rates)]
        for seed, (start, *ends) in enumerate(seeds, start=1):
            runs += [run(arm, b, "final", seed, start, end) for b, end in zip((*BUDGETS, 1.4), ends, strict=False)]
    runs += [run("teacher", 0.8, "choice", 1000, 0.1, 0.8, rate) for rate in header.rates]
    runs += [run("teacher", 0.8, "final", seed, 0.1, 0.8) for seed in (1000, 1, 2)]
    return Results(header, tuple(runs))


def test_ratios_to_scratch(results: Results) -> None:
    (group,) = summarise(results).groups
    ours, pad, scratch = group.arms
    assert group.target.mean == pytest.approx(0.88) and group.teacher_flops == pytest.approx(0.4)
    # Seed 1 is at the target at budget 1/2; seed 2 is three quarters of the way from 0.85 (1/4) to 0.89 (1/2).
    assert ours.steps.ratios == pytest.approx((0.5, 0.25 * 2**0.75))
    assert ours.flops_counted.ratios == pytest.approx([0.4 + r for r in ours.flops.ratios])
    assert pad.steps.reached == 1 and pad.steps.interval is None and math.inf in pad.steps.ratios
    assert scratch.steps.ratios == (1.0, 1.0) and scratch.flops_counted.ratios == (1.0, 1.0)
    assert ours.to_scratch.mean == pytest.approx(0.035) and ours.to_equal.mean == pytest.approx(0.015)
    assert ours.lowest == 0.0 and ours.error == 1e-8 and ours.rate == 0.1
    assert [arm.key for arm in group.best] == ["net2net", "random_pad"]


def test_lower_is_better_for_a_loss(results: Results) -> None:
    flipped = Results(replace(results.header, metric="loss"), results.runs)  # the losses are 1 - accuracy
    a, b = summarise(results).groups[0], summarise(flipped).groups[0]
    for ours, theirs in zip(a.arms, b.arms, strict=True):
        assert theirs.steps.ratios == pytest.approx(ours.steps.ratios)
        assert theirs.to_scratch.mean == pytest.approx(ours.to_scratch.mean)


def test_what_is_missing_is_named(results: Results, tmp_path: Path) -> None:
    header = results.header
    some = Results(header, tuple(r for r in results.runs if r.arm != "random_pad" or r.phase == "choice"))
    summary = write_report(some, tmp_path)
    assert summary.missing == ("random_pad",) and "random_pad" in (tmp_path / "report.html").read_text()
    nothing = write_report(Results(header, ()), tmp_path / "new")
    assert nothing.groups == () and set(nothing.missing) == set(header.arms)


def test_the_files(results: Results, tmp_path: Path) -> None:
    summary = write_report(results, tmp_path)
    names = {"report.html", "table.md", "summary.json"}
    names |= {f"{kind}-standard.{end}" for kind in ("curves", "compute") for end in ("svg", "png")}
    assert {file.name for file in tmp_path.iterdir()} == names
    page = (tmp_path / "report.html").read_text()
    assert "Net2Net &lt;default&gt;" in page and "<default>" not in page
    assert "http" not in page.replace("http://www.w3.org", "")  # it loads nothing
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found == summary.as_json()
    assert found["groups"][0]["arms"][1]["steps"]["ratios"].count(None) == 1
    first = {file.name: file.read_bytes() for file in tmp_path.glob("*.svg")}
    assert all(len(text) < 150_000 for text in first.values())
    write_report(results, tmp_path)
    assert first == {file.name: file.read_bytes() for file in tmp_path.glob("*.svg")}


def test_sentences_follow_the_numbers(results: Results) -> None:
    text = " ".join(findings(summarise(results).groups[0], "accuracy"))
    assert "held; less than all with the teacher counted: held" in text
    assert "Random pad gets there within its largest budget with 1 of 2 seeds" in text
    worse = tuple(
        replace(r, points=tuple(replace(p, accuracy=p.accuracy - 0.3) for p in r.points)) if r.arm == "net2net" else r
        for r in results.runs
    )
    summary = summarise(Results(results.header, worse))
    text = " ".join(findings(summary.groups[0], "accuracy"))
    assert "missed; less than all with the teacher counted: missed" in text and "behind" in text
    assert "Best at the end: Random pad" in text
    assert "not reached (0 of 2 seeds)" in markdown(summary)


def test_a_single_seed_has_no_interval(results: Results) -> None:
    alone = Results(replace(results.header, seeds=(1,)), tuple(r for r in results.runs if r.seed != 2))
    summary = summarise(alone)
    assert math.isnan(summary.groups[0].target.half) and "±" not in markdown(summary)
    assert "Best at the end" not in markdown(summary)


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.floats(0, 3))
def test_a_crossing_is_where_the_score_is_the_target(rises: list[float], target: float) -> None:
    scores = [0.0, *(sum(rises[: i + 1]) for i in range(3))]
    found = crossing((0.0, *BUDGETS), scores, target)
    assert (found == math.inf) == (target > scores[-1])
    if found == math.inf:
        return
    for budget, score in zip((0.0, *BUDGETS), scores, strict=True):
        assert (budget < found) <= (score < target) + 1e-9 and (score <= target) >= (budget <= found * (1 - 1e-9))


def test_a_fall_below_the_target_later_does_not_count() -> None:
    assert crossing((0, 0.25, 0.5, 1), (0.1, 0.9, 0.2, 0.8), 0.5) == pytest.approx(0.125)
    assert crossing((0, 0.5), (0.6, 0.2), 0.5) == 0


def test_intervals() -> None:
    assert interval([1.0, 2.0, 4.0]).half == pytest.approx(4.303 * 1.5275 / math.sqrt(3), rel=1e-3)
    assert Reach((0.5, math.inf)).interval is None and str(Reach((0.5, math.inf))) == "reached by 1 of 2 seeds"
