"""Plans on disk: one safetensors file with the index maps as arrays and all the rest as JSON in its header."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from net2net.errors import OptionError
from net2net.plan._plan import AxisMap, Noise, Plan, TensorPlan, Widening

_ARRAYS = ("source", "factor", "fresh", "partner")


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan to a file that `load_plan` reads."""
    arrays: dict[str, np.ndarray] = {}
    keys: dict[tuple[str, bytes], str] = {}

    def stored(array: np.ndarray) -> str:
        key = keys.setdefault((str(array.dtype), array.tobytes()), f"a{len(keys)}")
        arrays[key] = np.ascontiguousarray(array)
        return key

    def axis(m: AxisMap | None) -> dict[str, Any] | None:
        if m is None:
            return None
        found = {name: stored(getattr(m, name)) for name in _ARRAYS if getattr(m, name) is not None}
        return {**found, "sign": m.sign, "contracted": m.contracted}

    header = {
        "tensors": {
            name: {
                "shape": t.shape,
                "axes": [axis(m) for m in t.axes],
                "scale": t.scale,
                "offset": t.offset,
                "noise": [asdict(n) for n in t.noise],
            }
            for name, t in plan.tensors.items()
        },
        "widenings": [
            {"dimension": w.dimension, "before": w.before, "after": w.after, "how": w.how, "units": axis(w.units)}
            for w in plan.widenings
        ],
        "seed": plan.seed,
        "preserves": plan.preserves,
        "attributes": plan.attributes,
        "left_out": plan.left_out,
        "version": plan.version,
    }
    save_file(arrays, str(path), metadata={"net2net.plan": json.dumps(header)})


def load_plan(path: str | Path) -> Plan:
    """Read a plan that `save_plan` wrote.

    Raises:
        OptionError: the file is no plan.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            header = json.loads((file.metadata() or {})["net2net.plan"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping

        def axis(data: dict[str, Any] | None) -> AxisMap | None:
            if data is None:
                return None
            found = {name: arrays[data[name]] for name in _ARRAYS if name in data}
            return AxisMap(**found, sign=data["sign"], contracted=data["contracted"])

        tensors = {
            name: TensorPlan(
                tuple(t["shape"]),
                tuple(map(axis, t["axes"])),
                t["scale"],
                t["offset"],
                tuple(Noise(**n) for n in t["noise"]),
            )
            for name, t in header["tensors"].items()
        }
        widenings = tuple(Widening(**{**w, "units": axis(w["units"])}) for w in header["widenings"])
        rest = {name: header[name] for name in ("seed", "preserves", "attributes", "left_out", "version")}
        return Plan(tensors, widenings, **rest)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise OptionError(f"{path} is no plan of net2net: {type(error).__name__}: {error}") from error
