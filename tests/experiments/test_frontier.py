"""Grown networks against the frontier of networks of one size: arithmetic, order, and one whole small experiment."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from net2net.errors import OptionError
from net2net.experiments import STUDIES, LanguageShape, Order, TextTask, load_text
from net2net.experiments._carry import Bench, carry
from net2net.experiments._courses import Course, Ended, Stage, keep, kept
from net2net.experiments._frontier import frontier, hull, study
from net2net.experiments._frontier_report import FrontierReport, markdown, sentences, write_frontier
from net2net.experiments._late import SCALES, Late, Scale, chosen, jobs, late_depth
from net2net.experiments._late_width import late_width

SMALL = LanguageShape(8, 2, 4)


def course(key: str, layers: int, *stages: Stage, rate_of: str = "", length: float = 1.0) -> Course:
    return Course(key, key, replace(SMALL, layers=layers), stages, rate_of or key, length)


DEEPER = Stage(0.5, {"where": {"blocks": 1}})
LATE = Late(
    "late-depth",
    "a small one",
    8,
    (4e-3, 2e-3),
    4e-3,
    "fixed-2",
    (course("grown", 1, DEEPER, rate_of="fixed-2"), course("fixed-1", 1), course("fixed-2", 2)),
    batch=2,
    context=8,
)


def ended(key: str, flops: float, score: float, seed: int = 1, rate: float = 4e-3) -> Ended:
    return Ended(key, rate, seed, 8, flops, score, score, 1.0, 1.0, 0.1, 100)


def test_the_hull_leaves_out_what_lies_above_a_line() -> None:
    assert hull({"a": (0, 3.0), "b": (1, 2.6), "c": (2, 2.0), "d": (3, 2.0)}) == ["a", "c"]


def test_a_grown_network_is_compared_seed_by_seed_with_the_line_between_two_sizes() -> None:
    runs = [ended("fixed-1", 1.0, 2.0 + s, s) for s in (1, 2)] + [ended("fixed-2", 4.0, 1.0 + s, s) for s in (1, 2)]
    runs += [ended("grown", 2.0, 1.4 + s, s) for s in (1, 2)]
    found = frontier(LATE, "text", (1, 2), runs)
    grown = next(p for p in found.places if p.grown)
    assert grown.above is not None and grown.behind_full is not None
    assert (grown.flops, round(grown.above.mean, 9), round(grown.behind_full.mean, 9)) == (0.5, -0.1, 0.4)
    assert grown.above.half < 1e-9 < grown.score.half  # the seeds differ by 1, the differences by nothing
    said = list(sentences(found))
    assert "is the best of one size" in said[0] and ": missed." in said[1] and ": met, beyond the interval." in said[2]


def test_a_full_size_that_does_not_pay_is_said_first() -> None:
    runs = [ended("fixed-1", 1.0, 1.0), ended("fixed-2", 4.0, 2.0), ended("grown", 2.0, 1.5)]
    found = frontier(LATE, "text", (1,), runs)
    assert found.corners == ("fixed-1",)
    first, second, third, *_ = sentences(found)
    assert "doesn't pay here: fixed-1" in first
    assert "met by one seed, which says little" in second and ": missed. The nearest is grown: +0.500" in third


def test_an_experiment_that_has_just_begun_has_a_report(tmp_path: Path) -> None:
    for runs in ([], [ended("fixed-1", 1.0, 1.0)], [ended("fixed-2", 1.0, 1.0), ended("grown", 1.0, 1.0, seed=2)]):
        report = write_frontier(frontier(LATE, "text", (1, 2), runs), tmp_path)
        assert "not enough runs" in report.text() and (tmp_path / "frontier.svg").exists()


def test_rates_are_chosen_on_the_other_part_by_the_first_seed() -> None:
    done = [ended("fixed-2", 4.0, 1.0, 1, 4e-3), replace(ended("fixed-2", 4.0, 2.0, 1, 2e-3), choice=0.5)]
    done.append(replace(ended("fixed-2", 4.0, 0.1, 2, 4e-3), choice=0.1))
    grown, small, full = LATE.courses
    assert [chosen(LATE, c, done) for c in (grown, small, full)] == [2e-3, 4e-3, 2e-3]
    planned = list(dict.fromkeys(jobs(LATE, (1, 2), done)))
    assert planned[0] == ("fixed-1", 4e-3, 1) and ("fixed-1", 2e-3, 2) not in planned  # only chosen rates get all seeds
    assert ("grown", 2e-3, 2) in planned and ("fixed-2", 2e-3, 2) in planned


def test_a_growth_changes_no_loss_and_its_flops_are_those_of_both_sizes() -> None:
    bench = Bench(TextTask(load_text(None), 2, 8, 8), 8)
    one, two = (carry(bench, course("", layers), 4e-3, 1) for layers in (1, 2))
    grown = carry(bench, course("", 1, DEEPER), 4e-3, 1)
    assert math.isclose(grown.flops, (one.flops + two.flops) / 2)
    assert grown.jumps == (pytest.approx(0.0, abs=1e-6),) and grown.parameters == two.parameters
    assert grown.curve[:4] == one.curve[:4] and grown.curve[-1] != one.curve[-1]  # the same batches
    assert two.flops > one.flops > 6 * 8 * 16 * (12 * 8**2)  # every weight, and the products inside attention
    stacked = carry(bench, course("", 1, Stage(0.5, {"where": {"blocks": 1}, "init": "stack"})), 4e-3, 1)
    assert abs(stacked.jumps[0]) > 1e-6


@pytest.mark.parametrize("state", ["new reset", "reset"])
def test_a_state_can_be_left_behind(state: str) -> None:
    bench = Bench(TextTask(load_text(None), 2, 8, 8), 8)
    wider = {"sizes": {"blocks.*.feed_forward.gate": "2x"}, "how": "split"}
    ways = [carry(bench, course("", 1, Stage(0.5, wider, way)), 4e-3, 1) for way in ("carried", state)]
    assert ways[0].jumps == ways[1].jumps == (pytest.approx(0.0, abs=1e-6),)
    assert ways[0].curve[:4] == ways[1].curve[:4] and ways[0].curve[-1] != ways[1].curve[-1]


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    found = study(LATE, tmp_path, None, seeds=(1,))
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "runs").iterdir()}
    assert len(files) == 5 and {place.course.key for place in found.places} == {"grown", "fixed-1", "fixed-2"}
    lost = min(files)
    before = next(run for run in kept(tmp_path / "runs") if run.name == lost.name)
    lost.unlink()
    again = study(LATE, tmp_path, None, seeds=(1,))
    after = next(run for run in kept(tmp_path / "runs") if run.name == lost.name)
    assert {f for f in files if f.stat().st_mtime_ns != files[f]} == {lost}
    assert (before.score, before.curve) == (after.score, after.curve)
    assert markdown(again).splitlines()[0] == markdown(found).splitlines()[0]
    with pytest.raises(OptionError, match="other settings"):
        study(LATE, tmp_path, None, seeds=(1,), steps=9)


def test_the_report_of_an_experiment(tmp_path: Path) -> None:
    order = Order(tmp_path, seeds=(1,), budget="smoke")
    late = late_depth(SCALES["smoke"])
    (tmp_path / "runs").mkdir()
    for n, c in enumerate(late.courses):  # all but one are there
        for k, rate in enumerate(late.rates if c.tuned else late.rates[:1]):
            if c.key != "fixed-1" or k:
                keep(tmp_path / "runs", ended(c.key, 2.0 + n, 9 - 0.1 * n + k, rate=rate))
    told: list[float] = []
    outcome = STUDIES["late-depth"](replace(order, progress=lambda done, _: told.append(done)))
    assert len(told) == 2 and isinstance(outcome, FrontierReport) and "Against the frontier" in outcome.text()
    assert json.loads((tmp_path / "summary.json").read_text()) == outcome.as_json()
    assert (tmp_path / "frontier.svg").read_text().startswith("<svg") and (tmp_path / "table.md").exists()
    with pytest.raises(OptionError, match="no budget 'huge'; use one of smoke, cpu"):
        STUDIES["late-depth"](replace(order, budget="huge"))


@pytest.mark.parametrize("make", [late_depth, late_width])
@pytest.mark.parametrize("budget", list(SCALES))
def test_every_course_ends_at_the_full_size_or_keeps_its_own(make: Callable[[Scale], Late], budget: str) -> None:
    late = make(SCALES[budget])
    full = late.course(late.full)
    keys = [c.key for c in late.courses]
    assert full.tuned and len(set(keys)) == len(keys) and late.courses[0].stages
    for c in late.courses:
        layers, width = c.shape.layers, c.shape.width
        for stage in c.stages:
            layers += sum(stage.growth.get("where", {}).values())
            width = round(width * stage.growth.get("sizes", 1))
        assert late.course(c.rate_of).tuned and width % c.shape.head == 0
        assert not c.stages or (layers, width) == (full.shape.layers, full.shape.width)


def test_width_and_depth_at_once_are_a_course() -> None:
    late = late_width(SCALES["smoke"])
    bench = Bench(TextTask(load_text(None), 2, 8, 8), 4)
    both, full = (carry(bench, late.course(key), 4e-3, 1) for key in ("both", late.full))
    assert both.jumps == (pytest.approx(0.0, abs=1e-6),)
    assert math.isclose(both.parameters, full.parameters, rel_tol=0.03)  # the feed-forward's 8/3 are rounded
