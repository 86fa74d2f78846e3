"""Chains of models: a family trained smallest first, each model from the one before it."""

from net2net.chain._chain import Chain, ChainResult
from net2net.chain._distillation import FeatureDistillation, LogitsDistillation
from net2net.chain._ledger import Entry, Ledger
from net2net.chain._link import Link

__all__ = ["Chain", "ChainResult", "Entry", "FeatureDistillation", "Ledger", "Link", "LogitsDistillation"]
