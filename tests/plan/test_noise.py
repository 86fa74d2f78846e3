"""What keeps copies from staying twins, what it costs, and the random-pad baseline."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net.width import NoiseSpec
from support import (
    X,
    descend,
    from_zoo,
    groups_of_copies,
    mlp,
    repeatable,
    same,
    separation,
    source_of,
    trained,
    widen_at,
)

pytestmark = pytest.mark.filterwarnings("ignore:copies with even shares")

N = 6


@repeatable
def teacher() -> nn.Module:
    return trained(nn.Sequential(nn.Linear(4, N), nn.Tanh(), nn.Linear(N, 2)))


def regression() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(64, 4, generator=generator, dtype=torch.float64)
    return x, torch.stack([(x[:, 0] * x[:, 1]).sin(), x.square().sum(1).sqrt()], 1)


def grown(size: int = 2 * N, **options: object) -> net2net.Growth:
    return widen_at(teacher(), {"0.weight": size}, regression()[0], how="split", **options)


def after_training(growth: net2net.Growth) -> float:
    descend(growth.student, *regression(), steps=500)
    return separation(growth.student[0].weight.detach(), source_of(growth, "0.weight"))


def test_even_copies_without_noise_never_separate() -> None:
    assert after_training(grown(shares="even")) < 1e-12


@pytest.mark.parametrize(
    "options",
    [
        {"shares": "even", "noise": "zero_sum"},
        {"shares": "uneven"},
        {"shares": "uneven", "noise": "zero_sum"},
    ],
    ids=["zero_sum", "uneven", "both"],
)
def test_exact_and_no_twins(options: dict[str, object]) -> None:
    growth = grown(**options)
    assert growth.plan.preserves == "exact" and growth.verification.max_relative_error < 1e-12
    assert separation(growth.student[0].weight.detach(), source_of(growth, "0.weight")) == 0.0
    assert after_training(growth) > 0.01


def test_zero_sum_noise_sums_to_zero_over_the_copies_of_each_unit() -> None:
    plain, noisy = grown(40, shares="even"), grown(40, shares="even", noise=NoiseSpec("zero_sum", 0.5))
    noise = (noisy.student[2].weight - plain.student[2].weight).detach()
    source = source_of(noisy, "2.weight", 1)
    for unit in range(N):
        places = np.flatnonzero(source == unit)
        assert noise[:, places].sum(1).abs().max() < 1e-13
        if len(places) > 1:
            assert noise[:, places].abs().min() > 0
    spread = noise[:, [p for group in groups_of_copies(source) for p in group]].std()
    assert 0.3 < float(spread / teacher()[2].weight.detach().square().mean().sqrt()) < 0.7  # about the scale asked for
    for name in ("0.weight", "0.bias", "2.bias"):
        assert torch.equal(noisy.student.state_dict()[name], plain.student.state_dict()[name])


def test_zero_sum_noise_is_exact_everywhere_at_once() -> None:
    for name in ("lenet", "resnet_basic", "gru_lm"):
        model, x = from_zoo(name)
        growth = net2net.widen(model, 2.0, x, how="split", noise="zero_sum")
        assert growth.verification.max_relative_error < 1e-10, name


def test_the_papers_noise_hits_the_incoming_weights_of_copies_only() -> None:
    plain, noisy = grown(20, shares="even"), grown(20, shares="even", noise="paper")
    source = source_of(noisy, "0.weight")
    first = np.unique(source, return_index=True)[1]
    copies = np.setdiff1d(np.arange(20), first)
    assert torch.equal(noisy.student[0].weight[first], teacher()[0].weight)
    difference = (noisy.student[0].weight - plain.student[0].weight)[copies]
    assert difference.count_nonzero() == difference.numel()
    assert difference.unique().numel() == difference.numel()  # every copy has noise of its own
    for name in ("0.bias", "2.weight", "2.bias"):
        assert torch.equal(noisy.student.state_dict()[name], plain.student.state_dict()[name])
    assert noisy.plan.preserves == "approximate" and noisy.verification.passed
    assert 1e-6 < noisy.verification.max_relative_error < 0.1
    assert after_training(noisy) > 1e-3


def test_the_papers_noise_costs_in_proportion_to_its_scale() -> None:
    scales = (1e-4, 1e-3, 1e-2)
    errors = [grown(20, noise=NoiseSpec("paper", s)).verification.max_relative_error for s in scales]
    assert errors[1] / errors[0] == pytest.approx(10, rel=0.05)
    assert errors[2] / errors[1] == pytest.approx(10, rel=0.2)


class Sevens(nn.Linear):
    """A layer with an initialiser of its own."""

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 7.0)
        nn.init.constant_(self.bias, -7.0)


def padded() -> tuple[nn.Module, net2net.Growth]:
    model = nn.Sequential(nn.Linear(40, 30), nn.BatchNorm1d(30), nn.ReLU(), Sevens(30, 5), nn.ReLU(), nn.Linear(5, 3))
    nn.init.normal_(model[3].weight)
    model = trained(model)
    x = torch.randn(8, 40, dtype=torch.float64)
    return model, widen_at(model, {"0.weight": 90, "3.weight": 9}, x, how="random_pad")


def test_random_pad_keeps_the_old_weights_bit_for_bit() -> None:
    model, growth = padded()
    for name, old in model.state_dict().items():
        new = growth.student.state_dict()[name]
        assert torch.equal(new[tuple(slice(s) for s in old.shape)], old), name


def test_random_pad_draws_from_the_layers_own_initialiser() -> None:
    _, growth = padded()
    drawn, bound = growth.student[0].weight[30:].detach(), 40**-0.5
    assert drawn.abs().max() <= bound
    assert float(drawn.std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    assert (growth.student[3].weight[5:] == 7).all() and (growth.student[3].weight[:, 30:] == 7).all()
    assert (growth.student[3].bias[5:] == -7).all()
    norm = growth.student[1]
    for tensor, default in ((norm.weight, 1), (norm.bias, 0), (norm.running_mean, 0), (norm.running_var, 1)):
        assert (tensor[30:] == default).all()


def test_random_pad_of_a_hugging_face_model_uses_its_initialiser() -> None:
    from zoo.huggingface_causal import MODELS

    entry = next(m for m in MODELS if m.name == "llama")
    student = net2net.widen(entry.build(), 2.0, entry.inputs(), how="random_pad").student
    layer = student.model.layers[0]
    for new in (
        layer.mlp.up_proj.weight[40:],
        layer.self_attn.v_proj.weight[:, 24:],
        student.lm_head.weight[:, 24:],
    ):
        assert float(new.detach().std()) == pytest.approx(student.config.initializer_range, rel=0.15)
    assert (student.model.norm.weight[24:] == 1).all()


def test_random_pad_is_labelled_as_what_it_is() -> None:
    _, growth = padded()
    assert growth.plan.preserves == "none"
    assert growth.verification.max_relative_error > 0.01
    assert "NOT function-preserving" in str(growth)


def test_random_initialisation_differs_from_the_teacher_too() -> None:
    x, _ = regression()
    model, other = teacher(), trained(nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2)))
    report = net2net.verify(model, other, x)
    assert not report.passed and report.max_relative_error > 0.01


def test_noise_is_seeded() -> None:
    draws = [grown(20, noise="zero_sum", seed=s).student[2].weight for s in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not same(draws[0], draws[2], 1e-6)


def test_even_copies_without_noise_come_with_a_warning() -> None:
    with pytest.warns(net2net.Net2NetWarning, match="twins"):
        net2net.widen(mlp(), {"0": 13}, X, how="split", shares="even")
    with warnings.catch_warnings():
        warnings.simplefilter("error", net2net.Net2NetWarning)
        net2net.widen(mlp(), {"0": 13}, X, how="split", shares="even", noise="zero_sum")
        net2net.widen(mlp(), {"0": 13}, X, how="split")
