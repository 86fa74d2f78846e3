"""A family of models, trained smallest first: each begins as the one before it, and may learn from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from net2net.chain._family import Family
from net2net.chain._ledger import Ledger
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

    def run(self, train: Train, folder: Path | str) -> ChainResult:
        """Train the family, smallest first, or go on with a run that was interrupted.

        Every finished model is in the folder, and with `link.loop` the one in training too. The same call goes on from
        there, and what comes out is the same to the last bit, as far as torch's operations are deterministic. Every
        training starts from torch's random state at its own seed; afterwards the state is what it was.

        Args:
            train: the user's loop: trains a model in place and returns its score.
            folder: gets models/NAME.safetensors, ledger.json, and what a resumed run needs.

        Returns:
            The models, their scores, and what they cost.

        Raises:
            OptionError: the folder holds another chain.
            GrowthError: a link can't be made; the models before it are in the folder.
        """
        models, ledger = carry_out(self, train, Path(folder))
        return ChainResult(models, ledger)
