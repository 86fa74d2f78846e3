"""Example inputs for a model of transformers, made up from its config."""

from __future__ import annotations

import contextlib
import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from net2net.capture import Inputs, split_inputs
from net2net.errors import CaptureError, CheckpointError, GrowthError, OptionError
from net2net.pretrained import numbers

# Sizes that no two axes of a usual model share, so that a wrong coupling would show.
_BATCH, _TOKENS, _TARGET_TOKENS, _PIXELS, _CHOICES, _FRAMES = 2, 7, 5, 64, 3, 9
# What a token stands for, other than a word: padding, an image, an end.
_SPECIAL = re.compile(r"token_(id|index)$")
# Whose features are put in the place of one token of a text.
_MODALITIES = (("image", "pixel_values"), ("audio", "input_features"))
Tensors = dict[str, torch.Tensor]


def from_config(model_class: type[Any], config: Any, seed: int, tokens: int = _TOKENS) -> Tensors:
    """Token ids, pixels and sounds as the forward of a Hugging Face model takes them.

    Args:
        model_class: whose forward it is.
        config: its config.
        seed: of the random draws.
        tokens: how many a text has, at least.

    Raises:
        OptionError: the class takes something that no config describes.
    """
    generator = torch.Generator().manual_seed(seed)
    accepted = inspect.signature(model_class.forward).parameters
    inputs = {**_pixels(config, accepted, generator), **_sounds(config, accepted, generator)}
    text = config.get_text_config()
    if "input_ids" in accepted and hasattr(text, "vocab_size"):
        ids = _text(model_class, config, tokens, generator)
        for modality, name in _MODALITIES:
            token = _token(config, modality)
            if name in inputs and token is not None and hasattr(model_class, f"get_{modality}_features"):
                ids = _with_features(ids, token, _count(model_class, config, modality, inputs[name]))
        inputs = {"input_ids": ids, **inputs}
        if "mm_token_type_ids" in accepted or ("token_type_ids" in accepted and _token(config, "image") is not None):
            name = "mm_token_type_ids" if "mm_token_type_ids" in accepted else "token_type_ids"
            inputs[name] = torch.eq(ids, _token(config, "image") or 0).long()
    classifies = "SequenceClassification" in model_class.__name__  # these make the decoder's text of the encoder's
    if "decoder_input_ids" in accepted and getattr(config, "is_encoder_decoder", False) and inputs and not classifies:
        target = _TARGET_TOKENS if tokens == _TOKENS else tokens
        inputs["decoder_input_ids"] = _token_ids(config, (_BATCH, target), generator)
    if not inputs:
        raise OptionError(
            f"{model_class.__name__} takes neither token ids nor pixels nor sounds: give its inputs "
            "(example_inputs={name: tensor}; --input NAME=SHAPE)."
        )
    rows = _rows(model_class, config)
    return {name: tensor[:rows] for name, tensor in inputs.items()}


def given_inputs(model_class: type[Any], inputs: Inputs) -> Tensors:
    """The user's inputs, by the names of the arguments of the class's forward."""
    args, kwargs = split_inputs(inputs)
    names = [name for name in inspect.signature(model_class.forward).parameters if name != "self"]
    found = {**dict(zip(names, args, strict=False)), **kwargs}
    if not found or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise OptionError("example_inputs: give a tensor for each argument of the forward, {name: tensor}.")
    odd = [name for name in found if name not in names]
    if odd:
        raise OptionError(f"example_inputs: the forward of {model_class.__name__} takes no '{odd[0]}', but {names}.")
    return found


@contextlib.contextmanager
def suiting(model_class: type[Any], inputs: Mapping[str, torch.Tensor], made: bool) -> Iterator[None]:
    """What goes wrong with inputs that were made from a config says so, and what to give instead.

    Raises:
        CheckpointError: the class doesn't run on its inputs.
    """
    try:
        yield
    except CaptureError as error:
        if not made:
            raise
        raise CaptureError(f"{error}\nIt was tried on {described(inputs, made)}. {_ASK}") from error
    except GrowthError:
        raise
    except Exception as error:  # a forward raises anything
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        raise CheckpointError(
            f"{model_class.__name__} doesn't run on {described(inputs, made)}: {type(error).__name__}: {reason}. "
            + (_ASK if made else "Check them.")
        ) from error


_ASK = "Give inputs that it runs on: example_inputs={name: tensor}, or --input NAME=SHAPE[:DTYPE[:BELOW]]."


def described(inputs: Mapping[str, torch.Tensor], made: bool) -> str:
    shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in inputs.items())
    return f"the inputs that were {'made from its config' if made else 'given'} ({shapes})"


def _rows(model_class: type[Any], config: Any) -> int:
    """One, for a class that finds the end of a text by its padding and has no token for that."""
    text = config.get_text_config()
    alone = "SequenceClassification" in model_class.__name__ and getattr(text, "pad_token_id", None) is None
    return 1 if alone else _BATCH


def _text(model_class: type[Any], config: Any, tokens: int, generator: torch.Generator) -> torch.Tensor:
    several = "MultipleChoice" in model_class.__name__
    ids = _token_ids(config, (_BATCH, _CHOICES, tokens) if several else (_BATCH, tokens), generator)
    end = getattr(config.get_text_config(), "eos_token_id", None)
    if isinstance(end, list):
        end = end[0] if end else None
    if end is not None and 0 <= end < config.get_text_config().vocab_size:
        ids[..., -1] = end  # encoder-decoders classify what stands at the one end of a text
    return ids


# In a vocabulary of which half stands for something, one draw in a million is left.
_REDRAWS = 20


def _token_ids(config: Any, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Random tokens, but none of the first few and none that the config names: they stand for padding and the like."""
    vocabulary = config.get_text_config().vocab_size
    special = {number for key, number in numbers(config) if _SPECIAL.search(str(key[-1]))}
    first = min(4, vocabulary // 2)
    ids = torch.randint(first, max(vocabulary, 1), shape, generator=generator)
    taken = torch.tensor(sorted(n for n in special if isinstance(n, int) and first <= n < vocabulary), dtype=torch.long)
    for _ in range(_REDRAWS):
        ids = torch.where(
            torch.isin(ids, taken), torch.randint(first, max(vocabulary, 1), shape, generator=generator), ids
        )
    return ids


def _pixels(config: Any, accepted: Mapping[str, Any], generator: torch.Generator) -> Tensors:
    if "pixel_values" not in accepted:
        return {}
    vision = getattr(config, "vision_config", getattr(config, "encoder", config))
    size = getattr(vision, "image_size", None) or _PIXELS
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return {"pixel_values": torch.randn(_BATCH, getattr(vision, "num_channels", 3), height, width, generator=generator)}


def _sounds(config: Any, accepted: Mapping[str, Any], generator: torch.Generator) -> Tensors:
    """Spectra, or samples, as many as give the convolutions some frames."""
    audio = getattr(config, "audio_config", config)
    bins, projected = (getattr(audio, name, None) for name in ("num_mel_bins", "feature_projection_input_dim"))
    source, shape = getattr(audio, "max_source_positions", None), None
    if hasattr(audio, "input_feat_per_channel"):  # each convolution halves the frames
        shape = 4 * _FRAMES, audio.input_feat_per_channel * audio.input_channels
    elif projected:
        shape = _FRAMES, projected
    elif bins and source:  # one length of a sound only; a convolution halves it
        shape = bins, 2 * source
    if "input_features" in accepted and shape is not None:
        return {"input_features": torch.randn(_BATCH, *shape, generator=generator)}
    if "input_values" in accepted and hasattr(audio, "conv_kernel"):
        length = _FRAMES
        for kernel, stride in zip(reversed(audio.conv_kernel), reversed(audio.conv_stride), strict=True):
            length = (length - 1) * stride + kernel
        return {"input_values": torch.randn(_BATCH, length, generator=generator)}
    if "input_values" in accepted and bins and hasattr(audio, "max_length"):
        return {"input_values": torch.randn(_BATCH, audio.max_length, bins, generator=generator)}
    return {}


def _token(config: Any, modality: str) -> int | None:
    """The token in whose places the features of an image or a sound are put."""
    for name in (f"{modality}_token_id", f"{modality}_token_index"):
        found = getattr(config, name, None)
        if isinstance(found, int):
            return found
    return None


def _with_features(ids: torch.Tensor, token: int, count: int) -> torch.Tensor:
    """A text with places for the features of an image after its first token."""
    places = torch.full((len(ids), count), token)
    return torch.cat([ids[:, :1], places, ids[:, 1:]], 1)


def _count(model_class: type[Any], config: Any, modality: str, values: torch.Tensor) -> int:
    """How many features a row of pixels or sounds has: what the class itself makes of it, without weights."""
    try:
        with torch.device("meta"), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = getattr(model_class(config).eval(), f"get_{modality}_features")(values.to("meta"))
    except Exception as error:  # constructors raise anything
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise OptionError(
            f"how many features {model_class.__name__} makes of an {modality} of shape {list(values.shape)} isn't "
            f"known: {type(error).__name__}: {reason}. {_ASK}"
        ) from error
    features = getattr(found, "pooler_output", found)
    parts = list(features) if isinstance(features, (list, tuple)) else [features]
    return int(sum(part.numel() // part.shape[-1] for part in parts) // _BATCH)
