"""A chain of three networks on digits: exact links, a ledger, and a run that is killed and goes on."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from net2net.chain import ChainResult, Link

datasets = pytest.importorskip("sklearn.datasets")
pytestmark = pytest.mark.filterwarnings("ignore:no gradient reaches:net2net.Net2NetWarning")


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    found = datasets.load_digits()
    return torch.tensor(found.data / 16.0, dtype=torch.float32), torch.tensor(found.target)


X, Y = digits()
TRAIN, TEST = slice(0, 1400), slice(1400, None)


def build(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


def chain(**options: Any) -> net2net.Chain:
    known: dict[str, Any] = {
        "models": [16, 32, 64],
        "steps": [120, 60, 40],
        "optimizer": lambda model: torch.optim.AdamW(model.parameters(), lr=3e-3),
    }
    known |= options
    return net2net.Chain(known.pop("models"), build, X[:4], **known)


class Killed(Exception):
    pass


def training(dies_at: tuple[int, int] | None = None) -> Any:
    def train(model: nn.Module, link: Link) -> float:
        model.train()
        for step in link.loop(every=10):
            if (link.index, step) == dies_at:
                raise Killed
            pick = torch.randint(0, 1400, (64,))
            loss = nn.functional.cross_entropy(model(X[pick]), Y[pick])
            loss = loss + link.distill(X[pick])
            assert link.optimizer is not None
            link.optimizer.zero_grad()
            loss.backward()
            link.optimizer.step()
        model.eval()
        with torch.no_grad():
            return float((model(X[TEST]).argmax(-1) == Y[TEST]).double().mean())

    return train


def same(a: ChainResult, b: ChainResult) -> bool:
    pairs = zip(a.models, b.models, strict=True)
    return a.scores == b.scores and all(
        torch.equal(x, y)
        for m, n in pairs
        for x, y in zip(m.state_dict().values(), n.state_dict().values(), strict=True)
    )


def error(model: nn.Module, teacher: nn.Module, training: bool) -> float:
    """Compared here, on inputs that the growth has not seen; dropout off."""
    modes = [(m, m.training) for pair in (model, teacher) for m in pair.modules()]
    for pair in (model, teacher):
        for m in pair.train(training).modules():
            m.training = m.training and not isinstance(m, nn.Dropout)
    x = torch.rand(50, 64, generator=torch.Generator().manual_seed(5)) * 3 - 1
    with torch.no_grad():
        found = float((model(x) - teacher(x)).abs().max() / teacher(x).abs().max())
    for m, mode in modes:
        m.training = mode
    return found


ERRORS: list[float] = []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ChainResult]:
    folder = tmp_path_factory.mktemp("whole")

    def train(model: nn.Module, link: Link) -> float:
        if link.teacher is not None:
            ERRORS.extend(error(*copy.deepcopy((model, link.teacher)), training) for training in (False, True))
        return float(training()(model, link))

    return folder, chain(distillation=net2net.FeatureDistillation("0")).run(train, folder)


def test_three_networks_learn_digits(whole: tuple[Path, ChainResult]) -> None:
    _, result = whole
    assert [model[0].out_features for model in result.models] == [16, 32, 64]  # type: ignore[union-attr, index]
    assert result.scores[0] > 0.6 and result.scores[2] > 0.85
    assert [e.preserves for e in result.ledger.entries] == ["", "exact", "exact"]
    assert len(ERRORS) == 4 and max(ERRORS) < 1e-5


@pytest.mark.thin(2)
@pytest.mark.parametrize(("carry", "dies_at"), [(None, (2, 30)), ("keep", (1, 44))])
def test_a_killed_run_ends_bit_identical(
    tmp_path: Path, whole: tuple[Path, ChainResult], carry: str | None, dies_at: tuple[int, int]
) -> None:
    options: dict[str, Any] = {"distillation": net2net.FeatureDistillation("0"), "carry": carry}
    if carry is not None:
        options |= {"models": [16, 32], "steps": [60, 60]}
    expected = whole[1] if carry is None else chain(**options).run(training(), tmp_path / "whole")
    with pytest.raises(Killed):
        chain(**options).run(training(dies_at), tmp_path / "broken")
    found = chain(**options).run(training(), tmp_path / "broken")
    assert same(expected, found)
    for a, b in zip(expected.ledger.entries, found.ledger.entries, strict=True):
        assert (a.flops, a.teacher_flops, a.passes, a.error) == (b.flops, b.teacher_flops, b.passes, b.error)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("moment", ["a step", "between the model's files and the ledger"])
def test_a_process_that_is_killed_is_gone_on_with_bit_identically(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    options: dict[str, Any] = {"models": [16, 32], "steps": [25, 25], "distillation": net2net.FeatureDistillation("0")}

    def die(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dies(model: nn.Module, link: Link) -> float:
        original = link.loop

        def loop(every: int) -> Iterator[int]:
            for step in original(every=every):
                if (link.index, step) == (1, 17):
                    die()
                yield step

        object.__setattr__(link, "loop", loop)
        return float(training()(model, link))

    child = os.fork()
    if not child:
        if moment == "a step":
            chain(**options).run(dies, tmp_path / "broken")
        else:
            monkeypatch.setattr("net2net.chain._run.write_ledger", die)
            chain(**options).run(training(), tmp_path / "broken")
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    expected = chain(**options).run(training(), tmp_path / "whole")
    found = chain(**options).run(training(), tmp_path / "broken")
    assert same(expected, found)
    assert [e.total for e in expected.ledger.entries] == [e.total for e in found.ledger.entries]


def test_a_finished_chain_is_read_not_trained(whole: tuple[Path, ChainResult]) -> None:
    folder, result = whole

    def train(model: nn.Module, link: Link) -> float:
        raise AssertionError("trained again")

    again = chain(distillation=net2net.FeatureDistillation("0")).run(train, folder)
    assert same(result, again)
    assert json.loads((folder / "ledger.json").read_text())["models"][2]["score"] == result.scores[2]


def test_the_folder_of_another_chain_is_refused(whole: tuple[Path, ChainResult]) -> None:
    with pytest.raises(net2net.OptionError, match="holds a chain with seed=0"):
        chain(distillation=net2net.FeatureDistillation("0"), seed=1).run(training(), whole[0])


def test_flops_are_those_of_a_hand_count(whole: tuple[Path, ChainResult]) -> None:
    def forward(width: int, batch: int) -> int:
        return 2 * batch * (64 * width + width * width + width * 10)

    def step(width: int, batch: int) -> int:  # the input of the first layer needs no gradient
        return 3 * forward(width, batch) - 2 * batch * 64 * width

    small, middle, large = whole[1].ledger.entries
    assert small.flops == 120 * step(16, 64) and small.teacher_flops == 0
    assert middle.flops == 60 * step(32, 64) and middle.teacher_flops == 60 * forward(16, 64)
    assert large.flops == 40 * step(64, 64) and large.teacher_flops == 40 * forward(32, 64)
    assert large.evaluation_flops == forward(64, len(X[TEST]))
    assert whole[1].ledger.flops == sum(e.flops + e.teacher_flops for e in (small, middle, large))
