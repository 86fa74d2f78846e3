"""Randomness off: dropout hands its input on, and whatever else is drawn is a number that depends on no width."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_DROPOUT = frozenset(
    [F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout]
    + [getattr(torch, name + end) for name in ("dropout", "alpha_dropout", "feature_dropout") for end in ("", "_")]
    + [torch.feature_alpha_dropout, torch.feature_alpha_dropout_]
)
# What is drawn instead: a mean, or one standard deviation's half above it, so that noise isn't nothing.
_INSTEAD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bernoulli": lambda given: given["self"] if given.get("p") is None else given["p"],
    "rand": lambda given: 0.5,
    "rand_like": lambda given: 0.5,
    "uniform": lambda given: (given["from"] + given["to"]) / 2,
    "randn": lambda given: 0.5,
    "randn_like": lambda given: 0.5,
    "normal": lambda given: given["mean"] + 0.5 * given["std"],
    "exponential": lambda given: 1 / given["lambd"],
    "randint": lambda given: given.get("low", 0),
    "randint_like": lambda given: given.get("low", 0),
    "random": lambda given: given.get("from", 0),
    "randperm": lambda given: torch.arange(given["n"]),
    "poisson": lambda given: given["self"],
    "_standard_gamma": lambda given: given["self"],
    "_sample_dirichlet": lambda given: given["self"] / given["self"].sum(-1, keepdim=True),
    "binomial": lambda given: given["count"] * given["prob"],
    "multinomial": lambda given: (
        given["self"].topk(given["num_samples"]).indices
        if given["num_samples"] <= given["self"].shape[-1]
        else given["self"].argmax(-1, keepdim=True)
    ),
}


class DropoutOff(TorchFunctionMode):
    """Dropout that is called from Python hands its input on."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in _DROPOUT:
            p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
            training = args[2] if len(args) > 2 else kwargs.get("training", kwargs.get("train", True))
            self.drawn |= bool(training) and float(p) > 0
            return args[0] if args else kwargs["input"]
        if function is F.scaled_dot_product_attention:
            self.drawn |= kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0) > 0
            args, kwargs = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args, {**kwargs}
            if "dropout_p" in kwargs:
                kwargs["dropout_p"] = 0.0
        return function(*args, **kwargs)


class Steady(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class has no types
    """Whether a forward drew random numbers while `steady`."""

    def __init__(self, devices: list[torch.device]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.devices = devices
        self.drawn = False

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in operation.tags:
            return operation(*args, **kwargs)
        name = operation._schema.name.removeprefix("aten::").removesuffix("_")
        schema = operation._schema.arguments
        given = {a.name: a.default_value for a in schema if a.has_default_value()}
        given |= {a.name: value for a, value in zip(schema, args, strict=False)} | kwargs
        if "dropout_p" in given:  # fused attention
            self.drawn |= given["dropout_p"] > 0
            return operation(**{**given, "dropout_p": 0.0})
        if name == "native_dropout":
            self.drawn |= given["train"] is not False and given["p"] > 0
            return given["input"].clone(), torch.ones_like(given["input"], dtype=torch.bool)
        if name in ("rrelu_with_noise", "rrelu_with_noise_functional"):
            self.drawn |= given["training"]
            return operation(**{**given, "training": False})
        self.drawn = True
        if name not in _INSTEAD:
            seed_devices(0, self.devices)  # the same draw for the same shape
            return operation(*args, **kwargs)
        value = _INSTEAD[name](given)
        kept = value.clone() if isinstance(value, torch.Tensor) else value
        result = operation(*args, **kwargs)
        if name == "bernoulli" and not result.dtype.is_floating_point:
            kept = torch.as_tensor(kept) >= 0.5
        return result.copy_(kept) if isinstance(kept, torch.Tensor) else result.fill_(kept)


def seed_devices(seed: int, devices: list[torch.device]) -> None:
    """Seed the CPU and these GPUs, no others; `torch.manual_seed` also reads the call stack for each kind of device."""
    torch.default_generator.manual_seed(seed)
    for device in devices:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextlib.contextmanager
def steady(devices: list[torch.device]) -> Iterator[Steady]:
    """Run forwards with randomness off, uncompiled; every random state is as before afterwards."""
    seen, dropout = Steady(devices), DropoutOff()
    python, array = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices), torch.compiler.set_stance("force_eager"), seen, dropout:
            seed_devices(0, devices)
            random.seed(0)
            np.random.seed(0)
            yield seen
            seen.drawn |= dropout.drawn
    finally:
        random.setstate(python)
        np.random.set_state(array)
