"""Training that goes on through a growth."""

from net2net.optimizer import clip, ramp, resume_ramp
from net2net.training._adopt import adopt
from net2net.training._anneal import Anneal
from net2net.training._batches import random_order, shifted
from net2net.training._flops import counting, flops_of
from net2net.training._lightning import lightning_callback, lightning_class
from net2net.training._noise import add_noise, largest_harmless_noise
from net2net.training._recipe import RAMP, Recipe, recipe, warm_up_stable_decay
from net2net.training._schedule import GrowthSchedule, Training
from net2net.training._suggest import Suggestions, Trial, suggest
from net2net.training._trainer import newest_checkpoint, trainer_callback

__all__ = [
    "RAMP",
    "Anneal",
    "GrowthSchedule",
    "Recipe",
    "Suggestions",
    "Training",
    "Trial",
    "add_noise",
    "adopt",
    "clip",
    "counting",
    "flops_of",
    "largest_harmless_noise",
    "lightning_callback",
    "lightning_class",
    "newest_checkpoint",
    "ramp",
    "random_order",
    "recipe",
    "resume_ramp",
    "shifted",
    "suggest",
    "trainer_callback",
    "warm_up_stable_decay",
]
