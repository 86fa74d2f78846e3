"""A growth in depth that computes the same in eval mode and something else in train mode: drop rates, penalties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import nn

from net2net.capture import Example, capture, structural_copy, with_train_mode
from net2net.errors import CaptureError, FixedDimensionError
from net2net.proof import Verification


def differs_in_train_mode(verification: Verification) -> bool:
    """Whether a student diverges in train mode and nowhere else."""
    wrong = {name for name, error in verification.errors.items() if not error <= verification.tolerance}
    return not verification.passed and bool(wrong) and all(name.startswith("train/") for name in wrong)


def rates_off(model: nn.Module) -> nn.Module | None:
    """A copy whose drop rates are 0, with the model's own tensors; None if it has none.

    A class gives each layer a rate by its number and by how many there are (stochastic depth). What is dropped is
    random; that its expectation is scaled by the rate isn't, so other rates are another function in train mode.
    """
    copied, found = structural_copy(model), False
    for module in copied.modules():
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float) and 0 < value < 1:
                setattr(module, name, 0.0)
                found = True
    return copied if found else None


def refuse_by_train_mode(verification: Verification, teacher: nn.Module, examples: Sequence[Example]) -> None:
    """Name the operation that runs in train mode only, where a deeper student diverges there and nowhere else.

    Its places are those of the graph of eval mode, so nothing was known of what else reads them.

    Raises:
        FixedDimensionError: there is such an operation.
    """
    if not differs_in_train_mode(verification):
        return
    where = _only_in_train_mode(teacher, next(e for e in examples if not e.train))
    if where is not None:
        raise FixedDimensionError(
            "the deeper network computes the same in eval mode and something else in train mode: "
            f"{where} runs in train mode only, and depends on what single layers give, or on how many there are, "
            "as a penalty on them does. Grow with its weight at 0, and set it on the student, which then counts "
            "its new layers too; or place new layers where it doesn't look."
        )


def _only_in_train_mode(model: nn.Module, example: Example) -> str | None:
    """The first operation that a module runs in train mode and not, or not so often, in eval mode."""
    try:
        known = Counter((node.op, node.module) for node in capture(model, (example,)).nodes)
        trained = [capture(model, (one,)) for one in with_train_mode(model, (example,))[1:]]
    except CaptureError:
        return None
    for node in (node for one in trained for node in one.nodes):
        known[node.op, node.module] -= 1
        if known[node.op, node.module] < 0:
            return node.where
    return None
