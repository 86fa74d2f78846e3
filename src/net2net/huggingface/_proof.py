"""What a proof runs on: inputs long enough to reach every length that a config knows, where that can be paid."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch

from net2net.huggingface._inputs import Tensors, from_config

# Beyond these the masks and the frequencies of some classes are others.
_LENGTH = re.compile(r"window(_size)?$|chunk_size$|block_size$|max_distance$|original_max_position_embeddings$")
# How many positions a table holds, where they are learned.
_POSITIONS = re.compile(r"^(max_position_embeddings|n_positions|n_ctx|max_target_positions|max_source_positions)$")
# The most tokens of a text, and the most multiplications of its weights with tokens: some seconds.
_MOST_TOKENS, _MOST_PRODUCTS = 1024, 2e10


def long_inputs(
    model_class: type[Any], config: Any, seed: int, parameters: int
) -> tuple[dict[str, Tensors], tuple[str, ...]]:
    """Inputs by name, longer than every length of the config, and what can't be reached.

    Args:
        model_class: whose forward they are for.
        config: the teacher's.
        seed: of the random draws.
        parameters: how many each token is multiplied with.
    """
    accepted = inspect.signature(model_class.forward).parameters
    if "input_ids" not in accepted:
        return {}, ()
    lengths = dict(_lengths(config.get_text_config()))
    most = min(_MOST_TOKENS, int(_MOST_PRODUCTS / max(1, 2 * parameters)), *_tables(config))
    near = {name: length for name, length in lengths.items() if length + 2 <= most}
    far = {name: length for name, length in lengths.items() if name not in near}
    found = {}
    if near:
        found["long"] = from_config(model_class, config, seed, tokens=max(near.values()) + 2)
    turning = [length for name, length in far.items() if "max_position" in name]
    if turning and "position_ids" in accepted and not getattr(config, "is_encoder_decoder", False):
        inputs = from_config(model_class, config, seed)
        rows, tokens = inputs["input_ids"].shape
        places = torch.arange(tokens) + max(turning) - tokens // 2
        found["far"] = {**inputs, "position_ids": places.expand(rows, tokens)}
        far = {name: length for name, length in far.items() if length not in turning}
    notes = [f"the proof's texts don't reach {name}={length}, which did not change" for name, length in far.items()]
    return found, tuple(notes)


def _lengths(config: Any) -> Iterator[tuple[str, int]]:
    """Every length of a config that changes what is computed for a longer text."""
    words = {name: value for name, value in vars(config).items() if not name.startswith("_")}
    rope = words.get("rope_parameters") or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    for part in (words, *kinds):
        for name, value in part.items():
            if isinstance(value, int) and not isinstance(value, bool) and _LENGTH.search(str(name)) and value > 0:
                yield str(name), value
    if any(part.get("rope_type") == "dynamic" for part in kinds):
        yield "max_position_embeddings", config.max_position_embeddings


def _tables(config: Any) -> Iterator[int]:
    """How many tokens there are places for; positions that turn (RoPE) have no end."""
    text = config.get_text_config()
    for part in (config, text):
        if not getattr(part, "rope_parameters", None):
            # some tables keep the first two places for padding
            yield from (n - 2 for name, n in vars(part).items() if _POSITIONS.search(name) and isinstance(n, int))
