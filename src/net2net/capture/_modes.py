"""Methods and modes: which forward an example means."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from net2net.capture._examples import Example
from net2net.pretrained import has_dynamic_positions, without_caches


def as_called(model: nn.Module, example: Example) -> nn.Module:
    """The model, in the example's mode, with the example's method for its forward. It is changed.

    In train mode torch's own modules stay in eval mode: dropout and batch statistics are all that differs in them.
    """
    model.train(example.train)
    for module in model.modules() if example.train else ():
        own = type(module).__module__.startswith("torch.nn.")
        if own or isinstance(module, (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)):
            module.training = False
    if example.method != "forward":
        method = getattr(model, example.method)

        @functools.wraps(method)
        def once(*args: Any, **kwargs: Any) -> Any:
            del model.forward  # the method may call the model
            try:
                return method(*args, **kwargs)
            finally:
                model.forward = once

        model.forward = once
    return model


def prepared(model: nn.Module, example: Example) -> nn.Module:
    """A copy of a model in the state in which it is looked at: as the example calls it, without caches."""
    without_caches(as_called(model, example))
    for module in model.modules():
        if has_dynamic_positions(module):  # they branch on how long the input is
            vars(module)["rope_type"] = "default"
    return model
