"""The experiments themselves: what is run, in which order, and that an interrupted one goes on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import net2net
from net2net.experiments import RECIPES, SIZES, Header, Inception, Point, Results, Run, read, reproduce
from net2net.experiments._plan import CHOICE_SEED, Costs, chosen_rate, jobs, ready
from net2net.experiments._reproduce import task_of
from net2net.experiments._results import TEACHER, append, start_file
from net2net.experiments._starts import fresh, grown, zero_rows
from net2net.experiments._tasks import examples
from net2net.experiments._training import cross_entropy, flops_of_step, train

SMOKE = SIZES["smoke"]
HEADER = Header("wider", "", "", "accuracy", {}, {}, (0.5, 1.0), (0.2, 0.02), (0.5,), (1,), 8)


def run_of(arm: str, rate: float, accuracy: float, budget: float = 0.5) -> Run:
    point = Point(8, None, None, 1 - accuracy, accuracy)
    return Run(arm, budget, "choice", rate, 8, CHOICE_SEED, 1e6, 0.1, 10, None, (point,))


@pytest.mark.thin(4)
@pytest.mark.parametrize("name", RECIPES)
def test_smoke(name: str, tmp_path: Path) -> None:
    """Every experiment from its data to the last run, with every arm, on the data that need no download."""
    results = reproduce(name, tmp_path, seeds=1, budget="smoke")
    assert results == read(tmp_path / "results.jsonl")
    header = results.header
    for key in header.arms:
        final = results.final(key)
        assert final and all(math.isfinite(run.score(header.metric)) for run in final)
        assert {run.rate for run in results.runs if run.arm == key and run.phase == "choice"} == set(header.rates)
        if key.startswith(("net2net", "copies", "hypercloning", "zero_random")):
            assert all(run.error is not None and run.error <= 1e-5 for run in final)
    teacher = next(run for run in results.final(TEACHER) if run.seed == 1)
    for keys in header.groups.values():
        grown = results.final(keys[0])[0]
        assert grown.points[0].loss == pytest.approx(teacher.points[-1].loss, rel=1e-5)


@pytest.mark.sweep
def test_an_interrupted_experiment_goes_on(tmp_path: Path) -> None:
    whole = reproduce("deeper", tmp_path, seeds=1, budget="smoke")
    file = tmp_path / "results.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:8]) + lines[8][:50])  # the last line was cut off while it was written
    again = reproduce("deeper", tmp_path, seeds=1, budget="smoke")

    def curves(results: Results) -> dict[object, object]:
        return {run.key: run.points for run in results.runs}

    assert curves(again) == curves(whole) and len(again.runs) == len(whole.runs)
    assert len(read(file).runs) == len(whole.runs)
    more = reproduce("deeper", tmp_path, seeds=2, budget="smoke")
    assert curves(again).items() <= curves(more).items() and len(more.final("net2net")) == 2 * len(
        again.final("net2net")
    )
    for options in ({"seeds": 1}, {"seeds": 2, "steps": 8}):
        with pytest.raises(net2net.OptionError, match="other settings"):
            reproduce("deeper", tmp_path, budget="smoke", **options)  # type: ignore[arg-type]


def test_misuse(tmp_path: Path) -> None:
    for options, words in (
        ({"experiment": "widder"}, "there is no experiment"),
        ({"budget": "huge"}, "there is no budget"),
        ({"seeds": 0}, "at least 1"),
        ({"steps": 0}, "at least 1"),
        ({"data": tmp_path / "nothing"}, "nothing"),
    ):
        with pytest.raises(net2net.OptionError, match=words):
            reproduce(**{"experiment": "wider", "output": tmp_path / "out", "budget": "smoke", **options})  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_text("{}\n")
    with pytest.raises(net2net.OptionError, match="not a results file"):
        reproduce("wider", tmp_path / "out", budget="smoke")


@pytest.mark.parametrize("name", RECIPES)
def test_equal_compute_is_equal(name: str) -> None:
    experiment = RECIPES[name](SIZES["cpu"])
    flops = {TEACHER: 2e6, **{group.name: 3e6 + i * 1e6 for i, group in enumerate(experiment.groups)}}
    costs = Costs(experiment, flops)
    teacher = experiment.teacher_budget * experiment.steps * flops[TEACHER]
    for group in experiment.groups:
        spent = {arm.kind: costs.steps(group, arm, costs.budgets(group, arm)[-1]) * costs.of_step(group, arm)
                 for arm in group.arms}  # fmt: skip
        scratch = next(arm for arm in group.arms if arm.kind == "scratch")
        equal = [costs.steps(group, scratch, b) * flops[group.name] for b in costs.budgets(group, scratch)]
        assert any(abs(e / (spent["grow"] + teacher) - 1) < 0.01 for e in equal)
        if "continue" in spent:
            assert abs(spent["continue"] / spent["grow"] - 1) < 0.01


def test_rates_are_chosen_on_another_seed_and_nothing_runs_before_what_it_needs() -> None:
    experiment = RECIPES["wider"](SMOKE)
    costs = Costs(experiment, {TEACHER: 1.0, "standard": 2.0})
    header = replace(HEADER, rates=experiment.rates)
    results = Results(header, ())
    first = [job for job in jobs(experiment, (1, 2), costs, results) if ready(job, set())]
    assert {(job.arm, job.phase, job.seed) for job in first} == {
        (TEACHER, "choice", CHOICE_SEED), ("scratch", "choice", CHOICE_SEED)}  # fmt: skip
    done = tuple(run_of(TEACHER, rate, 0.5 + rate, 1.0) for rate in experiment.rates)
    results = Results(header, done)
    finished = {run.key for run in done}
    second = [job for job in jobs(experiment, (1, 2), costs, results) if ready(job, finished) and job.arm == TEACHER]
    assert {job.seed for job in second} == {1, 2, CHOICE_SEED}
    assert all(job.runs == ((1.0, max(experiment.rates)),) for job in second)
    finished |= second[0].keys  # the teacher that rates are chosen with
    third = {job.arm for job in jobs(experiment, (1, 2), costs, results) if ready(job, finished) and job.teacher}
    assert third == {"net2net", "paper", "copies", "random_pad"}


def test_the_best_rate() -> None:
    runs = (run_of("a", 0.2, 0.5), run_of("a", 0.02, 0.7), run_of("b", 0.2, math.nan))
    results = Results(HEADER, runs)
    assert chosen_rate(results, "a", 1.0) == 0.02
    assert chosen_rate(results, "b", 1.0) is None
    results = Results(HEADER, (*runs, run_of("b", 0.02, 0.1)))
    assert chosen_rate(results, "b", 1.0) == 0.02  # the other diverged
    results = Results(replace(HEADER, metric="loss"), runs)
    assert chosen_rate(results, "a", 1.0) == 0.02  # run_of's losses fall as its accuracies rise


def test_a_rate_is_chosen_at_the_nearest_budget_below() -> None:
    short = (run_of("a", 0.2, 0.5, 0.125), run_of("a", 0.02, 0.7, 0.125))
    runs = (*short, run_of("a", 0.2, 0.9), run_of("a", 0.02, 0.8))
    results = Results(replace(HEADER, choice_budgets=(0.125, 0.5)), runs)
    assert [chosen_rate(results, "a", b) for b in (0.05, 0.125, 0.25, 0.5, 1.0, 1.4)] == [0.02] * 3 + [0.2] * 3


@pytest.mark.parametrize("name", ["deeper", "explore"])
def test_the_grown_network_is_the_one_from_scratch(name: str) -> None:
    """Identity pairs go where the deeper shape has them, so that both arms train the same network."""
    experiment, task = RECIPES[name](SMOKE), task_of(name, SMOKE, None)
    group = next(group for group in experiment.groups if group.where is not None)
    teacher = fresh(task, experiment.teacher, 0).eval()
    growth = grown(group.arms[0], group, task, teacher, 0)
    scratch = fresh(task, group.shape, 0)
    assert isinstance(scratch, Inception)
    scratch.load_state_dict(growth.student.state_dict())
    inputs = examples(task, 1, 1)[0]
    torch.testing.assert_close(scratch.eval()(inputs), teacher(inputs), rtol=1e-5, atol=1e-5)
    pairs = sum(group.shape.pairs) - sum(experiment.teacher.pairs)
    assert pairs == {"deeper": 6, "explore": 4}[name]


def test_g_zero_as_published() -> None:
    experiment, task = RECIPES["language"](SMOKE), task_of("language", SMOKE, None)
    teacher = fresh(task, experiment.teacher, 0)
    student = fresh(task, experiment.groups[0].shape, 1)
    zero_rows(teacher, student)
    old, new = dict(teacher.named_parameters()), dict(student.named_parameters())
    for name, tensor in old.items():
        assert torch.equal(new[name][tuple(slice(0, s) for s in tensor.shape)], tensor), name
    width = experiment.teacher.width
    gate = new["blocks.0.feed_forward.gate.weight"]
    assert not gate[experiment.teacher.feed_forward :, :width].any() and gate[:, width:].all()
    assert not new["embed.weight"][:, width:].any() and not new["norm.weight"][width:].any()


def test_a_run_ends_at_rate_zero_and_is_measured_on_everything() -> None:
    task = task_of("wider", SMOKE, None)
    model = fresh(task, RECIPES["wider"](SMOKE).teacher, 0)
    optimizer = task.optimizer(model, 0.0)
    ticks: list[float] = []
    points, seconds = train(
        model, optimizer, task, steps=10, rate=0.1, seed=1, every=4, part="validation", tick=ticks.append
    )
    assert [p.step for p in points] == [0, 4, 8, 10] and seconds > 0 and sum(ticks) == pytest.approx(1)
    assert points[0].train_loss is None and points[1].train_loss is not None
    inputs, targets = task.held_out("validation")
    with torch.no_grad():
        logits = model.eval()(inputs)
    assert points[-1].accuracy == pytest.approx(float((logits.argmax(-1) == targets).double().mean()))
    assert points[-1].loss == pytest.approx(float(cross_entropy(logits, targets)), rel=1e-5)
    factors = [task.factor(step, 1000, True) for step in range(1000)]
    assert factors[0] == pytest.approx(0.01, rel=0.01) and max(factors) > 0.97 and factors[-1] < 1e-5
    text = task_of("language", SMOKE, None)
    assert text.factor(700, 1000, True) == 1 and text.factor(999, 1000, True) == pytest.approx(0.005)
    assert text.factor(999, 1000, False) == 1


def test_flops_of_a_linear_layer() -> None:
    class Task:
        def batches(self, steps: int, seed: int) -> object:
            yield torch.randn(5, 4), torch.zeros(5, dtype=torch.int64)

    # Forward, and the gradient of the weight: 2 multiply-adds of 5 x 4 x 3; the input needs no gradient.
    assert flops_of_step(torch.nn.Linear(4, 3), Task()) == 2 * 2 * 5 * 4 * 3  # type: ignore[arg-type]


def test_the_results_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "results.jsonl"
    assert start_file(file, HEADER) == Results(HEADER, ())
    append(file, run_of("a", 0.2, math.nan))
    append(file, run_of("b", 0.2, 0.5))
    with open(file, "a") as stream:
        stream.write('{"arm": "c", "bud')
    append(file, run_of("d", 0.2, 0.5))
    found = start_file(file, HEADER)
    assert [run.arm for run in found.runs] == ["a", "b", "d"] and found.header == HEADER
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 4
