"""For any network and request: an exact growth or a refusal, never a wrong student or an internal error."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

import net2net
from random_networks import Wish, case, cases
from random_program import Program

pytestmark = pytest.mark.filterwarnings("ignore::net2net.Net2NetWarning")

_TOLERANCE = 1e-10
_FREE = settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False
)


@settings(_FREE, max_examples=20)
@given(cases())
def test_every_growth_is_exact_or_refused(example: tuple[Program, Wish]) -> None:
    event(outcome(*example))


@pytest.mark.sweep
@settings(_FREE, max_examples=1000)
@given(cases())
def test_every_growth_is_exact_or_refused_in_a_long_sweep(example: tuple[Program, Wish]) -> None:
    event(outcome(*example))


def test_most_requests_are_met() -> None:
    outcomes = [outcome(*case(random.Random(seed))) for seed in range(12)]
    assert outcomes.count("exact") >= 0.6 * len(outcomes), sorted(outcomes)


def outcome(program: Program, wish: Wish) -> str:
    """Grow, and check the result: "exact", or the kind of refusal."""
    teacher, inputs = program.build(), program.inputs()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    try:
        growth = net2net.widen(teacher, wish.sizes(net2net.analyze(teacher, inputs)), inputs, **wish.options)
    except net2net.VerificationError:
        raise  # the analysis accepted a wrong plan
    except net2net.GrowthError as refusal:
        assert str(refusal).strip()
        return type(refusal).__name__
    finally:
        after = teacher.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items()), "the teacher has changed"
    assert type(growth.student) is type(teacher)
    assert growth.verification.passed
    assert growth.verification.max_relative_error <= _TOLERANCE
    _check_same_function(teacher, growth.student, program)
    return "exact"


def _check_same_function(teacher: nn.Module, student: nn.Module, program: Program) -> None:
    """The student computes what the teacher computes, measured by code of its own."""
    has_statistics = any(isinstance(module, _NormBase) for module in teacher.modules())
    for training in (False, True) if has_statistics else (False,):
        for seed in (0, 1):
            expected, got = (_run(model, program.inputs(seed), training) for model in (teacher, student))
            assert got.shape == expected.shape
            error = (got - expected).abs().max() / expected.abs().max()
            assert error <= _TOLERANCE, f"relative error {error:.1e} with training={training}, seed {seed}"


def _run(model: nn.Module, inputs: Tensor, training: bool) -> Tensor:
    model = copy.deepcopy(model).train(training)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        return model(inputs)
