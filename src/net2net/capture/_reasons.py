"""Why a network can't be captured, in the user's terms: the module, the line of its code, and what would work."""

from __future__ import annotations

import linecache
import os
import sysconfig
import traceback
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from net2net.capture._compiled import shown
from net2net.capture._examples import Example
from net2net.capture._quiet import silent
from net2net.capture._structure import structural_copy
from net2net.errors import CaptureError

_NOT_THE_USERS = (
    os.path.dirname(torch.__file__) + os.sep,
    os.path.dirname(os.path.dirname(__file__)) + os.sep,
    "<",
)
_STDLIB = sysconfig.get_path("stdlib") + os.sep
_SITE = (sysconfig.get_path("purelib") + os.sep, sysconfig.get_path("platlib") + os.sep)
_ASKS = (
    "replace the branch by torch.where or torch.cond, or grow the modules around this one by themselves. A number that "
    "is the same for all inputs can be computed in __init__."
)


def refuse_unfit(model: nn.Module) -> None:
    """Raise if a network holds what can't be captured or grown, whatever its inputs.

    Raises:
        CaptureError: a wrapper for several devices, a quantised or scripted module, a lazy one that has not run, or
            tensors made in inference mode.
    """
    for path, module in model.named_modules():
        kind, file = type(module).__name__, type(module).__module__
        where = f"'{shown(path)}' is" if path else "the model is"
        inner = f"{path or 'model'}.module"
        if file.startswith(("torch.nn.parallel", "torch.distributed.fsdp")) and "module" in module._modules:
            raise CaptureError(f"{where} a {kind}: grow `{inner}`, and wrap the student again.")
        if isinstance(module, torch.jit.ScriptModule):
            raise CaptureError(
                f"{where} scripted or traced by torch.jit, which hides its code: grow the module that it was made of, "
                "and script the student."
            )
        if ".quantized" in file:
            raise CaptureError(
                f"{where} quantised ({kind}), and its weights are no parameters: grow the network before it is "
                "quantised, and quantise the student."
            )
        if any(is_lazy(t) for t in (*module._parameters.values(), *module._buffers.values())):
            raise CaptureError(f"{where} a {kind} that has not run, and has no sizes: call the model once before.")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_inference():
            raise CaptureError(
                f"'{name}' was made in inference mode, where nothing can be trained: make or load the model outside of "
                "torch.inference_mode(), or copy its state_dict into one that was."
            )


def refusal(model: nn.Module, example: Example, copy: nn.Module, error: Exception) -> CaptureError:
    """Why `model` can't be captured, given what `torch.export` raised when it ran `copy`."""
    name = type(model).__name__
    own = _runs(model, example)
    if own is not None:
        return CaptureError(f"{name} doesn't run on the example inputs: {_first_line(own[0])}{_place(own[0], own[1])}")
    reason, place = _first_line(error), _place(error, copy)
    if _differentiates(error):
        if not place:  # found when all is done, in a tensor that is named after its module
            path = shown(str(error).partition("attribute: ")[2].partition(" ")[0].strip(".").rpartition(".")[0])
            place = f"\nIn '{path}'" if path else ""
        return CaptureError(
            f"{name} computes a gradient in its forward (torch.autograd.grad or the like), which can't be captured."
            f"{place}\nThe network that is differentiated can be grown by itself, and put in its place."
        )
    if "input type" in reason or "in output, which is not a known type" in reason:
        what = "takes" if "input type" in reason else "gives back"
        kind = reason.partition("<class '")[2].partition("'>")[0]
        return CaptureError(
            f"{name} {what} a {kind or 'an object'}, which torch.export can't take apart.\n"
            "Give tensors, or tuples, lists and dicts of them; or register a dataclass of tensors: "
            "torch.export.register_dataclass(its class)."
        )
    if "ata-dependent" in reason or "DataDependent" in type(error).__name__ or ".numpy()" in reason:
        return CaptureError(
            f"{name} can't be captured: its forward is data-dependent, it asks for the values of a tensor.{place}\n"
            f"If they decide what it does, {_ASKS}"
        )
    return CaptureError(
        f"torch.export can't capture {name}: {reason}{place}\nWrite that line with other operations, or grow the "
        "modules around it by themselves."
    )


def module_of(trace: TracebackType | None, paths: dict[int, str]) -> str:
    """The path of the innermost module in a traceback."""
    found = ""
    while trace is not None:
        owner: Any = trace.tb_frame.f_locals.get("self")
        found = paths.get(id(owner), found)
        trace = trace.tb_next
    return found


def _runs(model: nn.Module, example: Example) -> tuple[Exception, nn.Module] | None:
    """What the model itself says on the inputs, if it doesn't run on them; and the copy that said it."""
    if any(t.device.type == "meta" for t in model.parameters()):
        return None
    copy = structural_copy(model, lambda _, t: t if isinstance(t, nn.Parameter) else t.detach().clone())
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    args, kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), (example.args, example.kwargs))
    method = getattr(copy.train(example.train), example.method)
    try:
        with silent(), torch.random.fork_rng(devices=[]), torch.enable_grad():
            (copy if example.method == "forward" else method)(*args, **kwargs)
    except Exception as error:
        return error, copy
    return None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _place(error: Exception, model: nn.Module) -> str:
    """Where an error comes from: the module, and the line of the user's code."""
    path = shown(module_of(error.__traceback__, {id(module): path for path, module in model.named_modules()}))
    users = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    line = ""
    if users:
        text = linecache.getline(users[-1].filename, users[-1].lineno or 0).strip()
        line = f"{users[-1].filename}:{users[-1].lineno}: {text}"
    found = ", ".join(filter(None, (f"in '{path}'" if path else "", line)))
    return f"\n{found[0].upper()}{found[1:]}" if found.startswith("in") else f"\n{found}" if found else ""


def _is_users(file: str) -> bool:
    return not file.startswith(_NOT_THE_USERS) and (file.startswith(_SITE) or not file.startswith(_STDLIB))


def _differentiates(error: Exception) -> bool:
    """Whether a forward computes a gradient; what torch.export makes of that isn't always found where it happens."""
    files = [(f.filename, f.name) for f in traceback.extract_tb(error.__traceback__)]
    inside = any(
        (file.endswith(os.path.join("torch", "autograd", "__init__.py")) and name in ("grad", "backward"))
        or (os.sep + "_functorch" + os.sep in file and "eager_transforms" in file)
        for file, name in files
    )
    return inside or "fake tensor in the exported program constant" in str(error)
