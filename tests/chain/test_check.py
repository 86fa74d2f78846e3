"""What a chain says before it is trained; and how its links begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from net2net.chain import Link
from net2net.chain._start import start

X = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, width // 8, batch_first=True)  # q, k and v are one tensor
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        added: torch.Tensor = self.outer(nn.functional.gelu(self.inner(self.inner_norm(x))))
        return x + added


class Vision(nn.Module):
    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(12, width), nn.Linear(width, 3)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.leave(x.mean(1))
        return logits


def build(size: tuple[int, int]) -> nn.Module:
    return Vision(*size)


def begun(init: str, size: tuple[int, int]) -> Any:
    torch.manual_seed(1)
    teacher = Vision(16, 2)
    known: dict[str, Any] = {"init": init, "options": {}, "seed": 3, "name": "it"}
    return teacher, start(size, build, teacher, X, **known)


def test_the_overlay_puts_q_k_and_v_in_their_places() -> None:
    """Laid over the rows from the top, as published, the teacher's k would be read as q."""
    teacher, made = begun("overlay", (32, 4))
    for block, source in enumerate((0, 0, 1, 1)):  # every block stands twice in a row
        ours = made.model.blocks[block].attention.in_proj_weight.view(3, 32, 32)
        theirs = teacher.blocks[source].attention.in_proj_weight.view(3, 16, 16)
        assert torch.equal(ours[:, :16, :16], theirs)
        assert torch.equal(made.model.blocks[block].inner.weight[:32, :16], teacher.blocks[source].inner.weight)
        assert torch.equal(made.model.blocks[block].norm.weight[:16], teacher.blocks[source].norm.weight)
    published = torch.empty(96, 32)
    published[:48, :16] = teacher.blocks[0].attention.in_proj_weight
    laid = published.view(3, 32, 32)[:, :16, :16]
    assert not torch.equal(laid[1], teacher.blocks[0].attention.in_proj_weight.view(3, 16, 16)[1])
    assert made.preserves == "none" and made.error > 0.01


@pytest.mark.thin(2)
@pytest.mark.parametrize("size", [(24, 3), (32, 2)])
def test_exact_links_are_exact(size: tuple[int, int]) -> None:
    teacher, made = begun("exact", size)
    x = torch.randn(7, 9, 12)
    with torch.no_grad():
        error = (made.model(x) - teacher(x)).abs().max() / teacher(x).abs().max()
    assert made.preserves == "exact" and float(error) < 1e-5


def test_scratch_is_what_the_class_draws() -> None:
    _, made = begun("scratch", (32, 2))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = Vision(32, 2)
    assert made.growth is None and torch.equal(made.model.enter.weight, expected.enter.weight)


def test_a_forecast() -> None:
    sizes = [(16, 8), (24, 12), (56, 12)]
    chain = net2net.Chain(sizes, build, X, steps=[100, 50, 25], distillation=net2net.FeatureDistillation("output"))
    with pytest.warns(net2net.Net2NetWarning, match=r"2 to 4 times .*'3' \(5.\dx\) is not"):
        found = chain.check()
    assert [m.link for m in found.models] == ["", "exact", "exact"] and found.exact
    second = found.models[1]
    assert second.parameters == sum(p.numel() for p in Vision(24, 12).parameters())
    assert second.teacher_flops * 2.8 < found.models[0].flops < second.teacher_flops * 3.01
    assert second.cost == 50 * (second.flops + second.teacher_flops) and second.cost_alone == 100 * second.flops
    assert found.largest == found.flops / (100 * found.models[2].flops)
    assert "the family costs" in str(found) and found.summary()["exact"]


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore:models should be 2 to 4 times:net2net.Net2NetWarning")
def test_a_forecast_says_why_a_link_is_not_exact() -> None:
    found = net2net.Chain([(16, 2), (32, 1)], build, X).check()
    assert found.models[1].link == "refused" and found.models[1].reason
    overlay, scratch = (
        net2net.Chain([(16, 2), (32, 2)], build, X, init=init).check().models[1] for init in ("overlay", "scratch")
    )
    assert (overlay.link, scratch.link) == ("overlay", "scratch")
    assert "computes something else" in overlay.reason and "random weights" in scratch.reason


def test_a_link_that_can_not_be_made_is_refused_by_name(tmp_path: Path) -> None:
    chain = net2net.Chain([(16, 2), (8, 2)], build, X, steps=1)
    with pytest.raises(net2net.StudentMismatchError, match="model '2' from '1': "):
        chain.run(lambda model, link: 0.0, tmp_path)
    assert (tmp_path / "models" / "1.safetensors").exists()


def test_growth_requests_are_links(tmp_path: Path) -> None:
    def small() -> nn.Module:
        return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))

    chain = net2net.Chain([small, {"sizes": {"0": 19}}], None, X, steps=1)
    assert chain.check().models[1].link == "exact"

    def train(model: nn.Module, link: Link) -> float:
        return float(model(X).sum())

    first, again = chain.run(train, tmp_path), chain.run(train, tmp_path)
    assert first.models[1][0].out_features == 19  # type: ignore[index, union-attr]
    assert torch.equal(first.models[1](X), again.models[1](X)) and torch.allclose(
        first.models[0](X), again.models[1](X)
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"models": [1]}, "at least two"),
        ({"steps": [1]}, "steps= has 1 entries for 2 models"),
        ({"steps": 0}, "no number of steps"),
        ({"init": "exactly"}, "init='exactly'"),
        ({"init": ["exact", "exact"]}, "init= has 2 entries for 1 links"),
        ({"names": ["a", "a"]}, "must differ"),
        ({"carry": "keep"}, "give optimizer="),
        ({"build": None, "models": [{"sizes": 2.0}, {"sizes": 2.0}]}, "grows from none"),
    ],
)
def test_what_a_chain_refuses(options: dict[str, Any], words: str) -> None:
    known: dict[str, Any] = {"models": [1, 2], "build": build, "inputs": X}
    with pytest.raises(net2net.OptionError, match=words):
        net2net.Chain(**(known | options))


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore:models should be 2 to 4 times:net2net.Net2NetWarning")
@pytest.mark.parametrize("kind", ["vit", "llama"])
def test_large_families_are_checked_without_memory(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    if kind == "vit":
        sizes = [
            transformers.ViTConfig(
                hidden_size=w, intermediate_size=4 * w, num_hidden_layers=n, num_attention_heads=w // 64
            )
            for w, n in ((192, 12), (384, 12), (768, 12), (1024, 24))
        ]  # fmt: skip
        make: Any = transformers.AutoModelForImageClassification.from_config
        inputs = {"pixel_values": torch.zeros(2, 3, 224, 224)}
    else:
        sizes = [
            transformers.LlamaConfig(
                vocab_size=32000, hidden_size=w, intermediate_size=i, num_hidden_layers=n, head_dim=128,
                num_attention_heads=w // 128, num_key_value_heads=w // 128,
            )
            for w, i, n in ((1024, 4096, 24), (2048, 6144, 24), (4096, 11008, 32))
        ]  # fmt: skip
        make = transformers.AutoModelForCausalLM.from_config
        inputs = {"input_ids": torch.zeros(2, 64, dtype=torch.long)}
    assert net2net.Chain(sizes, make, inputs).check().exact
