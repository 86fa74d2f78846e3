"""An exception out of `torch.export` -> a refusal that says what to do."""

from __future__ import annotations

from torch import nn

from net2net.errors import CaptureError


def refusal(model: nn.Module, error: Exception) -> CaptureError:
    """Why `model` can't be captured, given what `torch.export` raised."""
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return CaptureError(
        f"torch.export can't capture {type(model).__name__}: {type(error).__name__}: {reason[0]}\n"
        "Check that the model runs on the example inputs. If its forward branches on the values of a tensor, "
        "replace the branch by torch.where or torch.cond, or grow the submodules around it one by one."
    )
