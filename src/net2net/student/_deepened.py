"""What stands where one module stood, and answers to its name: it and what is new behind it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from torch import nn

# Of a layer and its identity layers, these are the last one's.
_OF_THE_LAST = ("out_features", "out_channels", "num_features")


class Deepened(nn.Sequential):
    """A layer and the new ones behind it. Attributes that a Sequential doesn't have are those of the layer, so that
    code which reads `model.fc.weight` reads the weight that was there before."""

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """Call the layer with what it was called with, and each new one with what the one before gives."""
        first, *rest = self
        result = first(*args, **keywords)
        for layer in rest:
            result = layer(result)
        return result

    def _answering(self, name: str) -> Iterator[nn.Module]:
        """The layers that may have an attribute of this name, the one that is asked first."""
        layers = list((self.__dict__.get("_modules") or {}).values())
        return iter(layers[::-1] if name in _OF_THE_LAST else layers[:1])

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if not name.startswith("__"):
                for layer in self._answering(name):
                    if hasattr(layer, name):
                        return getattr(layer, name)
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        if (
            name not in self.__dict__
            and name not in self.__dict__.get("_modules", ())
            and not hasattr(type(self), name)
        ):
            for layer in self._answering(name):
                if hasattr(layer, name):
                    setattr(layer, name, value)
                    return
        super().__setattr__(name, value)


class DeepenedBlock(Deepened):
    """A block and new ones behind it. Each gets the stream from the one before, and all else that the first gets."""

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """Call each block; what the first gives back beside the stream is given back."""
        first, *rest = self
        given = first(*args, **keywords)
        result = given
        for block in rest:
            stream = result[0] if isinstance(result, tuple) else result
            if args:
                result = block(stream, *args[1:], **keywords)
            else:
                result = block(**{**keywords, _first_parameter(block, keywords): stream})
        if isinstance(given, tuple):
            stream = result[0] if isinstance(result, tuple) else result
            return (stream, *given[1:])
        return result


def _first_parameter(block: nn.Module, keywords: dict[str, Any]) -> str:
    """The keyword that carries the stream: the first one of the forward's signature that is given."""
    return next(
        (name for name in inspect.signature(block.forward).parameters if name in keywords), next(iter(keywords))
    )
