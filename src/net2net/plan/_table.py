"""A plan as a table."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from net2net.plan._axis_map import FRESH, AxisMap
from net2net.plan._changes import Change
from net2net.plan._tensor_plan import TensorPlan
from net2net.report import starred, table

# So many letters of a reason are printed.
_REASON = 200


def step_table(changes: Sequence[Change], tensors: Mapping[str, TensorPlan]) -> str:
    """What changes, and for each tensor its new shape and what happens along each axis."""
    shown = [list(map(str, c.row())) for c in changes if not c.alike]
    shown = [*_alike([tuple(map(str, c.row())) for c in changes if c.alike], paths=(0,)), *shown]
    heading = changes[0].heading if changes else "dimension"
    head = table([heading, "from", "to", "how"], shown, right=(1, 2))
    rows: list[tuple[str, ...]] = []
    for name, tensor in tensors.items():
        start = _start(tensor) if tensor.source is not None or tensor.fill != "source" else ""
        what = []
        for axis, m in enumerate(tensor.axes):
            if m is not None:
                new, copied = int((m.source < 0).sum()), len(set(m.source[m.source >= 0].tolist()))
                copies = len(m.source) - new - copied
                parts = [f"{copied} kept"]
                parts += [f"{copies} copies" + _shared(m)] if copies else []
                parts += [f"{new} new ({_fills(m)})"] if new else []
                what.append(f"axis {axis}: " + ", ".join(parts))
        if tensor.scale != 1.0:
            what.append(f"x {tensor.scale:.4g}")
        what += [f"+ what {s.weight} makes of constants" for s in tensor.shifts]
        what += [f"{n.kind} noise {n.scale:g} on axis {n.axis}" for n in tensor.noise]
        what += [] if tensor.redrawn is None else [f"{tensor.redrawn.mean():.0%} drawn anew"]
        rows.append((name, "x".join(map(str, tensor.shape)), start, "; ".join(what)))
    shown = [
        [name, shape, "; ".join(filter(None, (start, rest)))] for name, shape, start, rest in _alike(rows, paths=(0, 2))
    ]
    return f"{head}\n\n{table(['tensor', 'new shape', 'entries'], shown)}"


def reasons(left_out: Mapping[str, str]) -> list[str]:
    """One line for all that have one reason but for the numbers of layers; the plan has the reasons in full."""
    groups: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        groups.setdefault(starred(reason), []).append(name)
    lines = []
    for general, names in groups.items():
        shown = [cells[0] for cells in _alike([(name,) for name in names], paths=(0,))]
        listed = ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
        reason = general if len(names) > 1 else left_out[names[0]]
        lines.append(f"{listed} ({textwrap.shorten(reason, _REASON, placeholder=' ...')})")
    return lines


def _alike(rows: list[tuple[str, ...]], paths: Sequence[int]) -> list[list[str]]:
    """One row for all that differ in the numbers of the columns `paths` only, with how many they are."""
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in rows:
        groups.setdefault(tuple(starred(cell) if i in paths else cell for i, cell in enumerate(row)), []).append(row)
    return [[f"{key[0]} ({len(g)})", *key[1:]] if len(g) > 1 else list(g[0]) for key, g in groups.items()]


def _start(tensor: TensorPlan) -> str:
    """What is in a tensor of a deeper network before anything else."""
    if tensor.fill == "values":
        assert tensor.values is not None
        values = np.unique(tensor.values)
        several = "from the calibration batches" if tensor.values.ndim == 1 else "numbers that the plan holds"
        return f"all {values[0]:g}" if len(values) == 1 else several
    return {"source": f"as {tensor.source}", "identity": "identity", "initial": "drawn as the layer's own"}[tensor.fill]


def _shared(m: AxisMap) -> str:
    """What becomes of the weights of copies."""
    if m.factor is None:
        return "" if m.gradient is None else " (gradients shared out)"
    return " (opposite sign)" if (m.factor < 0).any() else " (shared out)"


def _fills(m: AxisMap) -> str:
    """How the new places of an axis are filled."""
    codes = sorted(set(m.fresh.tolist()) - {0}) if m.fresh is not None else []
    return "/".join(FRESH[c] for c in codes)
