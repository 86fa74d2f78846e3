"""docs/mixtures.md: what it calls exact is exact, and what it calls refused is refused. `make mixtures` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.huggingface_mixtures import MODELS
from zoo.mixtures import PAGE, TOLERANCE, WAYS, row
from zoo.model import ZooModel


def told(name: str) -> list[str]:
    """The cells of a family's line."""
    line = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_page_has_every_mixture_and_nothing_is_wrong() -> None:
    for model in MODELS:
        _, wider, times, *more = told(model.name)
        assert all(cell == "refused" or float(cell) <= TOLERANCE for cell in (wider, *more)), model.name
        assert wider == "refused" or float(times.removeprefix("x")) > 3, model.name


@pytest.mark.sweep
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_page_is_right(model: ZooModel, tmp_path: Path) -> None:
    line, reasons = row(model, tmp_path)
    found = [cell.strip() for cell in line.split("|")[2:-1]]
    assert "**" not in line, line
    assert [cell == "refused" for cell in found] == [cell == "refused" for cell in told(model.name)]
    assert set(reasons) <= set(WAYS)
    for way, reason in reasons.items():
        assert f"- {model.name}, {way}: {reason}." in PAGE.read_text().splitlines()
