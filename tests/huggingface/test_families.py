"""Families of transformers as checkpoints: wider and deeper at once, reloaded, exact. docs/families.md has them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from net2net.huggingface import from_config, open_folder
from net2net.huggingface._verify import Trial, reference
from zoo.checkpoints import Family, depths, row, widths
from zoo.huggingface import huggingface_models
from zoo.model import ZooModel

MODELS = {model.name: model for model in huggingface_models()}
PAGE = Path(__file__).parents[2] / "docs" / "families.md"


@pytest.mark.thin(3)
@pytest.mark.parametrize("name", ["t5", "bert", "gpt2", "beit", "qwen3", "gpt_neox", "gemma3", "clip"])
def test_wider_and_deeper(name: str, tmp_path: Path) -> None:
    if name not in MODELS:
        pytest.skip("transformers is not installed")
    family = Family(MODELS[name], tmp_path)
    config = family.teacher.config
    outcome = family.grow({**widths(config)[0], **depths(config)[0]})
    assert outcome.exact, outcome
    assert not outcome.in_memory  # the files of GPT-NeoX name their tensors otherwise than its modules


def test_what_a_class_sets_by_the_place_of_a_layer_stays(tmp_path: Path) -> None:
    """DiffLlama weighs its two attentions by the number of the layer: new ones come after the teacher's."""
    if "diffllama" not in MODELS:
        pytest.skip("transformers is not installed")
    outcome = Family(MODELS["diffllama"], tmp_path).grow({"num_hidden_layers": "2x"})
    assert outcome.exact and not outcome.in_memory, outcome


@pytest.mark.sweep
@pytest.mark.parametrize("model", MODELS.values(), ids=str)
def test_the_page_is_right(model: ZooModel, tmp_path: Path) -> None:
    """What the page calls exact is exact, and nothing is wrong or breaks."""
    told = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {model.name} |"))
    found = row(model, tmp_path)
    assert "**" not in found, found
    assert found.split(" | ")[1] == told.split(" | ")[1], (told, found)


@pytest.mark.parametrize("name", ["llama_tied", "t5", "mobilebert"])
def test_what_is_computed_from_the_files_is_what_the_model_computes(name: str, tmp_path: Path) -> None:
    """A head of MobileBERT reads another module's weights: they must not be read from memory that holds none."""
    if name not in MODELS:
        pytest.skip("transformers is not installed")
    module: Any = MODELS[name].build()
    module.save_pretrained(tmp_path)
    folder = open_folder(tmp_path)
    inputs = from_config(folder.model_class, folder.config, 0)
    with torch.no_grad():
        expected = module(**inputs).logits
    for _ in range(2):
        found = reference(folder, Trial({"given": inputs})).values["given"]["logits"]
        assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-5
