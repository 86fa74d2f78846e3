"""What the growth of one dimension asks of the weights around it."""

from net2net.sites._absorb import absorbed
from net2net.sites._compose import compose
from net2net.sites._region import Mask
from net2net.sites._scaling import Scaling
from net2net.sites._silence import is_parameter
from net2net.sites._sites import FreshNeeds, Place, Sites, SplitNeeds
from net2net.sites._tolerance import tolerance
from net2net.sites._trace import NotPossible, factors_of, passed_by, shifts_of

__all__ = [
    "FreshNeeds",
    "Mask",
    "NotPossible",
    "Place",
    "Scaling",
    "Sites",
    "SplitNeeds",
    "absorbed",
    "compose",
    "factors_of",
    "is_parameter",
    "passed_by",
    "shifts_of",
    "tolerance",
]
