"""What blocks say of their place among the others: numbers of their own, which are counted anew, and even rates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from net2net.depth import BlockEdit

Number = tuple[str, str, int]  # module path in the student, attribute, value


def own_numbers(teacher: nn.Module, student: nn.Module, edits: Sequence[BlockEdit]) -> Iterator[Number]:
    """The attributes that number the blocks of a list, as the student's blocks have to have them.

    Such an attribute is an int that is k (or 1 + k) in the k-th block, in all blocks of a stack, and in those before
    and after it that are counted on; of torch's own layers none is.
    """
    containers: dict[str, list[BlockEdit]] = {}
    for edit in edits:
        if isinstance(teacher.get_submodule(edit.stack.container), (nn.ModuleList, nn.Sequential)):
            containers.setdefault(edit.stack.container, []).append(edit)
    for container, inside in containers.items():
        names, olds = zip(*teacher.get_submodule(container).named_children(), strict=True)
        news = [name for name, _ in student.get_submodule(container).named_children()]
        grown = [
            (names.index(e.stack.children[e.stack.first]), len(e.stack), len(e.order) - len(e.stack)) for e in inside
        ]
        for first, count, _ in grown:
            for path, attribute, values in _attributes(olds[first : first + count]):
                run = _counted(olds, first, [_value(old, path, attribute) for old in olds], values[0])
                start = values[0] - (first - run.start)
                if len(run) < 2 or first + count > run.stop or start not in (0, 1, run.start, run.start + 1):
                    continue
                begin = run.start + sum(extra for at, _, extra in grown if at < run.start)
                total = len(run) + sum(extra for at, _, extra in grown if at in run)
                for k in range(total):
                    yield _joined(container, news[begin + k], path), attribute, start + k


def _counted(olds: Sequence[nn.Module], first: int, values: list[Any], at_first: int) -> range:
    """The modules around the first block whose values count on from one to the next."""
    begin, end = first, first + 1
    while begin > 0 and values[begin - 1] == at_first - (first - begin) - 1:
        begin -= 1
    while end < len(olds) and values[end] == at_first + end - first:
        end += 1
    return range(begin, end)


def even_rates(teacher: nn.Module, edit: BlockEdit) -> list[str]:
    """Words about rates that rise or fall evenly from block to block: copies have those of their source."""
    blocks = [teacher.get_submodule(block.path) for block in edit.stack.blocks]
    notes = []
    for path, module in blocks[0].named_modules():
        for name, value in vars(module).items():
            if not isinstance(value, float):
                continue
            values = [_value(block, path, name) for block in blocks]
            if len(values) < 2 or not all(isinstance(v, (int, float)) for v in values):
                continue
            steps = [b - a for a, b in pairwise(values)]
            if steps[0] and all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps):
                where = f"{path}.{name}" if path else name
                notes.append(
                    f"'{where}' goes evenly from {values[0]:g} to {values[-1]:g} over the blocks of "
                    f"'{edit.stack.name}'; copies have that of the block that they copy"
                )
    return notes


def _attributes(blocks: Sequence[nn.Module]) -> Iterator[tuple[str, str, list[int]]]:
    """The ints that all blocks have at the same place."""
    for path, module in blocks[0].named_modules():
        if type(module).__module__.startswith("torch.nn."):
            continue
        for name in vars(module):
            values = [_value(block, path, name) for block in blocks]
            if all(isinstance(v, int) and not isinstance(v, bool) for v in values):
                yield path, name, values


def _value(block: nn.Module, path: str, name: str) -> Any:
    try:
        return vars(block.get_submodule(path)).get(name)
    except AttributeError:
        return None


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)
