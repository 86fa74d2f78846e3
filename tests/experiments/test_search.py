"""The experiment on search: what it says of its outcomes, and that it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import net2net
from net2net.experiments import SearchResults, reproduce_search
from net2net.experiments._search import LABELS, _started
from net2net.experiments._search_arms import Outcome, as_line


def outcome(arm: str, seed: int, score: float) -> Outcome:
    return Outcome(arm, seed, score, score, 1e6, 10, 3, "nothing grew")


@pytest.mark.parametrize(("metric", "lead"), [("accuracy", "-0.1000 (0 of 2)"), ("loss", "+0.1000 (2 of 2)")])
def test_leads_are_counted_seed_by_seed_in_the_direction_of_the_metric(metric: str, lead: str) -> None:
    some = [outcome("inheritance", 1, 0.5), outcome("inheritance", 2, 0.7)]
    results = SearchResults("data", metric, (*some, outcome("random", 1, 0.6), outcome("random", 2, 0.8)))
    rows = results.rows()[1]
    assert [row[0] for row in rows] == [LABELS["inheritance"], LABELS["random"]]
    assert rows[0][1] == "0.6000 ± 0.1000" and rows[1][2] == lead


def test_a_file_goes_on_with_its_own_settings_only_and_without_a_cut_line(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    assert _started(file, {"steps": 3}) == []
    line = as_line(outcome("teacher", 1, 0.5))
    with open(file, "a") as stream:
        stream.write(line + "\n" + line[:30])
    assert _started(file, {"steps": 3}) == [outcome("teacher", 1, 0.5)]
    assert len(file.read_text().splitlines()) == 2
    with pytest.raises(net2net.OptionError, match="other settings"):
        _started(file, {"steps": 4})


@pytest.mark.sweep
def test_smoke(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    results = reproduce_search(tmp_path, seeds=(1,), budget="smoke")
    by_arm = {o.arm: o for o in results.outcomes}
    assert set(by_arm) == set(LABELS) and by_arm["random"].compute >= by_arm["inheritance"].compute
    assert reproduce_search(tmp_path, seeds=(1,), budget="smoke").outcomes == results.outcomes
    assert json.loads((tmp_path / "results.jsonl").read_text().splitlines()[0])["settings"]["trials"] == 3
