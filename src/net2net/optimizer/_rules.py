"""What each optimizer keeps for a parameter, and how its options follow a growth. Users add theirs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.optim import Optimizer

from net2net.errors import OptionError, described
from net2net.optimizer._moments import KINDS, Scales

# Makes the student's state of one kind from a tensor of the parameter's shape.
Grow = Callable[[torch.Tensor, str], torch.Tensor]
# A kind by name, "same" (a step counter), or a function of the parameter's state in the teacher.
StateRule = str | Callable[[Mapping[str, Any], Grow], Any]
# What the options of a tensor's group are multiplied by, so that the student follows the teacher's trajectory.
Rates = Callable[[Scales, Mapping[str, Any]], dict[str, float]]


@dataclass(frozen=True)
class OptimizerRules:
    """The state of an optimizer by name, and its trajectory, where it has an exact one."""

    state: Mapping[str, StateRule]
    rates: Rates | None = None


_RULES: Final[dict[type[Optimizer], OptimizerRules]] = {}


def register_optimizer(cls: type[Optimizer], state: Mapping[str, StateRule], rates: Rates | None = None) -> None:
    """Say what an optimizer keeps, so that `growth.optimizer` can carry it. Subclasses are covered too.

    Args:
        cls: the optimizer's class.
        state: for each key of `optimizer.state[parameter]` what it is: "first moment" (a mean of gradients), "second
            moment" (of their squares), "absolute moment" (of their sizes), "update" (a mean of normalised steps),
            "squared update" (of squared steps in the weight's own unit), "weight" (a mean of weights), "same" (a
            counter; taken as it is), or a function `(state, grow) -> new value`, where `state` is the teacher's for
            this parameter and `grow(tensor, kind)` makes the student's tensor from one of the parameter's shape.
        rates: for `rates="trajectory"`, a function `(scales, group) -> factors` of the group's options, with which
            copies follow the teacher exactly; `scales.weight` and `scales.gradient` are what a weight and its gradient
            were multiplied by.

    Raises:
        OptionError: a kind is not known.

    Example:
        >>> import torch
        >>> class Lion(torch.optim.Optimizer):
        ...     "Keeps one mean of gradients for each parameter."
        >>> register_optimizer(Lion, {"exp_avg": "first moment"})
    """
    if not isinstance(cls, type):
        raise OptionError(f"register_optimizer takes a class and what it keeps; {described(cls)} is not a class.")
    if not isinstance(state, Mapping) or not state:
        raise OptionError(
            f"{cls.__name__}: what it keeps is {described(state)}; give a dict such as {{'exp_avg': 'first moment'}}, "
            "or {'step': 'same'} for one that keeps nothing."
        )
    for key, rule in state.items():
        if not callable(rule) and rule not in (*KINDS, "same"):
            raise OptionError(
                f"{cls.__name__}: '{key}' is {rule!r}; use one of {', '.join(KINDS)}, same, or a function."
            )
    _RULES[cls] = OptimizerRules(dict(state), rates)


def rules_of(optimizer: Optimizer) -> OptimizerRules:
    """The rules of an optimizer's class, or of the nearest class that it inherits from.

    Raises:
        OptionError: there are none.
    """
    if not isinstance(optimizer, Optimizer):
        raise OptionError(f"the optimizer is {described(optimizer)}; give the torch.optim.Optimizer of the teacher.")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise OptionError(
            "LBFGS keeps one history of all parameters as one long vector, which can't follow a growth. Begin anew "
            "with torch.optim.LBFGS(growth.student.parameters())."
        )
    for cls in type(optimizer).__mro__:
        if cls in _RULES:
            return _RULES[cls]
    name = type(optimizer).__name__
    raise OptionError(
        f"what {name} keeps for a parameter is not known, and its state would be lost. Say it once with "
        f"net2net.register_optimizer({name}, {{'exp_avg': 'first moment', 'exp_avg_sq': 'second moment', ...}})."
    )


def rules_for_keys(keys: Collection[str]) -> OptimizerRules:
    """The rules of the optimizer that keeps these things, for a state that was saved without its class.

    Raises:
        OptionError: none does.
    """
    fitting = [rules for rules in _RULES.values() if set(keys) <= rules.state.keys()]
    if not fitting:
        raise OptionError(
            f"no optimizer is known that keeps {sorted(keys)} for a parameter. Say what they are with "
            "net2net.register_optimizer."
        )
    return min(fitting, key=lambda rules: len(rules.state))


def carried(state: Mapping[str, Any], rules: Mapping[str, StateRule], grow: Grow) -> Iterator[tuple[str, Any]]:
    """The state of a parameter of the student, entry by entry, from the teacher's; each entry has a rule."""
    for key, value in state.items():
        rule = rules[key]
        if callable(rule):
            yield key, rule(state, grow)
        elif rule == "same" or not isinstance(value, torch.Tensor):
            yield key, copied(value)
        else:
            yield key, grow(value, rule)


def copied(value: Any) -> Any:
    """A value that shares no memory with the one it is copied from."""
    return value.detach().clone() if isinstance(value, torch.Tensor) else copy.copy(value)


def _gradient_descent(scales: Scales, group: Mapping[str, Any]) -> dict[str, float]:
    """Steps grow with the gradient; an L2 penalty adds to it."""
    return {"lr": scales.weight / scales.gradient, "weight_decay": scales.gradient / scales.weight}


def _normalised(scales: Scales, group: Mapping[str, Any]) -> dict[str, float]:
    """Steps don't depend on the gradient's size, but for eps."""
    decay = 1.0 if group.get("decoupled_weight_decay") else scales.gradient
    return {"lr": scales.weight, "eps": scales.gradient, "weight_decay": decay / scales.weight}


def _muon(scales: Scales, group: Mapping[str, Any]) -> dict[str, float]:
    """The orthogonal factor of a matrix of equal blocks is that of one block, divided by the root of their number."""
    out, into = scales.copies
    rate = scales.weight * math.sqrt(out * into) * _adjusted(scales.before, group) / _adjusted(scales.after, group)
    return {"lr": rate, "weight_decay": 1.0 / rate}


def _adjusted(shape: tuple[int, ...], group: Mapping[str, Any]) -> float:
    """What torch's Muon multiplies the learning rate of a matrix by."""
    rows, columns = shape
    if group["adjust_lr_fn"] in (None, "original"):
        return math.sqrt(max(1, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns)) if group["adjust_lr_fn"] == "match_rms_adamw" else 1.0


def _factored(state: Mapping[str, Any], grow: Grow) -> torch.Tensor:
    """Adafactor's estimate of the second moments: the product of the means over columns and over rows."""
    rows, columns = state["row_var"], state["col_var"]
    mean = rows.mean(-2, keepdim=True)
    return grow(rows * columns / mean.where(mean > 0, 1.0), "second moment")


_ADAM: dict[str, StateRule] = {
    "step": "same",
    "exp_avg": "first moment",
    "exp_avg_sq": "second moment",
    "max_exp_avg_sq": "second moment",
}

register_optimizer(torch.optim.SGD, {"momentum_buffer": "first moment"}, _gradient_descent)
register_optimizer(torch.optim.Adam, _ADAM, _normalised)  # and AdamW, which inherits from it
register_optimizer(torch.optim.AdamW, _ADAM, _normalised)
register_optimizer(torch.optim.NAdam, {**_ADAM, "mu_product": "same"}, _normalised)
register_optimizer(torch.optim.RAdam, _ADAM)  # its first steps are not normalised, so no one rate is exact
register_optimizer(torch.optim.SparseAdam, _ADAM)
register_optimizer(
    torch.optim.Adamax,
    {"step": "same", "exp_avg": "first moment", "exp_inf": "absolute moment"},
    _normalised,
)
register_optimizer(
    torch.optim.RMSprop,
    {
        "step": "same",
        "square_avg": "second moment",
        "grad_avg": "first moment",
        "momentum_buffer": "update",  # the mean of steps that are normalised already
    },
    _normalised,
)
register_optimizer(torch.optim.Adagrad, {"step": "same", "sum": "second moment"}, _normalised)
register_optimizer(
    torch.optim.Adadelta,
    {"step": "same", "square_avg": "second moment", "acc_delta": "squared update"},
)
register_optimizer(
    torch.optim.Adafactor,
    {
        "step": "same",
        "variance": "second moment",
        "row_var": lambda state, grow: _factored(state, grow).mean(-1, keepdim=True),
        "col_var": lambda state, grow: _factored(state, grow).mean(-2, keepdim=True),
    },
)
register_optimizer(torch.optim.ASGD, {"step": "same", "eta": "same", "mu": "same", "ax": "weight"})
if hasattr(torch.optim, "Muon"):  # since torch 2.9
    register_optimizer(torch.optim.Muon, {"momentum_buffer": "first moment"}, _muon)
