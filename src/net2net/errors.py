"""Every refusal of the library: one base class, one subclass per cause."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


class GrowthError(Exception):
    """A growth that can't be done exactly, with the reason and what would work.

    Example:
        >>> raise SizeError("'fc1' has 8 units; 4 is smaller. Ask for more than 8.")
        Traceback (most recent call last):
        ...
        net2net.errors.SizeError: 'fc1' has 8 units; 4 is smaller. Ask for more than 8.
    """


class CaptureError(GrowthError):
    """The model can't be turned into a graph."""


class UnknownNameError(GrowthError):
    """A key of the request matches no dimension and no module."""


class SizeError(GrowthError):
    """The size asked for can't be reached: smaller than now, or not one that a norm or a block structure allows."""


class FixedDimensionError(GrowthError):
    """The dimension can't grow at all; its reason is in the message."""


class CouplingError(GrowthError):
    """The teacher's classes tie the dimension to another one that was not asked to grow."""


class OptionError(GrowthError):
    """An option has no such value, or doesn't go with this growth."""


class StudentMismatchError(GrowthError):
    """A student built by the user is not the teacher's network at a larger size."""


class VerificationError(GrowthError):
    """The grown network was measured and doesn't compute the teacher's function. It is never returned."""


class CheckpointError(GrowthError):
    """A checkpoint can't be read, doesn't fit its own config, or can't be written."""


class NeedsMemory(CheckpointError):
    """A checkpoint can't be streamed; it can be grown in memory."""


class MissingExtraError(GrowthError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class Net2NetWarning(UserWarning):
    """Something that a user should know and that doesn't stop the growth."""


# Code between the line that calls the library and the one that warns: its own, and decorators and contexts around it.
_INSIDE = (*(f"{Path(file).parent}{os.sep}" for file in (__file__, torch.__file__)), contextlib.__file__)


def warn(message: str) -> None:
    """Warn at the line of the user's code that called the library, however many calls are between."""
    frame, level = sys._getframe(1), 2
    while frame.f_code.co_filename.startswith(_INSIDE) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, Net2NetWarning, stacklevel=level)


def described(value: Any) -> str:
    """A value in the words of who gave it.

    Example:
        >>> from torch import nn
        >>> described(None), described(3), described(nn.Linear), described(nn.ReLU())
        ('None', '3 (int)', 'the class Linear', 'a ReLU')
    """
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {getattr(value, '__name__', 'given')}"
    if isinstance(value, Mapping) and value and all(isinstance(v, torch.Tensor) for v in value.values()):
        return f"a state_dict ({type(value).__name__} of tensors)"
    if isinstance(value, (bool, int, float, str)):
        text = repr(value)
        return f"{text if len(text) < 60 else text[:56] + '...'} ({type(value).__name__})"
    kind = type(value).__name__
    if isinstance(value, (Mapping, list, tuple)) and not value:
        return f"an empty {kind}"
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def require_kind(value: Any, kind: type | tuple[type, ...], what: str, give: str) -> None:
    """Raise if an argument is of another kind.

    Raises:
        OptionError: it is; the message says what it is and what to give.
    """
    if not isinstance(value, kind):
        raise OptionError(f"{what} is {described(value)}; give {give}.")
