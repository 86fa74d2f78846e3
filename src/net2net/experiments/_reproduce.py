"""One call for a whole experiment: data, training, results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from net2net.errors import OptionError
from net2net.experiments._images import ImageData, load_images
from net2net.experiments._recipes import RECIPES, SIZES, Size
from net2net.experiments._results import Results
from net2net.experiments._runner import Progress, carry_out
from net2net.experiments._studies import STUDIES
from net2net.experiments._tasks import ImageTask, Task, TextTask
from net2net.experiments._text import TextData, load_text

# A smoke run only shows that everything works: two rates and short data will do.
_SMOKE_RATES = 2


def reproduce(
    experiment: str,
    output: Path | str,
    data: Path | str | ImageData | TextData | None = None,
    *,
    seeds: int = 3,
    budget: str = "cpu",
    steps: int | None = None,
    workers: int = 1,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
) -> Results:
    """Carry out one of the experiments, or go on with one that was interrupted.

    Processes do the training: in a script, call it under `if __name__ == "__main__":`.

    Args:
        experiment: "wider", "deeper" or "explore" (the paper's, on images), or "language".
        output: a folder; "results.jsonl" there gets a line for each finished run.
        data: a folder that `load_images` or `load_text` reads, or what they or `from_datasets` return; by default
            scikit-learn's digits, or the reference of the Python language.
        seeds: how many times each arm is run.
        budget: the size of everything: "smoke" (seconds, shows nothing), "cpu" (under an hour on two cores) or "gpu".
        steps: of the bigger network from scratch, instead of those of the budget.
        workers: processes that train at the same time.
        device: "cpu" or "cuda".
        seed: all seeds follow it.
        progress: is called with the FLOPs that are done and those that there are in all.

    Returns:
        The results; `net2net.experiments.write_report(results, output)` makes the page, the figures and the table.

    Raises:
        OptionError: a name is unknown, or the folder holds results of other settings.

    Example:
        >>> results = reproduce("wider", "reproduced/wider", "data/fashion-mnist", workers=2)  # doctest: +SKIP
    """
    size = _size(budget, steps)
    if experiment not in RECIPES:
        raise OptionError(f"there is no experiment {experiment!r}; use one of {', '.join([*RECIPES, *STUDIES])}.")
    if seeds < 1 or workers < 1:
        raise OptionError(f"seeds={seeds} and workers={workers} must be at least 1.")
    if device != "cpu" and not torch.cuda.is_available():
        raise OptionError(f"device={device!r} is not there; use 'cpu'.")
    recipe = RECIPES[experiment](size)
    if budget == "smoke":
        recipe = replace(
            recipe, rates=recipe.rates[:_SMOKE_RATES], budgets=recipe.budgets[-2:], choice_budgets=recipe.budgets[-2:-1]
        )
    return carry_out(
        recipe,
        task_of(experiment, size, data),
        Path(output),
        seeds=tuple(range(seed + 1, seed + 1 + seeds)),
        workers=workers,
        device=device,
        progress=progress,
    )


def task_of(experiment: str, size: Size, data: Path | str | ImageData | TextData | None) -> Task:
    """The data of an experiment, ready to learn from.

    Raises:
        OptionError: they are of the other kind, or can't be read.
    """
    if experiment == "language":
        if isinstance(data, ImageData):
            raise OptionError("'language' learns from text; give a text file, a folder of them, or TextData.")
        text = data if isinstance(data, TextData) else load_text(data)
        return TextTask(text, size.text_batch, size.text_length)
    if isinstance(data, TextData):
        raise OptionError(f"'{experiment}' learns from images; give a folder of them, or ImageData.")
    images = data if isinstance(data, ImageData) else load_images(data)
    return ImageTask(images, size.image_batch, flip=images.training.images.shape[1] == 3)


def _size(budget: str, steps: int | None) -> Size:
    sizes: Mapping[str, Size] = SIZES
    if budget not in sizes:
        raise OptionError(f"there is no budget {budget!r}; use one of {', '.join(sizes)}.")
    if steps is not None and steps < 1:
        raise OptionError(f"steps={steps} must be at least 1.")
    return sizes[budget] if steps is None else replace(sizes[budget], image_steps=steps, text_steps=steps)
