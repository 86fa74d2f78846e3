"""More key-value heads for the same queries: each is copied to a part of the queries that share it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from net2net._version import __version__
from net2net.analysis import Size
from net2net.errors import OptionError, SizeError
from net2net.plan import AxisMap, Plan, TensorPlan, Widening
from net2net.pretrained import COUNTS_LAYERS, shapes
from net2net.width import WidthOptions

_WORDS = ("num_key_value_heads", "num_kv_heads")


def more_key_value_heads(
    small: nn.Module, student: nn.Module, configs: tuple[Any, Any], sizes: Mapping[str, Size], options: WidthOptions
) -> Plan | None:
    """The plan where key-value heads are all that grows in width, else None. No weight is read.

    New head j is a copy of old head j // copies, which is what its queries read before.

    Raises:
        SizeError: the queries can't be shared out so.
        OptionError: the heads would be no copies.
    """
    widths = [key for key in sizes if not COUNTS_LAYERS.search(key)]
    if len(widths) != 1 or widths[0].rpartition(".")[2] not in _WORDS:
        return None
    place, _, word = widths[0].rpartition(".")
    old, new = (functools.reduce(getattr, place.split(".") if place else [], config) for config in configs)
    queries, before, after = getattr(old, "num_attention_heads", None), getattr(old, word), getattr(new, word)
    if not (isinstance(queries, int) and isinstance(before, int) and isinstance(after, int)) or after == before:
        return None
    if after % before or queries % after:
        fitting = [str(n) for n in range(2 * before, queries + 1, before) if queries % n == 0]
        raise SizeError(
            f"'{widths[0]}' can't grow from {before} to {after} for {queries} query heads: each head is copied to as "
            f"many groups of queries. Sizes that work: {' or '.join(fitting) or 'none'}."
        )
    if options.how not in (None, "split") or options.noise is not None:
        raise OptionError(f"'{widths[0]}' grows by copies without noise; leave how and noise out.")
    copies = after // before
    tensors, widenings = {}, []
    theirs = shapes(student)
    for name, shape in shapes(small).items():
        if shape == theirs[name]:
            continue
        if shape[0] % before or theirs[name] != (shape[0] * copies, *shape[1:]):
            return None
        rows = np.arange(shape[0]).reshape(before, -1).repeat(copies, axis=0).reshape(-1)
        axis = AxisMap(rows, gradient=np.full(len(rows), 1 / copies))
        tensors[name] = TensorPlan(theirs[name], (axis, *(None for _ in shape[1:])))
        if name.endswith("weight"):
            heads = AxisMap(np.arange(before).repeat(copies))
            widenings.append(Widening(f"{name.removesuffix('.weight')}.heads", before, after, "split", heads))
    if not tensors:
        return None
    return Plan(tensors, tuple(widenings), options.seed, "exact", {}, version=__version__)
