"""The log of surgeries, and surgeries on the command line of models in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from typer.testing import CliRunner

import net2net
from net2net import Features as F
from net2net.cli._app import app

MODELS = """
import torch
from torch import nn

def net(inputs=3, outputs=2):
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))

def example_inputs():
    x = torch.randn(5, 3)
    x[:, 1] = 0.5
    return x
"""
ASKED = [
    "--features", "0=x,b,v:v,angle,x", "--constant", "0:b=0.5", "--outputs", "output=left,right:left,stay,right",
    "--start", "output=never",
]  # fmt: skip


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "policies_of_a_user.py").write_text(MODELS)
    return f"{tmp_path / 'policies_of_a_user.py'}:net"


def test_a_factory_and_a_file_of_weights(source: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    teacher = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    safetensors.torch.save_model(teacher, str(tmp_path / "teacher.safetensors"))
    weights, log = ["--weights", tmp_path / "teacher.safetensors"], tmp_path / "surgeries.jsonl"
    done = run("surgery", source, tmp_path / "new", *ASKED, *weights, "--log", log, "--step", "7", "--json")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["verification"]["passed"] and summary == json.loads((tmp_path / "new" / "growth.json").read_text())
    student = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
    safetensors.torch.load_model(student, tmp_path / "new" / "student.safetensors")
    y = 9 * torch.randn(20, 3)
    old = torch.stack([y[:, 2], torch.full((20,), 0.5), y[:, 0]], 1)
    assert (teacher(old) - student(y)[:, [0, 2]]).abs().max() <= 1e-5 * teacher(old).abs().max()
    assert run("verify", source, tmp_path / "new", *weights).exit_code == 0
    (entry,) = net2net.read_log(log).entries
    assert (entry.step, entry.before, entry.after) == (7, 50, 59)
    assert "angle" in entry.change and "of the probability moves" in run("log", log).stdout
    assert json.loads(run("log", log, "--json").stdout)[0]["step"] == 7


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give --features or --outputs"),
        (["--tokens", "5"], 2, "a Python source; --tokens, --label and --channels are for a Hugging Face folder"),
        (["--features", "0=3"], 2, "is not BEFORE:AFTER"),
        (["--features", "3:4"], 2, "is not NAME=BEFORE:AFTER"),
        (["--features", "obs=3:4"], 1, "nothing is called 'obs'"),
        (["--features", "0=3:4", "--axis", "1=1"], 2, "'1' is in no --features"),
        (["--features", "0=3:4", "--axis", "0=x"], 2, "no whole number"),
        (["--features", "0=3:4", "--dry-run"], 2, "does nothing without --tokens"),
        (["--features", "0=3:4", "--step", "3"], 2, "does nothing without --log"),
        (["--features", "0=3:4", "--log", "/nowhere/at/all"], 2, "there is no folder"),
        (["--features", "0=x,b,v:x,v", "--constant", "0:b=0.25"], 1, "'b' of the input 'input' is live"),
    ],
)
def test_what_people_get_wrong(source: str, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    result = run("surgery", source, tmp_path / "new", *arguments)
    assert result.exit_code == code and message in " ".join(result.output.replace("│", " ").split()), result.output
    assert [p.name for p in tmp_path.iterdir()] == ["policies_of_a_user.py"]


def test_a_log_is_a_table_of_all_growths_of_a_run(tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    file = tmp_path / "surgeries.jsonl"
    first = net2net.surgery(policy, torch.randn(5, 3), features={0: F(3, 4)})
    first.log(file, step=81_821, change="game 7.19")
    net2net.widen(first.student, {"0": 16}, torch.randn(5, 4)).log(file)
    found = net2net.read_log(file)
    assert [(e.step, e.before, e.after) for e in found.entries] == [(81_821, 50, 58), (None, 58, 114)]
    lines = str(found).splitlines()
    assert "81,821" in lines[2] and lines[2].endswith("game 7.19") and "0 8 -> 16" in lines[3]
    with pytest.raises(net2net.OptionError, match="step='x'"):
        first.log(file, step="x")  # type: ignore[arg-type]
    with pytest.raises(net2net.OptionError, match="can't be written"):
        first.log(tmp_path / "no" / "where")
    with open(file, "a") as stream:
        stream.write('{"step": 3}\n')
    with pytest.raises(net2net.CheckpointError, match="line 3 of"):
        net2net.read_log(file)
    with pytest.raises(net2net.CheckpointError, match="can't be read"):
        net2net.read_log(tmp_path / "none")
