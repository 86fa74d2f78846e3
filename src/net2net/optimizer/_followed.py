"""Where each parameter of the student comes from."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from net2net.errors import OptionError
from net2net.optimizer._moments import lineage
from net2net.plan import Plan, TensorPlan


@dataclass(frozen=True, eq=False)
class Followed:
    """A parameter of the student, the parameter of the teacher that it comes from, and what happens on the way."""

    name: str
    parameter: nn.Parameter
    source: nn.Parameter = field(repr=False)
    steps: tuple[TensorPlan, ...] = field(repr=False)

    @property
    def is_new(self) -> bool:
        """Whether the teacher has nothing of it."""
        return any(step.new for step in self.steps)

    @property
    def is_foreign(self) -> bool:
        """Whether it is of another network that the same optimizer trains."""
        return self.source is self.parameter


def followed(plan: Plan, teacher: nn.Module, student: nn.Module) -> list[Followed]:
    """Where each parameter of the student comes from, in the student's order."""
    theirs = dict(teacher.named_parameters(remove_duplicate=False))
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in student.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    result = []
    for parameter, aliases in names.items():  # the plan names a tied tensor once
        ways = [way for way in (lineage(plan, name) for name in aliases) if way[0] in theirs]
        if not ways:
            raise OptionError(f"'{aliases[0]}' of the student comes from no parameter of the teacher.")
        root, steps = max(ways, key=lambda way: len(way[1]))
        shape = steps[-1].shape if steps else theirs[root].shape
        if tuple(shape) != tuple(parameter.shape):
            raise OptionError(
                f"'{aliases[0]}' is {tuple(parameter.shape)} in the student; the plan makes {tuple(shape)}."
            )
        for step in steps:
            _check_shares(aliases[0], step)
        result.append(Followed(aliases[0], parameter, theirs[root], steps))
    return result


def _check_shares(name: str, step: TensorPlan) -> None:
    """A plan of a version that didn't record the shares of gradients makes weights only."""
    for m in step.axes if step.fill == "source" else ():
        if m is not None and not m.contracted and m.factor is None and m.gradient is None and m.has_copies:
            raise OptionError(
                f"the plan doesn't say how the gradient of '{name}' is shared out over copies: an earlier version of "
                "net2net has written it. Make the growth again to carry an optimizer."
            )
