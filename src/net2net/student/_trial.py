"""What a draft of the student runs, found out without memory and without an export, in milliseconds."""

from __future__ import annotations

from functools import cached_property

from torch import nn

from net2net.capture import Graph, Inputs, Stopped, record
from net2net.pretrained import Tried
from net2net.student._compare import operations


class Trial:
    """Records drafts of a student on the example inputs; `tried` is what was constructed for them so far.

    Where the teacher's recording isn't the graph that was captured of it (its forward asks for the values of a tensor,
    or runs something else when it is exported), a trial has nothing to say: drafts have to be captured.
    """

    def __init__(self, teacher: nn.Module, graph: Graph, inputs: Inputs, given: Inputs | None = None) -> None:
        """`given` are the inputs of the drafts, where those are others than the teacher's."""
        self.teacher, self.graph, self.inputs = teacher, graph, inputs
        self.given = inputs if given is None else given
        self.tried: Tried = {}

    @cached_property
    def blind(self) -> bool:
        """Whether drafts have to be captured."""
        return not _is_recorded(self.teacher, self.graph, self.inputs)

    @property
    def known_as_blind(self) -> bool:
        """Whether it has been found out that drafts have to be captured."""
        return "blind" in vars(self) and self.blind

    def recorded(self, draft: nn.Module) -> Graph | None:
        """What a draft runs; None if that can't be said.

        Raises:
            Stopped: its forward doesn't run.
        """
        return None if self.blind else record(draft, self.given)


def _is_recorded(teacher: nn.Module, graph: Graph, inputs: Inputs) -> bool:
    try:
        found = record(teacher, inputs)
    except Stopped:
        return False
    ours, theirs = (
        [(node.op, [value.shape for value in node.outputs]) for node in operations(g)] for g in (graph, found)
    )
    return ours == theirs
