"""What was found, planned and measured, as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from net2net._version import __version__
from net2net.analysis import Analysis
from net2net.growth import Growth
from net2net.plan import Plan, plain
from net2net.proof import Verification


def analysis_summary(analysis: Analysis, seed: int) -> dict[str, Any]:
    """The dimensions: sizes, what each tolerates and why, every place it runs through. And the places to deepen."""
    dimensions = [
        {
            "name": d.name,
            "size": d.size,
            "growth": d.growth,
            "reason": d.reason,
            "primary": d.primary,
            "places": [{"tensor": p.tensor, "axis": p.axis, "role": p.role} for p in d.places],
        }
        for d in analysis.dimensions.values()
    ]
    places = [asdict(place) for place in analysis.places.values()]
    return {"version": __version__, "seed": seed, "dimensions": dimensions, "places": places}


def growth_summary(growth: Growth) -> dict[str, Any]:
    """The plan in short, and the proof."""
    return {
        "version": __version__,
        **plan_summary(growth.plan),
        "verification": verification_summary(growth.verification),
    }


def plan_summary(plan: Plan) -> dict[str, Any]:
    """What grew, and which tensors changed; `earlier` is the growth that came first, if there are two."""
    return {
        "seed": plan.seed,
        "preserves": plan.preserves,
        "dimensions": [{"name": w.dimension, "from": w.before, "to": w.after, "how": w.how} for w in plan.widenings],
        "deepenings": [
            {
                "place": d.place,
                "kind": d.kind,
                "from": d.before,
                "to": d.after,
                "init": d.init,
                "sources": list(d.sources),
                "new": list(d.new),
            }
            for d in plan.deepenings
        ],
        "tensors": {name: list(tensor.shape) for name, tensor in plan.tensors.items()},
        "attributes": plan.attributes,
        "changed": {name: [plain(old), plain(new)] for name, (old, new) in plan.changed.items()},
        "left_out": plan.left_out,
        "notes": list(plan.notes),
        "earlier": None if plan.earlier is None else plan_summary(plan.earlier),
    }


def verification_summary(verification: Verification) -> dict[str, Any]:
    """What was measured. An error that is no finite number is null."""
    return {
        "passed": verification.passed,
        "max_relative_error": finite(verification.max_relative_error),
        "tolerance": verification.tolerance,
        "preserves": verification.preserves,
        "approximate": list(verification.approximate),
        "dtype": verification.dtype,
        "errors": {name: finite(error) for name, error in verification.errors.items()},
        "departs": verification.departs,
        "dead": None if verification.dead is None else list(verification.dead),
        "notes": list(verification.notes),
    }


def finite(number: float) -> float | None:
    """The number, or None where JSON has no word for it."""
    return number if math.isfinite(number) else None
