"""How a network is sharded, read off its modules, and the same for its student."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard

from net2net.errors import OptionError


@dataclass(frozen=True)
class Group:
    """Modules that one call of `fully_shard` took, by their paths, and its options."""

    paths: tuple[str, ...]
    options: dict[str, Any]


def groups(model: nn.Module) -> list[Group]:
    """The calls of `fully_shard` that sharded a network, the innermost modules first."""
    paths = {module: path for path, module in model.named_modules()}
    found: dict[int, Group] = {}
    for module in model.modules():
        if isinstance(module, FSDPModule):
            state: Any = module._get_fsdp_state()
            found[id(state)] = Group(tuple(paths[m] for m in state._modules if m in paths), _options(state))
    return sorted(found.values(), key=lambda group: -max(path.count(".") + bool(path) for path in group.paths))


def _options(state: Any) -> dict[str, Any]:
    options = {"mp_policy": state._mp_policy}
    for group in state._fsdp_param_groups[:1]:
        options |= {"mesh": group.mesh_info.mesh, "offload_policy": group.offload_policy}
        after = group.post_forward_mesh_info
        if not state._auto_reshard_after_forward:
            size = None if after is None else after.mesh.size()
            options["reshard_after_forward"] = False if size is None else size == group.mesh_info.mesh.size() or size
    return options


def shard_alike(teacher: nn.Module, student: nn.Module, mesh: DeviceMesh | None) -> None:
    """Shard a student in place as FSDP2 has sharded its teacher.

    A module of the student is what the teacher's of the same path is; a new block is what the blocks around it are.

    Raises:
        OptionError: the teacher is sharded in another way too.
    """
    found = groups(teacher)
    modules = dict(student.named_modules())
    placements = {_pattern(name): _axis(p) for name, p in teacher.named_parameters() if isinstance(p, DTensor)}
    if any(isinstance(p, DTensor) and p.device_mesh.ndim > 1 for p in teacher.parameters()) or (
        placements and not found
    ):
        raise OptionError(
            "the network is not sharded by fully_shard alone (tensor parallel, or a mesh of two axes): give "
            "parallelize=, the function that sharded it, which is called with the student."
        )
    names = {id(p): _pattern(name) for name, p in student.named_parameters()}
    done: set[str] = set()
    for group in found:
        patterns = {_pattern(path) for path in group.paths}
        if len(group.paths) > 1:
            calls: list[Any] = [[modules[path] for path in group.paths]]
        else:
            calls = [m for path, m in modules.items() if _pattern(path) in patterns and path not in done]
        done |= {path for path in modules if _pattern(path) in patterns}
        options = group.options if mesh is None else {**group.options, "mesh": mesh}
        for call in calls:
            fully_shard(call, shard_placement_fn=lambda p: Shard(placements.get(names[id(p)], 0)), **options)


def _pattern(path: str) -> str:
    """A path with its numbers left out: the blocks of a stack are alike."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", path)


def _axis(tensor: DTensor) -> int:
    return next((p.dim for p in tensor.placements if isinstance(p, Shard)), 0)


def at_rest(model: nn.Module) -> nn.Module:
    """The network with its parameters as shards: a forward leaves those of the outermost modules gathered."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    return model
