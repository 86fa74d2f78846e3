"""What hangs on a trained network and can't go on in its student: said once, in notes or as a warning."""

from __future__ import annotations

from torch import nn

from net2net.capture import lost, optimizers_in
from net2net.errors import warn
from net2net.plan import Plan


def not_carried(model: nn.Module, plan: Plan) -> tuple[str, ...]:
    """Notes on attributes and hooks of the model's tensors that hold something of a shape that has changed."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    found = {}
    for name, planned in plan.tensors.items():
        source = planned.source or name
        for key, what in lost(tensors[source], tuple(planned.shape)) if source in tensors else ():
            found[source, key] = (
                f"{what} of '{source}' holds a tensor of its old shape {tuple(tensors[source].shape)} and isn't "
                "carried to the student; set it anew there."
            )
    return tuple(found.values())


def warn_of_optimizers(model: nn.Module) -> None:
    """Warn of optimizers that are kept on the model: the student's have no state, and none of its new parameters."""
    names = optimizers_in(model)
    if names:
        warn(
            f"{type(model).__name__} keeps optimizers ({', '.join(names)}): in the student they have no state, and no "
            "parameter that is new. Make them anew; growth.optimizer(...) carries the state."
        )
