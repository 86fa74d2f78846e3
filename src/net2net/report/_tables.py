"""Tables for the terminal, without any dependency: what `print` shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from net2net.plan._plan import FRESH

if TYPE_CHECKING:
    from net2net.dimensions import Analysis
    from net2net.plan import AxisMap, Plan
    from net2net.verify import Verification


# How the reason of an axis begins that lives inside one tensor only.
UNCARRIED = "no value of the network has this axis"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A text table; the columns in `right` are aligned to the right."""
    widths = [max(len(row[i]) for row in [headers, *rows]) for i in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "  ".join(padded).rstrip()

    return "\n".join([line(headers), line(["-" * w for w in widths]), *map(line, rows)])


def dimension_table(analysis: Analysis) -> str:
    """The dimensions of a network: name, size, tensors, what each tolerates and why. Kernel axes are only counted."""
    every = list(analysis.dimensions.values())
    shown = [d for d in every if not d.reason.startswith(UNCARRIED)]
    rows = [
        [
            d.name + ("" if d.primary or d.growth == "fixed" else " *"),
            str(d.size),
            str(len(d.tensors)),
            d.growth,
            d.reason,
        ]
        for d in shown
    ]
    text = table(["dimension", "size", "tensors", "growth", "why"], rows, right=(1, 2))
    if any(not d.primary and d.growth != "fixed" for d in analysis.dimensions.values()):
        text += "\n* shares its axes with the dimension before it; grows only when named"
    if len(shown) < len(every):
        text += f"\n(and {len(every) - len(shown)} axes that no value of the network has, such as those of kernels)"
    return text


def plan_table(plan: Plan) -> str:
    """A growth: the dimensions, and for each tensor its new shape and what happens along each axis."""
    promise = {
        "exact": "exactly function-preserving",
        "approximate": "approximately function-preserving (noise on copies)",
        "none": "NOT function-preserving (baseline)",
    }[plan.preserves]
    head = table(
        ["dimension", "from", "to", "how"],
        [[w.dimension, str(w.before), str(w.after), w.how] for w in plan.widenings],
        right=(1, 2),
    )
    rows = []
    for name, tensor in plan.tensors.items():
        what = []
        for axis, m in enumerate(tensor.axes):
            if m is not None:
                new, copied = int((m.source < 0).sum()), len(set(m.source[m.source >= 0].tolist()))
                copies = len(m.source) - new - copied
                parts = [f"{copied} kept"]
                parts += [f"{copies} copies" + (" (shared out)" if m.factor is not None else "")] if copies else []
                parts += [f"{new} new ({_fills(m)})"] if new else []
                what.append(f"axis {axis}: " + ", ".join(parts))
        if tensor.scale != 1.0:
            what.append(f"x {tensor.scale:.4g}")
        what += [f"{n.kind} noise {n.scale:g} on axis {n.axis}" for n in tensor.noise]
        rows.append([name, "x".join(map(str, tensor.shape)), "; ".join(what)])
    text = f"{promise}, seed {plan.seed}\n\n{head}\n\n{table(['tensor', 'new shape', 'entries'], rows)}"
    for path, attributes in plan.attributes.items():
        text += "".join(f"\n{path}.{name} = {value:.6g}" for name, value in attributes.items())
    for name, reason in plan.left_out.items():
        text += f"\nleft out: {name} ({reason})"
    return text


def _fills(m: AxisMap) -> str:
    """How the new places of an axis are filled."""
    codes = sorted(set(m.fresh.tolist()) - {0}) if m.fresh is not None else []
    return "/".join(FRESH[c] for c in codes)


def verification_table(verification: Verification) -> str:
    """What was measured: the error per mode, inputs and output."""
    rows = [[key, f"{error:.1e}"] for key, error in verification.errors.items()]
    verdict = "passed" if verification.passed else "FAILED"
    verdict = verdict if verification.preserves == "exact" else "measured"
    worst = verification.max_relative_error
    shown = f"{worst:.1e}" if math.isfinite(worst) else str(worst)
    text = table(["mode/inputs/output", "relative error"], rows, right=(1,))
    text += f"\n{verdict}: largest relative error {shown} in {verification.dtype}"
    text += (
        f", tolerance {verification.tolerance:.0e}"
        if verification.preserves == "exact"
        else (f" (the growth promises: {verification.preserves})")
    )
    if verification.departs:
        text += f"\nfirst module that departs: {verification.departs}"
    if verification.dead:
        text += f"\nno gradient reaches the new entries of: {', '.join(verification.dead)}"
    return text + "".join(f"\nnote: {note}" for note in verification.notes)
