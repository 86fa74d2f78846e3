"""Blocks that run one after the other on one stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from net2net.depth._block import Block


@dataclass(frozen=True, eq=False)
class Stack:
    """Blocks that run one after the other on one stream: of one class and structure, or of several `kinds`.

    `container` is the path of the module whose children they are; `children` are all of its children that run, in
    order, and `first` says where among them the blocks begin. `kinds` are equal for blocks of one class and structure.
    `taps` are blocks whose result others than the next block read, by what reads it: where a list holds the blocks, a
    further one would shift which block that is. `parts` are the stacks of one kind that a stack of several consists of.
    """

    name: str
    container: str
    children: tuple[str, ...]
    first: int
    blocks: tuple[Block, ...]
    kinds: tuple[object, ...]
    taps: dict[int, str] = field(default_factory=dict)
    parts: tuple[Stack, ...] = ()

    def __len__(self) -> int:
        return len(self.blocks)
