"""The groups of the student's optimizer: members, options, learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from net2net.errors import OptionError
from net2net.optimizer._followed import Followed, followed
from net2net.optimizer._moments import NotUniformError, more_inputs, scales_of
from net2net.optimizer._ramp import RAMP_KEY
from net2net.optimizer._rules import copied, rules_of
from net2net.plan import Plan

RATES = ("keep", "restart", "width", "trajectory", "paper", "boost")


_RESTART = 0.3


# What is left of a rate that has fallen to 0 step by step.
_ENDED = 1e-9


_PAPER = 0.1


_BOOST = 1.3


_NOT_OPTIONS = ("params", "param_names", RAMP_KEY)


# Options of a group that are learning rates; schedulers keep the other ones there.
_RATE_KEYS = ("lr", "initial_lr", "max_lr", "min_lr", "swa_lr")


def student_groups(
    plan: Plan, teacher: nn.Module, student: nn.Module, optimizer: Optimizer, rates: str = "keep"
) -> list[dict[str, Any]]:
    """The parameter groups of the student's optimizer: the teacher's, each with the parameters that come from its own.

    Raises:
        OptionError: the optimizer's parameters are not the teacher's, or the rates are not defined for this growth.
    """
    if rates not in RATES:
        raise OptionError(f"rates={rates!r} is not known; use one of {', '.join(RATES)}.")
    rules_of(optimizer)
    parameters = followed(plan, teacher, student)
    if rates == "boost" and not any(p.is_new for p in parameters):
        raise OptionError(
            "rates='boost' is for tensors that are new as a whole, and this growth has none: new units are a part of "
            "tensors that were there, which have one learning rate each. Use rates='keep'."
        )
    result: list[dict[str, Any]] = []
    for number, members in enumerate(_members(optimizer, teacher, parameters)):
        group = optimizer.param_groups[number]
        parts: dict[tuple[tuple[str, float], ...], list[Followed]] = {} if members else {(): []}
        for member in members:
            parts.setdefault(_factors(rates, optimizer, group, member), []).append(member)
        for factors, some in parts.items():
            options = {key: copied(value) for key, value in group.items() if key not in _NOT_OPTIONS}
            for option, factor in factors:
                for key in _RATE_KEYS if option == "lr" else (option,):
                    if isinstance(options.get(key), (int, float, torch.Tensor)):
                        options[key] = options[key] * factor
            if rates == "restart":  # the height of a cycle is the old schedule's
                options = {k: v for k, v in options.items() if k not in _RATE_KEYS} | _restarted(group, number)
            named = "param_names" in group
            options["params"] = [(p.name, p.parameter) if named else p.parameter for p in some]
            result.append(options)
    return result


def _members(optimizer: Optimizer, teacher: nn.Module, parameters: list[Followed]) -> list[list[Followed]]:
    """The student's parameters of each group of the teacher's optimizer.

    In the student's order where the group is in the teacher's, as an optimizer over `parameters()` is, so that a
    `state_dict` fits an optimizer made anew; else new ones follow the one that they come from. Parameters of other
    networks stay where they are.
    """
    known = {parameter: None for group in optimizer.param_groups for parameter in group["params"]}
    if known.keys().isdisjoint(teacher.parameters()):
        shape = tuple(next(iter(known)).shape) if known else None
        raise OptionError(
            f"none of the optimizer's {len(known)} parameters (the first is of shape {shape}) is one of the teacher's. "
            "Give the optimizer that trains the network that was grown."
        )
    place = {p: k for k, p in enumerate(teacher.parameters())}
    result = []
    for number, group in enumerate(optimizer.param_groups):
        ours = {p: k for k, p in enumerate(group["params"])}
        names = group.get("param_names", [f"parameter {k} of group {number}" for k in range(len(ours))])
        mine = [p for p in parameters if p.source in ours]
        places = [place[p] for p in ours if p in place]
        if places != sorted(places):
            mine.sort(key=lambda p: ours[p.source])
        others = {k: Followed(names[k], p, p, ()) for p, k in ours.items() if p not in place}
        first = min((ours[p.source] for p in mine), default=0)
        before, after = ([p for k, p in others.items() if (k < first) == early] for early in (True, False))
        result.append([*before, *mine, *after])
    return result


def _restarted(group: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The rates for a schedule that is made anew, from where the old one began, or from the height that it rose to."""
    peak = group.get("max_lr", group.get("initial_lr"))
    if peak is None or not float(peak) > 0:
        raise OptionError(
            f"rates='restart' begins below the peak that a scheduler has left in the optimizer, and group {number} has "
            "none ('initial_lr'). Set 'lr' of the new optimizer's groups by hand."
        )
    old, rate = group["lr"], _RESTART * max(float(peak), float(group["lr"]))
    return {key: torch.full_like(old, rate) if isinstance(old, torch.Tensor) else rate for key in ("lr", "initial_lr")}


def has_ended(optimizer: Optimizer) -> bool:
    """Whether a scheduler has brought every rate down to 0; before the first step it may not have begun."""
    groups = optimizer.param_groups
    return bool(optimizer.state) and all(
        group.get("initial_lr") and float(group["lr"]) <= _ENDED * float(group["initial_lr"]) for group in groups
    )


def _factors(
    rates: str, optimizer: Optimizer, group: Mapping[str, Any], member: Followed
) -> tuple[tuple[str, float], ...]:
    """What the options of a parameter are multiplied by."""
    if member.is_foreign:
        return ()
    if rates == "paper":
        return (("lr", _PAPER),)
    if rates == "boost":
        return (("lr", _BOOST),) if member.is_new else ()
    if rates == "width":
        wider = more_inputs(member.steps)
        return (("lr", 1.0 / wider),) if wider != 1.0 else ()
    if rates in ("keep", "restart"):
        return ()
    name, rule = type(optimizer).__name__, rules_of(optimizer).rates
    if rule is None:
        raise OptionError(f"rates='trajectory': no rates are known with which copies follow {name} exactly.")
    try:
        scales = scales_of(tuple(member.source.shape), member.steps)
        if scales.weight <= 0 or scales.gradient <= 0:
            raise NotUniformError("its copies have opposite signs")
        if scales.weight != 1.0 and group.get("weight_decay") and any(step.offset for step in member.steps):
            raise NotUniformError("it is stored as a difference from 1, which weight decay pulls elsewhere")
        factors = rule(scales, group)
    except NotUniformError as reason:
        raise OptionError(
            f"rates='trajectory' is not defined for '{member.name}': {reason}. It needs how='split', shares='even', "
            "noise=None and whole multiples."
        ) from None
    return tuple((key, factor) for key, factor in factors.items() if factor != 1.0)
