"""The demo: a trained network is made wider and learns on, beside a padded one and one from scratch.

`prepare` trains the teacher and makes it wider, `compare` trains the three arms, `write` makes the folder.
"""

from net2net.demo._experiment import Arm, Prepared, Settings, compare, prepare, spread
from net2net.demo._write import write

__all__ = ["Arm", "Prepared", "Settings", "compare", "prepare", "spread", "write"]
