"""The demo: a trained network is made wider and deeper and learns on, beside the same networks started otherwise.

`prepare` trains the teacher and makes it bigger, `compare` trains the arms, `write` makes the folder.
"""

from net2net.demo._experiment import EXPERIMENTS, Arms, Prepared, Settings, compare, prepare, spread
from net2net.demo._write import write

__all__ = ["EXPERIMENTS", "Arms", "Prepared", "Settings", "compare", "prepare", "spread", "write"]
