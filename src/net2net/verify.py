"""The proof: teacher and student on the same inputs, in float64 where it can be had."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from net2net._arguments import require_inputs, require_module
from net2net._liveness import dead_parameters
from net2net.capture import Inputs, named_outputs, split_inputs, structural_copy
from net2net.errors import VerificationError
from net2net.plan._plan import Preservation

# Above this many bytes for the two models together, they are compared in their own dtype.
_FLOAT64_BYTES = 6 * 2**30
# Liveness runs backward passes; above this many parameters it is left out.
_LIVENESS_PARAMETERS = 20_000_000
_TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class Verification:
    """What was measured. `errors` maps "mode/inputs/output" to max |student - teacher| / max |teacher|.

    `preserves` is what the growth promises ("exact", "approximate", "none"); only "exact" is held to the
    tolerance. `departs` is the first module whose output differs, if one does. `dead` names tensors of which
    no new entry gets a gradient within two steps; None if that was not checked. `approximate` are modes that are
    measured but not held to the tolerance: train mode, where a BatchNorm is new.
    """

    errors: dict[str, float]
    tolerance: float
    preserves: Preservation = "exact"
    dtype: str = "float64"
    departs: str | None = None
    dead: tuple[str, ...] | None = None
    notes: tuple[str, ...] = field(default=())
    approximate: tuple[str, ...] = field(default=())

    @property
    def max_relative_error(self) -> float:
        """The largest error over all outputs and inputs, and all modes but the approximate ones."""
        held = [e for name, e in self.errors.items() if name.partition("/")[0] not in self.approximate]
        return max((math.inf if math.isnan(e) else e for e in held), default=math.inf)

    @property
    def passed(self) -> bool:
        """Whether the student computes the teacher's function, as far as the growth promises it."""
        if self.preserves == "exact":
            return self.max_relative_error <= self.tolerance
        return math.isfinite(self.max_relative_error)

    def __str__(self) -> str:
        from net2net.report import verification_table

        return verification_table(self)


def verify(teacher: nn.Module, student: nn.Module, inputs: Inputs) -> Verification:
    """Compare two networks on the same inputs, and on random inputs of the same shape.

    Runs copies in float64 (in the models' own dtype where that doesn't fit or run), in eval mode and, where
    there is BatchNorm, in train mode with dropout off. Neither model is changed.

    Args:
        teacher, student: two networks with the same inputs and outputs.
        inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments.

    Returns:
        The errors per output, relative to the output's largest entry, and the first module that departs.

    Example:
        >>> net = torch.nn.Linear(3, 2)
        >>> verify(net, net, torch.ones(1, 3)).passed
        True
    """
    for model, what in ((teacher, "the teacher"), (student, "the student")):
        require_module(model, what)
        require_inputs(model, inputs)
    return compare_models(teacher, student, inputs)


def compare_models(
    teacher: nn.Module,
    student: nn.Module,
    inputs: Inputs,
    *,
    preserves: Preservation = "exact",
    float32_inside: bool | None = None,
    sources: Mapping[str, tuple[Any, ...]] | None = None,
    new_entries: Mapping[str, tuple[Any, ...] | None] | None = None,
    moved: Mapping[str, str] | None = None,
    approximate: tuple[str, ...] = (),
) -> Verification:
    """`verify`, with what a growth knows: its promise, where copied units stand, which entries are new (None: all of
    a tensor), where modules have moved to, and which modes are only close."""
    stored = _dtype(teacher)
    tolerance = _TOLERANCES.get(stored, 1e-5)
    if float32_inside or (float32_inside is None and _is_pretrained(teacher)):
        tolerance = max(tolerance, 1e-5)
    fits = _bytes_in_float64(teacher) + _bytes_in_float64(student) <= _FLOAT64_BYTES
    for working in (torch.float64, stored) if fits and stored != torch.float64 else (stored,):
        a, b = _copy(teacher, working), _copy(student, working)
        try:
            errors, notes = _measured(a, b, inputs, working, with_random=fits)
            break
        except RuntimeError:  # a cast to one dtype is written into its forward
            if working == stored:
                raise
    departs = None
    found = Verification(errors, tolerance, approximate=approximate)
    if not found.passed and preserves == "exact":
        given = _to(inputs, working, _device(teacher))
        departs = _first_departure(a, b, given, tolerance, sources or {}, moved or {})
    dead = None
    if new_entries is not None and sum(p.numel() for p in student.parameters()) <= _LIVENESS_PARAMETERS:
        own = structural_copy(b, _cloned)  # it takes steps, and `b` may share the student's tensors
        try:
            dead = dead_parameters(own, _to(inputs, working, _device(student)), new_entries)
        except (RuntimeError, NotImplementedError) as error:  # an operation with no derivative
            notes.append(f"liveness not checked: {str(error).splitlines()[0]}")
    return Verification(
        errors,
        tolerance,
        preserves,
        str(working).removeprefix("torch."),
        departs,
        dead,
        tuple(dict.fromkeys(notes)),
        approximate,
    )


def require(verification: Verification) -> None:
    """Raise if a growth that promised exactness was measured not to be exact."""
    if not verification.passed:
        where = f" The first module that departs is '{verification.departs}'." if verification.departs else ""
        held = {k: e for k, e in verification.errors.items() if k.partition("/")[0] not in verification.approximate}
        worst = max(held, key=lambda k: held[k], default="no output")
        raise VerificationError(
            "the student doesn't compute the teacher's function: "
            f"relative error {verification.max_relative_error:.1e} at {worst}, "
            f"tolerance {verification.tolerance:.0e}.{where} It is not returned. "
            "Please report the model: this should have been refused before."
        )


def _measured(
    teacher: nn.Module, student: nn.Module, inputs: Inputs, dtype: torch.dtype, with_random: bool
) -> tuple[dict[str, float], list[str]]:
    """The error of every output in every mode, on the given and on random inputs, and what was left out."""
    errors: dict[str, float] = {}
    notes: list[str] = []
    variants = _input_variants(inputs, dtype, _device(teacher))
    if not with_random:  # large models: one pass through each, so that the proof takes bounded time
        variants = {"given": variants["given"]}
    for mode in _modes(teacher):
        for label, given in variants.items():
            try:
                ours, theirs = (named_outputs(_run(model, given, mode)) for model in (teacher, student))
            except ValueError as error:
                if mode == "train" and "more than 1 value per channel" in str(error):
                    notes.append("train mode not compared: the inputs give BatchNorm one value per channel")
                    continue
                raise
            if label == "random" and not any(map(_has_finite, ours.values())):
                notes.append("random inputs not compared: the teacher gives no finite output for them")
                continue
            _compare(errors, f"{mode}/{label}", ours, theirs)
    return errors, notes


def _has_finite(output: Any) -> bool:
    return isinstance(output, torch.Tensor) and bool(output.isfinite().any())


def _compare(errors: dict[str, float], label: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name, reference in ours.items():
        other = theirs.get(name)
        if not isinstance(reference, torch.Tensor):
            continue
        key = f"{label}/{name}"
        if not isinstance(other, torch.Tensor) or other.shape != reference.shape:
            errors[key] = math.inf
        elif reference.numel():
            errors[key] = relative_error(reference, other)


def relative_error(reference: torch.Tensor, other: torch.Tensor) -> float:
    """max |other - reference| / max |reference| (absolute where the reference is 0).

    Entries that are the same infinity, or both not a number, agree; but where the reference has no finite
    entry nothing is measured, and the error is not a number.
    """
    reference, other = reference.detach().double(), other.detach().double()
    if not reference.isfinite().any():
        return math.nan
    agree = (reference == other) | (reference.isnan() & other.isnan())
    difference = torch.where(agree, 0.0, (other - reference).abs())
    scale = torch.where(reference.isfinite(), reference.abs(), 0.0).max()
    return float(difference.max() / scale) if scale > 0 else float(difference.max())


def _dtype(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _is_pretrained(model: nn.Module) -> bool:
    return any(hasattr(getattr(m, "config", None), "to_dict") for m in model.modules())


def _bytes_in_float64(model: nn.Module) -> int:
    return 8 * sum(p.numel() for p in model.parameters())


def _modes(model: nn.Module) -> tuple[str, ...]:
    has_batch_norm = any(isinstance(m, (_BatchNorm, nn.modules.instancenorm._InstanceNorm)) for m in model.modules())
    return ("eval", "train") if has_batch_norm else ("eval",)


def _copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in another dtype, with dropout off; its statistics can be updated without touching the model."""

    def convert(_: str, tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, nn.Parameter):
            new = tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()
            return nn.Parameter(new, requires_grad=tensor.requires_grad)
        return tensor.detach().to(dtype).clone() if tensor.is_floating_point() else tensor.detach().clone()

    copy = structural_copy(model, convert)
    for module in copy.modules():
        for name, value in list(vars(module).items()):
            random = name == "p" and any(word in type(module).__name__ for word in ("Drop", "Stochastic"))
            if isinstance(value, float) and ("drop" in name or random):
                setattr(module, name, 0.0)
        if isinstance(module, nn.RNNBase):
            module._flat_weights = [getattr(module, n) for n in module._flat_weights_names]
    return copy


def _cloned(_: str, tensor: torch.Tensor) -> torch.Tensor:
    new = tensor.detach().clone()
    return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new


def _to(inputs: Inputs, dtype: torch.dtype, device: torch.device) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def move(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to(device, dtype if tensor.is_floating_point() else tensor.dtype)

    moved: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_map_only(torch.Tensor, move, split_inputs(inputs))
    return moved


def _input_variants(inputs: Inputs, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """The inputs given, and random ones like them: constant inputs would hide a wrong mapping."""
    generator = torch.Generator().manual_seed(0)

    def randomise(tensor: torch.Tensor) -> torch.Tensor:
        cpu = tensor.cpu()
        if cpu.is_floating_point():
            return torch.randn(cpu.shape, generator=generator, dtype=cpu.dtype).to(device)
        if cpu.dtype == torch.bool or cpu.numel() == 0 or cpu.is_complex() or int(cpu.min()) >= int(cpu.max()):
            return tensor
        low, high = int(cpu.min()), int(cpu.max())
        return torch.randint(low, high + 1, cpu.shape, generator=generator, dtype=cpu.dtype).to(device)

    given = _to(inputs, dtype, device)
    varied = pytree.tree_map_only(torch.Tensor, randomise, given)
    keep = {k for k in given[1] if "mask" in k}
    return {
        "given": given,
        "random": (varied[0], {k: given[1][k] if k in keep else v for k, v in varied[1].items()}),
    }


def _run(model: nn.Module, inputs: tuple[tuple[Any, ...], dict[str, Any]], mode: str) -> Any:
    model.train(mode == "train")
    devices = [_device(model)] if _device(model).type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(0)
        return model(*inputs[0], **inputs[1])


def _first_departure(
    teacher: nn.Module,
    student: nn.Module,
    inputs: Any,
    tolerance: float,
    sources: Mapping[str, tuple[Any, ...]],
    moved: Mapping[str, str],
) -> str | None:
    """The first module of the teacher, in order of execution, whose output the student's doesn't equal."""
    seen: list[dict[str, torch.Tensor]] = []
    for model in (teacher, student):
        outputs: dict[str, torch.Tensor] = {}

        def keep(path: str, outputs: dict[str, torch.Tensor] = outputs) -> Any:
            def hook(module: nn.Module, args: Any, result: Any) -> None:
                if isinstance(result, torch.Tensor):
                    outputs.setdefault(path, result.detach())

            return hook

        handles = [m.register_forward_hook(keep(path)) for path, m in model.named_modules() if path]
        _run(model, inputs, "eval")
        for handle in handles:
            handle.remove()
        seen.append(outputs)
    for path, reference in seen[0].items():
        other = seen[1].get(moved.get(path, path))
        if other is None:
            continue
        other = _old_units(other, reference, sources.get(path))
        if other is not None and reference.numel() and not relative_error(reference, other) <= tolerance:
            return path
    return None


def _old_units(student: torch.Tensor, teacher: torch.Tensor, sources: tuple[Any, ...] | None) -> torch.Tensor | None:
    """The student's tensor cut down to one copy of each of the teacher's units."""
    if student.shape == teacher.shape:
        return student
    if sources is None or len(sources) != student.dim():
        return None
    for axis, source in enumerate(sources):
        if source is not None and len(source) == student.shape[axis]:
            first = {int(unit): place for place, unit in reversed(list(enumerate(source))) if unit >= 0}
            places = torch.tensor([first[u] for u in range(teacher.shape[axis])], device=student.device)
            student = student.index_select(axis, places)
    return student if student.shape == teacher.shape else None
