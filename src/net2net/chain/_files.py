"""The folder of a chain: finished models, and the ledger that says which they are."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model
from torch import nn
from torch.optim import Optimizer

from net2net._version import __version__
from net2net.chain._family import Family
from net2net.chain._ledger import Ledger
from net2net.chain._states import load_state, save_json, save_state
from net2net.errors import OptionError


def save_finished(folder: Path, name: str, model: nn.Module, optimizer: Optimizer | None) -> None:
    """Write a model, and the optimizer that is carried on."""
    target, state = _files(folder, name)
    if optimizer is not None:
        save_state(state, optimizer.state_dict())
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".new")
    save_model(model, str(partial))
    os.replace(partial, target)


def load_finished(folder: Path, name: str, model: nn.Module, optimizer: Optimizer | None) -> None:
    """Read what `save_finished` wrote into a model and an optimizer of the same sizes."""
    target, state = _files(folder, name)
    load_model(model, target)
    if optimizer is not None:
        optimizer.load_state_dict(load_state(state))


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / "models" / f"{name}.safetensors", folder / "models" / f"{name}.optimizer.safetensors"


def read_ledger(family: Family, folder: Path) -> Ledger:
    """What the folder holds already.

    Raises:
        OptionError: it is another chain's.
    """
    file = folder / "ledger.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_ledger(family, folder, Ledger())
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


def write_ledger(family: Family, folder: Path, ledger: Ledger) -> None:
    """Say which models are finished."""
    content = {"version": __version__, "chain": _settings(family), "models": ledger.as_json()}
    save_json(folder / "ledger.json", content)


def taken_over(family: Family, source: Path, folder: Path) -> int:
    """Copy the finished models of another folder that this chain would train alike; how many they are.

    Raises:
        OptionError: there are none, or the folder holds a chain.
    """
    if (folder / "ledger.json").exists():
        raise OptionError(f"{folder} holds a chain already: it goes on with its own models.")
    content = json.loads((source / "ledger.json").read_text())
    theirs, mine = _by_model(content["chain"]), _by_model(json.loads(json.dumps(_settings(family))))
    ledger = Ledger.of(content["models"])
    alike = [a == b for a, b in zip(theirs[: len(ledger.entries)], mine, strict=False)]
    count = alike.index(False) if False in alike else len(alike)
    if count == 0:
        raise OptionError(f"{source} has no finished model that this chain would train alike.")
    for name in family.labels[:count]:
        for old, new in zip(_files(source, name), _files(folder, name), strict=True):
            if old.exists():
                new.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(old, new)
    write_ledger(family, folder, Ledger(ledger.entries[:count]))
    return count


def _by_model(settings: dict[str, Any]) -> list[Any]:
    """What decides how each model is trained."""
    shared = {key: settings[key] for key in ("distillation", "carry", "options")}
    return [
        {
            **({"init": settings["init"][n - 1], **shared} if n else {"carry": settings["carry"]}),
            "seed": settings["seed"],
            **{key: settings[key] and settings[key][n] for key in ("models", "names", "steps", "rates")},
        }
        for n in range(len(settings["models"]))
    ]


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
