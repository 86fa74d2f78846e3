"""What goes into a model and what comes out of it, as values with names."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from net2net.pretrained import function_of, is_model_output


def taken_apart(result: Any) -> Any:
    """What a model gives back, with dicts for dataclasses that torch doesn't know."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type) and type(result) not in pytree.SUPPORTED_NODES:
        return {f.name: taken_apart(getattr(result, f.name)) for f in dataclasses.fields(result)}
    if type(result) in (list, tuple):
        return type(result)(map(taken_apart, result))
    return {k: taken_apart(v) for k, v in result.items()} if type(result) is dict else result


def with_inputs(
    function: Callable[..., Any], args: Any, kwargs: Any, change: Callable[[str, torch.Tensor], torch.Tensor]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with tensors changed, each by its name: the parameter's, and keys below it after dots.

    Args:
        function: what is called.
        args, kwargs: its arguments.
        change: from a name and a tensor to what stands in its place.
    """
    bound = inspect.signature(function).bind(*args, **kwargs)
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind

        def changed(path: Any, leaf: Any, name: str = name, kind: Any = kind) -> Any:
            keys = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
            keys = keys if kind is inspect.Parameter.VAR_KEYWORD else [name, *keys]
            return change(".".join(keys), leaf) if isinstance(leaf, torch.Tensor) else leaf

        bound.arguments[name] = pytree.tree_map_with_path(changed, value)
    return bound.args, bound.kwargs


def dotted(name: str) -> str:
    """The name of an output with dots between its keys, as users write it.

    Example:
        >>> dotted("state'][0")
        'state.0'
    """
    return re.sub(r"'?\]\['?", ".", name)


def named_outputs(result: Any) -> dict[str, Any]:
    """The leaves of what a model gives back, by name: the part of it that a growth preserves.

    Of the ModelOutput of a Hugging Face model these are the logits where there are some; caches, hidden states and
    attentions are no part of the result.
    """
    leaves = pytree.tree_flatten_with_path(taken_apart(result))[0]
    named = {pytree.keystr(path).strip("[]'.") or "output": leaf for path, leaf in leaves if leaf is not None}
    return function_of(named) if is_model_output(result) else named
