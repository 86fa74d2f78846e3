"""What a registered optimizer has to keep: its state is carried whole, saved and loaded, and training goes on."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from net2net.contracts._measure import called, furthest, trained_alike
from net2net.errors import Net2NetWarning
from net2net.growth import Growth
from net2net.operators import widen


class OptimizerContract(ABC):
    """The tests of one optimizer. Give `optimizer`; set `follows` where `register_optimizer` was given `rates`.

    Example:
        >>> class TestSGD(OptimizerContract):
        ...     follows = True
        ...     def optimizer(self, parameters):
        ...         return torch.optim.SGD(parameters, lr=0.02, momentum=0.9)
        >>> TestSGD().test_copies_follow_the_teacher()
    """

    follows: ClassVar[bool] = False
    steps: ClassVar[int] = 5

    @abstractmethod
    def optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """The optimizer, on these parameters."""

    def network(self) -> nn.Module:
        """A small network whose dimension "0" is grown; replace it for an optimizer that needs another."""
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))

    def inputs(self) -> torch.Tensor:
        """Example inputs of the network: (batch, features)."""
        return torch.randn(8, 4, dtype=torch.float64)

    def test_every_entry_of_the_state_is_carried(self) -> None:
        """The student's state has the teacher's keys, in the shapes of the student's parameters, and is finite."""
        teacher, optimizer, growth = self._grown()
        grown = growth.optimizer(optimizer)
        assert type(grown) is type(optimizer)
        for (name, p), q in zip(growth.student.named_parameters(), teacher.parameters(), strict=True):
            theirs = optimizer.state[q]
            assert theirs, f"the optimizer keeps nothing for '{name}' after {self.steps} steps"
            assert grown.state[p].keys() == theirs.keys(), f"'{name}': {set(theirs)} became {set(grown.state[p])}"
            for key, before in theirs.items():
                after = grown.state[p][key]
                if isinstance(before, torch.Tensor) and before.shape == q.shape:
                    assert after.shape == p.shape, f"'{key}' of '{name}' is {list(after.shape)}, not {list(p.shape)}"
                if isinstance(after, torch.Tensor):
                    assert bool(after.isfinite().all()), f"'{key}' of '{name}' isn't finite"

    def test_the_teachers_state_stays_as_it_is(self) -> None:
        """Neither growing nor training the student changes the teacher's optimizer."""
        _, optimizer, growth = self._grown()
        before = copy.deepcopy(optimizer.state_dict())
        self._train(growth.student, growth.optimizer(optimizer))
        after = optimizer.state_dict()
        for index, entries in before["state"].items():
            for key, value in entries.items():
                now = after["state"][index][key]
                same = torch.equal(value, now) if isinstance(value, torch.Tensor) else value == now
                assert same, f"'{key}' of the teacher's parameter {index} has changed"

    def test_the_state_is_saved_and_loaded(self) -> None:
        """A fresh optimizer on the student loads the state, and takes the same steps; a ramp is no part of it."""
        _, optimizer, growth = self._grown()
        grown = growth.optimizer(optimizer, ramp=0)
        other = copy.deepcopy(growth.student)
        loaded = self.optimizer(other.parameters())
        loaded.load_state_dict(copy.deepcopy(grown.state_dict()))
        error = furthest(self._train(other, loaded), self._train(growth.student, grown))
        assert error <= 1e-10, f"after loading training goes another way: relative error {error:.1e}"

    def test_training_goes_on(self) -> None:
        """The student's weights stay finite, and its new weights move."""
        _, optimizer, growth = self._grown()
        before = copy.deepcopy(growth.student.state_dict())
        self._train(growth.student, growth.optimizer(optimizer))
        for name, parameter in growth.student.named_parameters():
            assert bool(parameter.isfinite().all()), f"'{name}' isn't finite after {self.steps} steps"
            assert not torch.equal(parameter, before[name]), f"'{name}' doesn't move"

    def test_copies_follow_the_teacher(self) -> None:
        """With the rates of "trajectory" a student of even copies computes what the teacher does, step by step."""
        if self.follows:
            teacher, optimizer, growth = self._grown()
            grown = growth.optimizer(optimizer, rates="trajectory")
            error = furthest(self._train(growth.student, grown), self._train(teacher, optimizer))
            assert error <= 1e-9, f"the student leaves the teacher's trajectory: relative error {error:.1e}"

    def _grown(self) -> tuple[nn.Module, Optimizer, Growth]:
        torch.manual_seed(0)
        teacher = trained_alike(self.network())
        optimizer = self.optimizer(teacher.parameters())
        self._train(teacher, optimizer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Net2NetWarning)  # copies are twins here on purpose
            growth = widen(teacher, {"0": "2x"}, self._batch(0), how="split", shares="even")
        return teacher, optimizer, growth

    def _batch(self, step: int) -> torch.Tensor:
        torch.manual_seed(step)
        return self.inputs().double()

    def _train(self, network: nn.Module, optimizer: Optimizer) -> list[torch.Tensor]:
        """Some steps towards fixed targets; the outputs of each."""
        outputs = []
        for step in range(self.steps):
            (y,) = called(network, self._batch(step))
            outputs.append(y.detach())
            optimizer.zero_grad()
            target = torch.sin(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
            torch.autograd.backward((y - target).square().mean())
            optimizer.step()
        return outputs
