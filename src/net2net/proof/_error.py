"""How far two tensors are apart."""

from __future__ import annotations

import math

import torch


def relative_error(reference: torch.Tensor, other: torch.Tensor) -> float:
    """max |other - reference| / max |reference| (absolute where the reference is 0).

    Entries that are the same infinity, or both not a number, agree; but where the reference has no finite
    entry nothing is measured, and the error is not a number.

    Args:
        reference, other: two tensors of one shape, any shape and dtype, complex ones included.

    Example:
        >>> relative_error(torch.tensor([1.0, -4.0]), torch.tensor([1.0, -3.0]))
        0.25
    """
    if reference.is_complex() or other.is_complex():
        reference, other = (torch.view_as_real(t.detach().to(torch.complex128)) for t in (reference, other))
    reference, other = reference.detach().double(), other.detach().double()
    if not reference.isfinite().any():
        return math.nan
    agree = (reference == other) | (reference.isnan() & other.isnan())
    difference = torch.where(agree, 0.0, (other - reference).abs())
    scale = torch.where(reference.isfinite(), reference.abs(), 0.0).max()
    return float(difference.max() / scale) if scale > 0 else float(difference.max())
