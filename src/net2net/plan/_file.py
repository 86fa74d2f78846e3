"""Plans on disk: one safetensors file with the index maps as arrays and all the rest as JSON in its header."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from net2net.errors import OptionError
from net2net.plan._axis_map import ARRAYS, AxisMap
from net2net.plan._changes import Deepening, Widening
from net2net.plan._plan import Plan
from net2net.plan._tensor_plan import Noise, TensorPlan

_PLAIN = ("seed", "preserves", "attributes", "left_out", "removed", "notes", "version")


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan to a file that `load_plan` reads."""
    arrays: dict[str, np.ndarray] = {}
    keys: dict[tuple[str, bytes], str] = {}

    def stored(array: np.ndarray) -> str:
        key = keys.setdefault((f"{array.dtype} {array.shape}", array.tobytes()), f"a{len(keys)}")
        arrays[key] = np.ascontiguousarray(array)
        return key

    def axis(m: AxisMap | None) -> dict[str, Any] | None:
        if m is None:
            return None
        found = {name: stored(getattr(m, name)) for name in ARRAYS if getattr(m, name) is not None}
        return {**found, "sign": m.sign, "contracted": m.contracted, "spread": m.spread}

    def described(plan: Plan) -> dict[str, Any]:
        return {
            "tensors": {name: tensor(t) for name, t in plan.tensors.items()},
            "widenings": [
                {"dimension": w.dimension, "before": w.before, "after": w.after, "how": w.how, "units": axis(w.units)}
                for w in plan.widenings
            ],
            "deepenings": [asdict(d) for d in plan.deepenings],
            "earlier": None if plan.earlier is None else described(plan.earlier),
            "changed": {name: [plain(value) for value in pair] for name, pair in plan.changed.items()},
            **{name: getattr(plan, name) for name in _PLAIN},
        }

    def tensor(t: TensorPlan) -> dict[str, Any]:
        found = {"shape": t.shape, "axes": [axis(m) for m in t.axes], "noise": [asdict(n) for n in t.noise]}
        values = None if t.values is None else stored(t.values)
        return (
            found
            | {name: getattr(t, name) for name in ("scale", "offset", "source", "fill", "new", "blank")}
            | {"values": values}
        )

    header = described(plan)
    save_file(arrays, str(path), metadata={"net2net.plan": json.dumps(header)})


def plain(value: Any) -> Any:
    """The value of an attribute where JSON has it, else what it prints as."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


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
            found = {name: arrays[data[name]] for name in ARRAYS if name in data}
            return AxisMap(**found, sign=data["sign"], contracted=data["contracted"], spread=data.get("spread", 1.0))

        def tensor(data: dict[str, Any]) -> TensorPlan:
            return TensorPlan(
                **{
                    **data,
                    "shape": tuple(data["shape"]),
                    "axes": tuple(map(axis, data["axes"])),
                    "blank": tuple(data.get("blank", ())),
                    "noise": tuple(Noise(**n) for n in data["noise"]),
                    "values": None if data["values"] is None else arrays[data["values"]],
                }
            )

        def deepening(data: dict[str, Any]) -> Deepening:
            kernels = tuple(None if kernel is None else tuple(kernel) for kernel in data.get("kernels", ()))
            return Deepening(
                **{**data, "sources": tuple(data["sources"]), "new": tuple(data["new"]), "kernels": kernels}
            )

        def read(data: dict[str, Any]) -> Plan:
            return Plan(
                {name: tensor(t) for name, t in data["tensors"].items()},
                tuple(Widening(**{**w, "units": axis(w["units"])}) for w in data["widenings"]),
                deepenings=tuple(map(deepening, data["deepenings"])),
                changed={name: (old, new) for name, (old, new) in data.get("changed", {}).items()},
                earlier=None if data["earlier"] is None else read(data["earlier"]),
                **cast(Any, {n: tuple(data[n]) if isinstance(data[n], list) else data[n] for n in _PLAIN}),
            )

        return read(header)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise OptionError(f"{path} is no plan of net2net: {type(error).__name__}: {error}") from error
