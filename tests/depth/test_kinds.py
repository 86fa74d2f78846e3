"""Stacks whose blocks differ: some dense before mixtures, two kinds in turn. What repeats is a period."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from deeper import exact, learned
from net2net.depth import BlockEdit, DepthOptions, Stack, find_stacks, orders
from net2net.moe import MixtureOfExperts
from net2net.operators._depth_design import DepthDesigner
from net2net.plan import Deepening
from net2net.pretrained import moved_places
from support import drawn, refused, trained
from zoo.huggingface_mixtures import MODELS

ZOO = {model.name: model for model in MODELS}


def stack(kinds: str) -> Stack:
    """A stack of these kinds, as far as orders look at it."""
    return Stack("blocks", "blocks", tuple(kinds), 0, tuple(kinds), tuple(kinds))  # type: ignore[arg-type]  # no blocks


def written(kinds: str, new: int, positions: Any = None) -> list[str]:
    """Every order as text: capitals where a block is new."""
    found = orders(stack(kinds), new, "identity", positions)
    return ["".join(kinds[source].upper() if fresh else kinds[source] for source, fresh in one) for one in found]


@pytest.mark.parametrize(
    ("kinds", "new", "positions", "first"),
    [
        ("dmdm", 2, None, "dmdmDM"),
        ("dmdm", 4, None, "dmDMdmDM"),
        ("dmdm", 1, None, "dmdmM"),
        ("dmmm", 3, None, "dmMmMmM"),
        ("ddmm", 1, None, "ddmmM"),
        ("dmdmd", 2, None, "dmdmdMD"),
        ("dmdm", 4, "spread", "dmDMdmDM"),
        ("abcb", 4, None, "abcbABCB"),
        ("dmdm", 2, "append", "dmdmDM"),
        ("dmdm", 2, [0, 2], "dDmdDm"),
    ],
    ids=str,
)
def test_what_comes_first(kinds: str, new: int, positions: Any, first: str) -> None:
    found = written(kinds, new, positions)
    assert first == found[0]
    assert all("".join(k for k in one if k.islower()) == kinds and len(one) == len(kinds) + new for one in found)


def test_other_ways_follow_for_classes_that_make_other_blocks() -> None:
    """A class may begin its pattern anew, go on with it, or have a number that says where one kind ends."""
    assert {"dmM", "dmD", "dDm"} <= set(written("dm", 1))
    assert {"abcbA", "abcbB"} <= set(written("abcb", 1))
    assert written("mm", 1) == ["mmM"]  # of one kind: as ever


def test_words_of_a_config_that_name_layers_follow() -> None:
    config = SimpleNamespace(
        num_hidden_layers=3,
        first_k_dense_replace=1,
        moe_layer_end_index=2,
        mlp_only_layers=[0],
        eos_token_id=[0, 1],
        hidden_size=2,
    )
    inserted, *others = moved_places(config, 3, [0, 0, 1, 2, 2])  # after the first and after the last
    assert inserted == {("first_k_dense_replace",): 2, ("moe_layer_end_index",): 4, ("mlp_only_layers",): [0, 1]}
    assert {("mlp_only_layers",): [0, 1]} in others
    assert list(moved_places(config, 3, [0, 1, 2])) == [{("mlp_only_layers",): [0]}]


class Dense(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 9), nn.Linear(9, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.tanh(self.up(self.norm(x))))


class Sparse(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mixture = nn.LayerNorm(width), MixtureOfExperts(width, 7, experts=4, top_k=2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mixture(self.norm(x))


class Net(nn.Module):
    def __init__(self, kinds: str, width: int = 6) -> None:
        super().__init__()
        self.inside = nn.Linear(5, width)
        self.blocks = nn.ModuleList(Dense(width) if kind == "d" else Sparse(width) for kind in kinds)
        self.outside = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inside(x)
        for block in self.blocks:
            x = block(x)
        return self.outside(x)


def test_whole_periods_of_a_network_of_ones_own() -> None:
    """Silent by the experts' and the feed-forwards' last projections, and alive at once."""
    teacher, x = trained(Net("dmdm")), drawn(4, 6, 5)
    growth = exact(teacher, {"blocks": 2}, x)
    assert [type(block).__name__ for block in growth.student.blocks] == ["Dense", "Sparse"] * 3
    moved = learned(growth, x)
    assert all(moved[name] for name in moved if "experts" not in name), "a new weight stays where it is"
    assert moved["blocks.3.mixture.experts.down"] and moved["blocks.5.mixture.experts.up"]


def test_a_plan_of_one_part_of_a_stack_is_still_replayed() -> None:
    """Plans of versions that knew stacks of one kind only name a part."""
    teacher, x = trained(Net("ddmmd")), drawn(4, 6, 5)
    designer = DepthDesigner(teacher, net2net.analyze(teacher, x), DepthOptions(), x, None)
    (whole,) = find_stacks(designer.analysis.sites.inference, teacher)
    assert (whole.name, len(whole)) == ("blocks", 5)
    edit = designer.again(Deepening("blocks.2", "blocks", "identity", (0, 1, 1), (False, False, True)))
    assert isinstance(edit, BlockEdit) and [block.path for block in edit.stack.blocks] == ["blocks.2", "blocks.3"]


WORDS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("deepseek_v2", {"model.layers": [0]}, "0 0 1 2", {"first_k_dense_replace": 2, "num_hidden_layers": 4}),
    ("qwen2_moe", {"model.layers": 2}, "0 1 2 3 2 3", {"num_hidden_layers": 6, "decoder_sparse_step": 2}),
    ("qwen3_moe", {"model.layers.0": 1}, "0 0 1 2", {"mlp_only_layers": [0, 1]}),
    ("ernie4_5_moe", {"model.layers.0": 1}, "0 0 1 2", {"moe_layer_start_index": 2, "moe_layer_end_index": 3}),
    ("llama4", {"model.layers": 2}, "0 1 2 3 2 3", {"moe_layers": [1, 3, 5]}),
    ("lfm2_moe", {"model.layers.0": 1}, "0 0 1 2 3", {"layer_types": ["conv", *["conv", "full_attention"] * 2]}),
    ("jamba", {"model.layers": 4}, "0 1 2 3 0 1 2 3", {"num_hidden_layers": 8}),
]


@pytest.mark.parametrize(
    ("name", "where", "sources", "words"),
    [one if k == 0 else pytest.param(*one, marks=pytest.mark.sweep) for k, one in enumerate(WORDS)],
)
def test_the_words_of_the_config_follow(
    name: str, where: dict[str, Any], sources: str, words: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    teacher: Any = ZOO[name].build().eval()
    inputs = ZOO[name].inputs()
    growth = net2net.deepen(teacher, where, inputs)
    assert " ".join(map(str, growth.plan.deepenings[0].sources)) == sources and not growth.verification.dead
    growth.student.save_pretrained(tmp_path)
    loaded = type(teacher).from_pretrained(tmp_path).eval()
    assert {word: getattr(loaded.config, word) for word in words} == words
    with torch.no_grad():
        ours, theirs = teacher.eval()(**inputs).logits, loaded(**inputs).logits
    assert float((ours - theirs).abs().max() / ours.abs().max()) <= 1e-5


@pytest.mark.sweep
def test_a_place_that_the_class_cant_express_is_refused() -> None:
    """Every second layer is a mixture: another mixture after one would make all that follow something else."""
    pytest.importorskip("transformers")
    teacher = ZOO["qwen2_moe"].build().eval()
    refused(
        net2net.CouplingError,
        lambda: net2net.deepen(teacher, {"model.layers.1": 1}, ZOO["qwen2_moe"].inputs()),
        "Qwen2MoeForCausalLM",
        "can't be constructed with these layers",
    )
