"""The proof: teacher and student on the same inputs, and whether the new weights learn."""

from net2net.proof._compare import Promise, compare_models, verify
from net2net.proof._error import relative_error
from net2net.proof._inputs import Arguments, move
from net2net.proof._interface import SAME, Interface, Port, output_name
from net2net.proof._measure import MODES, Measured, measure
from net2net.proof._new_units import NewUnits, Places
from net2net.proof._run import run
from net2net.proof._verification import Verification, require

__all__ = [
    "MODES",
    "SAME",
    "Arguments",
    "Interface",
    "Measured",
    "NewUnits",
    "Places",
    "Port",
    "Promise",
    "Verification",
    "compare_models",
    "measure",
    "move",
    "output_name",
    "relative_error",
    "require",
    "run",
    "verify",
]
