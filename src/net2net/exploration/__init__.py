"""Search over growths from one teacher. Needs Optuna (`net2net[explore]`)."""

from net2net.errors import MissingExtraError

try:
    import optuna as _optuna  # noqa: F401
except ImportError as error:
    raise MissingExtraError("explore() needs Optuna: install net2net[explore].") from error

from net2net.exploration._baselines import Baseline
from net2net.exploration._cost import Cost, Limits
from net2net.exploration._exploration import Best, Exploration
from net2net.exploration._explore import explore
from net2net.exploration._page import write_report
from net2net.exploration._space import Knob, space_of
from net2net.exploration._tried import Tried

__all__ = ["Baseline", "Best", "Cost", "Exploration", "Knob", "Limits", "Tried", "explore", "space_of", "write_report"]
