"""The README says what is true: its example runs as it stands, its links and its picture exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zoo import TORCH_MODELS
from zoo.huggingface import huggingface_models

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)  # the README is ours
    assert names["student"][0].out_channels == 20  # type: ignore[index]
    printed = capsys.readouterr().out
    assert "dimension" in printed
    assert float(printed.splitlines()[-1]) < 1e-5


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert link.startswith("http") or (ROOT / link).exists()


def test_the_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^ {4}make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile


def test_the_table_of_models_has_every_model_of_the_zoo() -> None:
    rows = {line.split("|")[1].strip() for line in (ROOT / "docs/models.md").read_text().splitlines() if "|" in line}
    missing = {model.name for model in [*TORCH_MODELS, *huggingface_models()]} - rows
    assert not missing
