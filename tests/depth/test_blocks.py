"""More blocks in a stack that adds to a stream: exact, and every new weight can learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from deeper import error, exact, learned, parameters, state
from support import drawn, refused, trained
from zoo.attention import GPT, Llama, MlpMixer, MultiheadAttention, ViT
from zoo.convnets import DenseNet
from zoo.mobile import ConvNeXt, ShuffleNetV2
from zoo.model import Inputs
from zoo.plain import ResidualMLP, tokens
from zoo.recurrent import EncoderClassifier, Seq2Seq
from zoo.resnets import CifarResNet, PreActResNet

IDS = tokens(2, 7, vocab=37)
IMAGES = drawn(3, 3, 8, 8)
LAYERS = ("encoder.layers.1", "encoder.layers.3")
OUT_PROJ = ("self_attn.out_proj.weight", "self_attn.out_proj.bias", "linear2.weight", "linear2.bias")


@dataclass(frozen=True, eq=False)
class Case:
    """A class of networks that can be built at any depth, a growth of it, and what must be zero in a new block."""

    name: str
    build: Callable[[Any], nn.Module]
    before: Any
    after: Any
    where: dict[str, Any]
    new: tuple[str, ...]
    inputs: Inputs
    zero: tuple[str, ...]
    post_norm: bool = False

    def __str__(self) -> str:
        return self.name

    def teacher(self) -> nn.Module:
        """The trained network before the growth."""
        torch.manual_seed(0)
        return trained(self.build(self.before))


def encoder(layers: int, **options: Any) -> nn.Module:
    return EncoderClassifier(layers=layers, **options)


def translator(layers: tuple[int, int]) -> nn.Module:
    return Seq2Seq(encoder_layers=layers[0], decoder_layers=layers[1])


# Blocks like others here: left to the sweep.
_MORE = ("mixer", "vit", "gpt", "pre-norm encoder")
CASES = [
    Case(
        "post-activation resnet",
        lambda n: CifarResNet(num_blocks=n, planes=(4, 6, 8)),
        (2, 2, 1),
        (3, 4, 1),
        {"layer1": 1, "layer2": 2},
        ("layer1.2", "layer2.2", "layer2.3"),
        IMAGES,
        ("bn2.weight", "bn2.bias"),
    ),
    Case(
        "pre-activation resnet",
        lambda n: PreActResNet(num_blocks=n, planes=(5, 7)),
        (2, 2),
        (3, 4),
        {"layers": [1], "layers.3": 2},
        ("layers.2", "layers.5", "layers.6"),
        IMAGES,
        ("conv2.weight",),
    ),
    Case(
        "layer scale",
        lambda n: ConvNeXt(depths=n),
        (1, 2),
        (2, 4),
        {"stages.0": 1, "stages.1": 2},
        ("stages.0.1", "stages.1.1", "stages.1.3"),
        drawn(2, 3, 16, 16),
        ("gamma",),
    ),
    Case(
        "mlp",
        lambda n: ResidualMLP(depth=n),
        2,
        5,
        {"blocks": 3},
        ("blocks.1", "blocks.2", "blocks.4"),
        drawn(5, 11),
        ("down.weight", "down.bias"),
    ),
    Case(
        "mixer",
        lambda n: MlpMixer(depth=n),
        2,
        4,
        {"blocks": "2x"},
        ("blocks.1", "blocks.3"),
        drawn(2, 3, 16, 16),
        ("mlp_tokens.fc2.weight", "mlp_tokens.fc2.bias", "mlp_channels.fc2.weight", "mlp_channels.fc2.bias"),
    ),
    Case(
        "vit",
        lambda n: ViT(depth=n, attention=MultiheadAttention),
        2,
        3,
        {"blocks": 1},
        ("blocks.2",),
        drawn(2, 3, 16, 16),
        ("attn.out_proj.weight", "attn.out_proj.bias", "mlp.fc2.weight", "mlp.fc2.bias"),
    ),
    Case(
        "gpt",
        lambda n: GPT(n_layer=n),
        2,
        4,
        {"transformer.h": 2},
        ("transformer.h.1", "transformer.h.3"),
        IDS,
        ("attn.c_proj.weight", "attn.c_proj.bias", "mlp.fc2.weight", "mlp.fc2.bias"),
    ),
    Case(
        "llama",
        lambda n: Llama(num_layers=n),
        2,
        3,
        {"layers": 1},
        ("layers.2",),
        IDS,
        ("attention.o_proj.weight", "down_proj.weight"),
    ),
    Case("pre-norm encoder", partial(encoder, norm_first=True), 2, 4, {"encoder": 2}, LAYERS, IDS, OUT_PROJ),
    Case("post-norm encoder", encoder, 2, 4, {"encoder": 2}, LAYERS, IDS, OUT_PROJ, post_norm=True),
    Case(
        "post-norm encoder and decoder",
        translator,
        (2, 2),
        (3, 4),
        {"transformer.encoder": 1, "transformer.decoder": 2},
        ("transformer.encoder.layers.2", "transformer.decoder.layers.1", "transformer.decoder.layers.3"),
        {"src": tokens(2, 8, vocab=31), "tgt": tokens(2, 7, vocab=37, seed=2)},
        (*OUT_PROJ, "multihead_attn.out_proj.weight", "multihead_attn.out_proj.bias"),
        post_norm=True,
    ),
]


def cases(*names: str) -> list[Any]:
    """The cases of these names, or all; those that are like others are for the sweep."""
    chosen = [case for case in CASES if not names or case.name in names]
    return [pytest.param(c, id=c.name, marks=[pytest.mark.sweep] if c.name in _MORE else []) for c in chosen]


def zero_in(block: nn.Module) -> set[str]:
    return {name for name, parameter in block.named_parameters() if not parameter.any()}


@cache
def grown(case: Case) -> net2net.Growth:
    """The case's growth with all that always holds checked; shared by the tests, which only look at it."""
    return exact(case.teacher(), case.where, case.inputs)


def has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("case", cases())
def test_new_blocks_are_the_identity_and_learn(case: Case) -> None:
    """Of each product on a branch exactly one factor is zero, and a few steps of descent move every weight."""
    growth = grown(case)
    for path in case.new:
        block = growth.student.get_submodule(path)
        zero = {n for n in zero_in(block) if not (case.post_norm and n.startswith("norm"))}
        assert zero == {n for n in case.zero if n in parameters(block)} and zero, path
    moved = learned(growth, case.inputs)
    assert all(moved.values()), [name for name, did in moved.items() if not did]
    if has_batch_norm(growth.student):  # new norms see the same batch, and what they make of it is silent
        assert error(case.teacher(), growth.student, case.inputs, train=True) <= 1e-12
        assert any(key.startswith("train/") for key in growth.verification.errors)
    assert growth.verification.approximate == ()


@pytest.mark.parametrize("case", cases())
def test_new_blocks_copy_their_neighbour(case: Case) -> None:
    """All that isn't zero, statistics of norms included, is the block's before it; old blocks are what they were."""
    student, old = grown(case).student, state(case.teacher())
    assert sum(d.new.count(True) for d in grown(case).plan.deepenings) == len(case.new)
    for path in case.new:
        stack, _, index = path.rpartition(".")
        neighbour, block = student.get_submodule(f"{stack}.{int(index) - 1}"), student.get_submodule(path)
        same = {n for n in state(neighbour) if n not in case.zero and not (case.post_norm and n.startswith("norm"))}
        assert same and all(torch.equal(state(block)[n], state(neighbour)[n]) for n in same)
    new = tuple(f"{path}." for path in case.new)
    kept = [tensor for name, tensor in state(student).items() if not name.startswith(new)]
    changed = [not torch.equal(a, b) for a, b in zip(kept, old.values(), strict=True)]
    # Where the stream is normalised, the old norm before each new block loses its gain and its shift to the new one.
    assert sum(changed) == (2 * len(case.new) if case.post_norm else 0)


@pytest.mark.parametrize("case", cases())
def test_the_weights_load_into_a_network_built_deeper(case: Case) -> None:
    """The student is what its class would have made at this depth: same names, same shapes, same function."""
    growth = grown(case)
    torch.manual_seed(1)
    built = case.build(case.after).double().eval()
    assert len(list(built.modules())) == len(list(growth.student.modules()))
    built.load_state_dict(growth.student.state_dict(), strict=True)
    # Only a chain of norms needs more than weights, and the plan says what.
    assert bool(growth.plan.attributes) == case.post_norm
    for path, values in growth.plan.attributes.items():
        for name, number in values.items():
            setattr(built.get_submodule(path), name, number)
    assert error(growth.student, built, case.inputs) == 0


@pytest.mark.parametrize("case", cases("post-activation resnet", "mlp", "gpt"))
def test_fresh_blocks(case: Case) -> None:
    """`zero-random`: what isn't zero is drawn as the layers' own initialisers draw, and learns."""
    growth = exact(case.teacher(), case.where, case.inputs, init="zero-random")
    copied = grown(case).student
    for path in case.new:
        fresh = growth.student.get_submodule(path)
        assert set(case.zero) <= zero_in(fresh)
        matrices = [n for n, p in parameters(fresh).items() if p.dim() > 1 and n not in case.zero]
        copies = parameters(copied.get_submodule(path))
        assert matrices and not any(torch.equal(parameters(fresh)[n], copies[n]) for n in matrices)
    moved = learned(growth, case.inputs)
    assert all(moved.values()), [name for name, did in moved.items() if not did]


def test_fresh_blocks_follow_the_seed() -> None:
    teacher, x = trained(ResidualMLP(depth=2)), drawn(5, 11)
    models = [exact(teacher, {"blocks": 1}, x, init="zero-random", seed=seed).student for seed in (1, 1, 2)]
    one, again, other = (model.blocks[2].up.weight for model in models)
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_fresh_blocks_that_normalise_their_stream() -> None:
    exact(trained(encoder(2)), {"encoder": 1}, IDS, init="zero-random")


def test_a_chain_of_norms_keeps_the_first_ones_eps() -> None:
    """n norms of the stream behind the first: its eps counts double for each, theirs is 1, their gain the root of 2."""
    growth = exact(trained(encoder(2)), {"encoder": [1, 1]}, IDS)
    eps = {path: values["eps"] for path, values in growth.plan.attributes.items()}
    new = {f"encoder.layers.{i}.norm{k}": 1.0 for i in (2, 3) for k in (1, 2)}
    assert eps == {"encoder.layers.1.norm2": pytest.approx(1e-5 * 2**4), **new}
    gain = growth.student.encoder.layers[2].norm1.weight
    assert torch.allclose(gain, torch.full_like(gain, 2**0.5), rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-4, pytest.param(1e-2, marks=pytest.mark.sweep), 1e3])
def test_a_chain_of_norms_is_exact_at_every_size_of_the_stream(scale: float) -> None:
    """Where the stream is small, eps is most of what it is divided by: there a chain with the wrong eps departs."""
    teacher = trained(encoder(2))
    with torch.no_grad():
        teacher.embedding.weight *= scale
        teacher.pos_embedding *= scale
        for layer in teacher.encoder.layers:
            for part in (layer.self_attn.out_proj, layer.linear2):
                part.weight *= scale
                part.bias *= scale
            layer.norm1.weight *= scale
            layer.norm1.bias *= scale
    exact(teacher, {"encoder": 2}, IDS)


def test_frozen_blocks_have_frozen_copies() -> None:
    """A copy of a frozen weight is frozen, and the user is told that the new blocks don't learn."""
    teacher = trained(ResidualMLP(depth=2))
    teacher.blocks.requires_grad_(False)
    with pytest.warns(net2net.Net2NetWarning, match="frozen layers"):
        growth = net2net.deepen(teacher, {"blocks": 2}, drawn(5, 11))
    assert growth.verification.passed and growth.verification.dead
    assert all(name.startswith("blocks") for name in growth.verification.dead)
    trains = {name for name, parameter in parameters(growth.student).items() if parameter.requires_grad}
    assert trains == {name for name in trains if not name.startswith("blocks")} and trains


def test_float32() -> None:
    teacher = CASES[6].teacher().float()
    growth = exact(teacher, {"transformer.h": 2}, IDS, tolerance=1e-5)
    assert {p.dtype for p in growth.student.parameters()} == {torch.float32}


@pytest.mark.parametrize("training", [False, True])
def test_the_mode_stays(training: bool) -> None:
    teacher = CASES[0].teacher().train(training)
    student = exact(teacher, CASES[0].where, IMAGES).student
    assert {module.training for module in student.modules()} == {training}


def test_blocks_that_concatenate_are_refused() -> None:
    """DenseNet's layers hand on more than they took, ShuffleNet's shuffle their stream: copies would not be silent."""
    dense = trained(DenseNet())
    x = drawn(2, 3, 32, 32)
    assert not any(place.kind == "blocks" for place in net2net.analyze(dense, x).places.values())
    shuffled = trained(ShuffleNetV2())
    place = net2net.analyze(shuffled, x).places["stages.0"]
    assert place.growth == "copies" and "concatenates" in place.reason
    refused(
        net2net.FixedDimensionError,
        lambda: net2net.deepen(shuffled, {"stages.0": 1}, x),
        "'stages.0'",
        "concatenates",
        "init='stack'",
    )
