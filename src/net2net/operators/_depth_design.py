"""A request for depth -> a plan and a student that runs, before any weight is moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from net2net._version import __version__
from net2net.analysis import Analysis
from net2net.capture import Graph, Inputs, Stopped, Value, capture, devices_of, without_memory
from net2net.depth import (
    PRESERVING,
    BlockEdit,
    DepthOptions,
    LayerEdit,
    LayerPlace,
    Order,
    Stack,
    Wanted,
    block_edit,
    find_layers,
    find_stacks,
    kernels_of,
    orders,
)
from net2net.errors import (
    CaptureError,
    CouplingError,
    FixedDimensionError,
    GrowthError,
    OptionError,
    StudentMismatchError,
)
from net2net.operators._calibrate import Calibration, batches_of, statistics
from net2net.plan import Deepening, Plan, weakest
from net2net.pretrained import in_pretrained
from net2net.student import PlaceError, Skeleton, Trial, draft_deeper, operations

Edit = BlockEdit | LayerEdit


@dataclass(frozen=True)
class DepthDesigner:
    """Finds a plan and a student that runs, before any weight is moved. `like` is a student that the user built."""

    model: nn.Module
    analysis: Analysis
    options: DepthOptions
    inputs: Inputs
    calibration: Calibration | None
    like: nn.Module | None = None

    @property
    def layers(self) -> list[LayerPlace]:
        """The places for identity layers, and those where none can go, with the reason."""
        return find_layers(self.analysis.sites.inference, self.model)

    @property
    def _unread(self) -> list[str]:
        return [name for name, value in self.analysis.sites.inference.graph.state.items() if not value.consumers]

    def of(self, wanted: Sequence[Wanted]) -> tuple[Plan, Skeleton]:
        """The plan and a student without weights for exactly these places.

        Raises:
            GrowthError: there is none.
        """
        ways = [self._orders(one) for one in wanted]
        several = any(isinstance(w.place, Stack) and len(set(w.place.kinds)) > 1 for w in wanted)
        refusal: CouplingError | None = None
        for k in range(max(map(len, ways))):
            try:
                return self._design(wanted, [way[min(k, len(way) - 1)] for way in ways])
            except CouplingError as error:  # a class may make other blocks at these places
                if not several and not isinstance(error, PlaceError):
                    raise
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    def _orders(self, wanted: Wanted) -> list[Order]:
        """The orders of the blocks of a stack that may do; of a layer an empty one."""
        if not isinstance(wanted.place, Stack):
            return [()]
        return orders(wanted.place, wanted.count, self.options.init, wanted.positions or self.options.positions)

    def _design(self, wanted: Sequence[Wanted], found: Sequence[Order]) -> tuple[Plan, Skeleton]:
        batches = batches_of(self.calibration, self.inputs)
        normed = [w.place for w in wanted if isinstance(w.place, LayerPlace) and w.place.norm and w.place.kind]
        known_of = statistics(self.model, batches, normed) if normed else {}
        edits: list[Edit] = []
        notes = []
        for one, blocks in zip(wanted, found, strict=True):
            if isinstance(one.place, Stack):
                edits.append(self._blocks(one.place, blocks))
                continue
            edit = self._layers(one, one.place)
            known = known_of.get(one.place.name)
            if known is not None:
                edit = LayerEdit(edit.place, edit.kernels, known.mean, known.variance)
                notes.append(f"the statistics after '{edit.place.name}' are those of {len(batches)} batch(es)")
                if known.dead:
                    notes.append(f"channels {list(known.dead)} after '{edit.place.name}' are dead: variance floored")
            edits.append(edit)
        skeleton = self.first_running(edits)
        changes = tuple(e.deepening for e in edits)
        plan = Plan(
            skeleton.tensors,
            changes,
            self.options.seed,
            weakest(changes),
            skeleton.attributes,
            removed=skeleton.removed,
            notes=(*notes, *skeleton.notes),
            changed=skeleton.changed,
            version=__version__,
        )
        return plan, skeleton

    def of_most(self, wanted: Sequence[Wanted]) -> tuple[Plan, Skeleton]:
        """The design for all of these places, or for as many as can grow together; the plan names the others."""
        left_out: dict[str, str] = {}
        possible = []
        for one in wanted:
            try:
                if isinstance(one.place, Stack):
                    self._blocks(one.place, self._orders(one)[0])
                possible.append(one)
            except GrowthError as error:
                left_out[one.place.name] = str(error)
        if not possible:
            raise FixedDimensionError("; ".join(left_out.values()))
        try:
            plan, skeleton = self.of(possible)
        except GrowthError as error:
            plan, skeleton, together = self._one_by_one(possible, error)
            left_out.update({w.place.name: str(error) for w in possible if w not in together})
        return replace(plan, left_out={**plan.left_out, **left_out}), skeleton

    def _one_by_one(self, wanted: Sequence[Wanted], refusal: GrowthError) -> tuple[Plan, Skeleton, list[Wanted]]:
        """The design for those places that go together, taken in their order."""
        together: list[Wanted] = []
        found: tuple[Plan, Skeleton] | None = None
        for one in wanted:
            try:
                found = self.of([*together, one])
                together.append(one)
            except GrowthError:
                continue
        if found is None:
            raise refusal
        return *found, together

    def again(self, deepening: Deepening) -> Edit:
        """The edit that a plan records; what new tensors start as is the plan's, not this one's."""
        if deepening.kind == "blocks":
            stacks = find_stacks(self.analysis.sites.inference, self.model)
            alike = (s for stack in stacks for s in (stack, *stack.parts) if s.name == deepening.place)
            stack = next((s for s in alike if len(s) == deepening.before), None)
            if stack is not None:
                order = tuple(zip(deepening.sources, deepening.new, strict=True))
                return block_edit(self.analysis.sites.inference, stack, order, deepening.init, self._fixed_eps(stack))
        else:
            place = next((p for p in self.layers if p.name == deepening.place and p.kind is not None), None)
            if place is not None:
                return LayerEdit(place, deepening.kernels, np.zeros(place.channels), np.ones(place.channels))
        raise StudentMismatchError(
            f"the plan deepens '{deepening.place}', and this {type(self.model).__name__} has no such place for it. A "
            "plan is replayed on networks of the class and the shapes that it was made for."
        )

    def _fixed_eps(self, stack: Stack) -> bool:
        return in_pretrained(self.model, stack.blocks[0].path)

    def _blocks(self, stack: Stack, found: Order) -> BlockEdit:
        eps, moves = self._fixed_eps(stack), self.like is not None
        return block_edit(self.analysis.sites.inference, stack, found, self.options.init, eps, taps_move=moves)

    def _layers(self, wanted: Wanted, place: LayerPlace) -> LayerEdit:
        if place.kind is None:
            raise FixedDimensionError(
                f"'{place.name}' can't be followed by an identity layer: {place.reason}. What works: a layer before "
                "another activation, or a further block where blocks add to a stream (analysis.places lists both)."
            )
        if self.options.init not in PRESERVING:
            raise OptionError(f"init={self.options.init!r} is for blocks that repeat; '{place.name}' is a layer.")
        kernels: list[tuple[int, ...] | None] = [None]
        if not isinstance(place.layer, nn.Linear):
            kernels = list(kernels_of(place.layer, self.options.kernel))
            for kernel in kernels:
                if kernel is not None and (len(kernel) != place.axes or not all(map(_has_centre, kernel))):
                    raise OptionError(f"kernel={kernel} doesn't suit '{place.name}': use odd sizes, one for each axis.")
            if not kernels:
                raise OptionError(f"kernel=[] names no kernel for '{place.name}'.")
        return LayerEdit(place, tuple(kernels) * wanted.count)

    def _alike(self, graph: Graph, skeleton: Skeleton, edits: Sequence[Edit]) -> bool:
        """Whether the teacher's blocks run in the student what they run in the teacher."""
        inside = [e.place.path for e in edits if isinstance(e, LayerEdit)]
        paths = [b.path for e in edits if isinstance(e, BlockEdit) for b in e.stack.blocks]
        paths = [p for p in paths if not any(name.startswith(p + ".") for name in inside)]
        before = self.analysis.sites.inference.graph
        return all(_calls(before, p) == _calls(graph, skeleton.moved[p]) for p in paths if p in skeleton.moved)

    def _unread_in(self, draft: nn.Module, graph: Graph, skeleton: Skeleton) -> list[str]:
        """The tensors of new layers that a draft doesn't read, though the teacher reads those that they copy."""
        teacher = self.analysis.sites.inference.graph.state
        own = {name for name, _ in (*draft.named_parameters(), *draft.named_buffers())}  # of tied ones the first
        read = {value.name for node in graph.nodes for value in node.inputs if value.is_state}
        return [
            name
            for name in skeleton.new
            if name in own - read and not name.endswith("num_batches_tracked")
            if (source := skeleton.tensors[name].source) not in teacher or teacher[source].consumers
        ]

    def first_running(self, edits: Sequence[Edit]) -> Skeleton:
        """The first draft that runs and reads every tensor that is new."""
        reasons = []
        devices = devices_of(self.model)
        trial = Trial(self.model, self.analysis.sites.inference.graph, self.inputs)
        about_layers = True
        for skeleton in draft_deeper(self.model, edits, self._unread, self.like):
            draft = without_memory(skeleton.model, devices)
            try:
                recorded = trial.recorded(draft)
                graph = recorded if recorded and not skeleton.changed else capture(draft, self.inputs)
            except Stopped as stop:
                reasons.append(str(stop))
                about_layers = about_layers and stop.about_sizes
                continue
            except CaptureError as error:
                reasons.append(str(error).splitlines()[0])
                about_layers = False
                continue
            unread = self._unread_in(draft, graph, skeleton)
            if not unread and skeleton.changed and not self._alike(graph, skeleton, edits):
                reasons.append("its blocks compute something else with other numbers")
                continue
            if not unread:
                return skeleton
            reasons.append(f"its forward doesn't read '{unread[0]}'")
        places = ", ".join(f"'{e.deepening.place}'" for e in edits)
        what = (
            f"{type(self.model).__name__} doesn't run with more at {places}: {reasons[0] if reasons else 'no draft'}."
        )
        if self.like is not None:
            raise StudentMismatchError(f"{what} So it is in the student that was given.")
        if not about_layers:
            raise CouplingError(f"{what} Build the bigger model yourself and use net2net.transfer.")
        if not any(isinstance(e, BlockEdit) for e in edits):
            raise CouplingError(
                f"{what} Its forward uses what stands there in other ways than by calling it. Build the bigger model "
                "yourself and use net2net.transfer."
            )
        raise CouplingError(
            f"{what} Its forward names its blocks, or holds to their number. Build the bigger model yourself and use "
            "net2net.transfer."
        )


def _calls(graph: Graph, path: str) -> list[tuple[object, ...]]:
    """What a module runs: every operation with its numbers, an eps and the device aside."""
    return [
        (n.op, *(f"{k}={v}" for k, v in n.arguments.items() if k not in ("eps", "device") and not _has_values(v)))
        for n in operations(graph)
        if n.module == path or n.module.startswith(path + ".")
    ]


def _has_values(argument: object) -> bool:
    if isinstance(argument, (list, tuple)):
        return any(map(_has_values, argument))
    return isinstance(argument, Value)


def _has_centre(size: object) -> bool:
    return isinstance(size, int) and size > 0 and size % 2 == 1
