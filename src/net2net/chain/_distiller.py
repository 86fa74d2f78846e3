"""A distillation at work: the smaller teacher beside its student, for as long as the student trains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from net2net.capture import Inputs, examples_of, split_inputs
from net2net.chain._distillation import Distillation, capped
from net2net.chain._features import Features, channels_last, devices
from net2net.errors import OptionError

# What tells a model to compute its own loss: a teacher has no use for it.
_OF_THE_LOSS = ("labels", "num_items_in_batch")
_RATE = 1e-3


class Distiller:
    """Gives the term of a loss that draws a student to its smaller teacher.

    The teacher runs in eval mode, without gradients and outside of the random state; its weights, buffers and modes
    stay as they are. Projections belong to the distiller: Adam trains them, by a step whenever the next term is asked
    for after a backward pass, and they are gone with it.

    Args:
        teacher, student: the models.
        distillation: what is compared.
        inputs: example inputs, from which the widths are seen.
        steps: of the training; the weight is annealed over a part of them.
        seed: of the projections.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        distillation: Distillation,
        inputs: Inputs,
        *,
        steps: int = 0,
        seed: int = 0,
    ) -> None:
        self.teacher, self.student, self.distillation, self.steps = teacher, student, distillation, steps
        self.inputs, self.done = inputs, 0
        self.projections = nn.ModuleList()
        places = distillation.places
        self._which: dict[str, int] = {}
        example = examples_of(inputs)[0]
        theirs = self._of_teacher(example.args, example.kwargs)
        self._features = Features(student, places.values())
        try:
            with as_judge(student):
                student(*example.args, **example.kwargs)
            with torch.random.fork_rng(devices=devices(student)):
                torch.manual_seed(seed)
                for one, other in places.items():
                    ours = self._features.found[other]
                    self._add_projection(one, ours, theirs[one])
        except BaseException:
            self.close()
            raise
        self._features.found.clear()
        self._optimizer = torch.optim.Adam(self.projections.parameters(), _RATE) if len(self.projections) else None

    def _add_projection(self, place: str, ours: Tensor, theirs: Tensor) -> None:
        axis = self.distillation.axis
        a, b = channels_last(ours, axis), channels_last(theirs, axis)
        if a.shape[:-1] != b.shape[:-1]:
            raise OptionError(
                f"'{place}' gives {tuple(b.shape)} in the teacher and {tuple(a.shape)} in the student: only the "
                f"channels (axis={axis}) may differ. Name other features, or the axis of the channels."
            )
        made = self.distillation.projection(a.shape[-1], b.shape[-1])
        if made is not None:
            self._which[place] = len(self.projections)
            self.projections.append(made.to(ours.device, torch.float32))

    def term(self, inputs: Inputs | None = None, task_loss: Tensor | None = None) -> Tensor:
        """The term for the student's last forward pass.

        Args:
            inputs: that the student was called with; by default those that it was.
            task_loss: the loss of the task, for a cap.

        Returns:
            A scalar with a graph to the student's features.

        Raises:
            OptionError: the student hasn't run, or a cap lacks the task's loss.
        """
        if not self._features.found or self._features.call is None:
            raise OptionError("the student has not run: call the model, then link.distill with the same inputs.")
        ours = dict(self._features.found)
        args, kwargs = self._features.call if inputs is None else split_inputs(inputs)
        self._train_projections()
        weight = self.distillation.weight_at(self.done / self.steps if self.steps else 0.0)
        self.done += 1
        if weight == 0:
            return next(iter(ours.values())).new_zeros(())
        theirs = self._of_teacher(args, kwargs)
        total = torch.stack([self._distance(one, ours[other], theirs[one]) for one, other in self._places]).mean()
        return capped(weight * total, self.distillation.cap, task_loss)

    @property
    def _places(self) -> list[tuple[str, str]]:
        return list(self.distillation.places.items())

    def _distance(self, place: str, ours: Tensor, theirs: Tensor) -> Tensor:
        axis = self.distillation.axis
        a, b = channels_last(ours, axis).float(), channels_last(theirs, axis).float()
        which = self._which.get(place)
        return self.distillation.distance(a if which is None else self.projections[which](a), b)

    def _train_projections(self) -> None:
        gradients = [p.grad for p in self.projections.parameters() if p.grad is not None]
        if self._optimizer is None or not gradients:
            return
        if all(bool(g.isfinite().all()) for g in gradients):
            self._optimizer.step()
        self._optimizer.zero_grad()

    def _of_teacher(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
        features = Features(self.teacher, self.distillation.places)
        try:
            with as_judge(self.teacher):
                self.teacher(*args, **{name: value for name, value in kwargs.items() if name not in _OF_THE_LOSS})
        finally:
            features.close()
        return features.found

    def state_dict(self) -> dict[str, Any]:
        """What a run that was stopped needs to go on."""
        optimizer = {} if self._optimizer is None else self._optimizer.state_dict()
        gradients = [p.grad for p in self.projections.parameters()]
        return {"done": self.done, "projections": dict(self.projections.state_dict()), "optimizer": optimizer,
                "gradients": gradients}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.done = state["done"]
        self.projections.load_state_dict(state["projections"])
        if self._optimizer is not None:
            self._optimizer.load_state_dict(state["optimizer"])
        for parameter, gradient in zip(self.projections.parameters(), state["gradients"], strict=True):
            parameter.grad = gradient

    def close(self) -> None:
        """Take the hooks off the student."""
        if hasattr(self, "_features"):
            self._features.close()


@contextlib.contextmanager
def as_judge(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, without gradients, and with a random state of its own; after that all is as before."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=devices(model)):
            yield
    finally:
        for module, training in modes:
            module.training = training
