"""Crossings, intervals over seeds, and the summary that is made of them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up_results import realistic, results_of
from net2net.experiments import Results, summarise
from net2net.experiments._statistics import Interval, Reach, crossing, interval, paired
from net2net.experiments._summary import ArmSummary, Versus

BUDGETS = (0.25, 0.5, 1.0)
# Before training and at the budgets, for each seed; scratch has equal compute (1.4) too.
SCORES = {
    "net2net": [(0.80, 0.84, 0.88, 0.91), (0.79, 0.85, 0.89, 0.92)],
    "random_pad": [(0.30, 0.80, 0.84, 0.86), (0.20, 0.81, 0.85, 0.91)],
    "scratch": [(0.10, 0.70, 0.80, 0.87, 0.90), (0.10, 0.72, 0.82, 0.89, 0.90)],
    "continued": [(0.80, 0.86), (0.80, 0.90)],
}
MADE_UP = results_of(SCORES)


def against(arm: ArmSummary, at: str = "scratch") -> Versus:
    found = getattr(arm, at)
    assert isinstance(found, Versus)
    return found


def test_ratios_to_scratch() -> None:
    (group,) = summarise(MADE_UP).groups
    ours, _, scratch, continued = group.arms
    assert group.scratch.score.mean == pytest.approx(0.88) and group.equal.score.mean == pytest.approx(0.90)
    assert group.teacher_share == pytest.approx(0.4) and group.equal.budget == 1.4
    # Seed 1 is at the target at budget 1/2; seed 2 is three quarters of the way from 0.85 (1/4) to 0.89 (1/2).
    assert against(ours).steps.ratios == pytest.approx((0.5, 0.25 * 2**0.75))
    assert against(ours).flops.ratios == pytest.approx(against(ours).steps.ratios)
    assert against(ours).flops_counted.ratios == pytest.approx([0.4 + r for r in against(ours).flops.ratios])
    # 80 of the teacher's steps take as long as 80 of the 100 from scratch do here.
    assert against(ours).seconds_counted.ratios == pytest.approx([0.8 + r for r in against(ours).steps.ratios])
    # A step of the teacher costs half; it reaches 0.88 in the second seed, 0.8 of the way from 0 to all of 200 steps.
    assert against(continued).steps.ratios == pytest.approx((math.inf, 1.6))
    assert against(continued).flops.ratios == pytest.approx((math.inf, 0.8))
    assert scratch.scratch is None and scratch.equal is None and scratch.to_continued is None
    assert ours.lowest == 0.0 and ours.error == 1e-8 and set(ours.rates.values()) == {0.1}
    assert ours.choices[0].scores == pytest.approx({0.1: 0.8, 0.01: 0.7}) and ours.choices[0].best == 0.1


def test_the_second_target_is_scratch_at_equal_compute() -> None:
    ours = summarise(MADE_UP).groups[0].arms[0]
    first, second = 0.5 * 2 ** (2 / 3), 0.5 * 2 ** (1 / 3)  # of 0.88 to 0.91, of 0.89 to 0.92, to 0.90
    assert against(ours, "equal").steps.ratios == pytest.approx((first / 1.4, second / 1.4))
    assert against(ours, "equal").flops_counted.ratios == pytest.approx(((first + 0.4) / 1.4, (second + 0.4) / 1.4))


def test_leads_are_taken_seed_by_seed() -> None:
    ours, pad, *_ = summarise(MADE_UP).groups[0].arms
    assert str(against(ours).lead) == str(interval([0.91 - 0.87, 0.92 - 0.89]))
    assert str(against(ours, "equal").lead) == str(interval([0.01, 0.02]))
    assert ours.to_continued is not None and str(ours.to_continued) == str(interval([0.05, 0.02]))
    assert {b: round(d.mean, 9) for b, d in ours.leads.items()} == {0.25: 0.135, 0.5: 0.075, 1.0: 0.035}
    assert against(pad).lead.mean == pytest.approx(0.005)


def test_a_seed_that_never_gets_there_is_counted() -> None:
    pad = summarise(MADE_UP).groups[0].arms[1]
    reach = against(pad).steps
    assert reach.reached == 1 and reach.ratios[0] == math.inf and math.isfinite(reach.ratios[1])
    assert reach.interval is None and str(reach) == "reached by 1 of 2 seeds"


def test_lower_is_better_for_a_loss() -> None:
    flipped = Results(replace(MADE_UP.header, metric="loss"), MADE_UP.runs)  # the losses are 1 - accuracy
    a, b = summarise(MADE_UP).groups[0], summarise(flipped).groups[0]
    assert [arm.key for arm in a.best] == [arm.key for arm in b.best] == ["net2net", "random_pad"]
    for ours, theirs in zip(a.arms, b.arms, strict=True):
        assert ours.lowest == pytest.approx(theirs.lowest) and ours.tied == theirs.tied
        assert theirs.start.mean == pytest.approx(1 - ours.start.mean)
        if ours.scratch is not None:
            assert against(theirs).steps.ratios == pytest.approx(against(ours).steps.ratios)
            assert against(theirs).lead.mean == pytest.approx(against(ours).lead.mean)


def test_arms_are_tied_if_their_paired_difference_holds_0() -> None:
    near = [(0.8, 0.8, 0.8, 0.90), (0.8, 0.8, 0.8, 0.92)]
    far = [
        (0.8, 0.8, 0.8, 0.88),
        (0.8, 0.8, 0.8, 0.8901),
    ]  # always 0.03 lower
    some = {"net2net": SCORES["net2net"], "paper": near, "random_pad": far, "scratch": SCORES["scratch"]}
    shown = {arm.key: arm.tied for arm in summarise(results_of(some)).groups[0].arms}
    assert shown == {"net2net": True, "paper": True, "random_pad": False, "scratch": None}


def test_a_single_seed_has_no_interval() -> None:
    alone = results_of({arm: own[:1] for arm, own in SCORES.items()}, teacher=(0.8,))
    group = summarise(alone).groups[0]
    assert math.isnan(group.scratch.score.half) and {arm.tied for arm in group.arms} == {None}
    assert against(group.arms[0]).lead.sign == 0
    found = against(group.arms[0]).steps.interval
    assert found is not None and found.mean == pytest.approx(0.25 * 2**0.75) and math.isnan(found.half)


def test_the_seed_that_chooses_rates_is_not_reported() -> None:
    assert summarise(MADE_UP).groups[0].teacher.score.mean == pytest.approx(0.8)  # seed 1000 has 0.5


def test_a_fall_while_training_is_found() -> None:
    runs = tuple(
        replace(r, points=(r.points[0], replace(r.points[1], accuracy=0.7), *r.points[2:]))
        if r.arm == "net2net" and r.seed == 2 and r.budget == 1.0 else r
        for r in MADE_UP.runs
    )  # fmt: skip
    assert summarise(Results(MADE_UP.header, runs)).groups[0].arms[0].lowest == pytest.approx(0.7 - 0.79)


def test_a_diverged_run_neither_wins_nor_breaks_the_summary() -> None:
    nan = math.nan
    some = {**SCORES, "random_pad": [(0.3, nan, 0.89, nan), (0.2, 0.8, 0.85, 0.91)]}
    summary = summarise(results_of(some))
    pad = summary.groups[0].arms[1]
    assert against(pad).steps.ratios[0] == 0.5 and math.isnan(against(pad).lead.mean)
    assert [arm.key for arm in summary.groups[0].best] == ["net2net", "random_pad"]
    json.dumps(summary.as_json(), allow_nan=False)


def test_plain_data_has_no_infinities() -> None:
    found = summarise(MADE_UP).as_json()
    json.dumps(found, allow_nan=False)
    pad = found["groups"][0]["arms"][1]
    assert pad["scratch"]["steps"]["ratios"][0] is None and pad["ends"]["0.25"]["mean"] == pytest.approx(0.805)


def test_what_is_missing_is_named_with_its_finished_seeds() -> None:
    assert summarise(MADE_UP).missing == {}
    some = tuple(r for r in MADE_UP.runs if (r.arm, r.seed, r.budget) != ("random_pad", 2, 0.5) or r.phase == "choice")
    summary = summarise(Results(MADE_UP.header, some))
    assert summary.missing == {"random_pad": 1}
    assert [arm.key for arm in summary.groups[0].arms] == ["net2net", "scratch", "continued"]
    short = tuple(r for r in MADE_UP.runs if (r.arm, r.budget) != ("net2net", 1.0))
    assert summarise(Results(MADE_UP.header, short)).missing == {"net2net": 0}
    without = tuple(r for r in MADE_UP.runs if r.arm != "scratch")
    assert summarise(Results(MADE_UP.header, without)).groups == ()
    assert set(summarise(Results(MADE_UP.header, ())).missing) == {*SCORES, "teacher"}


def test_every_group_has_its_own_scratch() -> None:
    results = realistic("loss", ("wider", "deeper"), seeds=2)
    summary = summarise(results)
    assert [group.name for group in summary.groups] == ["wider", "deeper"] and not summary.missing
    for group in summary.groups:
        scores = [run.score("loss") for run in results.final(f"scratch_{group.name}", 1.0)]
        assert group.scratch.score.mean == pytest.approx(sum(scores) / 2)
        assert group.equal.budget == pytest.approx(0.5 + 0.5 * 0.4) and group.equal.flops < group.scratch.flops


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.floats(0, 3))
def test_a_crossing_is_where_the_score_is_the_target(rises: list[float], target: float) -> None:
    budgets, scores = (0.0, *BUDGETS), [sum(rises[:i]) for i in range(4)]
    found = crossing(budgets, scores, target)
    if target > scores[-1]:
        assert found == math.inf
        return
    # Read back from the same line: the score at the crossing is the target.
    for i in range(3):
        left, right = budgets[i], budgets[i + 1]
        if left <= found <= right:
            part = found / right if left == 0 else math.log(found / left) / math.log(right / left)
            assert scores[i] + part * (scores[i + 1] - scores[i]) == pytest.approx(target, abs=1e-9)
            return
    raise AssertionError(f"{found} is outside of all budgets")


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_target_never_takes_less(scores: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert crossing((0.0, *BUDGETS), scores, low) <= crossing((0.0, *BUDGETS), scores, high) * (1 + 1e-12)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(0, 1), st.floats(0.1, 10))
def test_a_crossing_scales_with_the_budgets(scores: list[float], target: float, factor: float) -> None:
    scaled = crossing([factor * b for b in (0.0, *BUDGETS)], scores, target)
    assert scaled == pytest.approx(factor * crossing((0.0, *BUDGETS), scores, target))


def test_the_first_crossing_counts_even_if_the_score_falls_again() -> None:
    assert crossing((0, 0.25, 0.5, 1), (0.1, 0.9, 0.2, 0.8), 0.5) == pytest.approx(0.125)
    assert crossing((0, 0.5), (0.6, 0.2), 0.5) == 0


def test_scores_that_are_not_finite_reach_nothing() -> None:
    assert crossing((0, 0.25, 0.5), (0.1, math.nan, 0.8), 0.5) == 0.5
    assert crossing((0, 0.25, 0.5), (-math.inf, 0.6, math.nan), 0.5) == 0.25
    assert crossing((0, 0.5), (0.1, math.nan), 0.5) == math.inf


def test_intervals() -> None:
    # Student's t with 2 degrees of freedom is 4.303 at 97.5 %.
    assert interval([1.0, 2.0, 4.0]).half == pytest.approx(4.303 * 1.5275 / math.sqrt(3), rel=1e-3)
    assert interval([2.0, 2.0]).half == 0
    assert math.isnan(interval([1.0, math.inf]).mean)
    assert [Interval(m, h).sign for m, h in ((0.2, 0.1), (-0.2, 0.1), (0.1, 0.2), (0.1, math.nan))] == [1, -1, 0, 0]
    assert paired({1: 0.5, 2: 0.9}, {2: 0.8, 1: 0.4}).half == pytest.approx(0, abs=1e-12)
    assert Reach((0.5, math.inf)).interval is None
