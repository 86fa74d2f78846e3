"""Families of transformers as checkpoints: wider and deeper at once, reloaded, exact. docs/families.md has them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.checkpoints import Family, depths, row, widths
from zoo.huggingface import huggingface_models
from zoo.model import ZooModel

MODELS = {model.name: model for model in huggingface_models()}
PAGE = Path(__file__).parents[2] / "docs" / "families.md"


@pytest.mark.parametrize("name", ["gpt2", "bert", "t5", "gemma3", "qwen3", "gpt_neox", "clip"])
def test_wider_and_deeper(name: str, tmp_path: Path) -> None:
    if name not in MODELS:
        pytest.skip("transformers is not installed")
    family = Family(MODELS[name], tmp_path)
    config = family.teacher.config
    outcome = family.grow({**widths(config)[0], **depths(config)[0]})
    assert outcome.exact, outcome
    assert outcome.in_memory == (name == "gpt_neox")  # its files hold their tensors otherwise than its modules


@pytest.mark.sweep
@pytest.mark.parametrize("model", MODELS.values(), ids=str)
def test_the_page_is_right(model: ZooModel, tmp_path: Path) -> None:
    """What the page calls exact is exact, and nothing is wrong or breaks."""
    told = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {model.name} |"))
    found = row(model, tmp_path)
    assert "**" not in found, found
    assert found.split(" | ")[1] == told.split(" | ")[1], (told, found)
