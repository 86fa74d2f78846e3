"""The proof: teacher and student on the same inputs, and whether the new weights learn."""

from net2net.proof._compare import Promise, compare_models, verify
from net2net.proof._departure import first_departure
from net2net.proof._error import relative_error
from net2net.proof._inputs import Arguments, move, variants
from net2net.proof._interface import SAME, Interface, Port
from net2net.proof._measure import MODES, Measured, measure
from net2net.proof._models import cloned, copy_in, device_of, dtype_of, with_zeros_drawn
from net2net.proof._new_units import NewUnits, Places
from net2net.proof._run import ForwardError
from net2net.proof._verification import Verification, require, verification_table

__all__ = [
    "MODES",
    "SAME",
    "Arguments",
    "ForwardError",
    "Interface",
    "Measured",
    "NewUnits",
    "Places",
    "Port",
    "Promise",
    "Verification",
    "cloned",
    "compare_models",
    "copy_in",
    "device_of",
    "dtype_of",
    "first_departure",
    "measure",
    "move",
    "relative_error",
    "require",
    "variants",
    "verification_table",
    "verify",
    "with_zeros_drawn",
]
