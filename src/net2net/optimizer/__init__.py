"""Plan -> optimizer: state, learning rates, schedule and ramp of the student's training."""

from net2net.optimizer._clip import clip, require_factor
from net2net.optimizer._followed import followed
from net2net.optimizer._groups import RATES, has_ended, student_groups
from net2net.optimizer._moments import KINDS, grow_moment, lineage
from net2net.optimizer._optimizer import grow_optimizer
from net2net.optimizer._ramp import RAMP_KEY, RAMP_STEPS, ramp, require_ramp, resume_ramp
from net2net.optimizer._rules import StateRule, carried, register_optimizer, rules_for_keys
from net2net.optimizer._scheduler import grow_scheduler

__all__ = [
    "KINDS",
    "RAMP_KEY",
    "RAMP_STEPS",
    "RATES",
    "StateRule",
    "carried",
    "clip",
    "followed",
    "grow_moment",
    "grow_optimizer",
    "grow_scheduler",
    "has_ended",
    "lineage",
    "ramp",
    "register_optimizer",
    "require_factor",
    "require_ramp",
    "resume_ramp",
    "rules_for_keys",
    "student_groups",
]
