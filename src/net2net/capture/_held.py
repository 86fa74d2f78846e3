"""What a module tree holds beside its modules and tensors, and what a copy of it has in the place of each thing."""

from __future__ import annotations

import copy
import functools
import io
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler
from torch.utils.hooks import RemovableHandle

_ATOMS = (
    str, bytes, int, float, complex, bool, type(None), type, torch.dtype, torch.device, torch.Size,
    types.BuiltinFunctionType, types.CodeType, weakref.ref,
)  # fmt: skip
_SIMPLE = frozenset([str, bytes, int, float, complex, bool, type(None), type, torch.dtype, torch.device, torch.Size])
_SHARED = (
    type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event, threading.Thread,
    types.ModuleType, types.GeneratorType, io.IOBase, DataLoader, Dataset, IterableDataset, Sampler,
)  # fmt: skip
_NO_STATE = (tuple, types.MethodType, functools.partial, RemovableHandle)
_PLAIN = (torch.Tensor, nn.Parameter, nn.Buffer, FakeTensor)
_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_COMPILED = "dynamo_ctx"  # what torch.compile keeps on a module, with the user's backend
_SHARED_FROM = ("tensorboardX", "wandb", "mlflow", "torch.utils.tensorboard", "tensorboard")


def is_shared(value: Any) -> bool:
    """Whether something is no part of what a network computes, and is the same in its copies: a lock, a file, a
    Python module, a data loader, a writer of logs."""
    if isinstance(value, _SHARED):
        return True
    return type(value).__module__.startswith(_SHARED_FROM)


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What something holds directly, with how it is reached from there."""
    if type(value) in (dict, OrderedDict):  # most of what there is, and quickly done
        yield from ((f"[{key!r}]", part) for key, part in list(value.items()))
        yield from (("'s key", key) for key in list(value) if type(key) not in _SIMPLE)
    elif isinstance(value, nn.Module):
        yield from ((f".{name}", part) for name, part in list(vars(value).items()) if name != _COMPILED)
    elif isinstance(value, _ATOMS) or is_shared(value):
        return
    elif isinstance(value, torch.Tensor):
        yield from ((f".{name}", mark) for name, mark in marks_of(value).items())
        yield from (("'s hook", hook) for hooks in hooks_of(value).values() for hook in hooks.values())
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            if not is_empty(cell):
                yield f" (its closure's '{name}')", cell.cell_contents
        defaults = (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
        yield from ((" (a default)", part) for part in (*defaults, *vars(value).values()))
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
        yield "", value.__func__
    elif isinstance(value, functools.partial):
        yield from (("", part) for part in (value.func, *value.args, *value.keywords.values(), *vars(value).values()))
    elif isinstance(value, RemovableHandle):
        return
    else:
        if isinstance(value, Mapping):
            yield from ((f"[{key!r}]", part) for key, part in list(value.items()))
            yield from (("'s key", key) for key in list(value))
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            yield from ((f"[{index}]", part) for index, part in enumerate(list(value)))
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            yield from ((f".{name}", part) for name, part in list(attributes.items()))
        for kind in type(value).__mro__:
            names = vars(kind).get("__slots__", ())
            for name in (names,) if isinstance(names, str) else names:
                if isinstance(vars(kind).get(name), types.MemberDescriptorType) and hasattr(value, name):
                    yield f".{name}", getattr(value, name)


def reached(value: Any, *, functions: bool = True) -> Iterator[tuple[str, Any]]:
    """Everything that can be reached from something, itself first; without `functions`, not through them."""
    seen = {id(value)}
    queue: deque[tuple[str, Any]] = deque([("", value)])
    while queue:
        path, found = queue.popleft()
        yield path, found
        if isinstance(found, types.FunctionType) and not functions:
            continue
        for step, part in parts(found):
            kind = type(part)
            if kind in _SIMPLE or (kind in (dict, OrderedDict) and not part) or id(part) in seen:
                continue
            if not isinstance(part, _ATOMS):
                seen.add(id(part))
                queue.append((path + step, part))


def replacements(model: nn.Module, memo: dict[int, Any]) -> tuple[dict[int, Any], list[types.FunctionType]]:
    """What stands in a copy of a module tree for what `copy.deepcopy` can't copy, or would take for something else.

    Args:
        memo: what stands for its parameters and buffers.

    Returns:
        By identity: tensors that hang on a graph, detached; locks and the like, as they are; optimizers without
        their state; functions that reach the model, which `close` has to fill. And these functions.
    """
    found: dict[int, Any] = {}
    functions: list[types.FunctionType] = []
    held = set(memo)

    def seed(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            if value.grad_fn is not None and id(value) not in memo:
                found[id(value)] = value.detach().clone()
        elif isinstance(value, torch.Generator):
            found[id(value)] = value.clone_state()
        elif is_shared(value):
            found[id(value)] = value
        elif isinstance(value, torch.optim.Optimizer):
            found[id(value.state)] = defaultdict(dict)

    for _, value in reached(model, functions=False):
        seed(value)
        if isinstance(value, types.FunctionType):
            functions.append(value)
        elif isinstance(value, nn.Module) or not (isinstance(value, _NO_STATE) or is_shared(value)):
            held.add(id(value))
    known = {id(hooks) for owner in [*model.modules()] for hooks in vars(owner).values()}
    known |= {id(hooks) for tensor in _tensors(model) for hooks in hooks_of(tensor).values()}
    for module in model.modules():
        if (compiled := vars(module).get(_COMPILED)) is not None:
            found[id(compiled)] = compiled
        for value in vars(module).values():
            for handle in value if isinstance(value, (list, tuple)) else (value,):
                if not isinstance(handle, RemovableHandle):
                    continue
                hooks = handle.hooks_dict_ref()
                if hooks is None or id(hooks) not in known:
                    found[id(handle)] = handle  # of a hook that is somewhere else, or gone
    closed: list[types.FunctionType] = []
    for function in functions:
        inside = [value for _, value in reached(function)]
        if any(id(value) in held for value in inside):
            for value in inside:
                seed(value)
                if isinstance(value, types.FunctionType) and id(value) not in found and _meets(value, held):
                    found[id(value)] = _opened(value)
                    closed.append(value)
    return found, closed


def close(function: types.FunctionType, memo: dict[int, Any]) -> None:
    """Give the copy of a function what it reaches of the copied model, and what else the function has, as it is."""
    new: types.FunctionType = memo[id(function)]

    def own(value: Any) -> Any:
        return copy.deepcopy(value, memo) if any(id(v) in memo for _, v in reached(value)) else value

    for old, cell in zip(function.__closure__ or (), new.__closure__ or (), strict=True):
        if not is_empty(old):
            cell.cell_contents = own(old.cell_contents)
    new.__defaults__ = None if function.__defaults__ is None else tuple(map(own, function.__defaults__))
    new.__kwdefaults__ = {name: own(value) for name, value in (function.__kwdefaults__ or {}).items()} or None
    vars(new).update({name: own(value) for name, value in vars(function).items()})


def marks_of(tensor: torch.Tensor) -> dict[str, Any]:
    """The attributes that a user set on a tensor."""
    if type(tensor) not in _PLAIN:
        return {}
    own = _fake_attributes() if isinstance(tensor, FakeTensor) else ()
    return {name: value for name, value in vars(tensor).items() if name not in own}


def hooks_of(tensor: torch.Tensor) -> dict[str, dict[int, Any]]:
    """The hooks on a tensor's gradient, by the attribute that holds them."""
    if type(tensor) not in _PLAIN or not tensor.is_leaf:
        return {}
    return {kind: hooks for kind in _HOOKS if (hooks := getattr(tensor, kind, None))}


@functools.cache
def _fake_attributes() -> frozenset[str]:
    with FakeTensorMode():
        return frozenset(vars(nn.Parameter(torch.empty(1))))


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def _meets(value: Any, held: set[int]) -> bool:
    return any(id(v) in held for _, v in reached(value))


def is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


def _opened(function: types.FunctionType) -> types.FunctionType:
    """A function of the same code, with nothing in its closure yet."""
    cells = tuple(types.CellType() for _ in function.__closure__ or ())
    new = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
    new.__qualname__, new.__doc__, new.__module__ = function.__qualname__, function.__doc__, function.__module__
    return new


def optimizers_in(model: nn.Module) -> list[str]:
    """Where a module tree keeps optimizers."""
    found: dict[int, str] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in ("_modules", "_parameters", "_buffers") and type(value) not in _SIMPLE:
                for step, part in reached(value, functions=False):
                    if isinstance(part, torch.optim.Optimizer):
                        found.setdefault(id(part), f"{path}.{name}{step}" if path else f"{name}{step}")
    return list(found.values())
