"""Networks under `torch.compile`: captured uncompiled, called by the names that they have without it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping

import torch
from torch import nn

_WRAPPED = "_orig_mod"


def shown(path: str) -> str:
    """A module's path without the wrappers of `torch.compile`.

    Example:
        >>> shown("_orig_mod.encoder._orig_mod.0"), shown("_orig_mod")
        ('encoder.0', '')
    """
    return ".".join(part for part in path.split(".") if part != _WRAPPED)


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Run compiled modules as they are written: what is run once isn't worth compiling."""
    with torch.compiler.set_stance("force_eager"):
        yield


def compile_again(teacher: nn.Module, student: nn.Module, moved: Mapping[str, str]) -> tuple[str, ...]:
    """Compile in place (`module.compile()`) what is so in the teacher, with the same options.

    A wrapper (`torch.compile(module)`) is a module of the tree, and copied with it.

    Args:
        teacher, student: a network and what has grown out of it, which is changed.
        moved: where modules of the teacher are in the student, if elsewhere. New ones beside them are as they are.

    Returns:
        Notes on what isn't compiled.
    """
    notes = []
    modules = dict(student.named_modules(remove_duplicate=False))
    old = {moved.get(path, path): module for path, module in teacher.named_modules()}
    kinds = {(path.rpartition(".")[0], type(module)): module._compiled_call_impl for path, module in old.items()}
    for path, module in modules.items():
        compiled = old[path]._compiled_call_impl if path in old else kinds.get((path.rpartition(".")[0], type(module)))
        if compiled is None or module._compiled_call_impl is not None:
            continue
        context = inspect.getclosurevars(compiled).nonlocals.get("self")
        if callable(context):
            module._compiled_call_impl = context(module._call_impl)
        else:
            name = f"'{shown(path)}'" if path else "the network"
            notes.append(f"{name} is compiled in place in the teacher, and not in the student: call compile() there")
    return tuple(notes)
