"""A student with other inputs and outputs than its teacher: how the two are given the same, and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from net2net.capture import Example, dotted, with_inputs
from net2net.proof._inputs import Arguments


@dataclass(frozen=True, eq=False)
class Port:
    """An axis of an input or an output that the student has otherwise than its teacher.

    `source[i]` is the teacher's place that place i of the student is, or -1 for a new one; where `axis` is None the
    entries of the input are such places (numbers of tokens). `constants` has the number that stands in each place that
    the student lacks.
    """

    name: str
    axis: int | None
    source: npt.NDArray[np.int64]
    before: int
    constants: npt.NDArray[np.float64] | None = None

    def after(self, earlier: Port) -> Port:
        """The two ports as one: `earlier` is between the teacher and what this one starts from."""
        source = np.where(self.source < 0, -1, earlier.source[np.maximum(self.source, 0)])
        if earlier.constants is None and self.constants is None:
            return replace(self, source=source, before=earlier.before)
        constants = np.zeros(earlier.before) if earlier.constants is None else earlier.constants.copy()
        gone = np.setdiff1d(np.arange(self.before), self.source)
        gone = gone[earlier.source[gone] >= 0]
        if self.constants is not None:
            constants[earlier.source[gone]] = self.constants[gone]
        return replace(self, source=source, before=earlier.before, constants=constants)

    def of_teacher(self, tensor: torch.Tensor) -> torch.Tensor:
        """The teacher's input, with what the student doesn't have at its constants."""
        kept = self.source[self.source >= 0]
        gone = np.setdiff1d(np.arange(self.before), kept)
        if not len(gone):
            return tensor
        if self.axis is None:
            names = np.arange(self.before)
            names[gone] = kept[0]
            return _renamed(tensor, names)
        result = tensor.clone()
        places = torch.from_numpy(gone).to(result.device)
        constants = np.zeros(self.before) if self.constants is None else self.constants
        column = [-1 if d == self.axis else 1 for d in range(result.dim())]
        given = torch.from_numpy(constants[gone]).to(result).reshape(column)
        shape = [len(gone) if d == self.axis else s for d, s in enumerate(result.shape)]
        return result.index_copy_(self.axis, places, given.expand(shape).contiguous())

    def of_student(self, tensor: torch.Tensor) -> torch.Tensor:
        """What the student is given where the teacher is given this: any numbers in new places."""
        if self.axis is None:
            names = np.full(self.before, -1)
            names[self.source[self.source >= 0]] = np.flatnonzero(self.source >= 0)
            return _renamed(tensor, names)
        result = tensor.index_select(self.axis, torch.from_numpy(np.maximum(self.source, 0)).to(tensor.device))
        new = torch.from_numpy(np.flatnonzero(self.source < 0)).to(tensor.device)
        if not len(new):
            return result
        shape = [len(new) if d == self.axis else s for d, s in enumerate(result.shape)]
        return result.index_copy_(self.axis, new, _anything(shape, tensor))

    def share(self, logits: torch.Tensor) -> float | None:
        """The largest part of the probability that new entries of a student's logits get; None if there are none."""
        new = torch.from_numpy(np.flatnonzero(self.source < 0)).to(logits.device)
        if self.axis is None or not len(new) or not logits.numel():
            return None
        return float(torch.softmax(logits.double(), self.axis).index_select(self.axis, new).sum(self.axis).max())

    def kept(self, tensor: torch.Tensor, of_student: bool) -> torch.Tensor:
        """The entries of an output that both have, in the teacher's order."""
        assert self.axis is not None
        mine = np.flatnonzero(self.source >= 0)
        order = np.argsort(self.source[mine])
        places = mine[order] if of_student else self.source[mine][order]
        return tensor.index_select(self.axis, torch.from_numpy(places).to(tensor.device))


def _renamed(tensor: torch.Tensor, names: npt.NDArray[np.int64]) -> torch.Tensor:
    """Numbers of tokens as others; a number that is none, such as -100, stays."""
    table = torch.from_numpy(names).to(tensor.device)
    known = (tensor >= 0) & (tensor < len(names))
    return torch.where(known, table[torch.where(known, tensor, 0).long()].to(tensor.dtype), tensor)


def _anything(shape: list[int], like: torch.Tensor) -> torch.Tensor:
    """Numbers about as large as those of a tensor: for what must not matter."""
    generator = torch.Generator().manual_seed(3)
    if not like.is_floating_point():
        most = int(like.max()) + 1 if like.numel() else 1
        return torch.randint(0, max(most, 2), shape, generator=generator).to(like)
    size = float(like[like.isfinite()].double().square().mean().sqrt()) if like.numel() else 1.0
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(like) * (size if size > 0 else 1.0)


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs that a student has otherwise than its teacher; of most students none."""

    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()

    def after(self, earlier: Interface) -> Interface:
        """The interface of two growths, `earlier` and then this one."""
        return Interface(_joined(earlier.inputs, self.inputs), _joined(earlier.outputs, self.outputs))

    def of_teacher(self, model: nn.Module, method: str, given: Arguments) -> Arguments:
        """The teacher's arguments, with what the student doesn't have at its constants."""
        return self._given(model, method, given, lambda port, tensor: port.of_teacher(tensor))

    def of_student(self, model: nn.Module, method: str, given: Arguments) -> Arguments:
        """The student's arguments where the teacher's are these."""
        return self._given(model, method, given, lambda port, tensor: port.of_student(tensor))

    def of_student_by_name(self, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the student is given, by name, where the teacher is given these tensors by their names."""
        result = dict(given)
        for port in self.inputs:
            if port.name in result:
                result[port.name] = port.of_student(result[port.name])
        return result

    def kept(self, outputs: Mapping[str, Any], method: str, of_student: bool = False) -> dict[str, Any]:
        """The entries of a method's outputs that teacher and student both have, in the teacher's order."""
        ports = {port.name: port for port in self.outputs}
        return {
            name: port.kept(value, of_student)
            if (port := ports.get(output_name(method, name))) is not None and isinstance(value, torch.Tensor)
            else value
            for name, value in outputs.items()
        }

    def examples(self, model: nn.Module, examples: tuple[Example, ...]) -> tuple[Example, ...]:
        """Examples for the student, from those of the teacher `model`."""
        found = []
        for example in examples:
            args, kwargs = self.of_student(model, example.method, (example.args, example.kwargs))
            found.append(replace(example, args=args, kwargs=kwargs))
        return tuple(found)

    def _given(
        self, model: nn.Module, method: str, given: Arguments, change: Callable[[Port, torch.Tensor], torch.Tensor]
    ) -> Arguments:
        if not self.inputs:
            return given
        by_name: dict[str, list[Port]] = {}
        for port in self.inputs:
            by_name.setdefault(port.name, []).append(port)

        def changed(name: str, tensor: torch.Tensor) -> torch.Tensor:
            for port in by_name.get(name, []):
                tensor = change(port, tensor)
            return tensor

        return with_inputs(getattr(model, method), *given, changed)


def output_name(method: str, name: str) -> str:
    """What an output of a network is called: one of another method than `forward` has its name in front."""
    return dotted(name) if method == "forward" else f"{method}.{dotted(name)}"


def _joined(earlier: tuple[Port, ...], later: tuple[Port, ...]) -> tuple[Port, ...]:
    first = {(port.name, port.axis): port for port in earlier}
    second = {(port.name, port.axis): port for port in later}
    both = {key: port.after(first[key]) if key in first else port for key, port in second.items()}
    return tuple({**first, **both}.values())


SAME = Interface()
