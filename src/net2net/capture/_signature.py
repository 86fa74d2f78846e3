"""What goes into a model and what comes out of it, as values with names."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch.utils import _pytree as pytree

from net2net.pretrained import function_of, is_model_output


def taken_apart(result: Any) -> Any:
    """What a model gives back, with dicts for dataclasses that torch doesn't know."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type) and type(result) not in pytree.SUPPORTED_NODES:
        return {f.name: taken_apart(getattr(result, f.name)) for f in dataclasses.fields(result)}
    if type(result) in (list, tuple):
        return type(result)(map(taken_apart, result))
    return {k: taken_apart(v) for k, v in result.items()} if type(result) is dict else result


def named_outputs(result: Any) -> dict[str, Any]:
    """The leaves of what a model gives back, by name: the part of it that a growth preserves.

    Of the ModelOutput of a Hugging Face model these are the logits where there are some; caches, hidden states and
    attentions are no part of the result.
    """
    leaves = pytree.tree_flatten_with_path(taken_apart(result))[0]
    named = {pytree.keystr(path).strip("[]'.") or "output": leaf for path, leaf in leaves if leaf is not None}
    return function_of(named) if is_model_output(result) else named
