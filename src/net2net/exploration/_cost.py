"""What a network costs: parameters, operations, memory, time; limits on it; and a meter of what training takes."""

from __future__ import annotations

import contextlib
import copy
import statistics
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from net2net.capture import Inputs, examples_of, named_outputs
from net2net.errors import OptionError
from net2net.training import counting

_RUNS = 5


@dataclass(frozen=True)
class Cost:
    """What a network costs on the example inputs.

    `flops` are floating-point operations of a forward pass for one sample, `training_flops` those of a forward and a
    backward pass over all examples; `memory` is the peak of bytes in a training step on them, weights, gradients and
    the optimizer's state among them; `latency` the median of seconds of a forward pass over them.
    """

    parameters: int
    flops: float
    training_flops: float
    memory: int
    latency: float


@dataclass(frozen=True)
class Limits:
    """The most that a network of the search may cost, as in `Cost`; None for no limit."""

    parameters: float | None = None
    flops: float | None = None
    memory: float | None = None
    latency: float | None = None

    def exceeded_by(self, cost: Cost) -> str:
        """Which limit a network is beyond, in words; empty where it keeps all."""
        for field in fields(self):
            most, has = getattr(self, field.name), getattr(cost, field.name)
            if most is not None and has > most:
                return f"{field.name}: {has:.4g}, and the limit is {most:.4g}"
        return ""


def limits_of(wanted: Mapping[str, float]) -> Limits:
    """The limits that a user means.

    Raises:
        OptionError: there is none of that name, or it allows nothing.

    Example:
        >>> limits_of({"parameters": 1_000_000, "latency": 0.02})
        Limits(parameters=1000000, flops=None, memory=None, latency=0.02)
    """
    known = [field.name for field in fields(Limits)]
    for name, most in wanted.items():
        if name not in known:
            raise OptionError(f"there is no limit {name!r}; use one of {', '.join(known)}.")
        if isinstance(most, bool) or not isinstance(most, (int, float)) or not most > 0:
            raise OptionError(f"limits: {name}={most!r} allows nothing; give a number above 0.")
    return Limits(**wanted)


def cost_of(model: nn.Module, optimizer: Optimizer, inputs: Inputs) -> Cost:
    """Measure a network on the first of the example inputs: a copy of it, with a copy of its optimizer."""
    model, optimizer = copy.deepcopy((model, optimizer))
    example = examples_of(inputs, (), model)[0]
    devices = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]

    def run() -> Any:
        return model(*example.args, **example.kwargs)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = sum(t.float().sum() for t in named_outputs(run()).values() if _learns(t))
        if isinstance(loss, torch.Tensor):
            loss.backward()  # type: ignore[no-untyped-call]  # torch's backward has no types

    with torch.random.fork_rng(devices):
        model.eval()
        with torch.no_grad(), counting() as forward:
            run()
        with torch.no_grad():
            seconds = [_seconds(run, bool(devices)) for _ in range(_RUNS)]
        model.train()
        with torch.enable_grad(), counting() as both:
            step()
        optimizer.step()  # makes its state
        with torch.enable_grad(), _Peak() as peak:
            step()
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _tensors(model, optimizer)}
    first = next((t for t in pytree.tree_leaves((example.args, example.kwargs)) if torch.is_tensor(t) and t.ndim), None)
    return Cost(
        sum(p.numel() for p in model.parameters()),
        forward.get_total_flops() / (len(first) if first is not None else 1),
        float(both.get_total_flops()),
        sum(held.values()) + peak.most,
        statistics.median(seconds),
    )


def _tensors(model: nn.Module, optimizer: Optimizer) -> Iterator[torch.Tensor]:
    """What stays between two steps: weights, buffers, the optimizer's state."""
    yield from (*model.parameters(), *model.buffers())
    yield from (t for t in pytree.tree_leaves([dict(s) for s in optimizer.state.values()]) if torch.is_tensor(t))


def _learns(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad


def _seconds(run: Any, on_gpu: bool) -> float:
    start = time.perf_counter()
    run()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - start


class _Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's __init_subclass__ has no types
    """Counts the bytes of the tensors that operations make, as long as something holds them: the same on any device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's has no types
        self.now = self.most = 0
        self._alive: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(t.untyped_storage()) for t in pytree.tree_leaves((args, kwargs)) if torch.is_tensor(t)}
        result = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and id(tensor.untyped_storage()) not in given:
                self._made(tensor.untyped_storage())
        return result

    def _made(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()

        def freed(_: Any) -> None:
            del self._alive[key]
            self.now -= size

        if key not in self._alive:
            self._alive[key] = weakref.ref(storage, freed)
            self.now += size
            self.most = max(self.most, self.now)


@dataclass
class Meter:
    """Training passes that a network has made, in floating-point operations."""

    flops: float = 0.0


@contextlib.contextmanager
def metered(model: nn.Module, cost: Cost, inputs: Inputs) -> Iterator[Meter]:
    """Count what training takes: every forward pass with gradients, by its size relative to the example inputs.

    It costs a hook, not a pass under a counter: operations are taken to grow with the number of entries of the first
    input, which they do but for attention over sequences of other lengths.
    """
    example = examples_of(inputs, (), model)[0]
    usual = _entries((example.args, example.kwargs))
    meter = Meter()

    def count(module: nn.Module, args: Any, kwargs: Any) -> None:
        if torch.is_grad_enabled():
            meter.flops += cost.training_flops * _entries((args, kwargs)) / usual

    handle = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield meter
    finally:
        handle.remove()


def _entries(arguments: Any) -> int:
    return next((t.numel() for t in pytree.tree_leaves(arguments) if torch.is_tensor(t) and t.numel()), 1)
