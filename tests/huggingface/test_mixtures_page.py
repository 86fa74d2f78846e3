"""docs/mixtures.md: what it calls exact is exact, and what it calls refused is refused. `make mixtures` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.huggingface_mixtures import MODELS
from zoo.mixtures import PAGE, TOLERANCE, WAYS, row, written
from zoo.model import ZooModel


def test_the_page_has_every_mixture_and_nothing_is_wrong() -> None:
    told = written()
    for model in MODELS:
        cells = told[model.name]
        assert all(cells[way] == "refused" or float(cells[way]) <= TOLERANCE for way in WAYS), model.name
        assert cells["wider"] == "refused" or float(cells["parameters"].removeprefix("x")) > 3, model.name


@pytest.mark.sweep
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_page_is_right(model: ZooModel, tmp_path: Path) -> None:
    cells, reasons = row(model, tmp_path)
    told = written()[model.name]
    assert not any("**" in cell for cell in cells.values()), cells
    assert all((cells[way] == "refused") == (told[way] == "refused") for way in WAYS)
    assert set(reasons) <= set(WAYS)
    for way, reason in reasons.items():
        assert f"- {model.name}, {way}: {reason}." in PAGE.read_text().splitlines()
