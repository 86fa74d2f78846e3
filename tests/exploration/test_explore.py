"""The search: chains of growths from one teacher, which inherit from the best ones before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import net2net

optuna = pytest.importorskip("optuna")
from net2net.exploration import Exploration, write_report  # noqa: E402
from net2net.exploration._models import Models  # noqa: E402

X, Y = torch.randn(64, 4, generator=torch.Generator().manual_seed(1)), torch.linspace(-1, 1, 64)[:, None]


def teacher() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def error(model: nn.Module) -> torch.Tensor:
    return (model(X) - Y).square().mean()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, trial: Any) -> float:
    for step in range(4):
        optimizer.zero_grad()
        loss = error(model)
        loss.backward()
        optimizer.step()
        trial.report(loss.item(), step)
    return float(error(model))


class Watched:
    """A loop that writes down how each trial begins, and leaves the learning rate elsewhere."""

    def __init__(self) -> None:
        self.starts: dict[int, tuple[float, float, bool]] = {}

    def __call__(self, model: nn.Module, optimizer: torch.optim.Optimizer, trial: Any) -> float:
        state = any(bool(s["exp_avg"].any()) for s in optimizer.state.values())
        self.starts[trial.number] = float(error(model)), optimizer.param_groups[0]["lr"], state
        optimizer.param_groups[0]["lr"] *= 3
        return train(model, optimizer, trial)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exploration, Watched, nn.Module]:
    """Six trials in two calls, on SQLite."""
    loop, model, folder = Watched(), teacher(), tmp_path_factory.mktemp("search")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for trials in (3, 6):
        found = net2net.explore(
            model, X[:2], loop, trials=trials, optimizer=optimizer, folder=folder, ramp=2, keep=3, seed=4,
            space={"0": [12, 16], "deepen 0": [1]},
        )  # fmt: skip
    return found, loop, model


def test_children_inherit_from_the_best_not_only_from_the_teacher(searched: Any) -> None:
    found, loop, model = searched
    assert [t.outcome for t in found.trials] == ["trained"] * 6
    assert found.trials[0].architecture == {"0": 8, "deepen 0": 0} and found.trials[0].parent is None
    scores = {t.number: t.score for t in found.trials}
    grown = [t for t in found.trials if t.parent is not None and t.growths]
    assert grown
    for trial in found.trials:
        start, rate, has_state = loop.starts[trial.number]
        before = float(error(model)) if trial.parent is None else scores[trial.parent]
        assert start == pytest.approx(before, rel=1e-5)  # what it has learned, exactly
        assert rate == pytest.approx(0.01) and has_state == (trial.parent is not None)
    for trial in grown:  # the best of those that fit into it
        assert trial.parent is not None
        parent = found.trials[trial.parent]
        assert all(parent.architecture[k] <= trial.architecture[k] for k in parent.architecture)


def test_the_best_is_what_its_plan_and_its_file_make_of_the_teacher(searched: Any) -> None:
    found, _, _ = searched
    best = found.best
    assert best.score == min(t.score for t in found.trials)
    assert float(error(best.model)) == pytest.approx(best.score, rel=1e-6)
    old = found.search.models
    again = Models(old.root, old.inputs, old.folder).load(best.trial.model, best.trial.architecture)  # from the disk
    assert torch.equal(again.model(X), best.model(X))
    mine, theirs = again.optimizer.state_dict()["state"], best.optimizer.state_dict()["state"]
    assert all(torch.equal(mine[k]["exp_avg"], theirs[k]["exp_avg"]) for k in theirs) and mine.keys() == theirs.keys()
    assert len(best.growths) == sum(len(t.growths) for t in found.lineage(best.trial))


def test_only_the_best_networks_are_kept(searched: Any) -> None:
    found, _, _ = searched
    assert len(list(found.search.models.folder.glob("[0-9a-f]*"))) == 3
    worst = max(found.trials, key=lambda t: t.score)
    with pytest.raises(net2net.GrowthError, match=f"trial {worst.number} isn't there"):
        found.network(worst)


def test_baselines_have_at_least_the_operations_of_the_lineage(searched: Any, tmp_path: Path) -> None:
    found, _, _ = searched
    runs = found.run_baselines(1)
    budget = sum(t.compute for t in found.lineage(found.best.trial))
    assert {b.start for b in runs} == {"random initialisation", "the teacher, trained on"}
    assert all(b.of == found.best.trial.number and b.compute >= budget for b in runs)
    assert found.run_baselines(1) == runs  # once is enough
    page = write_report(found, tmp_path / "report.html").read_text()
    for words in ("Who grew from whom", "net2net.replay(plan, teacher, inputs)", "inheriting was", "growing was"):
        assert words in page
    assert all(f"trial {t.number}" in page for t in found.trials)


def test_a_study_goes_on_with_its_own_teacher_and_space_only(searched: Any) -> None:
    found, loop, model = searched
    own: dict[str, Any] = {"trials": 6, "folder": found.search.models.folder.parent}
    with pytest.raises(net2net.OptionError, match="another space"):
        net2net.explore(model, X[:2], loop, space={"0": [12]}, **own)
    torch.manual_seed(5)
    other = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    with pytest.raises(net2net.OptionError, match="another teacher"):
        net2net.explore(other, X[:2], loop, space={"0": [12, 16], "deepen 0": [1]}, **own)


def test_new_layers_grow_with_the_layer_that_they_follow(tmp_path: Path) -> None:
    from net2net.exploration._grown import Grown, grown
    from net2net.exploration._space import smallest, space_of

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 1)).double()
    x = X[:3].double()
    analysis = net2net.analyze(model, x)
    space = space_of(analysis, {"0": [13], "2": [9], "deepen 0": [1, 2]})
    one = Grown(model, torch.optim.SGD(model.parameters()), smallest(space))
    deeper = grown(one, {"0": 8, "2": 6, "deepen 0": 2}, space, analysis, x, seed=0, ramp=0)  # one of them is "2" now
    wider = grown(deeper, {"0": 13, "2": 9, "deepen 0": 2}, space, analysis, x, seed=1, ramp=0)
    assert [m.out_features for m in wider.model if isinstance(m, nn.Linear)] == [13, 13, 13, 9, 1]
    assert float((wider.model(X.double()) - model(X.double())).abs().max()) < 1e-10
    again = net2net.replay(wider.plan, model, x)
    assert [t.shape for t in again.student.state_dict().values()] == [
        t.shape for t in wider.model.state_dict().values()
    ]


def test_experts_are_a_knob_and_chains_of_experts_and_depth_load_again(tmp_path: Path) -> None:
    from net2net.moe import MixtureOfExperts

    torch.manual_seed(0)
    parts = nn.Linear(4, 8), MixtureOfExperts(8, 6, experts=2, top_k=1), nn.Linear(8, 1)
    storage = optuna.storages.InMemoryStorage()
    found = net2net.explore(
        nn.Sequential(*parts), X[:6], train, trials=3, space=["experts*"], storage=storage, folder=tmp_path, ramp=2
    )
    sizes = {t.architecture["experts 1.experts"] for t in found.trials if t.outcome == "trained"}
    assert sizes == {2, 4}
    grown = next(t for t in found.trials if t.growths)
    assert grown.growths == ({"experts": {"1.experts": 4}},)
    old = found.search.models
    again = Models(old.root, old.inputs, old.folder).load(grown.model, grown.architecture)
    assert torch.equal(again.model(X), found.network(grown).model(X))
