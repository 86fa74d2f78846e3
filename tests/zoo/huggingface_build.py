"""How an entry of the Hugging Face tables becomes a `ZooModel`.

An entry is a name, the class of a model with a head, and the settings of its config. The class is looked up
only when the model is built, so that collecting tests does not import transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.model import ZooModel, awaken

Settings = dict[str, Any]
Entry = tuple[str, str, Settings]
Inputs = dict[str, torch.Tensor]
MakeInputs = Callable[[Settings], Inputs]

BATCH = 2


def zoo(entries: list[Entry], inputs: MakeInputs) -> list[ZooModel]:
    """A `ZooModel` for each entry; `inputs` makes example inputs that suit an entry's settings."""
    return [
        ZooModel(name, partial(_build, head, settings, inputs), partial(inputs, settings))
        for name, head, settings in entries
    ]


def tokens(vocabulary: int, length: int, seed: int = 0) -> torch.Tensor:
    """A batch of token ids, none of them one of the first few: those stand for padding and the like."""
    return torch.randint(4, vocabulary, (BATCH, length), generator=torch.Generator().manual_seed(seed))


def noise(*shape: int) -> torch.Tensor:
    """A batch of standard normal numbers, such as images."""
    return torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(0))


def _build(head: str, settings: Settings, inputs: MakeInputs) -> nn.Module:
    import transformers

    model_class = getattr(transformers, head)
    config = model_class.config_class(**settings)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = model_class(config)
        _amplify(model)
        awaken(model)
        _settle(model, inputs(settings))
    return model


def _amplify(model: nn.Module) -> None:
    """Give every weight the spread of a trained one.

    The usual initial spread of 0.02 suits wide layers: in narrow ones it leaves the attention uniform and the
    logits near zero, and a test that compares such outputs would pass on almost anything.
    """
    for parameter in model.parameters():
        if parameter.dim() < 2 or not parameter.requires_grad:
            continue
        target = parameter[0].numel() ** -0.5
        spread = parameter.std(correction=0)
        if spread > 0:
            parameter.mul_(target / spread)
        else:
            # Class tokens, position tables and response norms start constant.
            parameter.add_(torch.randn_like(parameter), alpha=target)
    for norm in _batch_norms(model):
        # Some families draw these near zero, like the weight of a linear layer.
        nn.init.ones_(norm.weight)


def _settle(model: nn.Module, inputs: Inputs) -> None:
    """Give every batch norm the statistics of its own inputs, as training would have done.

    At arbitrary statistics a deep stack shrinks its signal until the logits no longer depend on the image.
    """
    norms = _batch_norms(model)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = None  # The average of all batches, so here that of one.
    model(**inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum
        # A channel that is nearly silent in so small a batch must not be amplified without bound.
        norm.running_var.lerp_(norm.running_var.mean(), 0.5)


def _batch_norms(model: nn.Module) -> list[nn.BatchNorm1d | nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
