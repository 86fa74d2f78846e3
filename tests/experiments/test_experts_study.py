"""The experiment on experts: its arithmetic, its model, and a whole small one that is interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from net2net.errors import OptionError
from net2net.experiments import STUDIES, Order, TextTask, load_text
from net2net.experiments import _experts_run as harness
from net2net.experiments._experts import ARMS, SCRATCH, SIZES
from net2net.experiments._experts_model import BALANCE, balanced, build
from net2net.experiments._experts_report import markdown, paper_closure, sentences, summarise_experts, write_experts
from net2net.experiments._experts_results import ExpertResults, ExpertRun, read_experts
from net2net.experiments._plan import CHOICE_SEED

SIZE = SIZES["smoke"]


def made_up(**gaps: float) -> ExpertResults:
    """Three seeds of each arm: 2 nats less a gap, and a bit by the seed; the rate 0.2 was the worse one."""
    runs = []
    for arm in ("mixture", "dense", *(arm.key for arm in ARMS)):
        for seed, rate in ((CHOICE_SEED, 0.2), (CHOICE_SEED, 0.1), (1, 0.1), (2, 0.1), (3, 0.1)):
            loss = 2.0 - gaps.get(arm, 0.0) + 0.1 * (seed % 1000) + rate
            error = 1e-16 if arm.startswith("replica") else 0.5 if arm.startswith("free") else None
            times = 2 if arm == SCRATCH else 1
            curve = ((0, 3.0), (4 * times, 2.5), (8 * times, loss))
            runs.append(
                ExpertRun(
                    arm, rate, seed, 8 * times, 64 * times, 1e6 * times, 2.9, loss, loss, 100, 1.0, error, 0.0, curve
                )
            )
    return ExpertResults({"experiment": "experts"}, tuple(runs))


def test_closures_are_the_paper_s_ratio_and_seeds_are_compared_with_themselves() -> None:
    report = summarise_experts(made_up(scratch=0.4, replica=0.3, random=-0.2, dense_copies=0.1))
    rows = {row.arm.key: row for row in report.rows}
    assert list(rows) == [arm.key for arm in ARMS]
    assert rows["replica"].closure == pytest.approx(0.75) and rows["random"].closure == pytest.approx(-0.5)
    assert rows["free"].closure == pytest.approx(0.0) and rows["dense_copies"].closure is None
    lead = rows["dense_copies"].lead
    assert lead is not None and lead.mean == pytest.approx(-0.1) and lead.half < 1e-9 < rows["dense_copies"].end.half
    assert (rows["replica"].after, rows["replica"].flops, rows["replica"].tokens) == (0.5, 1.0, (64, 128))
    assert (rows["scratch"].flops, rows["fixed"].rate) == (1.0, 0.1)
    assert paper_closure("random") == pytest.approx(-3.02, abs=0.01)
    text = markdown(report)
    assert "75%" in text and "so there is a gap to close" in text and "Tokens: 64 after a teacher, 128 in all" in text
    assert "uniform copies: seen (\N{MINUS SIGN}0.300" in text and "Copies end below random new experts" in text
    assert "Copies by utility end below uniform ones (the paper's claim): not told apart" in text


def test_without_a_gap_nothing_is_closed() -> None:
    report = summarise_experts(made_up(scratch=-0.1, replica=0.3))
    assert all(row.closure is None for row in report.rows)
    assert any("there is no gap to close" in line for line in sentences(report))
    assert list(sentences(summarise_experts(ExpertResults({})))) == ["There are not enough runs to say anything yet."]


def test_the_balance_moves_the_choice_and_leaves_the_weights() -> None:
    model = build(SIZE, 20, 4, 0).train()
    router = model.blocks[0].feed_forward.router
    with torch.no_grad():
        router.weight.zero_()
        router.balance += torch.tensor([0.1, 0.1, 0.0, 0.0])
    _, weights, chosen = router(torch.randn(30, 6))
    assert chosen.unique().tolist() == [0, 1] and torch.equal(weights, torch.full((30, 2), 0.5))
    before = router.balance.clone()
    balanced(model)
    assert torch.allclose(router.balance - before, BALANCE * torch.tensor([-1.0, -1.0, 1.0, 1.0]))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    keys = ("fixed", "scratch", "replica_utility")
    monkeypatch.setattr(harness, "ARMS", tuple(arm for arm in ARMS if arm.key in keys))
    return keys


@pytest.mark.filterwarnings("ignore::net2net.Net2NetWarning")
def test_a_whole_one_goes_on_where_it_was_interrupted(tmp_path: Path, few: tuple[str, ...]) -> None:
    task = TextTask(load_text(None), SIZE.batch, SIZE.length, SIZE.windows)

    def interrupt(done: float, total: float) -> None:
        assert total == 2 * (2 + 3)
        if done == 5:
            raise KeyboardInterrupt

    first = harness.run_experts(task, SIZE, tmp_path, seeds=(1,), progress=interrupt)
    assert len(first.runs) == 5
    with open(tmp_path / "results.jsonl", "a") as file:
        file.write('{"arm": "fix')  # a line that was cut off
    found = harness.run_experts(task, SIZE, tmp_path, seeds=(1,))
    assert found.runs[:5] == first.runs and len(found.runs) == 10
    assert read_experts(tmp_path / "results.jsonl") == found
    runs = {run.arm: run for run in found.runs if run.seed == 1}
    assert runs["fixed"].start == runs["mixture"].score == pytest.approx(runs["replica_utility"].start, rel=1e-6)
    assert runs["replica_utility"].error < 1e-5 and runs["fixed"].error is None
    assert runs["scratch"].tokens == 2 * runs["fixed"].tokens == 2 * SIZE.steps * SIZE.batch * SIZE.length
    assert runs["replica_utility"].scoring > 0 == runs["fixed"].scoring
    report = write_experts(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"table.md", "summary.json", "experts.svg"}
    assert json.loads((tmp_path / "summary.json").read_text())["rows"][0]["arm"] == "fixed"
    assert "Not run yet: " in report.text()
    with pytest.raises(OptionError, match="other settings"):
        harness.run_experts(task, SIZES["cpu"], tmp_path, seeds=(1,))


def test_orders_that_cannot_be_carried_out(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no budget 'vast'"):
        STUDIES["experts"](Order(tmp_path, budget="vast"))
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(OptionError, match="is not a results file of 'experts'"):
        STUDIES["experts"](Order(tmp_path, budget="smoke"))


@pytest.mark.sweep
@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.key)
@pytest.mark.filterwarnings("ignore::net2net.Net2NetWarning")
def test_every_arm_runs(tmp_path: Path, arm: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "ARMS", (arm,))
    task = TextTask(load_text(None), SIZE.batch, SIZE.length, SIZE.windows)
    found = harness.run_experts(task, SIZE, tmp_path, seeds=())
    assert len(found.runs) == 3 and found.runs[-1].score > 0
