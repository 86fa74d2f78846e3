"""What a growth costs where weights have 16 bits: a weight times a power of 2 is kept, any other is rounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from net2net.plan import Plan, TensorPlan

_HALF = (torch.float16, torch.bfloat16)


def with_rounding(plan: Plan, own: Callable[[str], torch.dtype], new: torch.dtype | None) -> Plan:
    """The plan with a note of the tensors that the student's dtype rounds, and by how much.

    Args:
        plan: of the growth.
        own: the dtype of the teacher's tensor of that name.
        new: the dtype that was asked for. To make weights narrower rounds all of them, and isn't told here.
    """
    rounded: dict[torch.dtype, list[str]] = {}
    for step in plan.steps:
        for name, tensor in step.tensors.items():
            before = own(tensor.source or name)
            dtype = new if new is not None and before.is_floating_point else before
            if before in _HALF and dtype in (before, *_HALF) and _rounds(tensor):
                rounded.setdefault(dtype, []).append(name)
    notes = [_note(dtype, names) for dtype, names in rounded.items()]
    return replace(plan, notes=(*plan.notes, *notes))


def _note(dtype: torch.dtype, names: list[str]) -> str:
    return (
        f"{str(dtype).removeprefix('torch.')} rounds {len(names)} tensors ({names[0]}{', ...' if names[1:] else ''}), "
        f"each entry by up to {torch.finfo(dtype).eps / 2:.1e} of itself. None is rounded by new units at a factor of "
        "4, by copies at a factor of 2 (how='split', shares='even'), or in dtype='float32'"
    )


def _rounds(tensor: TensorPlan) -> bool:
    """Whether an entry of the teacher's is multiplied by anything but a power of 2, or something is added to it."""
    factors = [np.array([tensor.scale]), *(m.factor for m in tensor.axes if m is not None and m.factor is not None)]
    scaled = any((np.abs(f) != 1.0).any() for f in factors)
    by_powers = all((np.abs(np.frexp(f)[0]) == 0.5).all() for f in (f[f != 0.0] for f in factors))
    return bool(tensor.noise) or not by_powers or (scaled and tensor.offset != 0.0)
