"""Example inputs for a model of transformers, made up from its config."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from net2net.errors import OptionError

# Sizes that no two axes of a usual model share, so that a wrong coupling would show.
_BATCH, _TOKENS, _TARGET_TOKENS, _PIXELS = 2, 7, 5, 64


def from_config(model_class: type[Any], config: Any, seed: int) -> dict[str, torch.Tensor]:
    """Token ids and pixels as the forward of a Hugging Face model takes them."""
    generator = torch.Generator().manual_seed(seed)
    accepted = inspect.signature(model_class.forward).parameters
    text = config.get_text_config()
    inputs: dict[str, torch.Tensor] = {}
    if "input_ids" in accepted and hasattr(text, "vocab_size"):
        inputs["input_ids"] = _token_ids(text.vocab_size, _TOKENS, generator)
        if "decoder_input_ids" in accepted and getattr(config, "is_encoder_decoder", False):
            inputs["decoder_input_ids"] = _token_ids(text.vocab_size, _TARGET_TOKENS, generator)
    if "pixel_values" in accepted:
        vision = getattr(config, "vision_config", config)
        size = getattr(vision, "image_size", None) or _PIXELS
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        channels = getattr(vision, "num_channels", 3)
        inputs["pixel_values"] = torch.randn(_BATCH, channels, height, width, generator=generator)
    if not inputs:
        raise OptionError(f"{model_class.__name__} takes neither token ids nor pixels; give its inputs (--input).")
    return inputs


def _token_ids(vocabulary: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """Random tokens, but none of the first few, which stand for padding and the like."""
    return torch.randint(min(4, vocabulary // 2), vocabulary, (_BATCH, length), generator=generator)
