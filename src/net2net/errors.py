"""Every refusal of the library: one base class, one subclass per cause."""

from __future__ import annotations


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


class MissingExtraError(GrowthError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class Net2NetWarning(UserWarning):
    """Something that a user should know and that doesn't stop the growth."""
