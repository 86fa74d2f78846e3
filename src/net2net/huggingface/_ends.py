"""The tokens, labels and channels of a model of transformers, as features of its inputs and entries of its outputs."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from net2net.errors import OptionError, SizeError
from net2net.huggingface._config import check_saves
from net2net.huggingface._inputs import Tensors
from net2net.pretrained import Changes, name_labels, numbers, set_key
from net2net.surgeries import Features

_TOKENS = ("input_ids", "decoder_input_ids")
_PIXELS, _CHANNELS = "pixel_values", -3


@dataclass(frozen=True)
class Ends:
    """What is asked for at the two ends of a model: its tokens, channels and labels.

    `tokens` and `channels` are the new numbers, `labels` the names of new ones; `rows` says how rows of the embedding
    begin, `start` how new entries of outputs do.
    """

    tokens: int | None
    labels: tuple[str, ...]
    channels: int | None
    rows: str
    start: str | float | None

    def config(self, config: Any) -> Any:
        """The config that says so.

        Raises:
            OptionError, SizeError: the request has no meaning, or none for this config.
        """
        result = copy.deepcopy(config)
        changes: Changes = {}
        if self.tokens is not None:
            changes |= _more(config, "vocab_size", _vocabulary(config), "tokens", self.tokens)
        if self.channels is not None:
            changes |= _more(config, "num_channels", _channels(config), "channels", self.channels)
        if not changes and not self.labels:
            raise OptionError("nothing is asked for: give tokens=, labels= or channels=.")
        for key, value in changes.items():
            set_key(result, key, value)
        if self.labels:
            name_labels(result, [*_labels(config), *self.labels])
            _require_names(_labels(result))
        check_saves(result)
        return result

    def features(self, config: Any, inputs: Tensors) -> Mapping[str | int, Features]:
        """What is asked for at the inputs.

        Raises:
            OptionError: there is no such input.
        """
        found: dict[str | int, Features] = {}
        if self.tokens is not None:
            names = [name for name in _TOKENS if name in inputs]
            if not names:
                raise OptionError(f"the model is given no tokens, only {', '.join(inputs)}.")
            found |= dict.fromkeys(names, Features(_vocabulary(config), self.tokens, start=self.rows))
        if self.channels is not None:
            pixels, count = inputs.get(_PIXELS), _channels(config)
            if pixels is None or pixels.dim() < 3 or pixels.shape[_CHANNELS] != count:
                raise OptionError(f"the model is given no images of {count} channels, only {', '.join(inputs)}.")
            found[_PIXELS] = Features(count, self.channels, axis=_CHANNELS)
        return found

    def outputs(self, model: nn.Module, config: Any, given: Mapping[str, Any]) -> Mapping[str | int, Features]:
        """What is asked for at the outputs.

        Args:
            model: without weights.
            config: its config.
            given: what it gives back.

        Raises:
            OptionError: labels are asked for, and no output has an entry for each.
        """
        logits = {n: t for n, t in given.items() if n.endswith("logits") and isinstance(t, torch.Tensor)}
        of_tokens: Any = model
        has_head = of_tokens.get_output_embeddings() is not None
        found: dict[str | int, Features] = {}
        if self.tokens is not None and has_head:
            size, start = _vocabulary(config), "mean" if self.start is None else self.start
            features = Features(size, self.tokens, start=start)
            found |= {name: features for name, t in logits.items() if t.shape[-1] == size}
        if self.labels:
            old = _labels(config)
            axes = {n: 1 if t.dim() == 4 else -1 for n, t in logits.items()}  # of an image's places, or of a whole
            axes = {n: a for n, a in axes.items() if not has_head and logits[n].shape[a] == len(old)}
            if not axes:
                shapes = {name: tuple(t.shape) for name, t in logits.items()}
                raise OptionError(
                    f"{type(model).__name__} has no logits with an entry for each of {len(old)} labels: {shapes}."
                )
            new = [*old, *self.labels]
            found |= {name: Features(old, new, start=self.start, axis=axis) for name, axis in axes.items()}
        if self.start is not None and not found:
            raise OptionError(f"start={self.start!r} is said of new entries of outputs, and there are none.")
        return found


def _vocabulary(config: Any) -> int:
    return _size(config, config.get_text_config(), "vocab_size")


def _channels(config: Any) -> int:
    return _size(config, getattr(config, "vision_config", config), "num_channels")


def _labels(config: Any) -> list[str]:
    return [str(config.id2label[k]) for k in sorted(config.id2label)]


def _size(config: Any, part: Any, word: str) -> int:
    size = getattr(part, word, None)
    if isinstance(size, bool) or not isinstance(size, int):
        raise OptionError(f"the config of {type(config).__name__} has no {word}.")
    return size


def _more(config: Any, word: str, before: int, what: str, after: object) -> Changes:
    """Every place where a config says a size, with the new one."""
    if isinstance(after, bool) or not isinstance(after, int):
        raise OptionError(f"{what}={after!r}: give how many there will be, an int.")
    if after <= before:
        raise SizeError(f"there are {before} {what} already, and {after} are asked for: ask for more.")
    return {key: after for key, n in numbers(config) if str(key[-1]).endswith(word) and n == before}


def _require_names(labels: Sequence[str]) -> None:
    twice = next((name for name in labels if labels.count(name) > 1), None)
    if twice is not None:
        raise OptionError(f"the label {twice!r} is there twice; every label has a name of its own.")
