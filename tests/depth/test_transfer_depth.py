"""A teacher into a deeper student that the user built, and plans of depth on disk."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from deeper import State, equal_states, error, learned, state
from net2net.apply import grow_state
from residual import Counted
from support import drawn, refused, repeatable, trained
from zoo.huggingface import huggingface_models
from zoo.plain import ResidualMLP, tokens
from zoo.recurrent import EncoderClassifier
from zoo.resnets import BasicBlock, PreActResNet, ResNet

X = drawn(7, 4)
IMAGES = drawn(6, 3, 8, 8)
IDS = tokens(2, 7, vocab=37)
HUGGINGFACE = {model.name: model for model in huggingface_models()}


def transferred(
    teacher: nn.Module, student: nn.Module, inputs: Any, tolerance: float = 1e-10, **options: Any
) -> net2net.Growth:
    """Transfer, and check what always holds: the student's own tensors hold the teacher's function."""
    before, random = state(teacher), torch.get_rng_state()
    shapes = {name: tuple(tensor.shape) for name, tensor in student.state_dict().items()}
    tensors = [id(parameter) for parameter in student.parameters()]
    growth = net2net.transfer(teacher, student, inputs, **options)
    assert growth.student is student and growth.verification.passed and growth.plan.preserves == "exact"
    assert tensors == [id(parameter) for parameter in student.parameters()]  # an optimizer that holds them goes on
    assert shapes == {name: tuple(tensor.shape) for name, tensor in student.state_dict().items()}
    assert equal_states(before, state(teacher)) and torch.equal(random, torch.get_rng_state())
    assert error(teacher, student.eval(), inputs) <= tolerance
    return growth


@repeatable
def mlp() -> nn.Module:
    return trained(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)))


def chain(*sizes: int, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """Linear layers of these sizes with activations between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1]).double()


@pytest.mark.parametrize(
    "sizes",
    [
        (4, 6, 5, 5, 2),  # deeper behind the second layer
        (4, 6, 6, 5, 5, 2),  # behind both
        (4, 9, 9, 9, 11, 2),  # twice at one place, and wider
        (4, 6, 8, 5, 2),  # the new layer has a width of its own
    ],
    ids=str,
)
def test_linear_layers(sizes: tuple[int, ...]) -> None:
    student = chain(*sizes)
    growth = transferred(mlp(), student, X)
    depth = growth.plan if growth.plan.earlier is None else growth.plan.earlier
    assert sum(d.after - d.before for d in depth.deepenings) == len(sizes) - 4
    assert [layer.out_features for layer in student if isinstance(layer, nn.Linear)] == list(sizes[1:])
    assert all(learned(growth, X).values())


def test_mirrored_pairs() -> None:
    """For GELU the student must have room for the pairs: twice the layer below."""
    torch.manual_seed(0)
    teacher = trained(nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 2)))
    transferred(teacher, chain(4, 10, 5, 2, activation=nn.GELU), X)
    transferred(teacher, chain(4, 14, 6, 2, activation=nn.GELU), X)
    refused(net2net.GrowthError, lambda: net2net.transfer(teacher, chain(4, 9, 5, 2, activation=nn.GELU), X))


def images(*channels: int, kernel: int = 3) -> nn.Module:
    """Convolutions with batch norm, each of which keeps the size, and a linear layer."""
    layers: list[nn.Module] = []
    for before, after in zip((3, *channels), channels, strict=False):
        layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels[-1], 3)).double()


@pytest.mark.parametrize("channels", [(5, 6, 6), (5, 9, 8)], ids=str)
def test_convolutions_with_batch_norm(channels: tuple[int, ...]) -> None:
    """New norms get the statistics of the calibration, and train mode is as close as the batch allows."""
    torch.manual_seed(0)
    teacher, student = trained(images(5, 6)), images(*channels)
    growth = transferred(teacher, student, IMAGES, calibration=[IMAGES, drawn(9, 3, 8, 8, seed=2)])
    assert growth.verification.approximate == ("train",)
    assert error(teacher, student, IMAGES, train=True) < 0.2


def test_kernels_are_the_students() -> None:
    """The size of an identity kernel is the one that the student has there."""
    torch.manual_seed(0)
    teacher = trained(images(5, 6))
    student = images(5, 6, 6)
    student[6] = nn.Conv2d(6, 6, (5, 1), padding=(2, 0), bias=False).double()
    transferred(teacher, student, IMAGES)
    assert torch.equal(student[6].weight[:, :, 2, 0], torch.eye(6).double())


def resnet(layers: tuple[int, int], planes: tuple[int, int], stem: int) -> nn.Module:
    return ResNet(BasicBlock, layers, planes, stem)


@pytest.mark.parametrize(
    "after",
    [pytest.param(((3, 4), (4, 6), 5), marks=pytest.mark.sweep), ((4, 3), (7, 11), 8)],
    ids=["deeper", "deeper and wider"],
)
def test_residual_networks(after: tuple[Any, ...]) -> None:
    """New blocks are silent in train mode, too: nothing needs calibration."""
    torch.manual_seed(0)
    teacher, student, x = trained(resnet((2, 2), (4, 6), 5)), resnet(*after).double(), drawn(4, 3, 16, 16)
    growth = transferred(teacher, student, x)
    assert error(teacher, student, x, train=True) <= 1e-10
    assert all(learned(growth, x).values())


def test_two_stacks_in_one_sequential() -> None:
    torch.manual_seed(0)
    teacher = trained(PreActResNet((2, 2), (5, 7)))
    transferred(teacher, PreActResNet((3, 3), (5, 7)).double(), IMAGES)


class TwoParts(nn.Module):
    """Two Sequentials of layers, as in VGG."""

    def __init__(self, features: tuple[int, ...], classifier: tuple[int, ...]) -> None:
        super().__init__()
        self.features, self.between, self.classifier = chain(*features), nn.ReLU(), chain(*classifier)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.between(self.features(x)))


@pytest.mark.parametrize(
    ("features", "classifier"),
    [
        ((4, 6, 6, 5), (5, 5, 2)),
        ((4, 6, 5), (5, 5, 5, 2)),
        pytest.param((4, 6, 6, 5), (5, 5, 5, 2)),
    ],
    ids=["first", "second", "both"],
)
def test_layers_in_two_sequentials(features: tuple[int, ...], classifier: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    teacher = trained(TwoParts((4, 6, 5), (5, 5, 2)))
    transferred(teacher, TwoParts(features, classifier), X)


def test_blocks_in_a_list() -> None:
    """Wider inside and in the stream, and deeper; the number of blocks is the student's own."""
    torch.manual_seed(0)
    teacher, x = trained(ResidualMLP(depth=2)), drawn(5, 11)
    transferred(teacher, ResidualMLP(depth=5).double(), x)
    transferred(teacher, ResidualMLP(depth=3, dim=28, hidden=40).double(), x)
    counted = trained(Counted(2))
    assert transferred(counted, Counted(4).double(), X).student.depth == 4


def test_positions_and_fresh_blocks() -> None:
    torch.manual_seed(0)
    teacher, x = trained(ResidualMLP(depth=2)), drawn(5, 11)
    student = ResidualMLP(depth=3).double()
    transferred(teacher, student, x, positions=[-1], init="zero-random")
    assert not student.blocks[0].down.weight.any() and student.blocks[0].up.weight.any()
    assert torch.equal(student.blocks[1].up.weight, teacher.blocks[0].up.weight)


def test_a_normalised_stream_sets_the_students_eps() -> None:
    """What is no weight is set, too: a chain of norms needs an eps for each of them."""
    torch.manual_seed(0)
    teacher, student = trained(EncoderClassifier(layers=2)), EncoderClassifier(layers=3).double()
    transferred(teacher, student, IDS)
    assert student.encoder.layers[1].norm2.eps == pytest.approx(4e-5) and student.encoder.layers[2].norm1.eps == 1.0


@pytest.mark.skipif(not HUGGINGFACE, reason="transformers is not installed")
def test_llama_with_more_and_larger_layers() -> None:
    model = HUGGINGFACE["llama"]
    teacher = model.build()
    sizes = {
        "num_hidden_layers": 4,
        "intermediate_size": 56,
        "hidden_size": 48,
        "num_attention_heads": 8,
        "head_dim": 6,
    }
    config = type(teacher.config)(**{**teacher.config.to_dict(), **sizes, "num_key_value_heads": 4})
    student = type(teacher)(config)
    transferred(teacher, student, model.inputs(), tolerance=1e-5)
    assert student.config.num_hidden_layers == len(student.model.layers) == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain(4, 6, 4, 5, 2),  # the new layer is narrower than the one below
        lambda: chain(4, 5, 5, 5, 2),  # an old layer is narrower
        lambda: chain(4, 6, 6, 5, 3),  # another output
        lambda: chain(4, 6, 6, 5, 2, activation=nn.Tanh),
        lambda: nn.Sequential(*chain(4, 6, 6, 5, 2), nn.ReLU()),
        lambda: chain(4, 5, 2),  # shallower
    ],
    ids=["narrow", "narrower", "output", "activation", "more", "shallower"],
)
def test_refusals_leave_the_student_untouched(make: Callable[[], nn.Module]) -> None:
    student = make().double().train()
    before = state(student)
    with pytest.raises(net2net.GrowthError) as caught:
        net2net.transfer(mlp(), student, X)
    assert not isinstance(caught.value, net2net.VerificationError)
    assert equal_states(before, state(student)) and student.training


def test_a_student_that_fails_the_proof_is_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when all fits, nothing is written before the whole growth is proved."""

    def refuse(verification: net2net.Verification) -> None:
        raise net2net.VerificationError("as if it had failed")

    torch.manual_seed(0)
    student = EncoderClassifier(layers=3).double()
    before = state(student)
    monkeypatch.setattr("net2net.growth._prove.require", refuse)
    with pytest.raises(net2net.VerificationError):
        net2net.transfer(trained(EncoderClassifier(layers=2)), student, IDS)
    assert equal_states(before, state(student))
    assert {m.eps for m in student.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}


@repeatable
def conv_net() -> nn.Module:
    return trained(images(5, 6))


GROWTHS: dict[str, tuple[Callable[[], nn.Module], Any, dict[str, Any]]] = {
    "layers": (mlp, X, {"where": {"0": 2, "2": 1}}),
    "statistics": (conv_net, IMAGES, {"where": {"0": 1}}),
    "blocks": (lambda: trained(ResidualMLP(depth=2)), drawn(5, 11), {"where": {"blocks": [0, -1]}}),
    "copies": (lambda: trained(ResidualMLP(depth=3)), drawn(5, 11), {"where": {"blocks": 2}, "init": "stack"}),
    "norms": (lambda: trained(EncoderClassifier(layers=2)), IDS, {"where": {"encoder": 1}}),
    "deeper and wider": (mlp, X, {"where": {"0": 1}, "sizes": {"2": 9, "4": 11}}),
    "both with noise": (
        conv_net,
        IMAGES,
        {"where": {"0": 1}, "sizes": 2.0, "how": "split", "noise": "zero_sum", "seed": 3},
    ),
}


@pytest.mark.parametrize("name", GROWTHS)
def test_plans_survive_the_disk(name: str, tmp_path: Path) -> None:
    """The plan read back is equal, prints the same, and makes the same tensors from the teacher's, bit by bit."""
    make, inputs, options = GROWTHS[name]
    torch.manual_seed(0)
    teacher = make()
    growth = net2net.grow(teacher, inputs, **options)
    growth.plan.save(tmp_path / "plan.safetensors")
    plan = net2net.Plan.load(tmp_path / "plan.safetensors")
    assert plan == growth.plan and str(plan) == str(growth.plan)
    assert (plan.earlier is None) == ("sizes" not in options)
    same_state(grow_state(plan, dict(teacher.state_dict())), growth.student)


def same_state(found: State, student: nn.Module) -> None:
    expected = student.state_dict()
    assert expected.keys() <= found.keys()
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key


def test_three_growths_as_one_plan(tmp_path: Path) -> None:
    """`after` puts growths in a row: deeper, then wider, then deeper again."""
    teacher = mlp()
    first = net2net.grow(teacher, X, where={"0": 1}, sizes={"2": 9})
    second = net2net.deepen(first.student, {"2": 1}, X)
    plan = second.plan.after(first.plan)
    plan.save(tmp_path / "plan.safetensors")
    loaded = net2net.Plan.load(tmp_path / "plan.safetensors")
    assert loaded == plan and loaded.earlier is not None and loaded.earlier.earlier is not None
    same_state(grow_state(loaded, dict(teacher.state_dict())), second.student)


def test_a_plan_is_as_good_as_its_worst_step() -> None:
    """Exact after copies that keep nothing is not exact."""
    torch.manual_seed(0)
    teacher, x = trained(ResidualMLP(depth=2)), drawn(5, 11)
    copied = net2net.deepen(teacher, {"blocks": 1}, x, init="stack")
    wider = net2net.widen(copied.student, {"blocks.0.up": 40}, x)
    assert wider.plan.preserves == "exact" and wider.plan.after(copied.plan).preserves == "none"
    both = net2net.grow(teacher, x, where={"blocks": 1}, sizes={"blocks.0.up": 40}, init="stack")
    assert both.plan.preserves == "none" and both.verification.max_relative_error > 1e-2


class DropPath(nn.Module):
    """Stochastic depth, as vision models write it."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.drop_prob = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0.0:
            return x
        keep = 1 - self.drop_prob
        return x / keep * (keep + torch.rand(len(x), 1, dtype=x.dtype)).floor()


class Dropped(nn.Module):
    def __init__(self, width: int, rate: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, 7), nn.Linear(7, width)
        self.drop_path = DropPath(rate) if rate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.outer(torch.tanh(self.inner(x))))


def stochastic(blocks: int, width: int = 5) -> nn.Module:
    rates = [0.2 * k / (blocks - 1) for k in range(blocks)]
    return nn.Sequential(nn.Linear(4, width), *(Dropped(width, rate) for rate in rates), nn.Linear(width, 3)).double()


@pytest.mark.parametrize(("blocks", "width"), [(3, 5), (4, 5), (5, 8)])
def test_drop_rates_by_the_number_of_layers(blocks: int, width: int) -> None:
    """What is dropped is random; the rates of a deeper network are its own."""
    teacher, student = trained(stochastic(2)), stochastic(blocks, width)
    growth = net2net.transfer(teacher, student, X)
    assert any("drop rates" in note for note in growth.verification.notes)
    assert student[-2].drop_path.drop_prob == pytest.approx(0.2)
    for network in (teacher, student):
        for module in network.modules():
            if isinstance(module, DropPath):
                module.drop_prob = 0.0
    for training in (False, True):
        teacher.train(training), student.train(training)
        assert (student(X) - teacher(X)).abs().max() <= 1e-10 * teacher(X).abs().max()
