"""What was measured of a student, and whether it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from net2net.errors import VerificationError
from net2net.plan import Preservation
from net2net.proof._measure import MODES
from net2net.report import table


def verification_table(verification: Verification) -> str:
    """What was measured: the error per mode, inputs and output."""
    close = verification.approximate
    rows = [
        [key, f"{error:.1e}" + (" (not held)" if key.partition("/")[0] in close else "")]
        for key, error in verification.errors.items()
    ]
    modes = " and ".join(verification.exact_in)
    verdict = (f"passed, exact in {modes} mode" if modes else "passed") if verification.passed else "FAILED"
    verdict = verdict if verification.preserves == "exact" else "measured"
    worst = verification.max_relative_error
    shown = f"{worst:.1e}" if math.isfinite(worst) else str(worst)
    text = table(["mode/inputs/output", "relative error"], rows, right=(1,))
    text += f"\n{verdict}: largest relative error {shown} in {verification.dtype}"
    text += (
        f", tolerance {verification.tolerance:.0e}"
        if verification.preserves == "exact"
        else (f" (the growth promises: {verification.preserves})")
    )
    if verification.departs:
        text += f"\nfirst module that diverges: {verification.departs}"
    if verification.dead:
        text += f"\nno gradient reaches the new entries of: {', '.join(verification.dead)}"
    if verification.idle:
        text += f"\nno gradient reaches, the teacher's own entries neither: {', '.join(verification.idle)}"
    return text + "".join(f"\nnote: {note}" for note in verification.notes)


@dataclass(frozen=True)
class Verification:
    """What was measured. `errors` maps "mode/inputs/output" to max |student - teacher| / max |teacher|.

    `preserves` is what the growth promises ("exact", "approximate", "none"); only "exact" is held to the
    tolerance, in the modes that `exact_in` says. `departs` is the first module whose output differs, if one does.
    `dead` names tensors in which the new units of some dimension get no gradient within two steps, on the inputs given
    and on random ones, though the old units do, or can't as what could train them is frozen; None if that was not
    checked. `stuck` are those dimensions, and `idle` the tensors in which the old units get none either.
    `approximate` are modes that are measured but not held to the tolerance: train mode, where a BatchNorm is new.
    `loudness` is the largest gradient of new entries over the largest of old ones, in the tensor where that is most.
    `notes` say what was not compared. docs/verification.md says what is covered.
    """

    errors: dict[str, float]
    tolerance: float
    preserves: Preservation = "exact"
    dtype: str = "float64"
    departs: str | None = None
    dead: tuple[str, ...] | None = None
    notes: tuple[str, ...] = field(default=())
    approximate: tuple[str, ...] = field(default=())
    loudness: float | None = None
    stuck: tuple[str, ...] = field(default=())
    idle: tuple[str, ...] = field(default=())

    @property
    def exact_in(self) -> tuple[str, ...]:
        """The modes for which exactness is promised and was measured: some of "eval" and "train"."""
        if self.preserves != "exact":
            return ()
        measured = {
            mode for mode, _, what in (name.partition("/") for name in self.errors) if not what.startswith("then ")
        }
        return tuple(mode for mode in MODES if mode in measured and mode not in self.approximate)

    @property
    def max_relative_error(self) -> float:
        """The largest error over all outputs and inputs, and all modes but the approximate ones."""
        held = [e for name, e in self.errors.items() if name.partition("/")[0] not in self.approximate]
        return max((math.inf if math.isnan(e) else e for e in held), default=math.inf)

    @property
    def passed(self) -> bool:
        """Whether the student computes the teacher's function, as far as the growth promises it."""
        if self.preserves == "exact":
            return self.max_relative_error <= self.tolerance
        return math.isfinite(self.max_relative_error)

    def summary(self) -> dict[str, Any]:
        """What was measured, as plain data. An error that is no finite number is None."""
        return {
            "passed": self.passed,
            "max_relative_error": _finite(self.max_relative_error),
            "tolerance": self.tolerance,
            "preserves": self.preserves,
            "approximate": list(self.approximate),
            "dtype": self.dtype,
            "errors": {name: _finite(error) for name, error in self.errors.items()},
            "departs": self.departs,
            "dead": None if self.dead is None else list(self.dead),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:

        return verification_table(self)


def _worst(verification: Verification) -> str:
    """Where the largest error is that counts."""
    held = {k: e for k, e in verification.errors.items() if k.partition("/")[0] not in verification.approximate}
    return max(held, key=lambda k: math.inf if math.isnan(held[k]) else held[k], default="")


def require(verification: Verification) -> None:
    """Raise if a growth that promised exactness was measured not to be exact."""
    if not verification.passed:
        where = f" The first module that diverges is '{verification.departs}'." if verification.departs else ""
        raise VerificationError(
            "the student doesn't compute the teacher's function: "
            f"relative error {verification.max_relative_error:.1e} at {_worst(verification) or 'no output'}, "
            f"tolerance {verification.tolerance:.0e}.{where} It is not returned. "
            "Please report the model: this should have been refused before."
        )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
