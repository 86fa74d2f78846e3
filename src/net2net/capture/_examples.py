"""What of a network is looked at: one or several examples of its inputs, through `forward` or another method."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from net2net.errors import CaptureError, OptionError

Methods = Sequence[str] | Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Example:
    """The arguments of one call of a network's method. `name` tells it from the others; "" if it is the only one.

    `train` says that the graph is that of train mode, with dropout off and norms as in eval mode.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    method: str = "forward"
    train: bool = False
    name: str = ""


Inputs = torch.Tensor | tuple[Any, ...] | dict[str, Any] | list[Any] | Example


def split_inputs(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of one example: a tensor, a tuple, or a dict of keywords."""
    if isinstance(inputs, Example):
        return inputs.args, inputs.kwargs
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    if isinstance(inputs, dict) or hasattr(inputs, "keys"):
        return (), dict(inputs)
    if isinstance(inputs, tuple):
        return inputs, {}
    raise CaptureError(
        f"example_inputs has a {type(inputs).__name__}; give a tensor, a tuple of positional arguments or a dict of "
        "keyword arguments, or a list of several of these."
    )


def examples_of(inputs: Inputs, methods: Methods = (), model: nn.Module | None = None) -> tuple[Example, ...]:
    """The calls that example inputs mean.

    Args:
        inputs: one example, a list of examples, or what this function gave.
        methods: names of methods beside `forward`, each called with the examples that its signature takes; or a
            mapping from their names to examples of their own.
        model: whose methods they are.

    Raises:
        CaptureError: the inputs are of another kind.
        OptionError: a method isn't there, or takes none of the examples; a list is meant as positional arguments.
    """
    if isinstance(inputs, tuple) and inputs and all(isinstance(i, Example) for i in inputs):
        return inputs
    calls = [("forward", split_inputs(one)) for one in _several(inputs)]
    if isinstance(inputs, list) and model is not None:
        for _, (args, kwargs) in calls:
            if not _takes(model.forward, args, kwargs) and _takes(model.forward, tuple(inputs), {}):
                raise OptionError(
                    f"example_inputs is a list, which holds several examples, and {type(model).__name__}.forward "
                    "can't be called with the first alone. Give positional arguments as a tuple."
                )
    forwards = list(calls)
    if isinstance(methods, str):
        methods = (methods,)
    for name in methods:
        method = getattr(model, name, None)
        if not callable(method) or isinstance(method, nn.Module):
            raise OptionError(f"methods= names '{name}', which is no method of {type(model).__name__}.")
        if isinstance(methods, Mapping):
            found = [split_inputs(one) for one in _several(methods[name])]
        else:
            found = [call for _, call in forwards if _takes(method, *call)]
        if not found:
            raise OptionError(
                f"'{name}' of {type(model).__name__} takes none of the example inputs; give it its own: "
                f"methods={{'{name}': inputs}}."
            )
        calls += [(name, call) for call in found]
    names = [method if method != "forward" else "" for method, _ in calls]
    counts = {name: names.count(name) for name in names}
    result, numbers = [], dict.fromkeys(names, 0)
    for name, (method, (args, kwargs)) in zip(names, calls, strict=True):
        numbers[name] += 1
        number = str(numbers[name]) if counts[name] > 1 else ""
        result.append(Example(args, kwargs, method, name=" ".join(filter(None, (name, number)))))
    return tuple(result)


def _several(inputs: Inputs) -> list[Inputs]:
    if not isinstance(inputs, list):
        return [inputs]
    if not inputs:
        raise CaptureError("example_inputs is an empty list; give at least one example.")
    return inputs


def _takes(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True
