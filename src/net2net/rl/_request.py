"""What `grow` is asked for, in the words of `net2net.surgery`: keys of inputs and outputs, sizes of layers."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from net2net.errors import OptionError, SizeError, described
from net2net.rl._kinds import Kind, is_recurrent
from net2net.rl._world import ONE, World
from net2net.surgeries import Features

NetArch = Sequence[int] | Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Request:
    """Arguments of `net2net.surgery`, and what has to be said to the new policy's class."""

    features: Mapping[str | int, Features] = field(default_factory=dict)
    outputs: Mapping[str | int, Features] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)


def request_of(
    agent: BaseAlgorithm,
    kind: Kind,
    networks: Any,
    world: World,
    net_arch: NetArch | None,
    lstm_hidden_size: int | None,
) -> Request:
    """What is asked for.

    Raises:
        GrowthError: it has no meaning for this agent.
    """
    features: dict[str | int, Features] = {
        f"obs.{key}" if key != ONE else "obs": f for key, f in world.observations.items()
    }
    outputs: dict[str | int, Features] = (
        dict(_of_actions(agent, networks, world.actions)) if world.actions is not None else {}
    )
    if world.actions is not None and hasattr(networks, "actor"):
        features["actions"] = replace(world.actions, start=None)
    sizes = dict(_sizes(kind, networks, net_arch))
    kwargs: dict[str, Any] = {} if net_arch is None else {"net_arch": _plain(net_arch)}
    if lstm_hidden_size is not None:
        kwargs["lstm_hidden_size"] = lstm_hidden_size
        states = dict(_states(agent, networks, lstm_hidden_size))
        features, outputs = {**features, **states}, {**outputs, **states}
        if isinstance(getattr(networks, "critic", None), nn.Linear):
            sizes["critic"] = lstm_hidden_size
    return Request(features, outputs, sizes, kwargs)


def _of_actions(agent: BaseAlgorithm, networks: Any, actions: Features) -> Iterator[tuple[str | int, Features]]:
    """The outputs of the networks that have an entry for each action."""
    if hasattr(networks, "q_net"):
        yield "q_values", actions
    elif getattr(networks, "log_std", None) is not None:  # a parameter: PPO and A2C
        yield "mean", _beginning(actions, "zero")
        yield "log_std", replace(actions, start=float(getattr(agent.policy, "log_std_init", 0.0)))
    elif hasattr(networks, "actor"):
        yield "mean", _beginning(actions, "zero")
        if hasattr(networks.actor, "log_std"):
            yield "log_std", replace(actions, start="zero")
    else:
        yield "action_logits", actions


def _beginning(actions: Features, start: str) -> Features:
    return replace(actions, start=start) if actions.start is None else actions


def _states(agent: BaseAlgorithm, networks: Any, size: int) -> Iterator[tuple[str | int, Features]]:
    """The states of recurrent layers, given and given back."""
    if not is_recurrent(agent.policy):
        raise OptionError(f"{type(agent).__name__} has no LSTM; lstm_hidden_size is for RecurrentPPO.")
    for name, layer in (("pi", networks.lstm_actor), ("vf", getattr(networks, "lstm_critic", None))):
        if layer is None:
            continue
        if isinstance(size, bool) or not isinstance(size, int) or size <= layer.hidden_size:
            raise SizeError(f"the LSTM has {layer.hidden_size} units; lstm_hidden_size={size!r} must be more.")
        for part in ("0", "1"):
            yield f"{name}.{part}", Features(layer.hidden_size, size)


def _sizes(kind: Kind, networks: Any, net_arch: NetArch | None) -> Iterator[tuple[str, int]]:
    """The layers that get wider, and their new sizes.

    Raises:
        OptionError: it isn't a net_arch, or has other layers than the agent.
        SizeError: a layer would get smaller.
    """
    if net_arch is None:
        return
    if isinstance(net_arch, str) or not isinstance(net_arch, (Mapping, Sequence)):
        raise OptionError(f"net_arch is {described(net_arch)}; give the sizes of layers, as in policy_kwargs.")
    keys = sorted({stack.key for stack in kind.stacks})
    if isinstance(net_arch, Mapping) and set(net_arch) != set(keys):
        raise OptionError(f"net_arch has the keys {list(net_arch)}; of this agent they are {keys}.")
    for stack in kind.stacks:
        wanted = net_arch[stack.key] if isinstance(net_arch, Mapping) else net_arch
        for name, module in networks.named_modules():
            if fnmatch.fnmatchcase(name, stack.name) and name.count(".") == stack.name.count("."):
                yield from _of_stack(name, module, list(wanted), stack.has_head)


def _of_stack(name: str, module: nn.Module, wanted: list[int], has_head: bool) -> Iterator[tuple[str, int]]:
    layers = [(key, m) for key, m in module.named_children() if isinstance(m, nn.Linear)]
    hidden = layers[:-1] if has_head else layers
    now = [layer.out_features for _, layer in hidden]
    if len(wanted) != len(now):
        raise OptionError(
            f"net_arch gives '{name}' {len(wanted)} layers, and it has {len(now)} ({now}): say a size for each; new "
            "layers aren't put in."
        )
    for (key, layer), size in zip(hidden, wanted, strict=True):
        if isinstance(size, bool) or not isinstance(size, int) or size < layer.out_features:
            raise SizeError(f"'{name}.{key}' has {layer.out_features} units; net_arch asks for {size!r}.")
        if size > layer.out_features:
            yield f"{name}.{key}", size


def _plain(net_arch: NetArch) -> Any:
    if isinstance(net_arch, Mapping):
        return {key: list(sizes) for key, sizes in net_arch.items()}
    return list(net_arch)
