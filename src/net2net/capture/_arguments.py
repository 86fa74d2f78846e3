"""What users give, looked at once, before any work: the wrong kind of thing is named by what it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from net2net.capture._reasons import refuse_unfit
from net2net.errors import OptionError, described


def require_module(model: Any, what: str = "the model") -> None:
    """Raise if something is no network: a class, a function, a state_dict, None.

    Raises:
        OptionError: it is none.
    """
    more = " Load a state_dict into the module that it is of, and give that." if isinstance(model, Mapping) else ""
    if isinstance(model, type) and issubclass(model, nn.Module):
        more = f" Construct it first: {model.__name__}(...)."
    if not isinstance(model, nn.Module):
        raise OptionError(f"{what} is {described(model)}; give a torch.nn.Module.{more}")


def require_inputs(model: nn.Module, inputs: Any) -> None:
    """Raise if example inputs are an empty batch, or hold no numbers where the network holds some.

    Raises:
        OptionError: they are, or do.
    """
    tensors = [t for t in pytree.tree_leaves(inputs) if isinstance(t, torch.Tensor)]
    if tensors and not tensors[0].numel():
        raise OptionError(
            f"example_inputs is an empty batch, of shape {tuple(tensors[0].shape)}; give at least one example."
        )
    if any(t.device.type == "meta" for t in tensors) and not any(p.device.type == "meta" for p in model.parameters()):
        raise OptionError(
            "example_inputs is on the meta device, where there are no numbers to compare with; give inputs on "
            f"{next((str(p.device) for p in model.parameters()), 'cpu')}."
        )


def require_teacher(model: Any, inputs: Any) -> None:
    """Raise if something is no network with trained weights, or its example inputs are none.

    Raises:
        OptionError: the first thing that is wrong.
        CaptureError: it holds what can't be grown: a wrapper for several devices, quantised or lazy modules.
    """
    require_module(model)
    refuse_unfit(model)
    require_weights(model)
    require_inputs(model, inputs)


def require_weights(model: nn.Module) -> None:
    """Raise if a network has no weights, or weights that are no numbers.

    Raises:
        OptionError: it is on the meta device, or a tensor holds NaN or infinity.
    """
    if any(t.device.type == "meta" for t in model.parameters()):
        raise OptionError(
            "the teacher is on the meta device, where there are no weights to grow; analyze() works there."
        )
    odd = odd_weight(model)
    if odd is not None:
        raise OptionError(
            f"'{odd[0]}' of the teacher holds {odd[1]}: there is no function to preserve. Go back to weights from "
            "before training diverged, or set these entries."
        )


def odd_weight(model: nn.Module) -> tuple[str, str] | None:
    """The first tensor of a network that holds no finite numbers, and what it holds: NaN, or infinity."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found = _odd(tensor.detach()) if tensor.device.type != "meta" else ""
        if found and (isinstance(tensor, nn.Parameter) or found == "NaN"):  # buffers may be masks of infinities
            return name, found
    return None


def _odd(tensor: torch.Tensor) -> str:
    """What a tensor holds that is no finite number."""
    if tensor.is_complex():
        return _odd(torch.view_as_real(tensor.resolve_conj()))
    if not tensor.is_floating_point() or tensor.itemsize < 2 or not tensor.numel() or tensor.layout != torch.strided:
        return ""
    # The extremes show NaN and infinity too, and are found faster than `isfinite` looks at every entry.
    extremes = torch.stack(torch.aminmax(tensor))
    return "NaN" if bool(extremes.isnan().any()) else "infinity" if bool(extremes.isinf().any()) else ""


def require_request(request: Any, word: str) -> None:
    """Raise if sizes, or places to deepen, are neither a factor nor a dict by name.

    Raises:
        OptionError: they are something else.
    """
    ways = "give a factor for all (2.0 or '2x'), or a dict by name, such as"
    example = {"sizes": "{'fc1': 2.0}", "where": "{'blocks': 1}"}[word]
    if isinstance(request, Mapping):
        for key in request:
            if not isinstance(key, str):
                raise OptionError(f"{word} has the key {described(key)}; names are strings: {str(key)!r}.")
    elif isinstance(request, str):
        text = request.strip().lower()
        if not text.endswith("x") or not text[:-1].replace(".", "", 1).isdigit():
            raise OptionError(f"{word}={request!r} is not a factor; {ways} {{{request!r}: '2x'}}.")
    elif isinstance(request, bool) or not isinstance(request, (int, float)):
        raise OptionError(f"{word} is {described(request)}; {ways} {example}.")
