"""The demo at a size that takes seconds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from typer.testing import CliRunner

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from net2net.cli._app import app
from net2net.demo._data import TRAINING, batches, load
from net2net.demo._experiment import WIDTH, Arm
from net2net.demo._network import DigitsNet
from net2net.demo._page import _steps
from net2net.demo._training import Curve


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


def test_the_student_starts_at_the_teachers_accuracy(results: dict[str, Any]) -> None:
    assert results["growth"]["verification"]["passed"]
    assert results["student"]["accuracy_at_step_0"] == results["teacher"]["accuracy"]
    assert results["arms"]["net2net"]["curves"][0]["accuracy"][0] == results["teacher"]["accuracy"]
    assert results["arms"]["random_pad"]["relative_error_at_step_0"] > 0


def test_every_arm_has_its_curves(results: dict[str, Any]) -> None:
    assert list(results["arms"]) == ["net2net", "random_pad", "scratch"]
    for arm in results["arms"].values():
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
    for number in (results["teacher"]["parameters"], results["student"]["parameters"]):
        assert f"{number:,}" in page
    for arm in results["arms"].values():
        assert arm["label"] in page
        assert f"{100 * arm['final_mean']:.1f}&nbsp;%" in page
    assert page.count("<svg") == 2


def test_the_students_weights_load_into_a_network_of_its_size(folder: Path) -> None:
    student = DigitsNet(2 * WIDTH)
    missing, unexpected = safetensors.torch.load_model(student, folder / "student.safetensors")
    assert not missing
    assert not unexpected
    assert (folder / "curves.svg").read_text().startswith("<svg")


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
    assert _steps([10, None]) == "10 (1 of 2 seeds)"
    assert _steps([None]) == "never"
