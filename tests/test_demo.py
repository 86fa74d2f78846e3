"""The demo at a size that takes seconds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import net2net
from net2net.cli._app import app
from net2net.demo._data import TRAINING, batches, load
from net2net.demo._experiment import KERNELS, PLACES, WIDTH, Arm, _fresh
from net2net.demo._findings import findings
from net2net.demo._network import DigitsNet
from net2net.demo._training import Curve
from net2net.report import steps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "demo"
    arguments = ["demo", "--output", str(folder), "--seeds", "1", "--steps", "12", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((folder / "results.json").read_text())
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


@pytest.mark.parametrize("key", ["wider", "deeper"])
def test_the_student_starts_at_the_teachers_accuracy(results: dict[str, Any], key: str) -> None:
    experiment, teacher = results["experiments"][key], results["teacher"]
    assert experiment["growth"]["verification"]["passed"]
    assert experiment["student"]["accuracy_at_step_0"] == teacher["accuracy"]
    assert experiment["arms"]["net2net"]["curves"][0]["accuracy"][0] == teacher["accuracy"]
    assert experiment["arms"]["net2net"]["relative_error_at_step_0"] < 1e-6
    assert experiment["arms"]["scratch"]["curves"][0]["accuracy"][0] != teacher["accuracy"]
    assert experiment["student"]["parameters"] > teacher["parameters"]


def test_the_experiments_are_a_wider_and_a_deeper_network(results: dict[str, Any]) -> None:
    wider, deeper = results["experiments"].values()
    assert wider["growth"]["dimensions"] and not wider["growth"]["deepenings"]
    assert [d["place"] for d in deeper["growth"]["deepenings"]] == list(PLACES)
    assert deeper["growth"]["verification"]["approximate"] == ["train"]
    assert 0 < deeper["growth"]["verification"]["errors"]["train/given/output"] < 0.3
    assert wider["arms"]["random_pad"]["relative_error_at_step_0"] > 0


def test_every_arm_has_its_curves(results: dict[str, Any]) -> None:
    arms = {key: experiment["arms"] for key, experiment in results["experiments"].items()}
    assert {key: list(some) for key, some in arms.items()} == {
        "wider": ["net2net", "random_pad", "scratch"],
        "deeper": ["net2net", "scratch"],
    }
    for arm in (arm for some in arms.values() for arm in some.values()):
        assert [curve["steps"] for curve in arm["curves"]] == [[0, 10, 12]]


def test_the_page_loads_nothing(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(?!["']?#)""", page)
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe", page)
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert "http://" not in without_namespaces
    assert "https://" not in without_namespaces


def test_the_page_shows_the_numbers(folder: Path, results: dict[str, Any]) -> None:
    page = (folder / "report.html").read_text()
    assert f"{results['teacher']['parameters']:,}" in page
    for experiment in results["experiments"].values():
        assert experiment["title"] in page
        assert f"{experiment['student']['parameters']:,}" in page
        for arm in experiment["arms"].values():
            assert arm["label"] in page
            assert f"{100 * arm['final_mean']:.1f}&nbsp;%" in page


def test_no_two_figures_of_the_page_share_what_they_refer_to(folder: Path) -> None:
    figures = re.findall(r"<svg.*?</svg>", (folder / "report.html").read_text(), re.DOTALL)
    assert len(figures) == 4
    paths = [set(re.findall(r"url\(#(\w+)\)", figure)) for figure in figures]
    assert all(paths)
    assert len(set.union(*paths)) == sum(map(len, paths))


def test_the_figure_shows_both_experiments(folder: Path, results: dict[str, Any]) -> None:
    figure = (folder / "curves.svg").read_text()
    assert figure.startswith("<svg")
    for experiment in results["experiments"].values():
        assert f"<!-- {experiment['title']} -->" in figure
    assert figure.count("<!-- Close-up -->") == 2


def test_the_students_weights_load_into_networks_of_their_size(folder: Path) -> None:
    wider = DigitsNet(2 * WIDTH)
    deeper = net2net.deepen(DigitsNet(WIDTH), PLACES, torch.randn(4, 1, 8, 8), kernel=KERNELS).student
    for name, student in (("wider", wider), ("deeper", deeper)):
        missing, unexpected = safetensors.torch.load_model(student, folder / f"{name}.safetensors")
        assert not missing
        assert not unexpected


def test_a_random_start_keeps_nothing_and_depends_on_its_seed() -> None:
    trained = DigitsNet(WIDTH)
    trained(torch.randn(16, 1, 8, 8))  # moves the statistics
    one, again, other = (_fresh(trained, seed).state_dict() for seed in (1, 1, 2))
    for name, tensor in trained.state_dict().items():
        assert torch.equal(one[name], again[name])
        if "conv" in name or "running" in name or "classify" in name:
            assert not torch.equal(one[name], tensor), name
    assert not torch.equal(one["stem.conv.weight"], other["stem.conv.weight"])


def test_the_findings_follow_the_measured_order() -> None:
    student = Arm("net2net", "Net2DeeperNet", 0.0, 0.1, (Curve((0, 10), (0.5, 0.6)),))
    ahead = Arm("scratch", "Random initialisation", None, 0.1, (Curve((0, 10), (0.1, 0.7)),))
    behind = Arm("scratch", "Random initialisation", None, 0.1, (Curve((0, 10), (0.1, 0.4)),))
    text = " ".join(findings([student, ahead], 0.5))
    assert "random initialisation 70.0&nbsp;%, Net2DeeperNet 60.0&nbsp;%" in text
    assert "the head start, not the lead" in text
    assert "accuracy after 10 steps" in text
    text = " ".join(findings([student, behind], 0.5))
    assert "Net2DeeperNet 60.0&nbsp;%, random initialisation 40.0&nbsp;%" in text
    assert "head start" not in text
    assert "accuracy in no run" in text


def test_a_seed_gives_the_same_batches() -> None:
    training = load().training
    assert len(training) == TRAINING
    first, second = (list(batches(training, 64, 20, seed=1)) for _ in range(2))
    assert len(first) == 20
    assert all(a.images.equal(b.images) and a.digits.equal(b.digits) for a, b in zip(first, second, strict=True))


def test_steps_to_a_level() -> None:
    arm = Arm("scratch", "", None, 0.1, (Curve((0, 10, 20), (0.1, 0.5, 0.4)), Curve((0, 10, 20), (0.1, 0.2, 0.3))))
    assert arm.steps_to([0.5, 0.5]) == [10, None]
    assert arm.means == pytest.approx([0.1, 0.35, 0.35])
    assert steps([10, None]) == "10 (1 of 2 seeds)"
    assert steps([None]) == "never"
