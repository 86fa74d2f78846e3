"""The command line from one script to the next: what it leaves on disk, what it says no with, what it shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from typer.testing import CliRunner

import net2net
from net2net.cli._app import app

ROOT = Path(__file__).parents[2]

MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.width, self.first, self.second, self.last = 6, nn.Linear(4, 6), nn.Linear(6, 7), nn.Linear(7, 2)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)).reshape(-1, self.width))))

def net():
    return Net()

def convolutions():
    first = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    return nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()

def tied():
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 6), nn.Linear(6, 6))
    net[5].weight = net[0].weight
    return net

def example_inputs():
    return torch.randn(3, 4)
"""


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def said(result: Any) -> str:
    """What went to stderr, without the frame and the line breaks of a terminal."""
    return re.sub(r"[\s│]+", " ", result.stderr)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "networks.py"
    file.write_text(MODELS)
    return file


def python(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(net2net.__file__).parents[1])}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_grown_network_is_loaded_in_another_script_as_the_guide_says(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "loading.md").read_text()
    model, load = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", guide, re.DOTALL)
    trained = "\n\ndef build():\n    torch.manual_seed(3)\n    return Net()\n"  # stands for weights that are loaded
    (tmp_path / "my_model.py").write_text(model + trained)
    for command in commands.splitlines():
        python(tmp_path, "-m", *command.split())
    compare = (
        "\nimport torch\nx = torch.randn(50, 4, dtype=torch.float64)\nteacher, student = build().double(), None\n"
        "import my_model\nbuild = my_model.Net\n"  # other weights than the growth's
        "student = grown().double()\nexpected = teacher(x)\n"
        "print(student.width, ((student(x) - expected).abs().max() / expected.abs().max()).item())\n"
    )
    (tmp_path / "later.py").write_text(load + compare)
    width, error = python(tmp_path, "later.py").split()
    assert width == "16" and float(error) < 1e-6  # the weights are float32
    more = load.replace("from my_model import build, example_inputs", "")
    (tmp_path / "my_model.py").write_text(model + trained + "\n\n" + more)
    python(tmp_path, "-m", "net2net", "grow", "my_model.py:grown", "larger", "--all", "2x")
    assert load_file(tmp_path / "larger" / "student.safetensors")["first.weight"].shape == (32, 4)


@pytest.mark.parametrize(
    ("factory", "options", "inputs"),
    [
        ("net", ["--all", "2x"], []),
        ("net", ["--set", "second=11", "--how", "split"], []),
        ("net", ["--deepen", "second=1"], []),
        ("net", ["--deepen", "second=1", "--set", "second=9"], []),
        ("convolutions", ["--set", "0=6"], ["--input", "2x1x6x6"]),
        ("convolutions", ["--deepen", "0=1"], ["--input", "2x1x6x6"]),
        ("tied", ["--set", "2=9"], ["--input", "3x6"]),
    ],
)  # fmt: skip
def test_verify_takes_a_grown_folder(
    factory: str, options: list[str], inputs: list[str], source: Path, tmp_path: Path
) -> None:
    weights, target, name = tmp_path / "trained.safetensors", tmp_path / "out", f"{source}:{factory}"
    names: dict[str, Any] = {}
    exec(MODELS, names)
    torch.manual_seed(5)
    teacher = names[factory]()
    save_model(teacher, str(weights))
    result = run("grow", name, target, *options, *inputs, "--weights", weights)
    assert result.exit_code == 0, result.output
    assert {file.name for file in target.iterdir()} == {"student.safetensors", "plan.safetensors", "growth.json"}
    assert run("verify", name, target, "--weights", weights, *inputs).exit_code == 0
    other = run("verify", name, target, *inputs, "--json")  # the factory's weights are not the trained ones
    assert other.exit_code == 1 and not json.loads(other.stdout)["passed"]
    student = net2net.replay(
        net2net.Plan.load(target / "plan.safetensors"),
        teacher,
        torch.randn(3, 4) if not inputs else torch.randn(*map(int, inputs[1].split("x"))),
    ).student
    stored = load_file(target / "student.safetensors")
    assert all(torch.equal(tensor, student.state_dict()[name]) for name, tensor in stored.items())


def test_a_trained_student_is_verified_by_its_own_weights(source: Path, tmp_path: Path) -> None:
    target, trained = tmp_path / "out", tmp_path / "later.safetensors"
    assert run("grow", f"{source}:net", target, "--all", "2x").exit_code == 0
    state = load_file(target / "student.safetensors")
    save_file({name: tensor + 0.1 for name, tensor in state.items()}, trained)
    assert run("verify", f"{source}:net", target).exit_code == 0
    assert run("verify", f"{source}:net", target, "--student-weights", trained).exit_code == 1


def test_a_grown_folder_of_another_network_or_by_itself_is_refused(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert run("grow", f"{source}:net", target, "--all", "2x").exit_code == 0
    result = run("verify", f"{source}:convolutions", target, "--input", "2x1x6x6")
    assert result.exit_code == 1 and "Traceback" not in result.output
    result = run("analyze", target)
    assert result.exit_code == 2 and "docs/loading.md" in said(result)
