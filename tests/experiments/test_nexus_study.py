"""The experiment on growing projections: its arms, its growth law, and a report of runs that are mostly there."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from net2net.errors import OptionError
from net2net.experiments import STUDIES, Order
from net2net.experiments._courses import Course, Ended, keep
from net2net.experiments._nexus import DEAD, FULL, GROWN, SIZES, STAY, courses
from net2net.experiments._nexus_law import fit_law
from net2net.experiments._plan import CHOICE_SEED

LOSSES = {GROWN: 2.0, DEAD: 2.5, FULL: 1.9, "scratch-equal": 2.1, "tokenformer": 2.05}


def ended(course: Course, rate: float, seed: int) -> Ended:
    stage = course.key.removeprefix("stage-")
    loss = LOSSES.get(course.key, 2.0 + 0.5 ** int(stage) if stage.isdigit() else 2.5) + 0.001 * seed
    return Ended(course.key, rate, seed, 8, 10.0, loss, loss, 1.0, 1.0, 0.1, 100, (0.0,) * len(course.stages))


@pytest.mark.parametrize("budget", list(SIZES))
def test_all_that_grows_ends_at_one_size_of_parameters(budget: str) -> None:
    size = SIZES[budget]
    last = len(size.inner) - 1
    arms = {course.key: course for course in courses(size, [1.0] * last + [4.0])}
    assert arms["scratch-equal"].length == (last + 4) / (4 * (last + 1)) and len(arms[GROWN].stages) == last
    assert arms["stage-1"].length == 2 / (last + 1) and len(arms["stage-1"].stages) == 1
    assert dict(arms[GROWN].stages[-1].growth["sizes"]) == dict(
        zip(("blocks.*.first", "blocks.*.second"), size.inner[-1], strict=True)
    )
    with torch.device("meta"):
        nexus, tokens = (sum(p.numel() for p in size.shape(last, t).build(60).parameters()) for t in (False, True))
    assert tokens == pytest.approx(nexus, rel=0.02)


def test_a_law_that_its_points_do_not_determine_says_so() -> None:
    ks = [0, 1, 2, 3]
    sure = fit_law(ks * 2, [2 + 0.5**k + (0.01 if i < 4 else -0.01) for i, k in enumerate(ks * 2)])
    assert sure is not None and sure.determined and sure.limits[0] < 2.0 < sure.limits[1] and "95 %" in str(sure)
    line = fit_law(ks * 2, [2 - 0.1 * k for k in ks * 2])
    assert line is not None and not line.determined and "not determined" in str(line)
    assert fit_law(ks[:2] * 2, [1.0] * 4) is None and fit_law(ks, [1.0, math.nan, 1.0, 1.0]) is None


def test_the_report(tmp_path: Path) -> None:
    order, size = Order(tmp_path, seeds=(1, 2), budget="smoke"), replace(SIZES["smoke"], steps=4)
    (tmp_path / "runs").mkdir()
    for course in courses(size, [1.0] * 4):
        for seed in (1, 2, CHOICE_SEED):
            if course.tuned or seed != CHOICE_SEED:
                keep(tmp_path / "runs", ended(course, size.rates[0], seed))
    lost = tmp_path / "runs" / f"stage-0.rate-{size.rates[0]:g}.seed-1.json"
    before, there = lost.read_text(), {file: file.stat().st_mtime_ns for file in (tmp_path / "runs").iterdir()}
    lost.unlink()
    told: list[tuple[float, float]] = []
    text = STUDIES["nexus"](replace(order, steps=4, progress=lambda *done: told.append(done))).text()
    assert len(told) == 2 and told[-1][0] == told[-1][1] and lost.read_text() != before  # only the lost one was run
    assert [file for file, time in there.items() if file.stat().st_mtime_ns != time] == [lost]
    assert (
        "growing ends +0.100 ± 0.000 nats from it: the opposite" in text and "is dead: it ends where no growth" in text
    )
    assert "equal FLOPs: \N{MINUS SIGN}0.100 ± 0.000 nats, seen" in text and "Growth law" in text
    assert STAY in json.loads((tmp_path / "summary.json").read_text())["rows"][1]["arm"]
    assert (tmp_path / "nexus.svg").read_text().startswith("<svg") and (tmp_path / "table.md").exists()
    with pytest.raises(OptionError, match="other settings"):
        STUDIES["nexus"](order)
    with pytest.raises(OptionError, match="no budget 'huge'"):
        STUDIES["nexus"](replace(order, budget="huge"))
