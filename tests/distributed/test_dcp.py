"""Checkpoints of torch.distributed.checkpoint grow as the models that they hold."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard

import net2net
from processes import ranks
from support import trained

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="gloo is needed")


class Tied(nn.Module):
    """A table that is the head too, and blocks on a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6)) for _ in range(2))
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def teacher() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = trained(Tied())
    model.head.weight = model.table.weight
    return model, torch.randint(0, 11, (2, 5))


def stepped(model: nn.Module, x: Tensor) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def saved(rank: int, count: int, folder: Path) -> None:
    """A sharded network and its optimizer are saved by all ranks."""
    model, x = teacher()
    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)
    states = get_state_dict(model, stepped(model, x))
    dcp.save({**dict(zip(("model", "optimizer"), states, strict=True)), "step": 3}, checkpoint_id=folder)


def grown(rank: int, count: int, source: Path, target: Path, plan: net2net.Plan, dies: int = -1) -> Any:
    from net2net.distributed import _dcp

    make, made = _dcp.write, []

    def write(*args: Any) -> Any:
        made.append(1)
        if rank == 1 and len(made) == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return make(*args)

    _dcp.write = write  # in this process alone
    try:
        return net2net.distributed.grow_dcp(source, target, plan, file_bytes=600).bytes
    except net2net.GrowthError as error:
        return str(error)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_checkpoint_of_two_ranks_grows_on_any_number(tmp_path: Path) -> None:
    assert ranks(2, tmp_path / "save", saved, tmp_path / "small") == [None, None]
    model, x = teacher()
    optimizer = stepped(model, x)
    growth = net2net.grow(model, x, where={"blocks": 1}, sizes={"blocks.*.0": 11, "table": 9})
    found = ranks(3, tmp_path / "grow", grown, tmp_path / "small", tmp_path / "big", growth.plan)
    assert len(set(found)) == 1 and found[0][1] > found[0][0], found
    net2net.distributed.grow_dcp(tmp_path / "small", tmp_path / "alone", growth.plan, file_bytes=600)
    assert contents(tmp_path / "big") == contents(tmp_path / "alone")

    student = growth.replay(model).student
    expected, theirs = student.state_dict(), growth.optimizer(optimizer, ramp=0)
    student.load_state_dict({name: torch.zeros_like(t) for name, t in expected.items()})
    new = torch.optim.AdamW(student.parameters(), lr=1.0)
    states = dict(zip(("model", "optimizer"), get_state_dict(student, new), strict=True))
    state = {**states, "step": 0}
    dcp.load(state, checkpoint_id=tmp_path / "big", no_dist=True)
    set_state_dict(student, new, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    assert state["step"] == 3 and new.param_groups[0]["lr"] == 1e-3
    for (name, mine), (_, p) in zip(student.named_parameters(), growth.student.named_parameters(), strict=True):
        assert torch.allclose(mine, p, rtol=1e-12, atol=1e-15), name  # two ranks add gradients in another order
        for key, value in theirs.state[p].items():
            assert torch.allclose(new.state[mine][key], value, rtol=1e-12, atol=1e-15), (name, key)


def test_a_killed_rank_leaves_nothing_and_the_next_run_completes(tmp_path: Path) -> None:
    model, x = teacher()
    plan = net2net.widen(model, {"blocks.*.0": 11, "table": 9}, x).plan
    dcp.save({"model": model.state_dict()}, checkpoint_id=tmp_path / "small", no_dist=True)
    net2net.distributed.grow_dcp(tmp_path / "small", tmp_path / "whole", plan, file_bytes=600)
    for dies in (1, 2):
        found = ranks(2, tmp_path / f"{dies}", grown, tmp_path / "small", tmp_path / "big", plan, dies, timeout=10)
        assert found[1] is None and "growing the checkpoint stopped" in found[0]
        assert not (tmp_path / "big").exists()
    half = contents(tmp_path / "big.partial")
    assert any(name.endswith(".distcp") for name in half)
    net2net.distributed.grow_dcp(tmp_path / "small", tmp_path / "big", plan, file_bytes=600)
    assert contents(tmp_path / "big") == contents(tmp_path / "whole")
    assert not (tmp_path / "big.partial").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    model, x = teacher()
    plan = net2net.widen(model, {"table": 9}, x).plan
    with pytest.raises(net2net.CheckpointError, match=r"has no .\.metadata"):
        net2net.distributed.grow_dcp(tmp_path, tmp_path / "big", plan)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Path.home))
    with pytest.raises(net2net.CheckpointError, match=r"is not loaded|holds a"):
        net2net.distributed.grow_dcp(tmp_path, tmp_path / "big", plan)
    (tmp_path / ".metadata").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(net2net.CheckpointError, match=r"system, which is not loaded"):
        net2net.distributed.grow_dcp(tmp_path, tmp_path / "big", plan)
    other = nn.Sequential(nn.Linear(3, 4))
    dcp.save({"model": other.state_dict()}, checkpoint_id=tmp_path / "other", no_dist=True)
    with pytest.raises(net2net.CheckpointError, match="has no tensor"):
        net2net.distributed.grow_dcp(tmp_path / "other", tmp_path / "big", plan)
    assert not (tmp_path / "big").exists() and not (tmp_path / "big.partial").exists()
