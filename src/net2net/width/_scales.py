"""How large new random weights are: what new units give has the root mean square of what the old ones give.

Trained rows cancel most of what they read, or add it up; random rows of the same size don't. In a deep network without
norms the difference multiplies from layer to layer. So the teacher is run on the example inputs, step by step,
and each product of a weight that gets new rows is computed once more with random rows in the place of the trained ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from net2net.axes import Flow, Inference, atoms, flow_of
from net2net.capture import Node, Value
from net2net.plan import FRESH, AxisMap, Plan, TensorPlan
from net2net.sites import shifts_of

# The part of the old units' mean square that new weights give beside the mean of the old biases, if old ones give as
# much.
_LEAST = 0.25
# Few rows are drawn several times, so that the measure doesn't hang on one draw.
_ROWS, _DRAWS = 256, 8


def with_scales(plan: Plan, inference: Inference, state: Mapping[str, torch.Tensor]) -> Plan:
    """The plan with the sizes of new random weights set from what units give on the example inputs.

    Where a network can't be run operation by operation, new entries keep the size of the old ones.
    """
    drawn = {name: axis for name, tensor in plan.tensors.items() for axis in _random_axes(tensor)[:1]}
    if not drawn or any(tensor.device.type == "meta" for tensor in state.values()):
        return plan
    measured = _Measured(inference, state, drawn)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # a forward may draw
            measured.run()
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError):  # what was measured before it still holds
        pass
    tensors = dict(plan.tensors)
    for name, spread in measured.spreads.items():
        tensor = tensors[name]
        if len(tensor.shape) > 1:
            spread *= math.sqrt(math.prod(_share_of_old(m) for m in tensor.axes))
        axes = tuple(
            replace(m, spread=spread) if m is not None and axis in _random_axes(tensor) else m
            for axis, m in enumerate(tensor.axes)
        )
        tensors[name] = replace(tensor, axes=axes)
    return replace(plan, tensors=tensors)


def _random_axes(tensor: TensorPlan) -> list[int]:
    """The axes along which whole units are drawn."""
    return [axis for axis, m in enumerate(tensor.axes) if m is not None and not m.contracted and _has(m, "random")]


def _has(m: AxisMap, how: str) -> bool:
    return m.fresh is not None and bool((m.fresh == FRESH.index(how)).any())


def _share_of_old(m: AxisMap | None) -> float:
    """Of what a new unit reads, the part that comes from old units: new ones that other units don't see yet give as
    much."""
    if m is None or not _has(m, "zero"):
        return 1.0
    return float(np.mean(m.source >= 0))


@dataclass
class _Measured:
    """A run of the teacher's graph, and what it says about the weights that get new rows.

    `spreads`: for each tensor, the size of its new entries relative to the old ones.
    """

    inference: Inference
    state: Mapping[str, torch.Tensor]
    drawn: dict[str, int]
    spreads: dict[str, float] = field(default_factory=dict)
    values: dict[Value, torch.Tensor] = field(default_factory=dict)

    def run(self) -> None:
        graph = self.inference.graph
        readers = {value: len(value.consumers) for node in graph.nodes for value in (*node.inputs, *node.outputs)}
        writes = any(node.op.endswith("_") for node in graph.nodes)
        for value in [*graph.state.values(), *graph.inputs]:
            found = self.state[value.name] if value.is_state else value.data
            if found is not None:
                self.values[value] = found.detach().clone() if writes else found.detach()
        for node in graph.nodes:
            result = node.target(**_filled(node.arguments, self._value))
            results = result if isinstance(result, (list, tuple)) else (result,)
            self.values.update(zip(node.outputs, (r for r in results if isinstance(r, torch.Tensor)), strict=True))
            if flow_of(node) in (Flow.CONTRACT, Flow.PRODUCT) and self.inference.contractions_at(node):
                self._measure(node)
            for value in node.inputs:
                readers[value] -= 1
                if readers[value] == 0 and value not in self.inference.weights:
                    self.values.pop(value, None)

    def _value(self, value: Value) -> torch.Tensor:
        if value not in self.values:
            if value.data is not None:
                return value.data
            if value not in self.inference.weights or value.producer is None:
                raise KeyError(value.name)
            result = value.producer.target(**_filled(value.producer.arguments, self._value))
            if not isinstance(result, torch.Tensor):
                raise TypeError(value.name)
            self.values[value] = result
        return self.values[value]

    def _measure(self, node: Node) -> None:
        """Compare what the node gives with what it would give if a weight's rows were random."""
        weights = [v for v in node.inputs if v in self.inference.weights]
        if len(weights) == len(node.inputs):
            return
        chain = [node, *self._pre_activation(node.output)]
        shifts = [v for n in chain for v in (*shifts_of(n), *(self._added(n) if n is not node else ()))]
        for weight in weights:
            for stored in _ancestors(weight):
                axis = self.drawn.get(stored.name) if stored.is_state and len(stored.shape) > 1 else None
                if axis is None or any(v is weight for v in shifts) or self._sums(node, stored, axis):
                    continue
                self._compare(chain, stored, axis, shifts)

    def _compare(self, chain: list[Node], stored: Value, axis: int, shifts: list[Value]) -> None:
        tensor = self._value(stored)
        silent = {v: torch.zeros_like(self._value(v)) for v in shifts}
        means = {v: torch.full_like(t, t.mean().item()) for v in shifts for t in (self._value(v),)}
        mine, alone = (_mean_square(self._outcome(chain, swapped)) for swapped in ({}, silent))
        draws = max(1, min(_DRAWS, _ROWS // stored.shape[axis]))
        theirs = sum(
            _mean_square(self._outcome(chain, {**silent, stored: _random_like(tensor, seed)})) for seed in range(draws)
        )
        shift = _mean_square(self._outcome(chain, {**means, stored: torch.zeros_like(tensor)})) if shifts else 0.0
        if not (0.0 < mine < math.inf and 0.0 < alone < math.inf and 0.0 < theirs < math.inf and math.isfinite(shift)):
            return
        self._keep(stored.name, math.sqrt(min(alone, max(mine - shift, _LEAST * mine)) * draws / theirs))
        if shift > mine:  # old biases cancel what old weights give
            for value in shifts:
                for v in _ancestors(value):
                    if v.name in self.drawn and len(v.shape) == 1:
                        self._keep(v.name, math.sqrt((1 - _LEAST) * mine / shift))

    def _keep(self, name: str, spread: float) -> None:
        self.spreads[name] = min(spread, self.spreads.get(name, math.inf))

    def _outcome(self, chain: list[Node], swapped: dict[Value, torch.Tensor]) -> torch.Tensor:
        """What the last node of a chain gives with some weights swapped."""
        known = dict(swapped)

        def value(v: Value) -> torch.Tensor:
            if v in known:
                return known[v]
            if v in self.inference.weights and v.producer is not None and any(a in swapped for a in _ancestors(v)):
                known[v] = v.producer.target(**_filled(v.producer.arguments, value))
                return known[v]
            return self._value(v)

        for node in chain:
            known[node.output] = node.target(**_filled(node.arguments, value))
        return known[chain[-1].output]

    def _pre_activation(self, value: Value) -> Iterator[Node]:
        """The nodes that finish what an activation reads: a sum over a product's axis, views, an added bias."""
        while len(value.consumers) == 1 and len(value.consumers[0].outputs) == 1:
            node = value.consumers[0]
            moving = [v for v in node.inputs if v not in self.inference.weights]
            if moving != [value] or flow_of(node) not in (Flow.PASS, Flow.SUM) or node.op.endswith("_"):
                return
            yield node
            value = node.output

    def _added(self, node: Node) -> list[Value]:
        return [v for v in node.inputs if v in self.inference.weights] if flow_of(node) is Flow.SUM else []

    def _sums(self, node: Node, stored: Value, axis: int) -> bool:
        """Whether the node sums over what grows along this axis: new places there are inputs, not units."""
        mine = set(atoms(self.inference.of(stored)[axis]))
        return any(mine & set(atoms(c.term)) for c in self.inference.contractions_at(node))


def _filled(argument: Any, value: Callable[[Value], torch.Tensor]) -> Any:
    """Arguments of a node with tensors in the place of values."""
    if isinstance(argument, Value):
        return value(argument)
    if isinstance(argument, (list, tuple)):
        return [_filled(a, value) for a in argument]
    if isinstance(argument, dict):
        return {name: _filled(a, value) for name, a in argument.items()}
    return argument


def _ancestors(value: Value) -> list[Value]:
    """A value and all that it is computed from."""
    found = [value]
    for v in found:
        found.extend(u for u in (v.producer.inputs if v.producer is not None else ()) if u not in found)
    return found


def _random_like(tensor: torch.Tensor, seed: int) -> torch.Tensor:
    size = math.sqrt(_mean_square(tensor))
    drawn = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed)) * size
    return drawn.to(tensor)


def _mean_square(tensor: torch.Tensor) -> float:
    return float(tensor.abs().double().square().mean())
