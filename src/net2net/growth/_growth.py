"""A finished growth, and its proof."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from net2net.capture import Inputs, compile_again, examples_of, require_module, require_weights, unobserved
from net2net.errors import require_kind, warn
from net2net.growth._carry_out import carried_out, require_same
from net2net.growth._known import Known
from net2net.growth._log import LogEntry, append
from net2net.growth._measures import measured
from net2net.growth._prove import prove
from net2net.growth._summary import in_words
from net2net.growth._twins import Twins, closest_copies, twins_table
from net2net.optimizer import (
    RAMP_STEPS,
    grow_optimizer,
    grow_scheduler,
    has_ended,
    require_factor,
    require_ramp,
    student_groups,
)
from net2net.optimizer import clip as start_clip
from net2net.optimizer import ramp as start_ramp
from net2net.plan import Plan
from net2net.proof import Verification


@dataclass(frozen=True)
class Growth:
    """A finished growth: the student, the plan that made it, and the proof."""

    student: nn.Module
    plan: Plan
    verification: Verification
    teacher: nn.Module = field(repr=False)
    inputs: Inputs = field(repr=False)
    known: Known = field(repr=False)

    def __str__(self) -> str:
        return f"{self.plan}\n{self.verification}\n\n{in_words(self.plan, self.verification, self.student)}"

    @property
    def student_inputs(self) -> Inputs:
        """Example inputs for the student: the teacher's, unless the growth gave it others (`net2net.surgery`)."""
        interface = self.known.interface
        return interface.examples(self.teacher, examples_of(self.inputs)) if interface.inputs else self.inputs

    def report(self) -> str:
        """Three things side by side: is the function preserved, do new weights learn, are copies still twins?

        The last is measured in the student as it is now: call it again after some training.
        """
        units = twins_table(closest_copies(self.plan, self.student, self.student_inputs))
        words = in_words(self.plan, self.verification, self.student)
        others = measured(self.plan, self.student, self.student_inputs)
        return "\n\n".join([words, *([units] if units else []), *others])

    def summary(self) -> dict[str, Any]:
        """The plan in short and the proof, as plain data."""
        return {**self.plan.summary(), "verification": self.verification.summary()}

    def log(self, path: str | Path, *, step: int | None = None, change: str | None = None) -> LogEntry:
        """Add this growth to a log of those of one run, a line of JSON; `net2net.read_log` shows it as a table.

        Args:
            path: of the log, such as "surgeries.jsonl"; it is made where there is none.
            step: of training at which it was.
            change: in words; by default what the plan says.

        Returns:
            The entry: date, step, parameters before and after, change.

        Raises:
            OptionError: the step is no number, or nothing can be written there.
        """
        before, after = (sum(p.numel() for p in model.parameters()) for model in (self.teacher, self.student))
        return append(path, self.plan, (before, after), step, change)

    def optimizer(
        self,
        optimizer: Optimizer,
        *,
        rates: str = "keep",
        ramp: int | None = None,
        hold: int = 0,
        clip: float | None = None,
    ) -> Optimizer:
        """The student's optimizer, which goes on from where the teacher's was.

        It is of the same class with the same options and groups: a parameter is in the group of the one that it comes
        from. Its state is carried by the exact rule where the teacher's gradient decides the student's; new entries
        start with no momentum and with a share of the size of their neighbours' gradients, so that the old step
        counter makes no large step of them.

        Args:
            optimizer: the one that trains the teacher; it is not changed. Its class must be known
                (`net2net.register_optimizer`); all of torch's for training by steps are.
            rates: "keep" the learning rates; "restart": three tenths of the peak that a torch scheduler has left in
                the optimizer (`initial_lr`, or `max_lr`), for a new scheduler after the teacher's has ended; "width": a
                tensor with k times the inputs has 1/k of its rate, which holds SGD at a high rate stable; "trajectory":
                per-tensor factors of lr, eps and weight decay with which a student of even copies (`how="split",
                shares="even"`, whole multiples) stays the teacher's function for ever; "paper": a tenth of all rates;
                "boost": 1.3 times the rate for tensors that are new as a whole.
            ramp: over how many steps the rates rise from 0; 0 for no ramp. By default 200, with "trajectory" 0.
            hold: for how many steps the rates are 0 before that, as OpenAI Five's were.
            clip: how many times its running size an entry of a gradient may be: 5.0 is what OpenAI Five had; by default
                none is cut off. `net2net.training.clip` does it for any optimizer.

        Returns:
            The student's optimizer.

        Raises:
            GrowthError: the class is unknown, the parameters are not the teacher's, or the rates are not defined here.

        Warns:
            Net2NetWarning: a schedule has ended, with rates at 0, and they are kept.

        Source: the state rule follows from the chain rule on copies; "trajectory" is muP's relation between widths
            (Yang et al., 2022), "paper" is from Chen et al. (2016), section 3, "boost" from SPARKLING, "restart"
            from our own experiments (docs/results).

        Example:
            >>> import net2net
            >>> import torch
            >>> teacher = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
            >>> optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-3)
            >>> teacher(torch.randn(3, 4)).sum().backward(); optimizer.step()
            >>> growth = net2net.widen(teacher, {"0": 12}, torch.randn(3, 4))
            >>> new = growth.optimizer(optimizer)
            >>> type(new).__name__, new.state[growth.student[0].weight]["exp_avg"].shape
            ('AdamW', torch.Size([12, 4]))
        """
        require_kind(optimizer, Optimizer, "the optimizer", "the torch.optim.Optimizer that trains the teacher")
        require_ramp(ramp, hold)
        if clip is not None:
            require_factor(clip)
        steps = (0 if rates == "trajectory" else RAMP_STEPS) if ramp is None else ramp
        result = grow_optimizer(self.plan, self.teacher, self.student, optimizer, rates, ramped=steps != 0)
        if rates != "restart" and has_ended(optimizer):
            warn(
                "the optimizer's learning rates are 0: its schedule has ended, or has hardly begun. For a new one use "
                "rates='restart'; some schedulers go on from the rate that they find, and the student would learn "
                "nothing."
            )
        if steps or hold:
            start_ramp(result, steps, hold=hold)
        if clip is not None:
            start_clip(result, clip)
        return result

    def param_groups(self, optimizer: Optimizer, rates: str = "keep") -> list[dict[str, Any]]:
        """The groups of the student's optimizer, as data: what `optimizer` is made with.

        Args:
            optimizer: the one that trains the teacher.
            rates: as for `optimizer`.

        Returns:
            Dicts with the student's parameters and all options of their group, for any optimizer of that class.

        Raises:
            GrowthError: as for `optimizer`.
        """
        return student_groups(self.plan, self.teacher, self.student, optimizer, rates)

    def scheduler(self, scheduler: LRScheduler, optimizer: Optimizer) -> LRScheduler:
        """The teacher's learning-rate scheduler with its state, for the student's optimizer.

        Args:
            scheduler: that of the teacher's optimizer, of any class; it is not changed.
            optimizer: what `self.optimizer` made of the teacher's optimizer.

        Raises:
            OptionError: the two don't belong together.
        """
        require_kind(scheduler, LRScheduler, "the scheduler", "that of the teacher's optimizer")
        require_kind(optimizer, Optimizer, "the optimizer", "what growth.optimizer made of the teacher's")
        return grow_scheduler(self.plan, self.teacher, self.student, scheduler, optimizer)

    def replay(self, teacher: nn.Module) -> Growth:
        """The same growth of another network of the same shapes: another seed, an average of weights, an opponent.

        Of a plan that was saved, `net2net.replay(Plan.load(path), teacher, inputs)` does it.

        Args:
            teacher: a network with the tensors of the one that was grown. It is not changed.

        Returns:
            Its growth by the same plan, verified.

        Raises:
            StudentMismatchError: its tensors are others.
            VerificationError: its student doesn't compute what it computes.
        """
        require_module(teacher, "the network to replay on")
        require_weights(teacher)
        require_same(self.teacher, teacher)
        self.plan.require_replayable()
        return _replayed(self, teacher, self.student, self.inputs)

    def ema(self, averaged: Any) -> Any:
        """An average of the teacher's weights, as an average of the student's: the same plan on its weights.

        Args:
            averaged: a `torch.optim.swa_utils.AveragedModel` of the teacher, another module that has the average at
                `.module`, or a plain copy of the teacher that is updated by hand; it is not changed.

        Returns:
            The same for the student: of the same class, with the same averaging, count, mode and `requires_grad`.

        Raises:
            OptionError: it is none of these.
            StudentMismatchError: its tensors are not those of the teacher.

        Example:
            >>> import net2net
            >>> import torch
            >>> from torch.optim.swa_utils import AveragedModel
            >>> teacher = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
            >>> growth = net2net.widen(teacher, {"0": 12}, torch.randn(3, 4))
            >>> growth.ema(AveragedModel(teacher)).module[0], growth.ema(copy.deepcopy(teacher))[0]
            (Linear(in_features=4, out_features=12, bias=True), Linear(in_features=4, out_features=12, bias=True))
        """
        require_module(averaged, "the average")
        inner = getattr(averaged, "module", None)
        if not isinstance(inner, nn.Module) or set(averaged.state_dict()) == set(self.teacher.state_dict()):
            return self._average(averaged)
        result = copy.copy(averaged)
        result._modules = {**averaged._modules, "module": self._average(inner)}
        result._buffers = {name: None if b is None else b.clone() for name, b in averaged._buffers.items()}
        return result

    def _average(self, network: nn.Module) -> nn.Module:
        """The growth of an average, which isn't trained where the average isn't."""
        student = self.replay(network).student.train(network.training)
        if not any(p.requires_grad for p in network.parameters()):
            student.requires_grad_(False)
        return student


def proved(teacher: nn.Module, student: nn.Module, plan: Plan, inputs: Inputs, known: Known) -> Growth:
    """The growth that a plan has made, proved.

    Raises:
        VerificationError: the plan promises an exact student, and this one isn't.
    """
    return Growth(student, plan, prove(teacher, student, plan, inputs, known), teacher, inputs, known)


@unobserved
def _replayed(growth: Growth, teacher: nn.Module, like: nn.Module, inputs: Inputs) -> Growth:
    student = carried_out(growth.plan, teacher, like)
    result = proved(teacher, student, growth.plan, inputs, growth.known)
    compile_again(like, student, {})
    return result


def compiled_alike(growth: Growth) -> Growth:
    """The growth with its student compiled in place where the teacher is; the plan's notes say what isn't."""
    notes = compile_again(growth.teacher, growth.student, growth.known.moved)
    return noted(growth, *notes)


def noted(growth: Growth, *notes: str) -> Growth:
    """The growth with more notes in its plan."""
    return replace(growth, plan=replace(growth.plan, notes=(*growth.plan.notes, *notes))) if notes else growth


def twins(growth: Growth) -> tuple[Twins, ...]:
    """How far the copies of units have separated, for each dimension that was widened by copies.

    Copies whose incoming weights are the same compute the same; they are worth one unit until they separate.

    Args:
        growth: a growth; its student may have been trained since.

    Returns:
        The closest pair of each dimension. At growth the distance is 0, but for noise on incoming weights.

    Example:
        >>> import net2net
        >>> import torch
        >>> teacher = nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> growth = net2net.widen(teacher, {"0": 16}, torch.randn(3, 4), how="split")
        >>> [pair.distance for pair in twins(growth)]
        [0.0]
    """
    require_kind(growth, Growth, "the growth", "what net2net.widen, deepen or grow returned")
    return closest_copies(growth.plan, growth.student, growth.student_inputs)
