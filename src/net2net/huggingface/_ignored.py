"""Tensors of a folder that its class ignores on loading: frequencies and masks that older versions saved."""

from __future__ import annotations

import re
from dataclasses import replace

from torch import nn

from net2net.huggingface._folder import Folder


def without_ignored(folder: Folder, model: nn.Module) -> tuple[Folder, tuple[str, ...]]:
    """The folder without what its class ignores, and a note of what that is.

    These are the class's own patterns, and what the files name as a buffer that it computes by itself is named.
    """
    own = model.state_dict().keys()
    unknown = [name for name in folder.tensors if name not in own]
    computed = {_ending(name) for name, _ in model.named_buffers(remove_duplicate=False) if name not in own}
    patterns = [*(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()), *_OF_EVERY_CLASS]
    ignored = [n for n in unknown if _ending(n) in computed or any(re.search(p, n) for p in patterns)]
    if not ignored:
        return folder, ()
    kept = {name: stored for name, stored in folder.tensors.items() if name not in set(ignored)}
    more = f" and {len(ignored) - 1} more" if len(ignored) > 1 else ""
    note = f"left out, as {type(model).__name__} computes or ignores it: '{ignored[0]}'{more}"
    return replace(folder, tensors=kept), (note,)


# What transformers ignores for every class (`PreTrainedModel._adjust_unexpected_keys`).
_OF_EVERY_CLASS = (r"rotary_emb\.inv_freq",)


def _ending(name: str) -> str:
    """A buffer's name with that of its module: classes have moved such modules about."""
    return ".".join(name.split(".")[-2:])
