"""For any chain of layers and blocks, and any request: exact or refused, deeper and then wider."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, event, given, settings
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import net2net
from deeper import equal_states, error, state
from net2net.depth import PRESERVING
from random_deep import Chain, Depth, case, cases
from random_networks import Wish

pytestmark = pytest.mark.filterwarnings("ignore::net2net.Net2NetWarning")

_TOLERANCE = 1e-10
_FREE = settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False
)
Example = tuple[Chain, Depth, Wish]


@settings(_FREE, max_examples=15)
@given(cases())
def test_every_growth_is_exact_or_refused(example: Example) -> None:
    event(outcome(*example))


@pytest.mark.sweep
@settings(_FREE, max_examples=500)
@given(cases())
def test_every_growth_is_exact_or_refused_in_a_long_sweep(example: Example) -> None:
    event(outcome(*example))


@pytest.mark.sweep
def test_most_requests_are_met() -> None:
    """The two tests above would pass if all were refused."""
    outcomes = [outcome(*case(random.Random(seed))) for seed in range(60)]
    assert outcomes.count("deeper and wider") >= 0.5 * len(outcomes), sorted(outcomes)


def outcome(chain: Chain, depth: Depth, wish: Wish) -> str:
    """Deepen and widen, and check: what has been done, or the kind of refusal."""
    teacher, x = chain.build(), chain.inputs()
    before = state(teacher)
    try:
        growths = list(grown(teacher, x, depth, wish))
    except net2net.VerificationError:
        raise  # the analysis accepted a wrong plan
    except net2net.GrowthError as refusal:
        assert str(refusal).strip()
        return type(refusal).__name__
    finally:
        assert equal_states(before, state(teacher)), "the teacher has changed"
    for growth in growths:
        check(teacher, growth, chain, depth)
    return "deeper and wider" if growths[-1].plan.widenings else "deeper"


def grown(teacher: nn.Module, x: Tensor, depth: Depth, wish: Wish) -> Iterator[net2net.Growth]:
    """Both in one call where the sizes are a factor; else one after the other, as sizes have the student's names."""
    where = depth.factor or depth.where(net2net.analyze(teacher, x))
    if wish.factor is not None:
        yield net2net.grow(teacher, x, where=where, sizes=wish.factor, **{**wish.options, **depth.options})
        return
    deeper = net2net.deepen(teacher, where, x, **depth.options)
    yield deeper
    try:
        sizes = wish.sizes(net2net.analyze(deeper.student, x))
        wider = net2net.widen(deeper.student, sizes, x, **wish.options)
    except net2net.VerificationError:
        raise
    except net2net.GrowthError as refusal:
        assert str(refusal).strip()
    else:
        proof = replace(wider.verification, approximate=deeper.verification.approximate)
        yield replace(wider, plan=wider.plan.after(deeper.plan), verification=proof)


def check(teacher: nn.Module, growth: net2net.Growth, chain: Chain, depth: Depth) -> None:
    """The promise of the growth is the one of its way to make blocks, and it is kept."""
    only_layers = all(d.kind == "layers" for p in (growth.plan, growth.plan.earlier) if p for d in p.deepenings)
    assert only_layers or growth.plan.preserves == ("exact" if depth.init in PRESERVING else "none")
    assert growth.verification.passed and type(growth.student) is type(teacher)
    if growth.plan.preserves != "exact":
        return
    assert growth.verification.max_relative_error <= _TOLERANCE
    has_norms = any(isinstance(module, _BatchNorm) for module in teacher.modules())
    for training in (False, True) if has_norms and not growth.verification.approximate else (False,):
        for seed in (0, 1):
            assert error(teacher, growth.student, chain.inputs(seed), training) <= _TOLERANCE
