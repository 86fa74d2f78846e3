"""A model without a head gives out its widths; what to do about that is said here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from net2net.errors import FixedDimensionError


@contextlib.contextmanager
def naming_heads(model_class: type[Any]) -> Iterator[None]:
    """A refusal to grow what the model gives out names the classes in which it is inside.

    Raises:
        FixedDimensionError: as it was, with the classes of the same family that have a head.
    """
    try:
        yield
    except FixedDimensionError as error:
        heads = _with_heads(model_class)
        if " of the output '" not in str(error) or not heads:
            raise
        raise FixedDimensionError(
            f"{error} {model_class.__name__} has no head: with one on it ({', '.join(heads)}) this size is inside the "
            "model and can grow."
        ) from error


def _with_heads(model_class: type[Any]) -> list[str]:
    """Some classes of the same family with a head; none if this class has one itself."""
    if "For" in model_class.__name__:
        return []
    prefix = model_class.base_model_prefix
    family = [
        name
        for name, found in vars(sys.modules[model_class.__module__]).items()
        if "For" in name and isinstance(found, type) and getattr(found, "base_model_prefix", None) == prefix
    ]
    usual = ("ForCausalLM", "ForConditionalGeneration", "ForMaskedLM", "ForImageClassification", "ForCTC")
    return sorted(family, key=lambda name: (not name.endswith(usual), name))[:2] if prefix else []
