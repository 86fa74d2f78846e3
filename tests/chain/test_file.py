"""A chain in a file, on the command line: the plan, the run, the page; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from net2net.cli._app import app
from net2net.errors import OptionError
from net2net.experiments import read_chain

pytest.importorskip("transformers")
pytest.importorskip("yaml")

TEXT = """
data: {text: null, batch: 3, length: 12}
models:
  - {model_type: llama, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1, num_attention_heads: 2}
  - {model_type: llama, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 4}
steps: [3, 2]
rates: [3.0e-3, 1.0e-3]
distillation: {kind: features, features: model.norm, weight: 0.5, cap: 0.5, anneal: 1.0}
"""


@pytest.mark.filterwarnings("ignore:models should be 2 to 4 times:net2net.Net2NetWarning")
def test_a_file_of_language_models_is_checked_and_run(tmp_path: Path) -> None:
    file, folder = tmp_path / "chain.yaml", tmp_path / "out"
    file.write_text(TEXT)
    plan = CliRunner().invoke(app, ["chain", str(file), "--check", "--json"])
    assert plan.exit_code == 0 and [m["link"] for m in json.loads(plan.stdout)["models"]] == ["", "exact"]
    done = CliRunner().invoke(app, ["chain", str(file), "--output", str(folder), "--json"])
    small, large = json.loads(done.stdout)
    assert large["error"] < 1e-5 and large["teacher_flops"] > 0 and small["steps"] == 3
    assert json.loads(plan.stdout)["models"][1]["flops"] * 2 == large["flops"]  # the check's batch is that of a step
    assert "<svg" in (folder / "report.html").read_text() and (folder / "models" / "2.safetensors").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("steps:", "step:", "has 'step'"),
        ("text: null", "words: null", "has 'words'"),
        ("{text: null, batch: 3, length: 12}", "{batch: 2}", "needs either 'text' or 'images'"),
        ("model_type: llama, hidden_size: 16", "hidden_size: 16", "give model_type"),
        ("kind: features,", "kind: nothing,", "needs a kind"),
        ("models:", "{models:", "can't be read"),
    ],
)
def test_what_a_file_may_not_say(tmp_path: Path, old: str, new: str, words: str) -> None:
    file = tmp_path / "chain.yaml"
    file.write_text(TEXT.replace(old, new))
    with pytest.raises(OptionError, match=words):
        read_chain(file)


def test_images_decide_the_config(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    file = tmp_path / "chain.yaml"
    model = "{model_type: vit, hidden_size: W, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2"
    file.write_text(
        "data: {images: null, batch: 4}\nmodels:\n"
        + "".join(f"  - {model.replace('W', str(w))}, patch_size: 4}}\n" for w in (16, 32))
    )
    found = read_chain(file)
    assert found.metric == "accuracy" and found.chain.models[0].image_size == 8
    assert found.chain.build is not None and found.chain.build(found.chain.models[1]).num_labels == 10
