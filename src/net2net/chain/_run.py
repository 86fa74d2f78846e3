"""Carries a chain out: every model once, each written down when it is finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from net2net.chain._distiller import Distiller
from net2net.chain._family import Family
from net2net.chain._features import devices
from net2net.chain._files import load_finished, read_ledger, save_finished, write_ledger
from net2net.chain._ledger import Entry, Ledger
from net2net.chain._link import Link
from net2net.chain._start import Start, built, is_request, start
from net2net.errors import OptionError, described

Train = Callable[[nn.Module, Link], float]


def carry_out(family: Family, train: Train, folder: Path, until: int) -> tuple[tuple[nn.Module, ...], Ledger]:
    """Train what isn't trained yet of the first so many models.

    Raises:
        OptionError: the folder holds another chain, or the training returned no score.
        GrowthError: a link can't be made.
    """
    ledger = read_ledger(family, folder)
    models: list[nn.Module] = []
    optimizer: Optimizer | None = None
    for index, name in enumerate(family.labels[:until]):
        teacher = models[-1] if models else None
        begun = _begun(family, index, teacher)
        own = _optimizer(family, index, begun, optimizer)
        if index < len(ledger.entries):
            load_finished(folder, name, begun.model, own if family.carry else None)
        else:
            entry = _trained(family, index, begun, teacher, own, train, folder)
            ledger = Ledger((*ledger.entries, entry))
            save_finished(folder, name, begun.model, own if family.carry else None)
            write_ledger(family, folder, ledger)  # from here on the model counts as finished
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
