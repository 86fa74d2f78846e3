"""torch's own modules as they can be captured: without shortcuts and checks that ask for the values of tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import _meta_registrations as shapes
from torch import nn
from torch.distributions import Distribution

from net2net.capture._compiled import uncompiled

_GROUPED = "_meta_grouped_mm_common"  # later than torch 2.6


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """Run torch's own modules by operations that show all axes, and that are the same for all values.

    The fused inference path of `nn.MultiheadAttention` is one opaque operation. `nn.Transformer` compares a mask with
    a causal one to run faster: without, it applies the mask that it is given. Distributions check their arguments.
    The shape of a grouped product is only given for bfloat16, although it runs in float32 too.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    unchecked: Any = property(lambda self: False, lambda self, value: vars(self).update(_validate_args=value))
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            uncompiled(),
            _replaced(nn.modules.transformer, "_detect_is_causal_mask", _as_said),
            _replaced(Distribution, "_validate_args", unchecked),  # also where a call asks for checks
            _replaced(shapes, _GROUPED, _grouped_shape) if hasattr(shapes, _GROUPED) else contextlib.nullcontext(),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _as_said(mask: torch.Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
    return is_causal is True


def _grouped_shape(
    a: torch.Tensor, b: torch.Tensor, *scales: Any, offs: Any = None, out_dtype: Any = None, **others: Any
) -> torch.Tensor:
    _require_whole_rows(a)
    _require_whole_rows(b)
    create: Any = shapes._create_grouped_mm_output_tensor  # private, and without types
    made: torch.Tensor = create(a, b, offs, out_dtype)
    return made


def _require_whole_rows(matrix: torch.Tensor) -> None:
    """Raise as the product itself does, in words that say which sizes it takes."""
    row, entries = max(matrix.stride()[-2:]), 16 // matrix.element_size()
    if row % entries:
        raise RuntimeError(
            f"a grouped product takes rows of whole 16 bytes, and rows of {row} numbers in {matrix.dtype} are none: "
            f"sizes that work are multiples of {entries}, such as {row // entries * entries + entries}"
        )


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
