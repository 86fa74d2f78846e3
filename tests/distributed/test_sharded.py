"""Sharded networks grow as unsharded ones do, bit by bit, whatever the number of processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import net2net
from processes import ranks
from support import trained

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="gloo is needed")


class Residual(nn.Module):
    """Two blocks with BatchNorm on a stream, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(5, 7, 3, padding=1), nn.BatchNorm2d(7), nn.ReLU(), nn.Conv2d(7, 5, 1))
            for _ in range(2)
        )
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x).relu().mean((2, 3)))


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(x).relu())


def residual() -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    return trained(Residual()), torch.randn(4, 3, 6, 6, dtype=torch.float64)


def feed_forward() -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    return trained(nn.Sequential(FeedForward(), FeedForward())), torch.randn(4, 6, dtype=torch.float64)


def llama(kind: str = "Llama") -> tuple[nn.Module, Any]:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 33, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}
    more = {"num_local_experts": 3} if kind == "Mixtral" else {"tie_word_embeddings": True}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**sizes, **heads, **more)
    dtype = torch.float32 if kind == "Mixtral" else torch.float64  # grouped products know no float64
    model = trained(getattr(transformers, f"{kind}ForCausalLM")(config), dtype)
    return model, {"input_ids": torch.randint(0, 33, (2, 7))}


def blocks_of(model: nn.Module) -> list[nn.Module]:
    if isinstance(model, Residual):
        return list(model.blocks)
    return list(model.model.layers) if hasattr(model, "model") else list(model.children())


def fsdp(model: nn.Module) -> None:
    for block in blocks_of(model):
        fully_shard(block)
    fully_shard(model)


def both(model: nn.Module) -> None:
    """Tensor parallel in pairs, and FSDP2 over what is left."""
    mesh = init_device_mesh("cpu", (dist.get_world_size() // 2, 2), mesh_dim_names=("dp", "tp"))
    for block in blocks_of(model):
        parallelize_module(block, mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
        if mesh.size(0) > 1:
            fully_shard(block, mesh=mesh["dp"])
    if mesh.size(0) > 1:
        fully_shard(model, mesh=mesh["dp"])


def with_state(model: nn.Module, cls: type[torch.optim.Optimizer], **options: Any) -> torch.optim.Optimizer:
    """An optimizer as training has left it: its state is drawn, the same for a sharded model."""
    optimizer = cls(model.parameters(), lr=1e-3, **options)  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(3)
    for p in list(model.parameters()):
        drawn = [torch.rand(p.shape, dtype=p.dtype, generator=generator) for _ in range(2)]
        if isinstance(p, DTensor):
            drawn = [distribute_tensor(d, p.device_mesh, p.placements, src_data_rank=None) for d in drawn]
        adam = {"step": torch.tensor(7.0), "exp_avg": drawn[0], "exp_avg_sq": drawn[1]}
        optimizer.state[p] = adam if cls is torch.optim.AdamW else {"momentum_buffer": drawn[0]}
    return optimizer


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Every tensor of a model and its optimizer, gathered."""
    found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, p in model.named_parameters():
        found |= {f"{name}/{key}": value for key, value in optimizer.state[p].items()}
    return {n: (t.full_tensor() if isinstance(t, DTensor) else t).detach().clone() for n, t in found.items()}


def entries_held(tensor: Tensor) -> int:
    """How many entries are in memory for a rank's part: a view keeps all that it is a view of."""
    part = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return part.untyped_storage().nbytes() // part.element_size()


def sharded(rank: int, count: int, make: Any, plan: Any, shard: Any, cls: Any, options: dict[str, Any]) -> Any:
    model, x = make()
    shard(model)
    optimizer = with_state(model, cls, **options)
    before = tensors_of(model, optimizer)
    given = None if shard is fsdp else shard
    growth = net2net.distributed.grow(model, plan, x, optimizer=optimizer, parallelize=given, ramp=0)
    held = [[p, *growth.optimizer.state[p].values()] for p in growth.student.parameters()]
    local = max(sum(entries) for entries in zip(*(map(entries_held, some) for some in held), strict=True))
    layouts = {n: str(p.placements) for n, p in growth.student.named_parameters() if isinstance(p, DTensor)}
    theirs = {n: str(p.placements) for n, p in model.named_parameters() if isinstance(p, DTensor)}
    after = tensors_of(model, optimizer)
    assert all(torch.equal(before[n], after[n]) for n in before), "the teacher was changed"
    made = tensors_of(growth.student, growth.optimizer)
    for _ in range(2):  # it trains
        out = growth.student(**x).logits if isinstance(x, dict) else growth.student(x)
        out.square().mean().backward()
        growth.optimizer.step()
        growth.optimizer.zero_grad()
    return made, local, layouts, theirs, growth.verification.max_relative_error, growth.plan.fingerprint


ADAM: tuple[Any, dict[str, Any]] = (torch.optim.AdamW, {})
SGD: tuple[Any, dict[str, Any]] = (torch.optim.SGD, {"momentum": 0.9})
CASES: dict[str, Any] = {
    "resnet": (residual, {"sizes": {"stem": 9, "blocks.*.0": 11}, "where": {"blocks": 1}}, ADAM),
    "llama": (llama, {"sizes": {"model.embed_tokens": 24, "model.layers.*.mlp.up_proj": 25}}, ADAM),
    "mixture": (lambda: llama("Mixtral"), {"sizes": {"model.embed_tokens": 24}}, SGD),
}


def compare(count: int, folder: Path, make: Any, request: dict[str, Any], optimizer: Any, shard: Any = fsdp) -> None:
    teacher, x = make()
    growth = net2net.grow(teacher, x, **request)
    old = with_state(teacher, optimizer[0], **optimizer[1])
    expected = tensors_of(growth.student, growth.optimizer(old, ramp=0))
    found = ranks(count, folder, sharded, make, growth.plan, shard, *optimizer)
    assert all(isinstance(result, tuple) for result in found), found
    whole = sum(p.numel() for p in growth.student.parameters())
    for made, local, layouts, theirs, error, _ in found:
        assert made.keys() == expected.keys()
        assert [n for n in expected if not torch.equal(made[n], expected[n])] == []
        assert {n: layouts[n] for n in theirs} == theirs
        assert local <= whole / count * 1.7
        assert error < (1e-5 if isinstance(x, dict) else 1e-10)
    assert len({result[-1] for result in found}) == 1


@pytest.mark.parametrize("name", ["llama", pytest.param("mixture", marks=pytest.mark.sweep)])
def test_two_processes_make_what_one_makes(name: str, tmp_path: Path) -> None:
    compare(2, tmp_path / "run", *CASES[name])


@pytest.mark.parametrize(
    "count", [pytest.param(1, marks=pytest.mark.sweep), pytest.param(2, marks=pytest.mark.sweep), 4]
)
def test_as_many_processes_as_there_are(count: int, tmp_path: Path) -> None:
    compare(count, tmp_path / "run", *CASES["resnet"])


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["llama", "mixture"])
def test_four_processes_make_what_one_makes(name: str, tmp_path: Path) -> None:
    compare(4, tmp_path / "run", *CASES[name])


@pytest.mark.parametrize("count", [2, 4])
def test_tensor_parallel_and_both(count: int, tmp_path: Path) -> None:
    compare(count, tmp_path / "run", feed_forward, {"sizes": {"*.up": 12}}, ADAM, both)


def refused(rank: int, count: int, how: str) -> str:
    model, x = feed_forward()
    if how == "tensor parallel":
        both(model)
    else:
        fsdp(model)
    try:
        if how == "another seed":
            net2net.distributed.grow(model, {"sizes": {"0.up": 12}, "seed": rank}, x)
        elif how == "one fails":
            net2net.distributed.grow(model, {"sizes": {"0.up": 12}}, x if rank == 0 else x[:, :5])
        elif how == "tensor parallel":
            net2net.distributed.grow(model, {"0.up": 12}, x)
        elif how == "not exact":
            net2net.distributed.grow(model, spoilt(), x)
        elif how == "killed":
            from net2net.distributed import _fill

            make, made = _fill.grow_one, []

            def dying(*args: Any) -> Any:
                made.append(1)
                if rank == 1 and len(made) == 3:
                    os.kill(os.getpid(), signal.SIGKILL)
                return make(*args)

            _fill.grow_one = dying
            net2net.distributed.grow(model, {"0.up": 12}, x)
    except net2net.GrowthError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def spoilt() -> net2net.Plan:
    """A plan that promises an exact student, and makes another one."""
    from dataclasses import replace

    model, x = feed_forward()
    plan = net2net.widen(model, {"0.up": 12}, x).plan
    tensors = {**plan.tensors, "0.down.weight": replace(plan.tensors["0.down.weight"], scale=1.001)}
    return replace(plan, tensors=tensors)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("another seed", "rank 1 plans another growth"),
        ("one fails", "planning failed on rank 1"),
        ("tensor parallel", "give parallelize="),
        ("not exact", "the student doesn't compute the teacher's function"),
    ],
)
def test_all_ranks_refuse_together(how: str, words: str, tmp_path: Path) -> None:
    found = ranks(2, tmp_path / "run", refused, how)
    others = found[:1] if how == "one fails" else found
    assert all(words in text for text in others), found
    assert "no error" not in found


def test_a_killed_rank_stops_the_others(tmp_path: Path) -> None:
    found = ranks(2, tmp_path / "run", refused, "killed", timeout=10)
    assert found[1] is None and "growing stopped" in found[0]
