"""The first module whose output isn't the teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from net2net.proof._error import relative_error
from net2net.proof._inputs import Arguments
from net2net.proof._run import run


def first_departure(
    teacher: nn.Module,
    student: nn.Module,
    method: str,
    given: tuple[Arguments, Arguments],
    mode: str,
    tolerance: float,
    sources: Mapping[str, tuple[Any, ...]],
    moved: Mapping[str, str],
) -> str | None:
    """The first module of the teacher, in order of execution, whose output the student's doesn't equal.

    `given` is what each of the two is given.
    """
    seen: list[dict[str, torch.Tensor]] = []
    for model, arguments in zip((teacher, student), given, strict=True):
        outputs: dict[str, torch.Tensor] = {}

        def keep(path: str, outputs: dict[str, torch.Tensor] = outputs) -> Any:
            def hook(module: nn.Module, args: Any, result: Any) -> None:
                if isinstance(result, torch.Tensor):
                    outputs.setdefault(path, result.detach())

            return hook

        handles = [m.register_forward_hook(keep(path)) for path, m in model.named_modules() if path]
        run(model, method, arguments, mode)
        for handle in handles:
            handle.remove()
        seen.append(outputs)
    for path, reference in seen[0].items():
        other = seen[1].get(moved.get(path, path))
        if other is None:
            continue
        other = _old_units(other, reference, sources.get(moved.get(path, path)))
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
