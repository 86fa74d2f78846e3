"""The command line: what it prints and writes, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

import net2net.cli
from net2net.cli._app import app
from net2net.cli._inputs import parse

MODELS = """
import torch
from torch import nn

def net(hidden=6):
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 2))

def wider():
    return net(12)

def deeper(hidden=6):
    between = [nn.Linear(6, hidden), nn.ReLU()]
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), *between, nn.Linear(hidden, 2))

def deeper_and_wider():
    return deeper(9)

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 5), nn.Linear(5, 4)

    def forward(self, x):
        return x + self.outer(torch.relu(self.inner(x)))

def blocks():
    return nn.Sequential(*(Block() for _ in range(3)))

def saturating():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))

def other_inputs():
    return nn.Linear(5, 2)

def needs_size(size):
    return net(size)

def number():
    return 3
"""


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "some_models.py"
    file.write_text(MODELS + "\ndef example_inputs():\n    return torch.randn(3, 4)\n")
    return file


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pretrained folder with a file of a tokenizer."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("llama")
    config = transformers.LlamaConfig(
        vocab_size=37,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("command", [[], ["analyze"], ["grow"], ["verify"], ["demo"]])
def test_help(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


@pytest.mark.parametrize("command", ["analyze", "grow", "verify", "demo"])
def test_every_command_has_json_and_seed(command: str) -> None:
    text = run(command, "--help").stdout
    assert "--json" in text
    assert "--seed" in text


def test_analyze(source: Path) -> None:
    result = run("analyze", f"{source}:net")
    assert result.exit_code == 0
    assert "fixed" in result.stdout
    content = json.loads(run("analyze", f"{source}:net", "--json").stdout)
    hidden = next(d for d in content["dimensions"] if d["name"] == "0")
    assert (hidden["size"], hidden["growth"]) == (6, "any")
    assert {"tensor": "2.weight", "axis": 1, "role": "contracted"} in hidden["places"]


def test_analyze_shows_where_it_can_be_deeper(source: Path) -> None:
    content = json.loads(run("analyze", f"{source}:blocks", "--json").stdout)
    places = {p["name"]: (p["kind"], p["count"], p["growth"]) for p in content["places"]}
    assert places["."] == ("blocks", 3, "exact")
    assert places["2.inner"] == ("layer", 1, "exact")
    text = run("analyze", f"{source}:blocks").stdout
    assert "outer.weight" in text
    assert "*.inner" in text  # once for all three
    assert "2.inner" not in text.partition("Places to deepen")[2]
    assert "neither" in run("analyze", f"{source}:saturating").stdout


def test_analyze_takes_inputs_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "models_without_inputs.py"
    file.write_text(MODELS)
    assert run("analyze", f"{file}:net").exit_code == 2
    assert run("analyze", f"{file}:net", "--input", "3x4").exit_code == 0


def test_analyze_needs_the_config_only(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((llama / "config.json").read_text())
    content = json.loads(run("analyze", tmp_path, "--json").stdout)
    assert 24 in {d["size"] for d in content["dimensions"] if d["growth"] == "any"}


def test_grow_a_python_source(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "student"
    result = run("grow", f"{source}:net", target, "--set", "0=2x", "--seed", "3", "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content == json.loads((target / "growth.json").read_text())
    assert content["seed"] == 3
    assert content["version"] == net2net.__version__
    assert [(d["name"], d["from"], d["to"]) for d in content["dimensions"]] == [("0", 6, 12)]
    assert content["tensors"]["2.weight"] == [2, 12]
    assert content["verification"]["passed"]
    weights = safetensors.torch.load_file(target / "student.safetensors")
    assert weights["0.weight"].shape == (12, 4)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_grown_weights_verify_against_the_teachers(source: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
    weights = tmp_path / "teacher.safetensors"
    safetensors.torch.save_model(teacher, str(weights))
    target = tmp_path / "student"
    result = run("grow", f"{source}:net", target, "--all", "2x", "--weights", weights)
    assert result.exit_code == 0, result.output
    assert "exactly function-preserving" in result.stdout
    pair = ["verify", f"{source}:net", f"{source}:wider", "--weights", weights]
    grown = ["--student-weights", target / "student.safetensors"]
    assert json.loads(run(*pair, *grown, "--json").stdout)["passed"]
    assert "passed" in run(*pair, *grown).stdout
    untrained = run(*pair)
    assert untrained.exit_code == 1
    assert "FAILED" in untrained.stdout


def test_grow_deeper(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "student"
    result = run("grow", f"{source}:net", target, "--deepen", "0=1", "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content == json.loads((target / "growth.json").read_text())
    assert content["deepenings"] == [
        {
            "place": "0",
            "kind": "layers",
            "from": 1,
            "to": 2,
            "init": "identity",
            "sources": [0, 0],
            "new": [False, True],
        }
    ]
    assert (content["dimensions"], content["earlier"]) == ([], None)
    pair = ["verify", f"{source}:net", f"{source}:deeper", "--student-weights"]
    assert run(*pair, target / "student.safetensors").exit_code == 0


def test_grow_deeper_and_wider(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "student"
    result = run("grow", f"{source}:net", target, "--deepen-all", "2x", "--set", "2=9")
    assert result.exit_code == 0, result.output
    first, second = result.stdout.index("step 1: deeper"), result.stdout.index("step 2: wider")
    assert "layers: identity" in result.stdout[first:second]
    assert "2.weight" in result.stdout[second:]
    content = json.loads((target / "growth.json").read_text())
    assert [(d["name"], d["to"]) for d in content["dimensions"]] == [("2", 9)]
    assert [(d["place"], d["to"]) for d in content["earlier"]["deepenings"]] == [("0", 2)]
    assert content["tensors"]["2.weight"] == [9, 6]
    pair = ["verify", f"{source}:net", f"{source}:deeper_and_wider", "--student-weights"]
    assert run(*pair, target / "student.safetensors").exit_code == 0


@pytest.mark.parametrize(
    ("options", "sources", "preserves"),
    [
        (["--deepen", ".=2"], [0, 1, 1, 2, 2], "exact"),
        (["--deepen", ".=2x", "--positions", "append"], [0, 1, 2, 2, 2, 2], "exact"),
        (["--deepen", ".=1", "--positions", "-1"], [0, 0, 1, 2], "exact"),
        (["--deepen", ".=0,2"], [0, 0, 1, 2, 2], "exact"),
        (["--deepen", "1=1", "--init", "zero-random"], [0, 1, 1, 2], "exact"),
        (["--deepen-all", "2x", "--init", "stack"], [0, 1, 2, 0, 1, 2], "none"),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_blocks_come_where_they_are_asked_for(
    options: list[str], sources: list[int], preserves: str, source: Path, tmp_path: Path
) -> None:
    result = run("grow", f"{source}:blocks", tmp_path / "student", *options, "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    (deepening,) = content["deepenings"]
    assert deepening["sources"] == sources
    assert content["preserves"] == preserves
    assert (content["verification"]["max_relative_error"] == 0) == (preserves == "exact")


def test_kernel_and_calibration(tmp_path: Path) -> None:
    file = tmp_path / "convolutions.py"
    file.write_text(
        "from torch import nn\n\ndef net():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))\n"
    )
    torch.manual_seed(3)
    net = [torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1)]
    teacher = torch.nn.Sequential(*net)
    batch = torch.rand(8, 1, 6, 6)
    safetensors.torch.save_model(teacher, str(tmp_path / "teacher.safetensors"))
    safetensors.torch.save_file({"input": batch}, tmp_path / "batch.safetensors")
    command = ["grow", f"{file}:net", tmp_path / "student", "--input", "2x1x6x6", "--deepen", "0=1", "--json"]
    more = ["--weights", tmp_path / "teacher.safetensors", "--calibration", tmp_path / "batch.safetensors"]
    result = run(*command, *more, "--kernel", "1x5,5x1")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert "1 batch" in content["notes"][0]
    assert content["verification"]["approximate"] == ["train"]
    student = safetensors.torch.load_file(tmp_path / "student" / "student.safetensors")
    assert (student["3.weight"].shape, student["6.weight"].shape) == ((4, 4, 1, 5), (4, 4, 5, 1))
    seen = teacher.train()[:3](batch).mean(dim=(0, 2, 3))
    assert torch.allclose(student["4.running_mean"], seen, atol=1e-6)


def test_deepen_a_pretrained_folder(llama: Path, tmp_path: Path) -> None:
    target = tmp_path / "deeper"
    result = run("grow", llama, target, "--deepen", "model.layers=1", "--set", "model.layers.*.mlp.gate_proj=32")
    assert result.exit_code == 0, result.output
    config = json.loads((target / "config.json").read_text())
    assert (config["num_hidden_layers"], config["intermediate_size"]) == (3, 32)
    (deepening,) = json.loads((target / "growth.json").read_text())["earlier"]["deepenings"]
    assert (deepening["place"], deepening["from"], deepening["to"]) == ("model.layers", 2, 3)
    result = run("verify", llama, target)
    assert result.exit_code == 0, result.output


def test_grow_and_verify_a_pretrained_folder(llama: Path, tmp_path: Path) -> None:
    target = tmp_path / "wider"
    result = run("grow", llama, target, "--set", "model.layers.*.mlp.gate_proj=48")
    assert result.exit_code == 0, result.output
    assert json.loads((target / "config.json").read_text())["intermediate_size"] == 48
    assert (target / "tokenizer_config.json").is_file()
    assert (target / "growth.json").is_file()
    result = run("verify", llama, target)
    assert result.exit_code == 0, result.output


def test_a_folder_that_loads_as_another_function_is_not_written(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("net2net.huggingface._save.verify", lambda *_: net2net.Verification({"eval": 0.1}, 1e-5))
    result = run("grow", llama, tmp_path / "wider", "--set", "model.layers.*.mlp.gate_proj=48")
    assert result.exit_code == 1
    assert "Nothing is written" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_existing_target_is_left_alone(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "there"
    target.mkdir()
    result = run("grow", f"{source}:net", target, "--all", "2x")
    assert result.exit_code == 2
    assert "already" in result.stderr
    assert list(target.iterdir()) == []


def test_a_refusal_is_a_message(source: Path, tmp_path: Path) -> None:
    for size in ("nothing=8", "0=3", "0=many"):
        result = run("grow", f"{source}:net", tmp_path / "student", "--set", size)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        assert "'" in result.stderr
    for model, option in (("net", "nothing=1"), ("saturating", "0=1"), ("blocks", ".=3,4"), ("net", "0=1x")):
        result = run("grow", f"{source}:{model}", tmp_path / "student", "--deepen", option)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        assert result.stderr
    assert not (tmp_path / "student").exists()


def test_different_inputs_are_a_refusal(source: Path) -> None:
    result = run("verify", f"{source}:net", f"{source}:other_inputs")
    assert result.exit_code == 1
    assert "doesn't run" in result.stderr and len(result.stderr.splitlines()) < 12


def test_a_failed_save_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.torch, "save_model", fail)
    before = sorted(tmp_path.iterdir())
    assert run("grow", f"{source}:net", tmp_path / "student", "--all", "2x").exit_code != 0
    assert [p for p in sorted(tmp_path.iterdir()) if p.name != "__pycache__"] == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", "nowhere.py:net"],
        ["analyze", "no_such_module:net"],
        ["analyze", "just_a_name"],
        ["analyze", "{source}:missing"],
        ["analyze", "{source}:needs_size"],
        ["analyze", "{source}:number"],
        ["analyze", "{source}:net", "--input", "axb"],
        ["analyze", "{source}:net", "--input", "2x4:int64"],
        ["analyze", "{source}:net", "--input", "2x4", "--input", "x=2x4"],
        ["grow", "{source}:net", "student"],
        ["grow", "{source}:net", "student", "--all", "2"],
        ["grow", "{source}:net", "student", "--all", "2x", "--set", "0=8"],
        ["grow", "{source}:net", "student", "--set", "0"],
        ["grow", "{source}:net", "student", "--set", "0=8", "--set", "0=9"],
        ["grow", "{source}:net", "student", "--deepen", "0"],
        ["grow", "{source}:net", "student", "--deepen", "0=many"],
        ["grow", "{source}:net", "student", "--deepen", "0=1.5"],
        ["grow", "{source}:net", "student", "--deepen", "0=1,"],
        ["grow", "{source}:net", "student", "--deepen", "0=1", "--deepen", "0=2"],
        ["grow", "{source}:net", "student", "--deepen-all", "2"],
        ["grow", "{source}:net", "student", "--deepen-all", "2x", "--deepen", "0=1"],
        ["grow", "{source}:net", "student", "--deepen", "0=1", "--init", "unknown"],
        ["grow", "{source}:net", "student", "--deepen", "0=1", "--positions", "somewhere"],
        ["grow", "{source}:net", "student", "--deepen", "0=1", "--kernel", "3y3"],
        ["grow", "{source}:net", "student", "--deepen", "0=1", "--calibration", "{source}"],
        ["grow", "{source}:net", "student", "--deepen", "0=1", "--how", "split"],
        ["grow", "{source}:net", "student", "--set", "0=8", "--init", "zero-random"],
        ["verify", "{source}:net"],
        ["unknown"],
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str], source: Path) -> None:
    result = run(*(a.format(source=source) for a in arguments))
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("analyze PLACE", "there is no folder PLACE."),
        ("analyze FOLDER", "the folder FOLDER has no config.json"),
        ("analyze PLACE/a.py:net", "there is no file PLACE/a.py."),
        ("analyze PLACE/a:net", "there is no file PLACE/a."),
        ("analyze FOLDER/a.py", "FOLDER/a.py is a file; name what makes the model in it"),
        ("grow PLACE new --all 2x", "there is no folder PLACE."),
        ("verify PLACE FOLDER", "there is no folder PLACE."),
        ("upcycle PLACE new --experts 2x", "PLACE doesn't exist"),
        ("surgery PLACE new --tokens 9", "there is no folder PLACE."),
        ("surgery FOLDER new --channels 4", "the folder FOLDER has no config.json"),
        ("surgery FOLDER/a.py:net new --label x", "a.py:net is a Python source"),
        ("surgery PLACE new --features 0=2:3", "there is no folder PLACE."),
        ("log PLACE", "PLACE can't be read: No such file or directory"),
        ("chain PLACE", "PLACE can't be read: No such file or directory"),
        ("explore PLACE", "there is no file PLACE."),
        ("explore FOLDER", "FOLDER is a folder; name a file of Python"),
    ],
)
def test_a_place_where_nothing_is_says_so(command: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.py").touch()
    names = {"PLACE": str(tmp_path / "not" / "there"), "FOLDER": str(tmp_path / "folder")}
    for name, place in names.items():
        command, message = command.replace(name, place), message.replace(name, place)
    result = run(*command.split())
    shown = "".join(result.output.replace("│", "").split())  # long paths are cut into lines
    assert result.exit_code != 0 and "".join(message.split()) in shown, result.output


def test_the_module_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "net2net", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "analyze" in done.stdout


def test_input_specs() -> None:
    inputs = parse(["ids=2x7:int64:37", "mask=2x7:bool", "x=3:float64"], seed=0)
    assert isinstance(inputs, dict)
    assert [(t.dtype, tuple(t.shape)) for t in inputs.values()] == [
        (torch.int64, (2, 7)),
        (torch.bool, (2, 7)),
        (torch.float64, (3,)),
    ]
    assert int(inputs["ids"].max()) < 37
    again = parse(["ids=2x7:int64:37"], seed=0)
    assert isinstance(again, dict)
    assert torch.equal(inputs["ids"], again["ids"])


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as stopped:
        net2net.cli.main()
    assert stopped.value.code == 2
    assert "install net2net[cli]" in capsys.readouterr().err


def test_the_library_does_not_import_the_extras() -> None:
    code = "import sys, net2net; print([m for m in ('typer', 'rich', 'sklearn', 'matplotlib') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
