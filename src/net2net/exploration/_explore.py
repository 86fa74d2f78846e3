"""`net2net.explore`: the search."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.study import StudyDirection
from torch import nn
from torch.optim import Optimizer

from net2net.analysis import analyze
from net2net.capture import Inputs, require_teacher
from net2net.errors import FixedDimensionError, OptionError, require_kind
from net2net.exploration._cost import cost_of, limits_of
from net2net.exploration._exploration import Exploration
from net2net.exploration._grown import Grown
from net2net.exploration._models import Models
from net2net.exploration._sampler import GrowthSampler
from net2net.exploration._search import Search, Train
from net2net.exploration._space import Space, SpaceRequest, smallest, space_of
from net2net.exploration._work import Progress, open_storage, quiet, work
from net2net.moe import mixtures
from net2net.plan import check_seed

_DIRECTIONS = {"minimize": 1, "maximize": -1}
_OPTUNAS = {"minimize": StudyDirection.MINIMIZE, "maximize": StudyDirection.MAXIMIZE}
_OBJECTIVES = (("score",), ("score", "flops"))


def explore(
    teacher: nn.Module,
    inputs: Inputs,
    train: Train,
    *,
    trials: int = 30,
    space: SpaceRequest | None = None,
    storage: Any = None,
    direction: str = "minimize",
    objectives: tuple[str, ...] = ("score",),
    limits: Mapping[str, float] | None = None,
    optimizer: Optimizer | None = None,
    folder: Path | str = "exploration",
    name: str = "growths",
    keep: int = 20,
    inherit: bool = True,
    ramp: int | None = None,
    sampler: Any = None,
    pruner: Any = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Exploration:
    """Search over growths of one teacher: an Optuna study whose trials inherit weights from the best ones before them.

    A trial is a network: a value for each knob of the space. It is grown from the best trained network that fits into
    it, at first the teacher, and trained on by your loop, with the optimizer's state. A growth that is refused costs
    nothing and is remembered; what your loop raises is a failed trial with its reason. Call it again with the same
    storage, in this process or in others, and the search goes on; a killed worker's trial is run again.

    Args:
        teacher: the trained network. It is not changed.
        inputs: example inputs, as for `analyze`.
        train: `train(model, optimizer, trial) -> score` trains a network in place for a budget of yours. It may tell
            its score so far, `trial.report(score, step)`, and stop with `optuna.TrialPruned` where
            `trial.should_prune()`; trials are compared at equal numbers of operations.
        trials: how many are to be trained in all, those of earlier calls and of other workers among them.
        space: what may grow; None for all, patterns, or a dict from patterns to values.
        storage: "sqlite:///FILE", another database's URL, "journal:FILE" or a storage of Optuna's; by default
            "study.db" in the folder.
        direction: "minimize" or "maximize" the score.
        objectives: ("score",), or ("score", "flops") for the best scores at every size: parents are then those of the
            front, and nothing is pruned, which Optuna knows for one objective only.
        limits: the most that a network may have of "parameters", "flops" (for a sample), "memory" (bytes in a training
            step on the inputs) and "latency" (seconds of a forward pass on them). One that has more isn't trained.
        optimizer: the one that trains the teacher, whose options every trial starts with; by default an AdamW.
        folder: gets the networks, each by the hash of what it holds.
        name: of the study in its storage.
        keep: how many networks are kept in the folder, the best ones (with two objectives the front too).
        inherit: False trains every network from random weights: the same search, for comparison.
        ramp: steps of the learning-rate ramp after a growth, as for `Growth.optimizer`.
        sampler: of Optuna, which chooses the knobs' values; by default a further value for one or two knobs of one of
            the best networks.
        pruner: of Optuna; by default ASHA. One that compares equal steps sees none: use ASHA or Hyperband.
        seed: of all draws; the trial's number is added to it.
        progress: is called with the trials so far and how many are to be trained.

    Returns:
        The search: `.trials`, `.best` (growths, model, score), `.front`, `.study`.

    Raises:
        GrowthError: nothing can grow, an option doesn't work, or the storage holds a study of another space or teacher.

    Source: Chen et al. (2016), section 1, names exploration as what function-preserving growth is for; the population
        is that of evolutionary search by network morphisms (Elsken et al., 2017), the pruner ASHA (Li et al., 2020).

    Example:
        >>> import tempfile
        >>> x, y = torch.randn(64, 4), torch.randn(64, 2)
        >>> def train(model, optimizer, trial):
        ...     for _ in range(5):
        ...         optimizer.zero_grad()
        ...         loss = (model(x) - y).square().mean()
        ...         loss.backward()
        ...         optimizer.step()
        ...     return loss.item()
        >>> teacher = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> found = explore(teacher, x[:2], train, trials=3, space={"0": [12, 16]}, folder=tempfile.mkdtemp())
        >>> len(found.trials), found.best.model[0].out_features in (8, 12, 16)
        (3, True)
    """
    require_teacher(teacher, inputs)
    check_seed(seed)
    _check(train, trials, direction, objectives, keep)
    sign, folder = _DIRECTIONS[direction], Path(folder)
    analysis = analyze(teacher, inputs)
    knobs = space_of(analysis, space, {name: one.size for name, one in mixtures(teacher, inputs).found.items()})
    if not knobs:
        raise FixedDimensionError("nothing of this network can grow: print(net2net.analyze(...)) says why.")
    root = _root(teacher, optimizer, knobs)
    cost = cost_of(root.model, root.optimizer, inputs)
    most = limits_of(limits or {})
    beyond = most.exceeded_by(cost)
    if beyond:
        raise OptionError(f"the teacher itself is beyond the limits: {beyond}.")
    if storage is None:
        folder.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{folder / 'study.db'}"
    holder: list[Search] = []
    with quiet():
        study = optuna.create_study(
            study_name=name,
            storage=open_storage(storage),
            directions=[_OPTUNAS[direction], *(_OPTUNAS["minimize"] for _ in objectives[1:])],
            sampler=sampler or GrowthSampler(knobs, lambda: holder[0].trials(), sign, seed, len(objectives) > 1),
            pruner=pruner or optuna.pruners.SuccessiveHalvingPruner(reduction_factor=3, min_early_stopping_rate=2),
            load_if_exists=True,
        )
    search = Search(
        study, train, inputs, knobs, analysis, Models(root, inputs, folder / "models"), most, cost,
        sign, inherit, keep, ramp, seed,
    )  # fmt: skip
    holder.append(search)
    _same(study, knobs, teacher, direction, inherit)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(dict(smallest(knobs)), skip_if_exists=True)
    work(search, trials, progress)
    return Exploration(search)


def _check(train: Any, trials: Any, direction: str, objectives: tuple[str, ...], keep: Any) -> None:
    if not callable(train):
        raise OptionError("train is not a function; give train(model, optimizer, trial) -> score.")
    for what, number, least in (("trials", trials, 0), ("keep", keep, 1)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise OptionError(f"{what}={number!r}; use an int of at least {least}.")
    if direction not in _DIRECTIONS:
        raise OptionError(f"direction={direction!r} is not known; use 'minimize' or 'maximize'.")
    if tuple(objectives) not in _OBJECTIVES:
        raise OptionError(f"objectives={objectives!r}; use ('score',) or ('score', 'flops').")


def _root(teacher: nn.Module, optimizer: Optimizer | None, space: Space) -> Grown:
    if optimizer is None:
        model = copy.deepcopy(teacher)
        return Grown(model, torch.optim.AdamW(model.parameters()), smallest(space))
    require_kind(optimizer, Optimizer, "the optimizer", "the torch.optim.Optimizer that trains the teacher")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not held & {id(p) for p in teacher.parameters()}:
        raise OptionError("none of the optimizer's parameters is the teacher's; give the one that trains the teacher.")
    model, own = copy.deepcopy((teacher, optimizer))
    return Grown(model, own, smallest(space))


def _same(study: Any, space: Space, teacher: nn.Module, direction: str, inherit: bool) -> None:
    """A study goes on with its own teacher and space only."""
    digest = hashlib.sha256()
    for key, tensor in teacher.state_dict().items():
        digest.update(key.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    mine: dict[str, Any] = {
        "space": {key: list(knob.choices) for key, knob in space.items()},
        "teacher": digest.hexdigest()[:16],
        "direction": direction,
        "inherit": inherit,
    }
    theirs: Mapping[str, Any] = study.user_attrs.get("net2net", mine)
    for key in mine:
        if json.dumps(theirs.get(key), sort_keys=True) != json.dumps(mine[key], sort_keys=True):
            raise OptionError(
                f"the study '{study.study_name}' has another {key}: {theirs.get(key)}, not {mine[key]}. Give the same "
                "one to go on, or another name or storage."
            )
    study.set_user_attr("net2net", mine)
