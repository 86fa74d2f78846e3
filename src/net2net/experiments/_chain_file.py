"""A chain in a file: models by Hugging Face configs, data, budgets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from net2net.chain import Chain, FeatureDistillation, Link, LogitsDistillation
from net2net.errors import MissingExtraError, OptionError, described
from net2net.experiments._images import batches, load_images, normalised
from net2net.experiments._text import consecutive, load_text, windows
from net2net.experiments._training import cross_entropy

_KEYS = {"models", "data", "steps", "rates", "names", "init", "distillation", "carry", "options", "seed"}
_DATA = {"text", "images", "batch", "length"}
_KINDS: Mapping[str, Any] = {"features": FeatureDistillation, "logits": LogitsDistillation}
_PART, _WINDOWS = 250, 512


@dataclass(frozen=True)
class ChainFile:
    """What a file describes: a chain, a batch of its training, how its models are trained, and what their score is
    called."""

    chain: Chain
    batch: Mapping[str, Tensor]
    train: Callable[[nn.Module, Link], float]
    metric: str


@dataclass(frozen=True)
class _Data:
    """Batches to learn from, and what is held out; `argument` is what a model's forward calls its inputs."""

    argument: str
    batches: Callable[[int, int], Iterator[tuple[Tensor, Tensor]]]
    held_out: tuple[Tensor, Tensor]
    config: Mapping[str, Any]
    metric: str


def read_chain(path: Path | str) -> ChainFile:
    """Read a chain from a YAML (or JSON) file; docs/chain.md says what it holds. Paths are relative to the file.

    Raises:
        OptionError: it can't be read, or a key is unknown.
        MissingExtraError: transformers or PyYAML isn't installed.
    """
    try:
        import transformers
        import yaml  # type: ignore[import-untyped]  # PyYAML has no types
    except ImportError as error:
        raise MissingExtraError("chains in files need transformers: install net2net[huggingface].") from error
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OptionError(f"{path} can't be read: {reason}") from error
    _check(content, _KEYS, f"{path}")
    for key in ("models", "data"):
        if key not in content:
            raise OptionError(f"{path} has no '{key}'.")
    data = _data(content.pop("data"), path)
    configs = [_config(entry, data, path.parent) for entry in content.pop("models")]
    text = data.argument == "input_ids"
    auto: Any = transformers.AutoModelForCausalLM if text else transformers.AutoModelForImageClassification
    batch = next(iter(data.batches(1, 0)))[0]
    chain = Chain(
        configs,
        lambda config: auto.from_config(config),
        {data.argument: batch[:2]},
        distillation=_distillation(content.pop("distillation", None), path),
        optimizer=lambda model: AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1),
        **content,
    )
    return ChainFile(chain, {data.argument: batch}, lambda model, link: _train(model, link, data), data.metric)


def _check(content: Any, known: set[str], where: str) -> None:
    if not isinstance(content, dict):
        raise OptionError(f"{where} is {described(content)}; it should have some of {', '.join(sorted(known))}.")
    unknown = sorted(map(str, set(content) - known))
    if unknown:
        raise OptionError(f"{where} has '{unknown[0]}', which is not known; use some of {', '.join(sorted(known))}.")


def _data(content: Any, path: Path) -> _Data:
    _check(content, _DATA, f"'data' in {path}")
    if ("text" in content) == ("images" in content):
        raise OptionError(f"'data' in {path} needs either 'text' or 'images': a path, or null for what comes along.")
    source = content.get("text", content.get("images"))
    place = None if source is None else path.parent / source
    size = content.get("batch", 16)
    if "text" in content:
        text, length = load_text(place), content.get("length", 128)
        return _Data(
            "input_ids",
            lambda steps, seed: windows(text.training, length, size, steps, seed),
            consecutive(text.validation, length, _WINDOWS),
            {"vocab_size": text.vocabulary},
            "loss",
        )
    images = load_images(place)
    _, channels, _, side = images.training.images.shape
    return _Data(
        "pixel_values",
        lambda steps, seed: batches(
            images.training, size, steps, seed, mean=images.mean, std=images.std, shift=side // 14, flip=channels == 3
        ),
        (normalised(images.validation, images.mean, images.std), images.validation.labels),
        {"image_size": side, "num_channels": channels, "num_labels": images.classes},
        "accuracy",
    )


def _config(entry: Any, data: _Data, folder: Path) -> Any:
    """A config of transformers: of a folder, or by its type and sizes; what the data decide is filled in."""
    import transformers

    if isinstance(entry, str):
        config = transformers.AutoConfig.from_pretrained(folder / entry)
        for key, value in data.config.items():
            setattr(config, key, value)
        return config
    if not isinstance(entry, dict) or "model_type" not in entry:
        raise OptionError(
            f"a model is {described(entry)}; give model_type and its sizes, or a folder with config.json."
        )
    sizes = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None} if "vocab_size" in data.config else {}
    try:
        return transformers.AutoConfig.for_model(**{**sizes, **data.config, **entry})
    except (ValueError, TypeError) as error:
        raise OptionError(f"{entry} is no config of transformers: {error}") from error


def _distillation(content: Any, path: Path) -> FeatureDistillation | LogitsDistillation | None:
    if content is None:
        return None
    kind = str(content.pop("kind", "features")) if isinstance(content, dict) else ""
    if kind not in _KINDS:
        raise OptionError(f"'distillation' in {path} needs a kind: {' or '.join(_KINDS)}.")
    _check(content, set(_KINDS[kind].__dataclass_fields__), f"'distillation' in {path}")
    made: FeatureDistillation | LogitsDistillation = _KINDS[kind](**content)
    return made


def _train(model: nn.Module, link: Link, data: _Data) -> float:
    """A short rise of the rate, then a cosine to zero; the loss per byte, or the accuracy, on what is held out."""
    optimizer = link.optimizer
    assert optimizer is not None
    peak = optimizer.param_groups[0]["lr"]
    steps = list(data.batches(link.steps, link.seed))
    model.train()
    for step in link.loop():
        rise = min(1.0, (step + 1) / max(1, link.steps // 20))
        for group in optimizer.param_groups:
            group["lr"] = peak * rise * 0.5 * (1 + math.cos(math.pi * step / link.steps))
        x, y = steps[step]
        loss = cross_entropy(model(**{data.argument: x}).logits, y)
        loss = loss + link.distill({data.argument: x}, task_loss=loss)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's backward has no types
        optimizer.step()
    model.eval()
    total, (inputs, targets) = 0.0, data.held_out
    with torch.no_grad():
        for x, y in zip(torch.split(inputs, _PART), torch.split(targets, _PART), strict=True):
            logits = model(**{data.argument: x}).logits
            right = float((logits.argmax(-1) == y).double().mean())
            total += len(x) * (right if data.metric == "accuracy" else float(cross_entropy(logits, y)))
    return total / len(inputs)
