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

CONFIG = {
    "vocab_size": 37, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 32,
}  # fmt: skip


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


def test_a_grown_network_is_loaded_in_another_script_as_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs" / "loading.md").read_text()
    model, load = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", guide, re.DOTALL)
    trained = "\n\ndef build():\n    torch.manual_seed(3)\n    return Net()\n"  # stands for weights that are loaded
    (tmp_path / "my_model.py").write_text(model + trained)
    for command in commands.splitlines():
        result = run(*command.split()[1:])
        assert result.exit_code == 0, result.output
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
    result = run("grow", "my_model.py:grown", "larger", "--all", "2x")
    assert result.exit_code == 0, result.output
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


@pytest.mark.parametrize("target", ["/proc/out", "/proc/some/out", "{source}/out", "{tmp}/new/{source_name}"])
def test_a_target_that_cannot_be_written_is_found_before_the_work(
    target: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    named = target.format(source=source, tmp=tmp_path, source_name="x" * 300)
    monkeypatch.setattr("net2net.cli._grow.grow", fail)
    result = run("grow", f"{source}:net", named, "--all", "2x")
    assert result.exit_code == 2 and "can't be written" in said(result)
    assert [file.name for file in tmp_path.iterdir() if file.name != "__pycache__"] == ["networks.py"]


def test_a_refusal_leaves_no_folder_behind(source: Path, tmp_path: Path) -> None:
    assert run("grow", f"{source}:net", tmp_path / "new" / "out", "--set", "first=3").exit_code == 1
    assert not (tmp_path / "new").exists()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert run("grow", f"{source}:net", tmp_path / "link", "--all", "2x").exit_code == 2


def test_a_full_disk_is_one_message(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_model", full)
    result = run("grow", f"{source}:net", tmp_path / "out", "--all", "2x")
    assert result.exit_code == 2 and "No space left" in said(result)


def test_disk_figures_have_a_unit_that_shows_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from net2net.huggingface._write import check_disk

    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 900}))
    with pytest.raises(net2net.CheckpointError, match=r"35\.25 kB are needed in .*, and 900 bytes are free"):
        check_disk(tmp_path / "partial", 35_250)


@pytest.mark.parametrize(
    ("code", "line", "reason"),
    [
        ("x = 1\ndef build(:\n    pass\n", 2, "SyntaxError: invalid syntax"),
        ("def build():\nreturn 3\n", 2, "IndentationError"),
        ("import no_such_library\n", 1, "ModuleNotFoundError: No module named 'no_such_library'"),
        ("x = 1\n\nraise SystemExit\n", 3, "SystemExit"),
        ("def build():\n    return missing\n", 2, "NameError: name 'missing' is not defined"),
        ("import torch\ndef build():\n    a = 1\n    return torch.zeros(2) @ torch.zeros(3)\n", 4, "RuntimeError"),
        ("from torch import nn\ndef build():\n    return nn.Linear(-1, 3)\n", 3, "RuntimeError"),
    ],
)
def test_code_that_fails_is_one_line_with_its_place(code: str, line: int, reason: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(code)
    for command in (["analyze"], ["grow"]):
        more = [tmp_path / "out", "--all", "2x"] if command == ["grow"] else []
        result = run(*command, f"{tmp_path / 'broken.py'}:build", *more, "--input", "3x4")
        text = said(result)
        assert result.exit_code == 2 and len(result.stderr.splitlines()) < 12
        assert f"broken.py,line{line}:" in text.replace(" ", "") and reason.replace(" ", "") in text.replace(" ", "")
    assert not (tmp_path / "out").exists()


def test_inputs_and_helpers_that_fail_are_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helper_of_networks.py").write_text("\n\nx = 1 / 0\n")
    (tmp_path / "main.py").write_text("import helper_of_networks\n")
    text = said(run("analyze", f"{tmp_path / 'main.py'}:build"))
    assert "helper_of_networks.py,line3:ZeroDivisionError" in text.replace(" ", "")
    (tmp_path / "wrong_inputs.py").write_text(
        MODELS.partition("def example_inputs")[0] + "def example_inputs():\n    1 / 0\n"
    )
    assert "ZeroDivisionError" in said(run("analyze", f"{tmp_path / 'wrong_inputs.py'}:net"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dotted_networks.py").write_text("def build(:\n")
    assert "dotted_networks.py,line1:" in said(run("analyze", "dotted_networks:build")).replace(" ", "")
    assert "no module" in said(run("analyze", "not_there_at_all.part:build"))


def test_numbers_that_change_are_shown_and_in_the_json(source: Path, tmp_path: Path) -> None:
    result = run("grow", f"{source}:net", tmp_path / "out", "--set", "first=2x")
    assert result.exit_code == 0 and "width: 6 -> 12" in result.stdout
    content = json.loads((tmp_path / "out" / "growth.json").read_text())
    assert content["changed"] == {"width": [6, 12]}
    again = run("grow", f"{source}:net", tmp_path / "none", "--set", "second=2x", "--json")
    assert json.loads(again.stdout)["changed"] == {}


@pytest.mark.filterwarnings("ignore:no example reads")
def test_what_is_left_out_and_not_compared_is_shown_and_in_the_json(tmp_path: Path) -> None:
    file = tmp_path / "partial.py"
    file.write_text(
        "import torch\nfrom torch import nn\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b, self.c, self.aux = map(nn.Linear, (4, 6, 5, 6), (6, 5, 2, 2))\n"
        "    def forward(self, x, other=False):\n        x = torch.relu(self.a(x))\n"
        "        x = self.aux(x) if other else self.c(torch.relu(self.b(x)))\n"
        "        return nn.functional.dropout(x, 0.5, training=True)\n"
    )
    result = run("grow", f"{file}:Net", tmp_path / "out", "--all", "2x", "--input", "3x4")
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "out" / "growth.json").read_text())
    for note in (*content["notes"], *content["verification"]["notes"]):
        assert note in result.stdout
    assert content["verification"]["notes"] and "a" in content["left_out"]
    assert "left out: a (" in result.stdout


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    transformers = pytest.importorskip("transformers")
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def test_inputs_are_passed_on_to_what_grows_and_verifies_a_folder(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import net2net.cli._checkpoint as streamed
    import net2net.cli._verify as verifying

    seen: list[Any] = []

    def spy(module: Any, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, **k: (seen.append(k["example_inputs"]), real(*a, **k))[1])

    spy(streamed, "grow_checkpoint")
    spy(verifying, "verify_checkpoints")
    monkeypatch.setattr(verifying, "FLOAT64_BYTES", 0)
    specification = ["--input", "input_ids=3x5:int64:37"]
    result = run("grow", llama, tmp_path / "out", "--set", "intermediate_size=2x", *specification, "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert {"changed", "left_out", "notes"} <= set(content) and "notes" in content["verification"]
    assert run("verify", llama, tmp_path / "out", *specification).exit_code == 0
    assert [tuple(inputs["input_ids"].shape) for inputs in seen] == [(3, 5), (3, 5)]
    result = run("grow", llama, tmp_path / "no", "--set", "intermediate_size=2x", "--input", "pixels=3x5")
    assert result.exit_code == 1 and "takes no 'pixels'" in said(result)
