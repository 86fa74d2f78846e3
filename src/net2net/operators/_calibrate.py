"""Mean and variance of what reaches a new BatchNorm, over all calibration batches."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from net2net.capture import Example, Inputs, examples_of, split_inputs, structural_copy
from net2net.depth import LayerPlace
from net2net.errors import OptionError, require_kind

Calibration = Inputs | Iterable[Inputs]
# A channel whose variance is below this part of the mean variance counts as dead.
_DEAD = 1e-6


@dataclass(frozen=True)
class Statistics:
    """Mean and (biased) variance per channel, and the channels whose variance was raised to a floor."""

    mean: np.ndarray
    variance: np.ndarray
    dead: tuple[int, ...]


def batches_of(calibration: Calibration | None, example_inputs: Inputs) -> list[Inputs]:
    """The batches that the option means: a tensor or a dict is one, anything else holds several."""
    if calibration is None:
        return [one for one in examples_of(example_inputs) if one.method == "forward"]
    if isinstance(calibration, (torch.Tensor, dict, Example)):
        return [calibration]
    require_kind(calibration, Iterable, "calibration", "an iterable of batches like example_inputs, or None")
    batches = list(calibration)
    if not batches:
        raise OptionError("calibration holds no batch; give an iterable of batches like example_inputs, or None.")
    return batches


def statistics(model: nn.Module, batches: Sequence[Inputs], places: Sequence[LayerPlace]) -> dict[str, Statistics]:
    """The statistics at every place, by its name: those of training, where each norm sees its own batch.

    The model is not touched: it runs as a copy, without dropout, and the random state is restored.

    Source: Chen et al. (2016), section 2.3: the scale and shift of a new normalisation undo it, which needs data.

    Raises:
        OptionError: a batch doesn't run.
    """
    sums = {place.name: _Sum(place) for place in places}
    copied = structural_copy(model, lambda _, t: _own(t)).train()
    for module in copied.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    for place in places:
        copied.get_submodule(place.last).register_forward_hook(sums[place.name].see)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        for batch in batches:
            args, kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), _arguments(batch))
            _run(copied, args, kwargs)
    return {name: total.result() for name, total in sums.items()}


def _run(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        try:
            model(*args, **kwargs)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            model.eval()(*args, **kwargs)
            model.train()
    except (TypeError, RuntimeError, ValueError) as error:
        raise OptionError(
            f"a calibration batch doesn't run: {str(error).splitlines()[0]}. Give batches like example_inputs: "
            "inputs alone, without labels."
        ) from error


def _arguments(batch: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A list is what loaders of data give for a tuple."""
    return split_inputs(tuple(batch) if isinstance(batch, list) else batch)


def _own(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself for a parameter, a copy for a buffer: running statistics are updated."""
    return tensor if isinstance(tensor, nn.Parameter) else tensor.detach().clone()


class _Sum:
    """Sums over all that a module gives back, in float64."""

    def __init__(self, place: LayerPlace) -> None:
        self.place, self.count = place, 0
        self.first = self.second = torch.zeros((), dtype=torch.float64)

    def see(self, module: nn.Module, args: Any, output: torch.Tensor) -> None:
        """Add one batch: what the new layer gets."""
        if self.place.kind != "mirror":  # the mirrored pair gives back what stood before the activation
            assert self.place.activation is not None
            output = copy.deepcopy(self.place.activation)(output)
        flat = output.double().transpose(0, 1).flatten(1).cpu()
        self.count += flat.shape[1]
        self.first = self.first + flat.sum(1)
        self.second = self.second + flat.square().sum(1)

    def result(self) -> Statistics:
        """Total variance over all batches: E[x^2] - E[x]^2, floored where a channel is dead."""
        if not self.count:
            raise OptionError(f"no calibration batch reaches '{self.place.last}'.")
        if self.count == 1:
            raise OptionError(
                f"'{self.place.last}' sees one value of each channel, which has no variance; give calibration= more "
                "examples, or larger example_inputs."
            )
        mean = self.first / self.count
        variance = (self.second / self.count - mean.square()).clamp(min=0).repeat_interleave(self.place.pieces)
        floor = float(_DEAD * variance.mean()) or _DEAD
        dead = tuple(torch.nonzero(variance < floor).flatten().tolist())
        mean = mean.repeat_interleave(self.place.pieces)
        return Statistics(mean.numpy(), variance.clamp(min=floor).numpy(), dead)
