"""The student's module tree: the teacher's with blocks and layers more, and where its tensors come from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from net2net.depth import BlockEdit, LayerEdit
from net2net.student._edited import Edited, Skeleton
from net2net.student._insert import insert_layers
from net2net.student._repeat import repeat_blocks


def restructure(teacher: nn.Module, edits: Sequence[BlockEdit | LayerEdit]) -> Skeleton:
    """Carry out the edits on a copy of the teacher's modules."""
    edited = Edited(teacher)
    # What is inside a block comes first, so that copies of the block have it too.
    for edit in sorted(edits, key=lambda e: -_depth(e)):
        if isinstance(edit, LayerEdit):
            insert_layers(edited, edit)
        else:
            repeat_blocks(edited, edit)
    return edited.skeleton()


def _depth(edit: BlockEdit | LayerEdit) -> int:
    path = edit.stack.blocks[0].path if isinstance(edit, BlockEdit) else edit.place.path
    return path.count(".") + bool(path)
