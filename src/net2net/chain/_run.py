"""Carries a chain out: every model once, each written down when it is finished."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torch.optim import Optimizer

from net2net._version import __version__
from net2net.chain._distiller import Distiller
from net2net.chain._family import Family
from net2net.chain._features import devices
from net2net.chain._ledger import Entry, Ledger
from net2net.chain._link import Link
from net2net.chain._start import Start, built, is_request, start
from net2net.chain._states import load_state, save_json, save_state
from net2net.errors import OptionError, described

Train = Callable[[nn.Module, Link], float]


def carry_out(family: Family, train: Train, folder: Path) -> tuple[tuple[nn.Module, ...], Ledger]:
    """Train what isn't trained yet.

    Raises:
        OptionError: the folder holds another chain, or the training returned no score.
        GrowthError: a link can't be made.
    """
    ledger = _ledger(family, folder)
    models: list[nn.Module] = []
    optimizer: Optimizer | None = None
    for index, name in enumerate(family.labels):
        teacher = models[-1] if models else None
        begun = _begun(family, index, teacher)
        own = _optimizer(family, index, begun, optimizer)
        if index < len(ledger.entries):
            load_model(begun.model, folder / "models" / f"{name}.safetensors")
            if family.carry is not None and own is not None:
                own.load_state_dict(load_state(folder / "models" / f"{name}.optimizer.safetensors"))
        else:
            entry = _trained(family, index, begun, teacher, own, train, folder)
            ledger = Ledger((*ledger.entries, entry))
            if family.carry is not None and own is not None:
                save_state(folder / "models" / f"{name}.optimizer.safetensors", own.state_dict())
            _save_model(folder / "models" / f"{name}.safetensors", begun.model)
            save_json(folder / "ledger.json", _content(family, ledger))  # from here on the model counts as finished
            (folder / name / "progress.safetensors").unlink(missing_ok=True)
        models.append(begun.model)
        optimizer = own
    return tuple(models), ledger


def _begun(family: Family, index: int, teacher: nn.Module | None) -> Start:
    size, seed = family.models[index], family.seed + index
    if teacher is None:
        return Start(built(size, family.build, seed))
    return start(
        size,
        family.build,
        teacher,
        family.inputs,
        init=family.inits[index - 1],
        options=family.options,
        seed=seed,
        name=f"model '{family.labels[index]}' from '{family.labels[index - 1]}'",
    )


def _optimizer(family: Family, index: int, begun: Start, before: Optimizer | None) -> Optimizer | None:
    """The optimizer of a model: carried, or fresh, at the rate of its own."""
    if family.optimizer is None:
        return None
    if family.carry is not None and begun.growth is not None and before is not None:
        own = begun.growth.optimizer(before, rates=family.carry)
    else:
        own = family.optimizer(begun.model)
    if family.rates is not None:
        for group in own.param_groups:
            group["lr"] = family.rates[index]
            group.pop("initial_lr", None)
    return own


def _trained(
    family: Family,
    index: int,
    begun: Start,
    teacher: nn.Module | None,
    optimizer: Optimizer | None,
    train: Train,
    folder: Path,
) -> Entry:
    """Train a model in place; what it took and how good it is."""
    model, name, seed = begun.model, family.labels[index], family.seed + index
    distiller = None
    if teacher is not None and family.distillation is not None:
        distiller = Distiller(
            teacher, model, family.distillation, family.inputs, steps=family.budgets[index], seed=seed
        )
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    link = Link(name, index, family.budgets[index], seed, own, model, teacher, optimizer, distiller)
    try:
        with torch.random.fork_rng(devices=devices(model)):
            torch.manual_seed(seed)
            score = train(model, link)
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            raise OptionError(f"train(model, link) returned {described(score)}; return the model's score, a number.")
        flops, teachers, evaluation = link.flops
        return Entry(
            name, "" if teacher is None else _init(family, index), begun.preserves, begun.error,
            sum(p.numel() for p in model.parameters()), link.steps, link.passes, flops, teachers, evaluation,
            link.seconds, float(score),
        )  # fmt: skip
    finally:
        link.close()


def _init(family: Family, index: int) -> str:
    return "exact" if is_request(family.models[index], family.build) else family.inits[index - 1]


def _save_model(path: Path, model: nn.Module) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".new")
    save_model(model, str(partial))
    os.replace(partial, path)


def _ledger(family: Family, folder: Path) -> Ledger:
    """What the folder holds already.

    Raises:
        OptionError: it is another chain's.
    """
    file = folder / "ledger.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_json(file, _content(family, Ledger()))
        return Ledger()
    try:
        content = json.loads(file.read_text())
        found, entries = content["chain"], Ledger.of(content["models"])
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{file} is no ledger of a chain; name another folder.") from error
    asked = json.loads(json.dumps(_settings(family)))
    for key, value in asked.items():
        if found.get(key) != value:
            raise OptionError(
                f"{folder} holds a chain with {key}={found.get(key)!r}, not {value!r}; give the same one to go on, or "
                "name another folder."
            )
    return entries


def _content(family: Family, ledger: Ledger) -> dict[str, Any]:
    return {"version": __version__, "chain": _settings(family), "models": ledger.as_json()}


def _settings(family: Family) -> dict[str, Any]:
    """What makes a chain this one, in words."""
    return {
        "models": [_in_words(size) for size in family.models],
        "names": list(family.labels),
        "steps": list(family.budgets),
        "init": list(family.inits),
        "distillation": repr(family.distillation),
        "carry": family.carry,
        "rates": None if family.rates is None else list(family.rates),
        "options": {key: repr(value) for key, value in family.options.items()},
        "seed": family.seed,
    }


def _in_words(size: Any) -> str:
    if hasattr(size, "to_diff_dict"):  # a config of transformers
        return json.dumps(size.to_diff_dict(), sort_keys=True, default=str)
    return str(getattr(size, "__qualname__", None) or repr(size))
