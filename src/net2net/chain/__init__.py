"""Chains of models: a family trained smallest first, each model from the one before it."""

from net2net.chain._callbacks import lightning_callback, trainer_callback
from net2net.chain._chain import Chain, ChainResult, take_over
from net2net.chain._check import Expected, Forecast
from net2net.chain._distillation import FeatureDistillation, LogitsDistillation
from net2net.chain._ledger import Entry, Ledger
from net2net.chain._link import Link

__all__ = [
    "Chain",
    "ChainResult",
    "Entry",
    "Expected",
    "FeatureDistillation",
    "Forecast",
    "Ledger",
    "Link",
    "LogitsDistillation",
    "lightning_callback",
    "take_over",
    "trainer_callback",
]
