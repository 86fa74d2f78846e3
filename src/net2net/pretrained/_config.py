"""Configs of transformers: their numbers and lists, new values in them, and models made of them."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from net2net.errors import CheckpointError

Key = tuple[Any, ...]  # where a number stands in a config: attribute names and list positions
Changes = dict[Key, Any]
LABELS = "num_labels"  # a property of configs: setting it as such would forget the labels' names


def construct(model_class: Any, config: Any, changes: Changes) -> nn.Module:
    """A model without weights from a config with some numbers and lists changed.

    Raises:
        CheckpointError: the class refuses them.
    """
    config = copy.deepcopy(config)
    try:
        for key, new in changes.items():
            set_key(config, key, new)
    except Exception as error:
        if isinstance(error, (TypeError, AttributeError, LookupError)):
            raise  # the key is wrong, not the value
        raise _refused(model_class, error) from error
    return bare_model(model_class, config)


def bare_model(model_class: Any, config: Any) -> nn.Module:
    """A model without memory for its weights; buffers that its constructor computes have their values.

    Raises:
        CheckpointError: the class refuses the config.
    """
    try:
        with parameters_on_meta(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: nn.Module = model_class(config)
    except Exception as error:  # constructors raise anything
        raise _refused(model_class, error) from error
    return model.eval()


def _refused(model_class: Any, error: Exception) -> CheckpointError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return CheckpointError(f"{model_class.__name__} can't be constructed from its config: {reason[:300]}.")


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a model saves, by name."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@contextlib.contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Every parameter that is registered loses its memory; buffers keep their values."""
    register = nn.Module.register_parameter

    def without_memory(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and param.device.type != "meta":
            param = nn.Parameter(param.detach().to("meta"), requires_grad=param.requires_grad)
            setattr(param, "_is_hf_initialized", True)  # noqa: B010 - transformers draws no entries then: half of a plan
        register(self, name, param)

    nn.Module.register_parameter = without_memory  # type: ignore[method-assign]  # torch's own, patched meanwhile
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]  # torch's own, patched meanwhile


def numbers(config: Any, key: Key = ()) -> Iterator[tuple[Key, int | float]]:
    """Every number of a config and of the configs inside it, with where it stands; how many labels it has, too."""
    if vars(config).get("id2label"):
        yield (*key, LABELS), len(config.id2label)
    for name, value in list(vars(config).items()):
        here = (*key, name)
        if name.startswith("_") or isinstance(value, bool):
            continue
        if isinstance(value, (int, float)):
            yield here, value
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                if isinstance(item, int) and not isinstance(item, bool):
                    yield (*here, i), item
        elif hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from numbers(value, here)


def name_labels(config: Any, names: Sequence[str]) -> None:
    """Give a config these labels, in this order."""
    config.id2label = dict(enumerate(names))
    config.label2id = {name: k for k, name in enumerate(names)}


def sequences(config: Any, key: Key = ()) -> Iterator[tuple[Key, list[Any]]]:
    """Every list of a config and of the configs inside it, with where it stands."""
    for name, value in list(vars(config).items()):
        here = (*key, name)
        if isinstance(value, (list, tuple)) and not name.startswith("_"):
            yield here, list(value)
        elif hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from sequences(value, here)


def set_key(config: Any, key: Key, value: Any) -> None:
    *path, last = key
    for name in path[:-1] if isinstance(last, int) else path:
        config = getattr(config, name)
    if isinstance(last, int):
        items = list(getattr(config, path[-1]))
        items[last] = value
        setattr(config, path[-1], items)
    elif last == LABELS:
        old = config.id2label or {}
        name_labels(config, [str(old.get(k, f"LABEL_{k}")) for k in range(value)])
    else:
        setattr(config, last, value)
