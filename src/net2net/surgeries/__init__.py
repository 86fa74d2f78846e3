"""Other inputs and outputs: a trained network goes on in a changed world."""

from net2net.surgeries._change import Surgery
from net2net.surgeries._design import Design, designed
from net2net.surgeries._features import Features
from net2net.surgeries._surgery import surgery

__all__ = ["Design", "Features", "Surgery", "designed", "surgery"]
