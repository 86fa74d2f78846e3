"""Dense feed-forwards become mixtures of experts that compute the same: sparse upcycling."""

from __future__ import annotations

import copy
import fnmatch
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from net2net._version import __version__
from net2net.analysis import new_size
from net2net.capture import Example, structural_copy
from net2net.errors import OptionError, SizeError, StudentMismatchError, UnknownNameError
from net2net.growth import Known, carried_out
from net2net.moe._experts import MixtureOfExperts
from net2net.moe._feed_forward import FeedForward, Product, feed_forwards
from net2net.moe._replicas import empty, second_map
from net2net.moe._starts import drawn_units
from net2net.operators import Made, replays
from net2net.plan import Arrays, AxisMap, Change, Plan, Preservation, Row, Store, TensorPlan, change
from net2net.proof import NewUnits

View = tuple[tuple[int, ...], tuple[int, ...]]


@change("mixing")
@dataclass(frozen=True)
class Mixing(Change):
    """One feed-forward of the growth that becomes a mixture.

    Each expert has a part of the hidden units, one of `granularity`; the experts are `experts / granularity` copies of
    all parts. With `shared`, half of the output is that of the feed-forward, which computes every token. `to` is the
    class of the network, where that is another one than before; `redrawn` the share of the hidden units of each expert
    that is drawn anew.
    """

    makes: ClassVar[str] = "a mixture of experts"
    heading: ClassVar[str] = "feed-forward"
    listed: ClassVar[str] = "feed_forwards"
    alike: ClassVar[bool] = True

    place: str
    experts: int
    top_k: int
    granularity: int
    shared: bool
    preserves: Preservation = field(default="exact")
    to: str = ""
    redrawn: float = 0.0

    def row(self) -> Row:
        """The change as a line of a table."""
        of = f", parts of {self.granularity}" if self.granularity > 1 else ""
        more = ", one shared" if self.shared else ""
        more += f", in {self.to}" if self.to else ""
        more += f", {self.redrawn:.0%} of their units drawn anew" if self.redrawn else ""
        return Row(self.place, 1, self.experts, f"copies{of}, {self.top_k} per token{more}")

    def bound_to(self) -> str:
        """Why the change can't be replayed on another network."""
        return f"a plan of a folder of {self.to} is of the tensors in its files; make it of each." if self.to else ""

    def why(self) -> str:
        """Why the change doesn't preserve the function."""
        return f"{self.redrawn:.0%} of the hidden units of each expert are drawn anew" if self.redrawn else ""

    def symmetry(self) -> str:
        """What parts the copies."""
        if self.redrawn:
            return "experts differ in the units that are drawn anew"
        return "experts are equal, and training parts them: the router gives each tokens of its own"

    def summary(self) -> dict[str, Any]:
        """The change as plain data for a reader."""
        return {n: getattr(self, n) for n in ("place", "experts", "top_k", "granularity", "shared", "to", "redrawn")}

    def data(self, store: Store) -> dict[str, Any]:
        """The change as JSON."""
        return {**self.summary(), "preserves": self.preserves}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Self:
        """The change that `data` described."""
        return cls(**data)


def dense_made(
    model: nn.Module,
    experts: Any,
    examples: tuple[Example, ...],
    top_k: int,
    granularity: int,
    shared: bool,
    redrawn: float,
    seed: int,
) -> Made:
    """The mixtures that the feed-forwards of a network become, before the proof.

    Raises:
        GrowthError: there is no feed-forward, or the numbers don't fit it or each other.
    """
    found, tokens, float32 = feed_forwards(model, examples)
    if not found:
        raise OptionError(
            f"{type(model).__name__} has no feed-forward that can become a mixture: a module of two or three linear "
            "layers that maps tokens to tokens of the same width, in the middle an activation, and a gate or none; "
            "without dropout, which would be lost."
        )
    changes: list[Mixing] = []
    tensors: dict[str, TensorPlan] = {}
    removed: list[str] = []
    for name, number in _wanted(found, experts).items():
        one = Mixing(name, number, top_k, granularity, shared, "none" if redrawn else "exact", redrawn=redrawn)
        _check(found[name], one)
        changes.append(one)
        tensors |= dict(_tensors(model, found[name], one, tokens[name], seed))
        removed += [f"{name}.{n}" for n, _ in model.get_submodule(name).named_parameters()]
    gone = tuple(name for name in removed if name not in tensors)
    promise: Preservation = "none" if redrawn else "exact"
    plan = Plan(tensors, tuple(changes), seed, promise, removed=gone, version=__version__)
    return _made(model, plan, found, float32)


@replays("mixing")
def mixed_along(plan: Plan, model: nn.Module, examples: tuple[Example, ...]) -> Made:
    """What a plan of mixtures makes of another network with the same feed-forwards, before its proof.

    Raises:
        StudentMismatchError: its feed-forwards are others.
    """
    found, _, float32 = feed_forwards(model, examples)
    for one in plan.changes:
        assert isinstance(one, Mixing)
        if one.place not in found:
            raise StudentMismatchError(f"the plan needs a feed-forward '{one.place}', which this network doesn't have.")
    return _made(model, plan, found, float32)


def _wanted(found: dict[str, FeedForward], experts: Any) -> dict[str, int]:
    """The number of experts of each feed-forward that a request means."""
    if not isinstance(experts, Mapping):
        return {name: new_size(experts, 1, name) for name in found}
    wanted: dict[str, int] = {}
    for key, number in experts.items():
        names = [key] if key in found else fnmatch.filter(found, key)
        if not names:
            raise UnknownNameError(f"there is no feed-forward '{key}'; there are {', '.join(map(repr, found))}.")
        wanted |= {name: new_size(number, 1, name) for name in names}
    return wanted


def _check(feed_forward: FeedForward, one: Mixing) -> None:
    """Raise if numbers don't fit."""
    experts, top_k, parts = one.experts, one.top_k, one.granularity
    for value, what in ((top_k, "top_k"), (parts, "granularity")):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise OptionError(f"{what}={value!r} is not a number of experts; use 1 or more.")
    if feed_forward.hidden % parts:
        raise SizeError(f"'{one.place}' has {feed_forward.hidden} hidden units: {parts} parts don't share them evenly.")
    if experts < 2 or experts % parts:
        raise SizeError(f"'{one.place}': {experts} experts are no copies of {parts} parts; use a multiple of {parts}.")
    if top_k % parts or top_k > experts:
        raise SizeError(
            f"'{one.place}': top_k={top_k} experts of {experts} are no whole copies of {parts} parts, so they wouldn't "
            f"compute the same; use a multiple of {parts} up to {experts}."
        )


def _tensors(
    model: nn.Module, feed_forward: FeedForward, one: Mixing, tokens: torch.Tensor, seed: int
) -> Iterator[tuple[str, TensorPlan]]:
    """How the tensors of a mixture are made of a feed-forward's.

    The router has a row for each copy, repeated for its parts, so that all parts of a copy are chosen together, with
    equal weights: the output is their sum over how many they are.

    Source: the "virtual groups" of Megatron-LM's upcycling; its factor goes to the last product alone, which is exact
        for every activation.
    """
    name, parts = feed_forward.name, one.granularity
    copies = one.experts // parts
    part = np.tile(np.arange(parts), copies)
    units, width = feed_forward.hidden // parts, feed_forward.width
    half = 0.5 if one.shared else 1.0
    kept = np.full(one.experts, half / copies)
    drawn = drawn_units(one.redrawn, one.experts, units, seed, name) if one.redrawn else None
    outputs, inputs = (None, None) if drawn is None else (drawn[:, :, None], drawn[:, None, :])

    def along(first: int, factor: float = 1.0, cut: bool = True) -> AxisMap:
        source = first + (part if cut else np.zeros(one.experts, dtype=np.int64))
        factors = None if factor == 1.0 else np.full(one.experts, factor)
        return AxisMap(source, factor=factors, gradient=kept / factor)

    products: tuple[tuple[str, Product | None], ...] = (("up", feed_forward.up), ("gate", feed_forward.gate))
    for role, product in products:
        if product is None:
            continue
        pieces = model.get_submodule(name).get_parameter(product.weight).numel() // width // units
        first = product.start // units
        view: View = ((width, pieces, units), (1, 2, 0)) if product.transposed else ((pieces, units, width), (0, 1, 2))
        shape: tuple[int, ...] = (one.experts, units, width)
        source = f"{name}.{product.weight}"
        rows = (along(first), None, None)
        yield f"{name}.experts.{role}", TensorPlan(shape, rows, source=source, view=view, redrawn=outputs)
        if product.bias is not None:
            source, view = f"{name}.{product.bias}", ((pieces, units), (0, 1))
            yield f"{name}.experts.{role}_bias", TensorPlan(shape[:2], (along(first), None), source=source, view=view)
    down = feed_forward.down
    view = ((parts, units, width), (0, 2, 1)) if down.transposed else ((width, parts, units), (1, 0, 2))
    yield (
        f"{name}.experts.down",
        TensorPlan(
            (one.experts, width, units),
            (along(0, parts * half), None, None),
            source=f"{name}.{down.weight}",
            view=view,
            redrawn=inputs,
        ),
    )
    if down.bias is not None:
        shape = (one.experts, width)
        axes = (replace(along(0, half, cut=False), gradient=kept / half / parts), None)
        yield (
            f"{name}.experts.down_bias",
            TensorPlan(shape, axes, source=f"{name}.{down.bias}", view=((1, width), (0, 1))),
        )
    drawn_rows = second_map((copies,), width, {0: tokens}, zlib.crc32(f"{seed} {name}.router.weight".encode()))
    values = np.repeat(drawn_rows, parts, axis=0)
    yield (
        f"{name}.router.weight",
        TensorPlan(
            values.shape,
            (None, None),
            source=f"{name}.{feed_forward.up.weight}",
            fill="values",
            new=True,
            values=values,
        ),
    )
    if one.shared:
        last = (down.weight, down.bias)
        for n, p in model.get_submodule(name).named_parameters():
            scale = 0.5 if n in last else 1.0
            gradient = np.full(p.shape[0], 0.5 / scale)
            factor = None if scale == 1.0 else np.full(p.shape[0], scale)
            along_rows = AxisMap(np.arange(p.shape[0]), factor=factor, gradient=gradient)
            rest = [None] * (p.dim() - 1)
            yield f"{name}.shared.{n}", TensorPlan(tuple(p.shape), (along_rows, *rest), source=f"{name}.{n}")


def _made(model: nn.Module, plan: Plan, found: dict[str, FeedForward], float32: bool) -> Made:
    """The student of a plan."""
    template = structural_copy(model)
    units = []
    for one in plan.changes:
        assert isinstance(one, Mixing)
        feed_forward, dense = found[one.place], template.get_submodule(one.place)
        like = next(dense.parameters())
        mixture = MixtureOfExperts(
            feed_forward.width,
            feed_forward.hidden // one.granularity,
            one.experts,
            one.top_k,
            act=copy.deepcopy(feed_forward.act),
            gated=feed_forward.gate is not None,
            bias=True,
            shared=structural_copy(dense, lambda _, t: empty(t)) if one.shared else None,
        ).to(like.dtype)
        for role, product in (("up", feed_forward.up), ("gate", feed_forward.gate), ("down", feed_forward.down)):
            if product is None or product.bias is None:
                setattr(mixture.experts, f"{role}_bias", None)
        for parameter in mixture.parameters():
            parameter.requires_grad_(like.requires_grad)
        for module in mixture.modules():
            module.training = dense.training
        template.set_submodule(one.place, mixture)
        first = np.arange(one.granularity)
        new = np.arange(one.granularity, one.experts)
        units += [
            NewUnits(name, one.place, 0, new, first, routed=True)
            for name in plan.tensors
            if name.startswith(f"{one.place}.experts.") and len(new)
        ]
    return Made(carried_out(plan, model, template), plan, Known(tuple(units), float32_inside=float32))
