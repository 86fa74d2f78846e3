"""A user's hooks while a network grows: those that only observe are off, so that counters and dumps don't see it."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import io
import itertools
import types
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from net2net.capture._examples import examples_of
from net2net.capture._modes import as_called
from net2net.capture._steady import steady
from net2net.capture._structure import structural_copy

P = ParamSpec("P")
R = TypeVar("R")
Hooks = dict[int, Any]
_FORWARD = ("_forward_hooks", "_forward_pre_hooks")
_BACKWARD = ("_backward_hooks", "_backward_pre_hooks")
_ON_GRADIENTS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_tokens = itertools.count()


class _Off:
    """In the place of a hook: does nothing."""

    def __init__(self, hook: Any, token: int) -> None:
        self.hook, self.token = hook, token

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        return None


def unobserved(function: Callable[P, R]) -> Callable[P, R]:
    """Turn off hooks that only observe while a function that takes networks and example inputs runs.

    A forward hook takes part, and stays on, where on the example inputs it returns something, sets an attribute of its
    module or changes a tensor in place, or where the network computes something else without it. Each is tried once,
    on a copy of what it keeps. Hooks on gradients are always off. The hooks of a student are on.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def quietly(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # says what is wrong
        models = [value for value in given.values() if isinstance(value, nn.Module)]
        inputs, methods = given.get("example_inputs", given.get("inputs")), given.get("methods", ())
        token = next(_tokens)
        kept = {key for model in models for key in _taking_part(model, inputs, methods)}
        places = [hooks for model in models for hooks in (*_of(model, _FORWARD), *_on_gradients(model))]
        places += _global(_FORWARD) + _global(_BACKWARD)
        try:
            for hooks in places:
                for key, hook in hooks.items():
                    if key not in kept and not isinstance(hook, _Off):
                        hooks[key] = _Off(hook, token)
            result = function(*args, **kwargs)
        finally:
            _on_again(places, token)
        student = getattr(result, "student", None)
        if isinstance(student, nn.Module):
            _on_again([*_of(student, _FORWARD), *_on_gradients(student)], token)
        return result

    return quietly


def _on_again(places: list[Hooks], token: int) -> None:
    for hooks in places:
        for key, hook in hooks.items():
            if isinstance(hook, _Off) and hook.token == token:
                hooks[key] = hook.hook


def _of(model: nn.Module, kinds: tuple[str, ...]) -> list[Hooks]:
    return [hooks for module in model.modules() for kind in kinds if (hooks := getattr(module, kind, None))]


def _global(kinds: tuple[str, ...]) -> list[Hooks]:
    return [hooks for kind in kinds if (hooks := getattr(torch_module, f"_global{kind}", None))]


def _on_gradients(model: nn.Module) -> list[Hooks]:
    tensors = [getattr(t, kind, None) for t in model.parameters() for kind in _ON_GRADIENTS]
    return [*_of(model, _BACKWARD), *(hooks for hooks in tensors if hooks)]


def _taking_part(model: nn.Module, inputs: Any, methods: Any) -> set[int]:
    """The keys of forward hooks that are a part of what a network computes; of all of them where that can't be said."""
    places = (*_of(model, _FORWARD), *_global(_FORWARD))
    every = {key for hooks in places for key, hook in hooks.items() if not isinstance(hook, _Off)}
    if not every or any(is_lazy(p) or p.device.type == "meta" for p in model.parameters()):
        return every
    found: set[int] = set()
    try:
        examples = [replace(e, train=t) for e in examples_of(inputs, methods, model) for t in (False, True)]
        with_all = [_run(model, example, every, found) for example in examples]
        without = [_run(model, example, found, set()) for example in examples]
    except Exception:  # the capture says what is wrong
        return every
    return found if all(map(_same, with_all, without)) else every


def _run(model: nn.Module, example: Any, on: set[int], found: set[int]) -> list[Any]:
    """What a copy of a network gives with some hooks on; those that do more than observe are added to `found`."""
    copied = structural_copy(model, lambda _, t: t if isinstance(t, nn.Parameter) else t.detach().clone())
    as_called(copied, example)
    memo: dict[int, Any] = {id(part): part for part in (*copied.modules(), *copied.parameters(), *copied.buffers())}

    def watched(key: int, hook: Any) -> Any:
        if key not in on:
            return _Off(hook, -1)
        alone = _alone(hook, memo)

        def watch(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            before = _state(module, (args, kwargs))
            result = alone(module, *args, **kwargs)
            if result is not None or before != _state(module, (args, kwargs)):
                found.add(key)
            return result

        return watch

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    args, kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), (example.args, example.kwargs))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_replaced([*_of(copied, _FORWARD), *_global(_FORWARD)], watched))
        stack.enter_context(torch.no_grad())
        stack.enter_context(steady([device] if device.type == "cuda" else []))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        return pytree.tree_leaves(copied(*args, **kwargs))


@contextlib.contextmanager
def _replaced(places: list[Hooks], make: Callable[[int, Any], Any]) -> Iterator[None]:
    before = [dict(hooks) for hooks in places]
    try:
        for hooks in places:
            hooks.update({key: make(key, hook) for key, hook in hooks.items()})
        yield
    finally:
        for hooks, was in zip(places, before, strict=True):
            hooks.update(was)


def _state(module: nn.Module, given: Any) -> Any:
    """What a hook can change of its module and of its arguments."""
    own = {name: id(value) for name, value in vars(module).items()}
    tensors = [*module._parameters.values(), *module._buffers.values(), *pytree.tree_leaves(given)]
    return own, [(id(t), t._version) for t in tensors if isinstance(t, torch.Tensor)]


def _alone(hook: Any, memo: dict[int, Any]) -> Any:
    """A hook with copies of what it keeps beside the network: lists and counters of the user's don't see its calls."""

    def own(value: Any) -> Any:
        try:
            return copy.deepcopy(value, dict(memo))
        except Exception:
            return value

    if isinstance(hook, functools.partial):
        return functools.partial(_alone(hook.func, memo), *map(own, hook.args), **own(hook.keywords))
    if not isinstance(hook, types.FunctionType):
        return hook
    code = hook.__code__
    names = {*code.co_names, *(n for c in code.co_consts if isinstance(c, types.CodeType) for n in c.co_names)}
    around = dict(hook.__globals__)
    around |= {n: own(around[n]) for n in names if isinstance(around.get(n), (list, dict, set, deque))}
    cells = tuple(types.CellType(own(cell.cell_contents)) for cell in hook.__closure__ or ())
    new = types.FunctionType(code, around, hook.__name__, own(hook.__defaults__), cells)
    new.__kwdefaults__ = own(hook.__kwdefaults__)
    return new


def _same(ours: list[Any], theirs: list[Any]) -> bool:
    return len(ours) == len(theirs) and all(map(_equal, ours, theirs))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
    return type(a) is type(b) and (a is b or not isinstance(a, (int, float, str)) or a == b)
