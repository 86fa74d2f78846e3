"""Makes `emitted.json`: the ATen operations that torch's functions, methods and modules become under `torch.export`.

    python tests/operations/generate.py

torch's own tables of sample calls (OpInfo, ModuleInfo) are exported call by call; of every operation that comes out, a
few calls are kept, so that rules can be run. The tables come with torch, but ask for `expecttest`, of which they use
nothing here.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

HERE = Path(__file__).parent
SAMPLES, KEPT, LARGEST = 12, 2, 4000


class Call(nn.Module):
    """A function of nested arguments, as a module whose inputs are the tensors among them."""

    def __init__(self, function: Callable[..., Any], leaves: list[Any], spec: Any) -> None:
        super().__init__()
        self.function, self.leaves, self.spec = function, leaves, spec

    def forward(self, *tensors: torch.Tensor) -> Any:
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        result = self.function(*args, **kwargs)
        return [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]


class Recorder(torch.fx.Interpreter):
    """Runs a graph and keeps the calls of ATen operations, with what they got."""

    def __init__(self, module: torch.fx.GraphModule, found: dict[str, list[Any]]) -> None:
        super().__init__(module)
        self.found = found

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
            calls = self.found.setdefault(str(target), [])
            call = [encoded(list(args)), encoded(dict(kwargs))]
            if call not in calls and sum(map(numbers_in, call)) <= LARGEST:
                calls.append(call)
        return super().call_function(target, args, kwargs)


def encoded(value: Any) -> Any:
    """A value as JSON: tensors of floats by their range, others by their entries."""
    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        if value.dtype.is_complex or (value.is_floating_point() and value.numel()):
            real = torch.view_as_real(value.detach().resolve_conj()) if value.dtype.is_complex else value.detach()
            low, high = (float(real.min()), float(real.max())) if value.numel() else (0.0, 0.0)
            return {"tensor": list(value.shape), "dtype": dtype, "range": [round(low, 2), round(high, 2)]}
        return {"tensor": list(value.shape), "dtype": dtype, "entries": value.flatten().tolist()}
    if isinstance(value, (list, tuple)):
        return [encoded(v) for v in value]
    if isinstance(value, dict):
        return {k: encoded(v) for k, v in value.items()}
    if isinstance(value, (torch.dtype, torch.device, torch.layout, torch.memory_format)):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, (int, float, str, bool, type(None))):
        return value
    return {"unknown": str(type(value))}


def numbers_in(call: Any) -> int:
    """How many entries the tensors of a call have."""
    if isinstance(call, dict):
        return len(call["entries"]) if "entries" in call else sum(map(numbers_in, call.values()))
    return sum(map(numbers_in, call)) if isinstance(call, list) else 0


def calls() -> Iterator[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]:
    """Sample calls of functions, methods and modules."""
    sys.modules.setdefault("expecttest", types.SimpleNamespace(TestCase=__import__("unittest").TestCase))  # type: ignore[arg-type]
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db

    for info in op_db:
        dtype = torch.float32
        if dtype not in info.dtypes:
            dtype = next(iter(sorted(info.dtypes, key=str)), dtype)
        try:
            samples = list(islice(info.sample_inputs("cpu", dtype, requires_grad=False), SAMPLES))
        except Exception as error:
            print("no samples", info.name, error)
            continue
        for sample in samples:
            for function in (info.op, info.get_inplace()):
                if function is not None:
                    yield function, (sample.input, *sample.args), sample.kwargs
    for info in module_db:
        for training in (False, True):
            try:
                inputs = info.module_inputs_func(info, "cpu", torch.float32, False, training)
            except Exception as error:
                print("no samples", info.module_cls, error)
                continue
            for one in inputs[:SAMPLES]:
                if one.forward_input is not None:
                    made = info.module_cls(*one.constructor_input.args, **one.constructor_input.kwargs)
                    yield made.train(training), one.forward_input.args, one.forward_input.kwargs


def main() -> None:
    """Export every call; write what they become."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.backends.mha.set_fastpath_enabled(False)
    found: dict[str, list[Any]] = {}
    failed = 0
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    for function, args, kwargs in calls():
        leaves, spec = pytree.tree_flatten((args, kwargs))
        tensors = tuple(leaf.detach().clone() for leaf in leaves if isinstance(leaf, torch.Tensor))
        signal.alarm(20)
        try:
            module: nn.Module = Call(function, leaves, spec)
            if isinstance(function, nn.Module):
                module.inner = function
            with torch.no_grad():
                program = torch.export.export(module, tensors, strict=False)
                Recorder(program.module(), found).run(*tensors)
        except Exception:
            failed += 1
        finally:
            signal.alarm(0)
    kept = {name: sorted(all_calls, key=_cost)[:KEPT] for name, all_calls in sorted(found.items())}
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(calls)}" for name, calls in kept.items())
    (HERE / "emitted.json").write_text("{\n" + text + "\n}\n")
    print(len(kept), "operations;", failed, "calls are not exported")


def _cost(call: Any) -> tuple[bool, int]:
    """Calls on tensors with more than one axis first, then short ones."""
    text = json.dumps(call)
    shapes = [part.split("]")[0] for part in text.split('"tensor": [')[1:]]
    ranks = [len(shape.split(",")) if shape else 0 for shape in shapes]
    empty = any(
        "0" in shape.replace(" ", "").split(",") or "1" in shape.replace(" ", "").split(",") for shape in shapes
    )
    return (max(ranks, default=0) < 2 or empty, len(text))


if __name__ == "__main__":
    main()
