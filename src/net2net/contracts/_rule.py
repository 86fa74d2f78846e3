"""What the rule of a custom operation has to keep: what it lets grow grows exactly, and goes on training."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import nn

from net2net.analysis import Analysis, analyze
from net2net.axes import has_rule
from net2net.capture import Inputs
from net2net.contracts._measure import called, furthest, in_float64, trained_alike
from net2net.errors import GrowthError, Net2NetWarning
from net2net.operators import widen


class RuleContract(ABC):
    """The tests of one rule, run on a network that calls the operation.

    Give `op`, `network` and `inputs`, and in `grows` the dimensions that the rule must let grow. `hows` are the ways
    in which they are widened; a way that is refused passes unless it is in `exact`. `trains` is False for an operation
    without `register_autograd`.

    Example:
        >>> class TestRelu(RuleContract):
        ...     op, grows = "aten::relu", ("0",)
        ...     def network(self):
        ...         return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        ...     def inputs(self):
        ...         return torch.randn(4, 3)
        >>> TestRelu().test_what_grows_is_exact()
    """

    op: ClassVar[str]
    grows: ClassVar[tuple[str, ...]] = ()
    hows: ClassVar[tuple[str, ...]] = ("zero_out", "split")
    exact: ClassVar[tuple[str, ...]] = ("zero_out",)
    trains: ClassVar[bool] = True

    @abstractmethod
    def network(self) -> nn.Module:
        """A network that calls the operation, between layers with weights."""

    @abstractmethod
    def inputs(self) -> Inputs:
        """Example inputs, drawn anew at each call."""

    def test_the_operation_is_called_and_has_a_rule(self) -> None:
        """The graph of the network has the operation, and a rule is registered for it."""
        name = self.op.replace("::", ".")
        ops = {node.op for node in self._analysis().sites.inference.graph.nodes}
        assert name in ops, f"the network doesn't call {self.op}; it calls {', '.join(sorted(ops))}"
        assert has_rule(name), f"no rule is registered for {self.op}"

    def test_the_rule_gives_axes_of_the_right_sizes(self) -> None:
        """Axes that don't fit a result's shape count as no rule; the reason then says so."""
        name = self.op.replace("::", ".")
        for dimension in self._analysis().dimensions.values():
            ours = f"no rule ({name} " in (dimension.reason or "")
            assert not ours, f"the axes that the rule of {self.op} returns don't have the sizes of its results"

    def test_what_must_grow_can_grow(self) -> None:
        """The dimensions of `grows` can grow."""
        assert self.grows, "name at least one dimension in `grows`; print(net2net.analyze(network, inputs)) lists them"
        dimensions = self._analysis().dimensions
        for name in self.grows:
            assert name in dimensions, f"'{name}' is not a dimension; there are {', '.join(dimensions)}"
            assert dimensions[name].growth != "fixed", f"'{name}' can't grow: {dimensions[name].reason}"

    def test_what_grows_is_exact(self) -> None:
        """Every dimension that can grow computes the same at awkward sizes, in eval and in train mode."""
        for name, dimension in self._analysis().dimensions.items():
            sizes = sorted({dimension.size + 1, 2 * dimension.size - 1, 3 * dimension.size})
            for how in self.hows if dimension.growth != "fixed" else ():
                self._grows_exactly(name, sizes, how)

    def test_the_student_trains(self) -> None:
        """Within three steps of training every tensor that has grown moves."""
        for name in self.grows if self.trains else ():
            teacher, inputs = self._made()
            growth = widen(teacher, {name: 2 * self._analysis().dimensions[name].size}, inputs)
            assert not growth.verification.dead, f"new entries never learn: {growth.verification.dead}"
            student = growth.student.train()
            before = copy.deepcopy(student.state_dict())
            optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
            for _ in range(3):
                optimizer.zero_grad()
                torch.autograd.backward([y.square().mean() for y in called(student, inputs)])
                optimizer.step()
            grown = [(n, p) for n, p in student.named_parameters() if n in growth.plan.tensors and p.requires_grad]
            still = [n for n, p in grown if torch.equal(p, before[n])]
            assert grown and not still, f"{still} of the student get no gradient; does the operation have one?"

    def _grows_exactly(self, name: str, sizes: list[int], how: str) -> None:
        done = 0
        for size in sizes:
            teacher, inputs = self._made()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", Net2NetWarning)  # copies may be twins here
                    student = widen(teacher, {name: size}, inputs, how=how).student
            except GrowthError as refusal:
                last = refusal
                continue
            done += 1
            for training in (False, True):
                fresh = in_float64(self.inputs())
                ours, theirs = (called(copy.deepcopy(m).train(training), fresh) for m in (student, teacher))
                error = furthest(ours, theirs)
                assert error <= 1e-10, f"'{name}' to {size} with how='{how}': relative error {error:.1e}"
        if not done and name in self.grows and how in self.exact:
            raise AssertionError(f"'{name}' was refused at {sizes} with how='{how}': {last}") from last

    def _made(self) -> tuple[nn.Module, Inputs]:
        torch.manual_seed(0)
        return trained_alike(self.network()), in_float64(self.inputs())

    def _analysis(self) -> Analysis:
        return analyze(*self._made())
