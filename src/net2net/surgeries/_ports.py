"""What the keys of a request mean: inputs and outputs of a network, by name or position."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from net2net.axes import Opened
from net2net.capture import CASTS, COPIES, MOVES, Example, Graph, Node, Value, with_inputs
from net2net.errors import OptionError, SizeError, UnknownNameError, described
from net2net.proof import output_name
from net2net.surgeries._features import Features, Places

Key = str | int
Wanted = Mapping[Key, Features]


@dataclass(frozen=True, eq=False)
class Wish:
    """A change that is asked for at one input or output.

    `axis` counts from the first; None means that the entries of the input are numbers of tokens, that look up rows of
    `tables`. `values` are the input or output in the graph: one of each example.
    """

    side: Literal["input", "output"]
    name: str
    features: Features
    places: Places
    axis: int | None
    values: tuple[tuple[str, Value], ...]  # with their names in the graph
    tables: tuple[Value, ...] = ()

    @property
    def what(self) -> str:
        """For messages."""
        return f"the {self.side} '{self.name}'"


def wishes(
    model: nn.Module, examples: tuple[Example, ...], graph: Graph, inputs: Wanted, outputs: Wanted
) -> list[Wish]:
    """What is asked for, at the values of the graph.

    Raises:
        UnknownNameError, SizeError, OptionError: a key or a size doesn't work.
    """
    return [
        *(_wish("input", name, f, values) for name, f, values in _chosen(inputs, inputs_of(model, examples, graph))),
        *(_wish("output", name, f, values) for name, f, values in _chosen(outputs, outputs_of(examples, graph))),
    ]


def opened(found: list[Wish]) -> Opened:
    """The axes that the wishes open."""
    mine: dict[str, set[tuple[str, int]]] = {"input": set(), "output": set()}
    for wish in found:
        if wish.axis is not None:
            mine[wish.side].update((name, wish.axis) for name, _ in wish.values)
    tables = frozenset(table.name for wish in found for table in wish.tables)
    single = any(wish.places.before == 1 for wish in found)
    return Opened(frozenset(mine["input"]), frozenset(mine["output"]), tables, single)


Named = dict[str, list[tuple[str, Value]]]


def inputs_of(model: nn.Module, examples: tuple[Example, ...], graph: Graph) -> Named:
    """The tensors that the calls are given, by their names in the calls."""
    names: list[str] = []
    for example in examples:

        def seen(name: str, tensor: torch.Tensor) -> torch.Tensor:
            names.append(name)
            return tensor

        with_inputs(getattr(model, example.method), example.args, example.kwargs, seen)
    if len(names) != len(graph.inputs):
        raise OptionError(
            f"the calls are given {len(names)} tensors and the graph reads {len(graph.inputs)}; give every tensor as "
            "an argument of its own."
        )
    found: Named = {}
    for name, value in zip(names, graph.inputs, strict=True):
        found.setdefault(name, []).append((value.name, value))
    return found


def outputs_of(examples: tuple[Example, ...], graph: Graph) -> Named:
    """The tensors that the calls give back, by their names in what they give back; those of another method than
    `forward` have its name in front."""
    calls = {f"{e.name}{' train' * e.train}".strip(): e.method for e in examples} if len(examples) > 1 else {}
    found: Named = {}
    for name, value in graph.outputs.items():
        call = next((c for c in calls if c and name.startswith(f"{c}.")), None)
        own = name if call is None else name[len(call) + 1 :]
        method = examples[0].method if call is None else calls[call]
        found.setdefault(output_name(method, own), []).append((name, value))
    return found


def _chosen(wanted: Wanted, known: Named) -> Iterator[tuple[str, Features, list[tuple[str, Value]]]]:
    taken: set[str] = set()
    for key, features in wanted.items():
        if not isinstance(features, Features):
            raise OptionError(f"{key!r} is given {described(features)}; give net2net.Features(before, after).")
        name = _named(key, list(known))
        if name in taken:
            raise OptionError(f"'{name}' is asked for twice.")
        taken.add(name)
        yield name, features, known[name]


def _named(key: Key, names: list[str]) -> str:
    if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(names):
        return names[key]
    if isinstance(key, str) and key in names:
        return key
    near = difflib.get_close_matches(str(key), names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise UnknownNameError(f"nothing is called {key!r} there; there are {', '.join(map(repr, names))}.{hint}")


def _wish(side: Literal["input", "output"], name: str, features: Features, values: list[tuple[str, Value]]) -> Wish:
    what = f"the {side} '{name}'"
    tables = tuple(dict.fromkeys(t for _, v in values for t in _tables(v))) if side == "input" else ()
    if tables:
        size = tables[0].shape[0]
        if any(table.shape[0] != size for table in tables):
            raise SizeError(
                f"{what} looks up rows of tables of {sorted({t.shape[0] for t in tables})} rows: name one size."
            )
        return Wish(side, name, features, features.places(size, what), None, tuple(values), tables)
    rank = len(values[0][1].shape)
    if not -rank <= features.axis < rank or any(len(v.shape) != rank for _, v in values):
        raise SizeError(f"{what} has {rank} axes, and no axis {features.axis}.")
    axis = features.axis % rank
    places = features.places(values[0][1].shape[axis], what)
    return Wish(side, name, features, places, axis, tuple(values))


def _tables(value: Value) -> Iterator[Value]:
    """The stored tables that the entries of a value look up rows of, and that is all that it is for."""
    if value.dtype.is_floating_point:
        return
    for node in value.consumers:
        if node.op in ("aten.embedding", "aten.embedding_bag"):
            if node.get("indices") is value and node["weight"].is_state:
                yield node["weight"]
        elif _is_view(node):
            for output in node.outputs:
                yield from _tables(output)


def _is_view(node: Node) -> bool:
    return node.op in (*MOVES, *CASTS, *COPIES)
