"""What goes into a model and what comes out of it, as values with names."""

from __future__ import annotations

from typing import Any

from torch.utils import _pytree as pytree

# A ModelOutput of transformers carries these beside its result; they are no part of the function to preserve.
_SIDE_OUTPUTS = ("past_key_values", "hidden_states", "attentions", "cross_attentions", "encoder_", "decoder_")


def named_outputs(result: Any) -> dict[str, Any]:
    """The leaves of what a model gives back, by name: the part of it that a growth preserves.

    Of the ModelOutput of a Hugging Face model these are the logits where there are some; caches, hidden states and
    attentions are no part of the result.
    """
    leaves = pytree.tree_flatten_with_path(result)[0]
    named = {pytree.keystr(path).strip("[]'.") or "output": leaf for path, leaf in leaves if leaf is not None}
    if any(base.__name__ == "ModelOutput" for base in type(result).__mro__):
        logits = {name: leaf for name, leaf in named.items() if "logits" in name}
        return logits or {n: v for n, v in named.items() if not n.startswith(_SIDE_OUTPUTS)} or named
    return named
