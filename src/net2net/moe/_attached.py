"""Replica routing beside a checkpoint: a network's own class loads the folder, and a call puts the replicas back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from net2net.capture import structural_copy
from net2net.errors import CheckpointError, OptionError, StudentMismatchError
from net2net.moe._replicas import EXPERT_COUNT, source_of
from net2net.moe._routing import ReplicaExperts, ReplicaRouting, ReplicatedExpert
from net2net.pretrained import is_pretrained

REPLICAS_FILE = "net2net-replicas.safetensors"
_ABOUT = "replicas"


def save_replicas(model: nn.Module, folder: str | Path, **options: Any) -> None:
    """Save a transformers model with replica routing, as `save_pretrained` saves one of its own class.

    The usual files hold the network with the first replica of each expert: `from_pretrained` loads that, as ever.
    `net2net-replicas.safetensors` beside them holds all replicas and their routing, for `attach_replicas`.

    Args:
        model: from `net2net.upcycle`, trained or not.
        folder: where to.
        options: of `save_pretrained`.

    Raises:
        OptionError: the model has no replicas, or no `save_pretrained`.

    Example:
        >>> save_replicas(student, "mixtral-8x2")  # doctest: +SKIP
        >>> model = MixtralForCausalLM.from_pretrained("mixtral-8x2")  # doctest: +SKIP
        >>> net2net.attach_replicas(model, "mixtral-8x2")  # doctest: +SKIP
    """
    if not is_pretrained(model):
        raise OptionError(f"{type(model).__name__} has no save_pretrained: save its state_dict and the growth's plan.")
    about, tensors, own = described(model)
    if not about:
        raise OptionError(f"{type(model).__name__} has no replicas: save_pretrained is all that it needs.")
    stock: Any = own
    stock.save_pretrained(folder, **options)
    write_replicas(Path(folder), about, tensors)


def described(model: nn.Module) -> tuple[dict[str, Any], dict[str, torch.Tensor], nn.Module]:
    """The replicas of a network: what is where, their tensors, and the network with the first replica of each."""
    about: dict[str, Any] = {}
    tensors: dict[str, torch.Tensor] = {}
    stock = structural_copy(model)
    for path, module in model.named_modules():
        if isinstance(module, (ReplicaExperts, ReplicatedExpert)):
            slots = list(module.slots) if isinstance(module, ReplicaExperts) else None
            about[path] = {"counts": list(module.routing.counts), "slots": slots}
            if any(path.startswith(f"{other}.") for other in about if other != path):
                continue  # replicas of replicas: the outer one has them
            tensors |= {f"{path}.{name}": tensor.contiguous() for name, tensor in module.state_dict().items()}
            stock.set_submodule(path, _first(module))
    return about, tensors, stock


def write_replicas(folder: Path, about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write the file that `attach_replicas` reads."""
    apart = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    save_file(apart, folder / REPLICAS_FILE, {"format": "pt", _ABOUT: json.dumps(about)})


def attach_replicas(model: nn.Module, folder: str | Path) -> nn.Module:
    """Put replicas and their routing back into a model that `from_pretrained` has loaded from the same folder.

    Args:
        model: of the folder's own class; it is changed in place, and stays in its mode, dtype and device.
        folder: made by `net2net.upcycle_checkpoint` with replica routing, or by `save_replicas`.

    Returns:
        The model.

    Raises:
        CheckpointError: the folder has no replicas, or damaged ones.
        StudentMismatchError: the model isn't what they belong to.
    """
    file = Path(folder) / REPLICAS_FILE
    if not file.is_file():
        raise CheckpointError(f"{folder} has no {REPLICAS_FILE}: from_pretrained loads all there is.")
    try:
        with safe_open(str(file), framework="pt") as handle:
            about = json.loads((handle.metadata() or {})[_ABOUT])
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{file} is damaged: {type(error).__name__}: {error}.") from error
    _require_fit(model, about)
    for path, level in sorted(about.items(), key=lambda entry: entry[0].count(".")):
        model.set_submodule(path, _replicated(model.get_submodule(path), tensors[f"{path}.routing.weight"], **level))
    known = dict([*model.named_parameters(), *model.named_buffers()])
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name not in known or known[name].shape != tensor.shape:
                raise StudentMismatchError(f"{file.name} holds '{name}' {list(tensor.shape)}, which the model doesn't.")
            known[name].copy_(tensor)
    return model


def _require_fit(model: nn.Module, about: dict[str, Any]) -> None:
    modules = dict(model.named_modules())
    for path in about:
        if path in modules and isinstance(modules[path], (ReplicaExperts, ReplicatedExpert)):
            raise StudentMismatchError(f"'{path}' of the model has replicas already.")
        outer = any(path.startswith(f"{other}.") for other in about if other != path)
        if path not in modules and not outer:
            raise StudentMismatchError(f"the replicas belong to '{path}', which {type(model).__name__} doesn't have.")


def _replicated(experts: nn.Module, rows: torch.Tensor, counts: list[int], slots: list[int | str] | None) -> nn.Module:
    """Experts with replicas of the first of each, and a routing that holds no numbers of its own yet."""
    like = next(experts.parameters())
    routing = ReplicaRouting(counts, rows.shape[1], device=like.device, dtype=like.dtype)
    routing.weight.requires_grad_(like.requires_grad)
    made: nn.Module
    if slots is None:
        made = ReplicatedExpert([structural_copy(experts, lambda _, t: _copied(t)) for _ in range(counts[0])], routing)
    else:
        _take(experts, torch.from_numpy(source_of(tuple(counts))), len(counts))
        first, second, third = slots
        made = ReplicaExperts(experts, routing, (first, second, third))
    return made.train(experts.training)


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    copied = tensor.detach().clone()
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def _first(module: nn.Module) -> nn.Module:
    """The experts behind a routing, with the first replica of each."""
    if isinstance(module, ReplicatedExpert):
        inner = module.replicas[0]
        return _first(inner) if isinstance(inner, ReplicatedExpert) else inner
    assert isinstance(module, ReplicaExperts)
    experts = _first(module.experts) if isinstance(module.experts, ReplicaExperts) else structural_copy(module.experts)
    source = module.routing.source
    first = [int(torch.nonzero(source == k)[0]) for k in range(len(module.routing.counts))]
    _take(experts, torch.tensor(first), len(source))
    return experts


def _take(experts: nn.Module, rows: torch.Tensor, size: int) -> None:
    """Make stacked experts hold these of theirs, of which there are `size`."""
    for name, parameter in list(experts.named_parameters(recurse=False)):
        if parameter.shape[0] != size:
            raise StudentMismatchError(f"'{name}' has {parameter.shape[0]} experts, and the replicas are of {size}.")
        taken = parameter.detach()[rows.to(parameter.device)]
        setattr(experts, name, nn.Parameter(taken, parameter.requires_grad))
    for name, value in list(vars(experts).items()):
        if EXPERT_COUNT.fullmatch(name) and value == size:
            setattr(experts, name, len(rows))
