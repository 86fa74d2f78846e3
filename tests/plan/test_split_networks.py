"""Copies of units where weights are grouped, shared, tied, or arranged in gates and heads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import net2net
from support import (
    counts_of,
    from_zoo,
    name_at,
    names_at,
    same,
    source_of,
    trained,
    widen_at,
)

pytestmark = pytest.mark.filterwarnings("ignore:copies with even shares")

EVEN = {"how": "split", "shares": "even"}


KV_HEADS, HEAD = 2, 4  # of the zoo's Llama: 3 query heads read each key-value head


def test_depthwise_weights_are_copied_and_not_divided() -> None:
    teacher, x = from_zoo("separable")
    growth = widen_at(teacher, {"stem.weight": 13}, x, **EVEN)
    g, old, new = source_of(growth, "stem.weight"), teacher.state_dict(), growth.student.state_dict()
    assert torch.equal(new["depthwise.weight"], old["depthwise.weight"][g])
    assert same(new["pointwise.weight"], old["pointwise.weight"][:, g] / counts_of(g).reshape(1, -1, 1, 1))
    assert growth.student.depthwise.groups == 13


def grouped() -> nn.Module:
    return trained(
        nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 9, 3, groups=3), nn.ReLU(), nn.Conv2d(9, 2, 1))
    )


def test_groups_are_copied_whole() -> None:
    teacher, x = grouped(), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    groups = name_at(teacher, x, "2.weight", 0)
    growth = net2net.widen(teacher, {groups: 5}, x, **EVEN)
    g = source_of(growth, "0.weight").reshape(5, 2)
    assert (g % 2 == [0, 1]).all() and (g // 2 == (g // 2)[:, :1]).all()
    units = (g[:, :1] // 2 * 3 + np.arange(3)).ravel()  # of the grouped layer, three in each group
    assert growth.student[2].groups == 5
    assert torch.equal(growth.student[2].weight, teacher[2].weight[units])
    assert same(growth.student[4].weight, teacher[4].weight[:, units] / counts_of(units).reshape(1, -1, 1, 1))


def test_channels_inside_a_group_share_out_inside_it() -> None:
    teacher, x = grouped(), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    inside = name_at(teacher, x, "2.weight", 1)
    growth = net2net.widen(teacher, {inside: 5}, x, **EVEN)
    g = source_of(growth, "2.weight", 1)
    assert growth.student[2].groups == 3 and len(g) == 5
    assert same(growth.student[2].weight, teacher[2].weight[:, g] / counts_of(g).reshape(1, -1, 1, 1))
    everywhere = (np.arange(3)[:, None] * 2 + g).ravel()
    assert torch.equal(growth.student[0].weight, teacher[0].weight[everywhere])


def test_what_a_skip_joins_shares_one_map() -> None:
    teacher, x = from_zoo("resnet_basic")
    growth = widen_at(teacher, {"layers.1.0.conv2.weight": 22}, x, **EVEN)
    g = source_of(growth, "layers.1.0.conv2.weight")
    old, new = teacher.state_dict(), growth.student.state_dict()
    for name in ("layers.1.0.conv2", "layers.1.0.downsample.0", "layers.1.1.conv2"):
        assert torch.equal(new[f"{name}.weight"], old[f"{name}.weight"][g])
    for name in ("layers.1.0.bn2", "layers.1.0.downsample.1", "layers.1.1.bn2"):
        assert torch.equal(new[f"{name}.running_mean"], old[f"{name}.running_mean"][g])
    assert same(new["layers.1.1.conv1.weight"], old["layers.1.1.conv1.weight"][:, g] / counts_of(g)[:, None, None])
    assert same(new["fc.weight"], old["fc.weight"][:, g] / counts_of(g))


class Recurrent(nn.Module):
    def __init__(self, layer: type[nn.RNNBase], hidden: int = 6) -> None:
        super().__init__()
        self.rnn = layer(3, hidden, num_layers=2, batch_first=True)
        self.head = nn.Linear(hidden, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_gate_blocks_share_one_map(layer: type[nn.RNNBase], gates: int) -> None:
    teacher, x = trained(Recurrent(layer)), torch.randn(2, 5, 3, dtype=torch.float64)
    growth = widen_at(teacher, {("head.weight", 1): 10}, x, **EVEN)
    g, old, new = source_of(growth, "head.weight", 1), teacher.state_dict(), growth.student.state_dict()
    rows = (np.arange(gates)[:, None] * 6 + g).ravel()
    for level in range(2):
        assert torch.equal(new[f"rnn.bias_hh_l{level}"], old[f"rnn.bias_hh_l{level}"][rows])
        assert same(new[f"rnn.weight_hh_l{level}"], old[f"rnn.weight_hh_l{level}"][rows][:, g] / counts_of(g))
    assert torch.equal(new["rnn.weight_ih_l0"], old["rnn.weight_ih_l0"][rows])
    assert same(new["rnn.weight_ih_l1"], old["rnn.weight_ih_l1"][rows][:, g] / counts_of(g))
    assert growth.student.rnn.hidden_size == 10


def query_heads(growth: net2net.Growth) -> np.ndarray:
    """Which of the teacher's query heads each query head of the student copies."""
    rows = source_of(growth, "layers.0.attention.q_proj.weight").reshape(-1, HEAD)
    assert (rows % HEAD == np.arange(HEAD)).all()  # heads are copied whole
    return rows[:, 0] // HEAD


def test_more_queries_per_group_are_interleaved_inside_their_group() -> None:
    teacher, x = from_zoo("llama")
    name = names_at(net2net.analyze(teacher, x), "layers.0.attention.q_proj.weight", 0)[1]
    growth = net2net.widen(teacher, {name: 5}, x, **EVEN)
    heads = query_heads(growth).reshape(KV_HEADS, 5)
    assert (heads // 3 == [[0], [1]]).all()  # each stays with the key-value head that it reads
    assert (heads[0] == heads[1] - 3).all() and (heads[0, :3] == np.arange(3)).all()
    assert "layers.0.attention.k_proj.weight" not in growth.plan.tensors
    columns = source_of(growth, "layers.0.attention.o_proj.weight", 1)
    assert (columns == source_of(growth, "layers.0.attention.q_proj.weight")).all()


def test_key_value_heads_bring_their_whole_group_of_queries() -> None:
    teacher, x = from_zoo("llama")
    growth = widen_at(teacher, {"layers.0.attention.k_proj.weight": 5}, x, **EVEN)
    kv = source_of(growth, "layers.0.attention.v_proj.weight").reshape(5, HEAD)[:, 0] // HEAD
    assert (kv[:KV_HEADS] == np.arange(KV_HEADS)).all()
    assert (query_heads(growth).reshape(5, 3) == kv[:, None] * 3 + np.arange(3)).all()
    assert growth.student.layers[0].attention.num_heads == 15


def test_a_tied_embedding_under_an_rms_norm_stays_tied() -> None:
    teacher, x = from_zoo("llama")
    teacher.lm_head.weight = teacher.embed_tokens.weight
    student = (growth := widen_at(teacher, {("lm_head.weight", 1): "2x"}, x, **EVEN)).student
    assert student.lm_head.weight is student.embed_tokens.weight
    g = source_of(growth, "embed_tokens.weight", 1)
    assert torch.equal(student.lm_head.weight, teacher.lm_head.weight[:, g])  # no share fits into a tied weight:
    assert same(student.norm.weight, teacher.norm.weight[g] / counts_of(g))  # the final norm's gain takes it
    assert growth.verification.max_relative_error < 1e-10


def test_a_tied_embedding_under_a_layer_norm_stays_tied() -> None:
    teacher, x = from_zoo("gpt")
    student = (growth := net2net.widen(teacher, 2.0, x, **EVEN)).student
    final, before = student.transformer["ln_f"], teacher.transformer["ln_f"]
    assert student.lm_head.weight is student.transformer["wte"].weight
    assert same(final.weight, before.weight.repeat(2) / 2) and same(final.bias, before.bias.repeat(2) / 2)
    assert growth.verification.max_relative_error < 1e-10
