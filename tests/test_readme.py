"""The README and the guides say what is true: their examples run as they stand, their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zoo import TORCH_MODELS
from zoo.huggingface import huggingface_models

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = [ROOT / "docs" / f"{name}.md" for name in ("idea", "widening", "deepening", "verification")]


def test_the_example_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(example, names)  # the README is ours
    assert names["wider"].student[0].out_channels == 20  # type: ignore[attr-defined]
    assert len(names["deeper"].student) == 9  # type: ignore[attr-defined]
    assert [names["student"][i].out_channels for i in (0, 3)] == [8, 20]  # type: ignore[index]
    printed = capsys.readouterr().out
    assert "dimension" in printed
    assert printed.splitlines()[-1] == "('eval',)" and printed.splitlines()[-2].startswith("('eval', 'train') ")
    assert float(printed.splitlines()[-2].split()[-1]) < 1e-5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", page.read_text()):
        target = page.parent / link if link else page
        assert link.startswith("http") or target.exists(), link
        headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor[1:] in [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings], (
            anchor
        )


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_every_example_of_a_guide_is_run(page: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    assert all(block.startswith(">>> ") for block in blocks), "an example without a prompt is not run"
    assert "--doctest-glob=*.md" in (ROOT / "pyproject.toml").read_text(), "pytest runs those with a prompt"


def test_the_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^ {4}make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile


def test_the_table_of_models_has_every_model_of_the_zoo() -> None:
    rows = {line.split("|")[1].strip() for line in (ROOT / "docs/models.md").read_text().splitlines() if "|" in line}
    missing = {model.name for model in [*TORCH_MODELS, *huggingface_models()]} - rows
    assert not missing
