"""Which modules are of transformers, and what they keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

# A ModelOutput of transformers carries these beside its result; they are no part of the function to preserve.
_SIDE_OUTPUTS = ("past_key_values", "hidden_states", "attentions", "cross_attentions", "encoder_", "decoder_")


def pretrained_in(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The outermost Hugging Face models in a module tree."""
    inside: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if is_pretrained(module) and not any(path == p or path.startswith(p + ".") or p == "" for p in inside):
            inside = (*inside, path)
            yield path, module


def has_dynamic_positions(module: nn.Module) -> bool:
    """Whether a module of transformers computes new frequencies (RoPE) for an input longer than any before it."""
    return getattr(module, "rope_type", None) == "dynamic" and hasattr(module, "original_inv_freq")


def reset_positions(module: Any) -> None:
    """Forget the longest input: a model computes with what it was trained for until it sees a longer one."""
    module.inv_freq = module.original_inv_freq.clone().to(module.inv_freq.device)
    module.max_seq_len_cached = module.original_max_seq_len


def without_caches(model: nn.Module) -> None:
    """Let a model keep nothing for its next call: a cache is state, not a result."""
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if getattr(config, "use_cache", False):
            config.use_cache = False


def is_pretrained(module: nn.Module) -> bool:
    """Whether a module is a transformers model with a config."""
    config = getattr(module, "config", None)
    return config is not None and hasattr(config, "to_dict") and hasattr(module, "_init_weights")


def in_pretrained(model: nn.Module, path: str) -> bool:
    """Whether a module is a part of a transformers model, whose class and config say what is in it."""
    parts = path.split(".")
    return any(is_pretrained(model.get_submodule(".".join(parts[:end]))) for end in range(len(parts)))


def is_model_output(result: Any) -> bool:
    """Whether a model gives back a ModelOutput of transformers."""
    return any(base.__name__ == "ModelOutput" for base in type(result).__mro__)


def function_of(named: dict[str, Any]) -> dict[str, Any]:
    """Of the fields of a ModelOutput those that are its result: the logits where there are some."""
    logits = {name: leaf for name, leaf in named.items() if "logits" in name}
    return logits or {n: v for n, v in named.items() if not n.startswith(_SIDE_OUTPUTS)} or named
