"""A family of models, trained smallest first: each begins as the one before it, and may learn from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from net2net.capture import Inputs
from net2net.chain._check import Forecast, forecast
from net2net.chain._family import Family
from net2net.chain._files import taken_over
from net2net.chain._ledger import Ledger
from net2net.chain._report import write_report
from net2net.chain._run import Train, carry_out


@dataclass(frozen=True)
class ChainResult:
    """A finished chain."""

    models: tuple[nn.Module, ...]
    ledger: Ledger

    @property
    def scores(self) -> tuple[float, ...]:
        """Of every model, the smallest first."""
        return tuple(entry.score for entry in self.ledger.entries)

    def report(self, path: Path | str, metric: str = "score") -> None:
        """Write a page with the score of every model against cumulative FLOPs, and the ledger.

        Args:
            path: of the HTML file.
            metric: what the score is called.

        Raises:
            MissingExtraError: matplotlib isn't installed.
        """
        write_report(self.ledger, Path(path), metric)


@dataclass(frozen=True)
class Chain(Family):
    """A family of models, trained smallest first.

    Each model begins as the one before it, computes what that computes (`init="exact"`), and trains for a short while,
    with the smaller one as its teacher if `distillation` says so.

    Args:
        models: the sizes, smallest first: what `build` takes (sizes, configs); without `build` factories, or, after the
            first, arguments of `net2net.grow` in a dict.
        build: makes a model of a size.
        inputs: example inputs that all models take.
        steps: the budget of each model, as many numbers as models, or one for all; `link.steps` in the training.
        distillation: a `FeatureDistillation` or `LogitsDistillation`; None for none.
        init: "exact" (`net2net.transfer`: the model computes what the one before it does, or is refused), "overlay"
            (the published initialisation: the smaller weights are laid over random ones, q, k and v each in its place;
            it does not preserve the function) or "scratch" (random weights); one for all, or one for each link.
        optimizer: makes the optimizer of a model, `lambda model: AdamW(model.parameters(), lr=1e-3)`; it is
            `link.optimizer` then.
        carry: None for a fresh optimizer at each link; else the state goes on, with rates as `growth.optimizer` has
            them: "keep", "restart", ...
        rates: the learning rate of each model, in place of the optimizer's own.
        options: of `net2net.transfer`, for exact links: `how`, `init` (of new blocks), ...
        names: of the models; by default "1", "2", ...
        seed: of everything that is drawn.

    Raises:
        OptionError: the numbers don't fit together.

    Source: Chain-of-Models pre-training. Its inverse weight initialisation is "overlay"; exact links are ours.

    Example:
        >>> import tempfile, torch
        >>> def build(width):
        ...     return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
        >>> x = torch.randn(64, 4)
        >>> def train(model, link):
        ...     for step in link.loop():
        ...         loss = (model(x) - x[:, :2].sin()).square().mean() + link.distill(x)
        ...         link.optimizer.zero_grad(); loss.backward(); link.optimizer.step()
        ...     return float((model(x) - x[:, :2].sin()).square().mean())
        >>> adam = lambda model: torch.optim.Adam(model.parameters())
        >>> chain = Chain([8, 16, 32], build, x, steps=[60, 30, 20], optimizer=adam)
        >>> result = chain.run(train, tempfile.mkdtemp())
        >>> [model[0].out_features for model in result.models], result.ledger.entries[2].error < 1e-5
        ([8, 16, 32], True)
    """

    def check(self, inputs: Inputs | None = None, *, alone: int | Sequence[int] | None = None) -> Forecast:
        """Say what the chain will cost and which of its links are exact, before anything is trained.

        Models are made on the meta device where their classes allow it: seconds, and hardly any memory, for sizes of
        billions. Of blocks that repeat, the first ones are looked at. Nothing is proved: `run` proves each link.

        Args:
            inputs: a batch of the training, for the FLOPs; by default the example inputs.
            alone: the steps that a model gets alone, one number for all or one for each; by default as many as the
                smallest.

        Warns:
            Net2NetWarning: a model is not 2 to 4 times as large as the one before it.

        Example:
            >>> def build(width):
            ...     return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
            >>> import torch
            >>> found = Chain([8, 24, 48], build, torch.randn(16, 4), steps=[100, 50, 25]).check()
            >>> [model.link for model in found.models], round(found.family, 2)
            (['', 'exact', 'exact'], 0.4)
        """
        return forecast(self, inputs, alone)

    def run(self, train: Train, folder: Path | str, *, until: int | None = None) -> ChainResult:
        """Train the family, smallest first, or go on with a run that was interrupted.

        Every finished model is in the folder, and with `link.loop` the one in training too. The same call goes on from
        there, and what comes out is the same to the last bit, as far as torch's operations are deterministic. Every
        training starts from torch's random state at its own seed; afterwards the state is what it was.

        Args:
            train: the user's loop: trains a model in place and returns its score.
            folder: gets models/NAME.safetensors, ledger.json, and what a resumed run needs.
            until: stop when so many models are finished; by default all.

        Returns:
            The models, their scores, and what they cost.

        Raises:
            OptionError: the folder holds another chain.
            GrowthError: a link can't be made; the models before it are in the folder.
        """
        models, ledger = carry_out(self, train, Path(folder), len(self.models) if until is None else until)
        return ChainResult(models, ledger)


def take_over(chain: Chain, source: Path | str, folder: Path | str) -> int:
    """Begin a chain with the models that another one has finished: those that both have trained alike.

    So a family gets a larger model, or another arm of a comparison shares the smallest ones.

    Args:
        chain: that is to run in `folder`.
        source: the folder of the other one.
        folder: of this one; nothing was trained there.

    Returns:
        How many models it begins with.

    Raises:
        OptionError: not even the smallest is the same, or `folder` holds a chain already.
    """
    return taken_over(chain, Path(source), Path(folder))
