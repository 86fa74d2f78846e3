"""Tests for plugins: subclass one, say what to test, and let pytest or unittest run its methods."""

from net2net.contracts._optimizer import OptimizerContract
from net2net.contracts._rule import RuleContract

__all__ = ["OptimizerContract", "RuleContract"]
