"""More experts in a checkpoint -> a plan for every tensor of the new one. No weight is read."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from net2net.analysis import Size
from net2net.errors import CheckpointError, CouplingError, OptionError
from net2net.huggingface._config import check_saves, new_config
from net2net.huggingface._folder import Folder
from net2net.huggingface._ignored import without_ignored
from net2net.huggingface._inputs import Tensors, from_config, suiting
from net2net.huggingface._layers import Layers, lists_of_layers, shallow
from net2net.huggingface._parts import by_files, by_modules
from net2net.huggingface._plan import CheckpointPlan, check_files, plan_tensors
from net2net.huggingface._verify import Trial
from net2net.moe import Experts, counts_experts, counts_per_token, plan_copies, words_of_experts
from net2net.pretrained import Changes, bare_model, construct, numbers, set_key, shapes

# What a gate does doesn't depend on these: the network that shows it has small ones.
_SMALL = ("vocab_size", "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size")
_SMALL_SIZE = 64


def experts_asked(config: Any, sizes: Mapping[str, Size]) -> int | None:
    """The number of experts that a request in words of the config asks for; None if it names none.

    Raises:
        OptionError: experts per token don't grow by the same factor, or something else grows too.
    """
    words = {key: key.rpartition(".")[2] for key in sizes}
    if not any(counts_experts(word) for word in words.values()):
        return None
    odd = [key for key, word in words.items() if not counts_experts(word) and not counts_per_token(word)]
    if odd:
        raise OptionError(f"'{odd[0]}' and experts in one request: grow one, and then the other in the new folder.")
    before, after = dict(numbers(config)), dict(numbers(new_config(config, sizes)))
    counts, per_token = words_of_experts(config)
    factors = [{after[key] / before[key] for key in keys} for keys in (counts, per_token)]
    if factors[0] != factors[1]:
        names = [".".join(map(str, key)) for key in (*counts, *per_token)]
        raise OptionError(
            f"copies of experts are exact where as many more compute a token: raise {' and '.join(names)} by one "
            "factor. net2net.upcycle_checkpoint has routings that leave the number per token as it is."
        )
    return int(after[counts[0]])


def plan_experts(
    folder: Folder, experts: Experts, routing: str, noise: float, seed: int, trial: Trial
) -> CheckpointPlan:
    """Plan copies of the experts of a checkpoint, in its own class, from its config and the headers of its files.

    What its gates do is measured on a small network of its class, with a layer of each kind and random weights; the
    proof is of the files.

    Raises:
        CheckpointError: the files don't fit the config.
        GrowthError: the request can't be met.
        NeedsMemory: it can't be streamed.
    """
    teacher = bare_model(folder.model_class, folder.config)
    folder, ignored = without_ignored(by_modules(folder, teacher), teacher)
    check_files(folder, teacher)
    lists = lists_of_layers(teacher)
    small, inputs, layers = _shown(folder, teacher, lists, seed, trial)
    with suiting(folder.model_class, inputs, trial.made):
        copied = plan_copies(
            teacher, small, inputs, layers, experts, routing, config=folder.config, noise=noise, seed=seed
        )
    config = copy.deepcopy(folder.config)
    for key, value in copied.words.items():
        set_key(config, key, value)
    check_saves(config)
    student = bare_model(folder.model_class, config)
    _check_class(student, folder, copied.plan.tensors)
    tensors = plan_tensors(folder, teacher, student, [], copied.plan)
    plan = replace(copied.plan, tensors=tensors, notes=ignored)
    return CheckpointPlan(plan, replace(plan, tensors=by_files(tensors, folder, student)), config, teacher, student)


def _shown(
    folder: Folder, teacher: nn.Module, lists: list[Layers], seed: int, trial: Trial
) -> tuple[nn.Module, Tensors, Mapping[str, list[str]]]:
    """A small network with weights, its inputs, and for each of its layers those of the teacher that it stands for."""
    model_class: Any = folder.model_class
    try:
        config: Any = shallow(teacher, folder.config, lists).config
        layers: dict[str, list[str]] = {}
        for one in lists:
            layers |= {f"{one.path}.{k}": [] for k in range(min(one.needed, len(one)))}
            for k in range(len(one)):
                layers[f"{one.path}.{one.template(k, k == len(one) - 1)}"].append(f"{one.path}.{k}")
    except CheckpointError:
        config, layers = folder.config, {}
    words = _SMALL if trial.made else _SMALL[1:]
    keys = {key: n for key, n in numbers(config) if key[-1] in words and n > _SMALL_SIZE}
    changes: Changes = dict.fromkeys(keys, _SMALL_SIZE)
    changes |= {key: None for key, n in numbers(config) if str(key[-1]).endswith("token_id") and n >= _SMALL_SIZE}
    with contextlib.suppress(CheckpointError):  # these sizes may be part of what it computes
        config = construct(model_class, config, changes).config
    config._experts_implementation = "eager"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        small: nn.Module = model_class(config).eval().float()
    inputs = from_config(model_class, config, seed) if trial.made else trial.inputs["given"]
    return small, inputs, layers


def _check_class(student: nn.Module, folder: Folder, planned: Mapping[str, Any]) -> None:
    """The class makes of the new config what the plan does: other tensors would depend on the number of experts too.

    Raises:
        CouplingError: it doesn't.
    """
    for name, shape in shapes(student).items():
        stored = folder.tensors.get(name)
        expected = planned[name].shape if name in planned else stored.shape if stored else shape
        if shape != expected:
            raise CouplingError(
                f"'{name}' of {type(student).__name__} is {list(shape)} with the new number of experts, where "
                f"{list(expected)} was planned: no rule is known for it. routing='replica' leaves the class as it is."
            )
