"""A dense checkpoint -> one of a mixture of experts, in a class that the user names: sparse upcycling in a stream."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from net2net._version import __version__
from net2net.errors import CheckpointError, CouplingError, NeedsMemory, OptionError
from net2net.huggingface._config import check_saves
from net2net.huggingface._folder import Folder
from net2net.huggingface._parts import parts_of
from net2net.huggingface._plan import CheckpointPlan, check_files
from net2net.huggingface._stream import streaming_model
from net2net.huggingface._verify import Trial
from net2net.moe import Mixing, second_map, words_of_experts
from net2net.plan import Plan, TensorPlan
from net2net.pretrained import bare_model, set_key, shapes

_PRODUCTS = ("gate_proj", "up_proj", "down_proj")
# Words of a config that size the experts as the dense feed-forward is, and those that make every layer a mixture whose
# mixing weights sum to 1.
_HIDDEN = ("moe_intermediate_size", "shared_expert_intermediate_size")
_AS_DENSE = {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}
# What says which class a config is of, and what of it has been saved.
_OWN = ("model_type", "architectures", "transformers_version")


def plan_mixture(folder: Folder, to: str, experts: int, top_k: int, seed: int, trial: Trial) -> CheckpointPlan:
    """Plan the copies of every feed-forward behind a new router, of which each token has `top_k`.

    Their mixing weights sum to 1, so that a mixture of equal experts is the feed-forward. Where the class has a shared
    expert behind a gate, that is a copy too, with half of the output: its gate starts at sigmoid(0).

    Args:
        folder: the dense checkpoint, whose files have the names of its modules.
        to: what transformers calls the kind of model: "mixtral", "qwen3_moe".
        experts, top_k: how many there are in every layer, and how many compute a token.
        seed: of the routers.
        trial: on whose inputs the routers are drawn.

    Raises:
        CouplingError: the class has tensors that the dense one hasn't, or the other way round.
        OptionError: there is no such class, or the numbers don't fit each other.
    """
    if not 1 <= top_k <= experts or experts < 2:
        raise OptionError(
            f"top_k={top_k} of {experts} experts: use 2 experts or more, and up to all of them per token."
        )
    teacher = bare_model(folder.model_class, folder.config)
    check_files(folder, teacher)
    model_class, config = _class(folder, to, experts, top_k)
    check_saves(config)
    student = bare_model(model_class, config)
    blocks = _blocks(teacher, student)
    tokens = _tokens(folder, blocks, trial)
    tensors = dict(_tensors(folder, student, blocks, tokens, seed))
    shared = any(".shared_expert" in name for name in shapes(student))
    changes = tuple(Mixing(block, experts, top_k, 1, shared, to=model_class.__name__) for block in blocks)
    plan = Plan(tensors, changes, seed, version=__version__)
    return CheckpointPlan(plan, plan, config, teacher, student)


def _class(folder: Folder, to: str, experts: int, top_k: int) -> tuple[Any, Any]:
    """The class with the head of the dense one, and its config with all that both have words for."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

    own = folder.config.model_type
    if NAMES.get(own) != folder.model_class.__name__:
        raise OptionError(f"{folder.model_class.__name__} is no causal language model; only these become mixtures.")
    if to not in NAMES:
        raise OptionError(f"to={to!r} is no kind of model that transformers knows; use one such as 'qwen3_moe'.")
    model_class: Any = getattr(transformers, str(NAMES[to]))
    fresh = model_class.config_class()
    counts, per_token = words_of_experts(fresh)
    if not counts or not per_token:
        raise OptionError(
            f"to={to!r} is no mixture of experts, by the words of its config; use one such as 'qwen3_moe'."
        )
    known = fresh.to_dict().keys()
    # All of it: a class may read a word that its config doesn't declare, such as the size of a head.
    carried = {k: copy.deepcopy(v) for k, v in folder.config.to_dict().items() if k not in _OWN}
    carried |= {name: folder.config.intermediate_size for name in _HIDDEN if name in known}
    carried |= {name: value for name, value in _AS_DENSE.items() if name in known}
    config = model_class.config_class(**carried)
    for key in counts:
        set_key(config, key, experts)
    for key in per_token:
        set_key(config, key, top_k)
    config.architectures, config.dtype = [model_class.__name__], folder.config.dtype
    return model_class, config


def _blocks(teacher: nn.Module, student: nn.Module) -> list[str]:
    """The feed-forwards that become mixtures.

    Raises:
        CouplingError: another tensor is there in one of the two only.
    """
    before, after = shapes(teacher), shapes(student)
    blocks = [name.removesuffix(".experts.down_proj") for name in after if name.endswith(".experts.down_proj")]
    if not blocks:
        raise CouplingError(f"{type(student).__name__} has no experts in stacked tensors, which is what is known here.")
    kinds = type(teacher).__name__, type(student).__name__
    gone = {f"{block}.{product}.weight" for block in blocks for product in _PRODUCTS}
    for name in before:
        if name not in gone and before[name] != after.get(name):
            raise CouplingError(f"{kinds[0]} has '{name}' {list(before[name])}, which {kinds[1]} hasn't.")
    for name in after:
        if name not in before and not any(name.startswith(f"{block}.") for block in blocks):
            raise CouplingError(f"{kinds[1]} has '{name}' {list(after[name])}, which {kinds[0]} hasn't.")
    for name in gone - before.keys():
        raise CouplingError(f"{kinds[0]} has no '{name}': what becomes the experts of {kinds[1]} isn't known.")
    return blocks


@torch.no_grad()
def _tokens(folder: Folder, blocks: list[str], trial: Trial) -> dict[str, torch.Tensor]:
    """What each feed-forward is given on the trial's inputs. Nothing where the checkpoint can't be run in a stream."""
    found: dict[str, torch.Tensor] = {}
    try:
        model = streaming_model(folder, torch.float32)
        for block in blocks:

            def keep(_: nn.Module, args: Any, block: str = block) -> None:
                found[block] = args[0].reshape(-1, args[0].shape[-1])

            model.get_submodule(block).register_forward_pre_hook(keep)
        model(**trial.inputs["given"])
    except (RuntimeError, NeedsMemory, CheckpointError):
        return {}
    return found


def _tensors(
    folder: Folder, student: nn.Module, blocks: list[str], tokens: dict[str, torch.Tensor], seed: int
) -> Iterator[tuple[str, TensorPlan]]:
    """How every tensor of the new files is made."""
    expected = shapes(student)
    half = 0.5 if any(".shared_expert." in name for name in expected) else 1.0
    for name, parts in parts_of(student).items():
        block = next((b for b in blocks if name.startswith(f"{b}.")), None)
        shape = expected[name]
        if block is None:
            if name in folder.tensors:  # a tied one may be stored under its other name
                yield parts[0].name, TensorPlan(shape, (None,) * len(shape), source=name)
            continue
        inner = name.removeprefix(f"{block}.")
        product = next((p for p in _PRODUCTS if inner == f"shared_expert.{p}.weight"), None)
        if inner.startswith("experts."):
            for part in parts:
                product = "down_proj" if inner == "experts.down_proj" else "up_proj" if part.start else "gate_proj"
                yield part.name, _copy(folder, block, product, half)
        elif product is not None:
            yield parts[0].name, _copy(folder, block, product, 1.0)  # its gate, sigmoid(0), halves its output
        elif inner in ("gate.weight", "shared_expert_gate.weight"):
            given = {0: tokens[block]} if block in tokens else {}
            key = zlib.crc32(f"{seed} {name}".encode())
            rows = second_map((shape[0],), shape[1], given, key) if inner == "gate.weight" else np.zeros(1)
            source = f"{block}.gate_proj.weight"
            plan = TensorPlan(shape, (None, None), source=source, fill="values", new=True, values=rows)
            yield parts[0].name, plan
        else:
            raise CouplingError(f"{type(student).__name__} has '{name}', for which no rule is known.")


def _copy(folder: Folder, block: str, product: str, share: float) -> TensorPlan:
    source = f"{block}.{product}.weight"
    shape = folder.tensors[source].shape
    return TensorPlan(shape, (None,) * len(shape), scale=share if product == "down_proj" else 1.0, source=source)
