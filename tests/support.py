"""What several tests need: teachers as training leaves them, dimensions by their tensors, checks.

Dimensions are asked for by a place, (tensor, axis): the names are for people, and may become better ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net.axes import atoms
from zoo import TORCH_MODELS
from zoo.model import Inputs, awaken

Place = tuple[str, int]
X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))  # inputs of `mlp`
ZOO = {model.name: model for model in TORCH_MODELS}


def trained(model: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The model as training would leave it: no bias, norm parameter or norm statistic at its default."""
    return awaken(model).to(dtype)


def repeatable(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Let a function that makes a network make the same one at every call, leaving the random state alone."""

    @wraps(make)
    def seeded() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return make()

    return seeded


@repeatable
def mlp() -> nn.Module:
    return trained(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)))


def from_zoo(name: str) -> tuple[nn.Module, Inputs]:
    """A model of the zoo and its inputs, in float64."""
    return ZOO[name].build().double(), in_float64(ZOO[name].inputs())


def in_float64(inputs: Any) -> Any:
    """The inputs with every floating-point tensor in float64."""
    if isinstance(inputs, Tensor):
        return inputs.double() if inputs.is_floating_point() else inputs
    if isinstance(inputs, dict):
        return {name: in_float64(value) for name, value in inputs.items()}
    return tuple(map(in_float64, inputs))


def drawn(*shape: int, seed: int = 1, scale: float = 1.0) -> Tensor:
    """Normal numbers in float64: no two places alike, so that a shift by one shows."""
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def names_at(analysis: net2net.Analysis, tensor: str, axis: int) -> list[str]:
    """Names of the dimensions that run through one axis of a tensor, the slowest first."""
    graph = analysis.sites.inference.graph
    term = analysis.sites.inference.of(graph.state[graph.ties.get(tensor, tensor)])[axis]
    names = {atom: name for name, atom in analysis.atoms.items()}
    return list(dict.fromkeys(names[atom] for atom in atoms(term) if atom in names))


def name_at(model: nn.Module, inputs: Inputs, tensor: str, axis: int = 0, part: int = 0) -> str:
    """The name of the dimension that is (the `part`-th part of) one axis of a tensor."""
    return names_at(net2net.analyze(model, inputs), tensor, axis)[part]


def widen_at(
    model: nn.Module, sizes: Mapping[str | Place, int | float | str], inputs: Inputs, **options: Any
) -> net2net.Growth:
    """`net2net.widen` with dimensions given by a tensor (its first axis) or by (tensor, axis)."""
    analysis = net2net.analyze(model, inputs)
    request = {}
    for place, size in sizes.items():
        tensor, axis = (place, 0) if isinstance(place, str) else place
        request[names_at(analysis, tensor, axis)[0]] = size
    return net2net.widen(model, request, inputs, **options)


def source_of(growth: net2net.Growth, tensor: str, axis: int = 0) -> np.ndarray:
    """The paper's g for one axis of a tensor: which old place each place copies."""
    axis_map = growth.plan.tensors[tensor].axes[axis]
    assert axis_map is not None
    return axis_map.source


def counts_of(source: np.ndarray) -> Tensor:
    """The paper's c at every place: how many places copy the same old place as this one."""
    return torch.from_numpy(np.bincount(source)[source]).double()


def same(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> bool:
    """Whether two tensors have one shape and agree to rounding, entry by entry."""
    return a.shape == b.shape and bool(((a - b).abs() <= tolerance).all())


def agree(teacher: nn.Module, student: nn.Module, x: Tensor) -> None:
    """Assert that two networks without randomness give the same in eval mode and in train mode."""
    for train in (False, True):
        a, b = teacher.train(train)(x), student.train(train)(x)
        assert ((a - b).abs().max() / a.abs().max()).item() <= 1e-10


def groups_of_copies(source: np.ndarray) -> list[list[int]]:
    """The places of each old unit that was copied at least once."""
    places = [np.flatnonzero(source == unit).tolist() for unit in np.unique(source[source >= 0])]
    return [group for group in places if len(group) > 1]


def separation(rows: Tensor, source: np.ndarray) -> float:
    """How far the closest two copies of a unit are apart, relative to their size; one row per place."""
    distances = [
        float((rows[a] - rows[b]).norm() / rows[a].norm())
        for group in groups_of_copies(source)
        for a, b in combinations(group, 2)
    ]
    assert distances, "no unit was copied"
    return min(distances)


def drawn_uniformly(source: np.ndarray, units: int) -> bool:
    """Whether the places after the first look like draws with replacement: within 5 standard deviations."""
    drawn = source[units:]
    counts = np.bincount(drawn, minlength=units)
    expected = len(drawn) / units
    return bool((np.abs(counts - expected) <= 5 * np.sqrt(expected)).all())


def descend(model: nn.Module, x: Tensor, y: Tensor, steps: int, rate: float = 0.05) -> None:
    """Plain gradient descent on a regression, in place."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()


def refused(error: type[net2net.GrowthError], call: Callable[[], Any], *parts: str) -> str:
    """The message of the refusal, which is of this class and has these parts."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in: {message}"
    return message
