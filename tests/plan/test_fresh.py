"""New units that are silent at first: zero-out, pairs, normalised streams of any size, whole groups."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import from_zoo, name_at, names_at, repeatable, same, trained, widen_at

N = 7


@repeatable
def mlp() -> nn.Module:
    return trained(nn.Sequential(nn.Linear(4, N), nn.GELU(), nn.Linear(N, 3)))


def vectors() -> Tensor:
    return torch.randn(6, 4, dtype=torch.float64)


def test_zero_out_is_random_on_the_way_in_and_zero_on_the_way_out() -> None:
    teacher = mlp()
    growth = widen_at(teacher, {"0.weight": 12}, vectors(), how="zero_out")
    old, new = teacher.state_dict(), growth.student.state_dict()
    for name in ("0.weight", "0.bias"):
        assert torch.equal(new[name][:N], old[name])
    assert torch.equal(new["2.weight"][:, :N], old["2.weight"])
    assert new["2.weight"][:, N:].count_nonzero() == 0
    fresh = new["0.weight"][N:]
    assert fresh.unique().numel() == fresh.numel()
    assert 0.3 < float(fresh.std() / old["0.weight"].std()) < 3  # of the size of the old ones
    assert growth.verification.max_relative_error < 1e-12
    assert growth.verification.dead == ()


def test_the_draw_depends_on_the_seed_alone() -> None:
    def fresh(seed: int) -> Tensor:
        torch.seed()  # the global state plays no part
        return widen_at(mlp(), {"0.weight": 12}, torch.ones(2, 4).double(), how="zero_out", seed=seed).student[0].weight

    assert torch.equal(fresh(1)[N:], fresh(1)[N:])
    assert not torch.equal(fresh(1)[N:], fresh(2)[N:])


@pytest.mark.parametrize("size", [11, 12])
def test_pairs_cancel_until_the_first_step(size: int) -> None:
    teacher = mlp()
    growth = widen_at(teacher, {"0.weight": size}, vectors(), how="pair")
    into, out = growth.student[0].weight, growth.student[2].weight
    half = (size - N) // 2
    first, second = slice(N, N + half), slice(N + half, N + 2 * half)
    assert torch.equal(into[first], into[second])
    assert torch.equal(growth.student[0].bias[first], growth.student[0].bias[second])
    assert torch.equal(out[:, first], -out[:, second]) and out[:, first].count_nonzero() == out[:, first].numel()
    assert out[:, N + 2 * half :].count_nonzero() == 0  # one that has no partner is zero
    assert growth.verification.max_relative_error < 1e-12 and growth.verification.dead == ()
    assert into[N:].count_nonzero() == into[N:].numel()


def test_an_rms_stream_takes_any_size() -> None:
    teacher, x = from_zoo("llama")
    growth = widen_at(teacher, {("embed_tokens.weight", 1): 27}, x, how="zero_out")
    student, ratio = growth.student, 20 / 27
    for (_, before), (path, after) in zip(_norms(teacher), _norms(student), strict=True):
        assert same(after.weight[:20], before.weight * math.sqrt(ratio)), path
        assert after.weight[20:].count_nonzero() == 7, path
        assert after.eps == pytest.approx(before.eps * ratio, rel=1e-12), path
    for writer in (student.embed_tokens.weight.T, student.layers[0].attention.o_proj.weight):
        assert writer[20:].count_nonzero() == 0
    for layer, before in zip(student.layers, teacher.layers, strict=True):
        assert layer.down_proj.weight[20:].count_nonzero() == 0
        for name in ("gate_proj", "up_proj"):  # readers of the stream start alive
            read = layer.get_submodule(name).weight
            assert torch.equal(read[:, :20], before.get_submodule(name).weight)
            assert read[:, 20:].count_nonzero() == read[:, 20:].numel()
        assert layer.attention.q_proj.weight[:, 20:].count_nonzero() == 7 * 24
    assert student.lm_head.weight[:, 20:].count_nonzero() == 7 * 37
    assert growth.verification.max_relative_error < 1e-10 and growth.verification.dead == ()


def _norms(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(path, m) for path, m in model.named_modules() if "Norm" in type(m).__name__]


@pytest.mark.parametrize("size", [15, 20, 45])
def test_a_layer_norm_stream_gets_the_mean(size: int) -> None:
    teacher, x = from_zoo("mlp_layernorm_residual")
    growth = widen_at(teacher, {"stem.weight": size}, x, how="zero_out")
    student, ratio = growth.student, 14 / size
    writers = [(teacher.stem, student.stem)]
    writers += [(a.down, b.down) for a, b in zip(teacher.blocks, student.blocks, strict=True)]
    for before, after in writers:
        assert torch.equal(after.weight[:14], before.weight)
        assert same(after.weight[14:], before.weight.mean(0).expand(size - 14, -1))
        assert same(after.bias[14:], before.bias.mean().expand(size - 14))
    for (_, before), (path, after) in zip(_norms(teacher), _norms(student), strict=True):
        assert same(after.weight[:14], before.weight * math.sqrt(ratio)), path
        assert torch.equal(after.bias[:14], before.bias) and after.bias[14:].count_nonzero() == 0, path
        assert after.eps == pytest.approx(before.eps * ratio, rel=1e-12), path
        assert after.normalized_shape == (size,)
    for before, after in zip(teacher.blocks, student.blocks, strict=True):
        assert torch.equal(after.up.weight[:, :14], before.up.weight)
        assert after.up.weight[:, 14:].count_nonzero() == after.up.weight[:, 14:].numel()
    assert growth.verification.max_relative_error < 1e-10 and growth.verification.dead == ()


@pytest.mark.parametrize(("size", "nearest"), [(31, ("48",)), (50, ("48", "72"))])
def test_a_post_norm_stream_names_the_nearest_multiples(size: int, nearest: tuple[str, ...]) -> None:
    teacher, x = from_zoo("transformer_encoder_postnorm")
    stream = name_at(teacher, x, "fc.weight", 1)
    with pytest.raises(net2net.SizeError) as caught:
        net2net.widen(teacher, {stream: size}, x)
    message = str(caught.value)
    assert stream in message and "layer_norm" in message and "encoder.layers.0.norm1" in message
    assert all(word in message for word in nearest)
    assert "24 or" not in message  # the size that is there is no growth


def test_a_post_norm_stream_doubles_exactly() -> None:
    teacher, x = from_zoo("transformer_encoder_postnorm")
    growth = net2net.widen(teacher, 2.0, x)  # its class ties the number of heads to the stream
    assert growth.student.fc.in_features == 48 and growth.student.encoder.layers[0].self_attn.num_heads == 6
    assert growth.verification.max_relative_error < 1e-10


def test_group_norm_grows_by_whole_groups() -> None:
    teacher, x = from_zoo("resnet_groupnorm")
    groups, width = names_at(net2net.analyze(teacher, x), "conv1.weight", 0)
    growth = net2net.widen(teacher, {groups: 7}, x, how="zero_out")
    norm = growth.student.bn1
    assert (norm.num_groups, norm.num_channels, growth.student.conv1.out_channels) == (7, 21, 21)
    assert torch.equal(norm.weight[:12], teacher.bn1.weight)
    assert growth.verification.max_relative_error < 1e-10 and growth.verification.dead == ()
    with pytest.raises(net2net.SizeError, match=r"6|9"):
        net2net.widen(teacher, {width: 4}, x)


class TwoReaders(nn.Module):
    """Two layers read the grown units, and their results are multiplied: zero on both sides would be dead."""

    def __init__(self, hidden: int = N) -> None:
        super().__init__()
        self.into = nn.Linear(4, hidden)
        self.gate, self.up = nn.Linear(hidden, 9), nn.Linear(hidden, 9)
        self.down = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.into(x))
        return self.down(nn.functional.silu(self.gate(h)) * self.up(h))


def test_a_product_of_two_readers_is_alive() -> None:
    growth = widen_at(trained(TwoReaders()), {"into.weight": 11, "gate.weight": 13}, vectors(), how="zero_out")
    assert growth.student.down.weight[:, 9:].count_nonzero() == 0
    assert growth.verification.max_relative_error < 1e-12 and growth.verification.dead == ()


@pytest.mark.parametrize(
    "name",
    [
        "mlp_gated",
        "tied_linears",
        "squeeze_excite",
        "resnet_preact",
        "densenet",
        "vit",
        "gpt",
        "llama",
        "mlp_mixer",
    ],
)
def test_every_fresh_growth_is_alive(name: str) -> None:
    teacher, x = from_zoo(name)
    growth = net2net.widen(teacher, 2.0, x)
    assert {widening.how for widening in growth.plan.widenings} <= {"zero_out", "split"}
    assert any(widening.how == "zero_out" for widening in growth.plan.widenings)
    assert growth.verification.passed and growth.verification.dead == ()
