"""A factor for all grows the largest set of dimensions that a network lets grow together, in any naming."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import net2net
from net2net.capture import Graph, Inputs, _export, record
from net2net.operators import _width_design
from net2net.operators._largest import largest
from net2net.student import _trial
from zoo.huggingface import huggingface_models


class Halves(nn.Module):
    """Writes the width that it expects into its forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, 12), nn.Linear(12, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.inner(x).reshape(x.shape[0], 2, 6)
        return x + self.outer((h[:, 0] * h[:, 1]).repeat(1, 2))


class Bound(nn.Module):
    """The width in and the width between are one number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.first(x)).view(-1, self.width)
        return self.second(h).view(-1, self.width)


def error(teacher: nn.Module, student: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        expected = teacher(x)
        return float((student(x) - expected).abs().max() / expected.abs().max())


def grown(net: nn.Module, x: torch.Tensor) -> net2net.Growth:
    net = net.double()
    growth = net2net.widen(net, 2.0, x.double())
    assert error(net, growth.student, torch.randn(17, *x.shape[1:], dtype=torch.float64)) <= 1e-10
    return growth


def test_numbered_layers_beside_one_that_cannot() -> None:
    net = nn.Sequential(
        nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 9), Halves(9), nn.ReLU(), nn.Linear(9, 8), nn.Linear(8, 2)
    )
    growth = grown(net, torch.randn(5, 3))
    widened = {w.dimension for w in growth.plan.widenings}
    assert {"0", "5"} <= widened
    assert growth.plan.left_out.keys().isdisjoint(widened)
    for name, reason in growth.plan.left_out.items():
        assert reason, name


def test_widths_that_are_one_number_grow_together() -> None:
    net = nn.Sequential(nn.Linear(3, 8), Bound(8), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
    growth = grown(net, torch.randn(5, 3))
    assert growth.student[1].width == growth.student[1].first.out_features == 16
    assert growth.student[2].out_features == 10
    assert not growth.plan.left_out


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules that were exported, in their order."""
    found: list[nn.Module] = []
    export = torch.export.export

    def counted(module: nn.Module, *args: object, **kwargs: object) -> object:
        found.append(module)
        return export(module, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(_export.torch.export, "export", counted)
    return found


def test_captures_are_few(captured: list[nn.Module]) -> None:
    net = nn.Sequential(nn.Linear(3, 8), Bound(8), Halves(8), nn.ReLU(), nn.Linear(8, 9), Bound(9), nn.Linear(9, 2))
    grown(net, torch.randn(5, 3))
    assert len(captured) <= 3


def test_each_network_is_captured_once(captured: list[nn.Module]) -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    net2net.deepen(net, {"0": 1}, torch.randn(5, 3))
    assert [len(module) for module in captured] == [4]
    net2net.grow(net, torch.randn(5, 3), where={"0": 1}, sizes={"3": 11})
    assert [len(module) for module in captured[1:]] == [4, 7]


def test_what_stands_behind_one_that_is_refused_is_tried_at_once() -> None:
    tried: list[tuple[str, ...]] = []

    def design(names: tuple[str, ...]) -> tuple[str, ...]:
        tried.append(names)
        if "b" in names:
            raise net2net.GrowthError("b is fixed")
        return names

    assert largest([*"abcdef"], design) == (("a", "c", "d", "e", "f"), {"b": "b is fixed"})
    assert tried == [("a", "b", "c", "d", "e", "f"), ("a",), ("a", "b"), ("a", "c", "d", "e", "f")]


def test_drafts_that_are_right_are_recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is the teacher, to know whether recordings can be trusted, nor the same student with other new units."""
    recorded = []

    def counted(model: nn.Module, inputs: Inputs) -> Graph:
        recorded.append(model)
        return record(model, inputs)

    monkeypatch.setattr(_width_design, "record", counted)
    monkeypatch.setattr(_trial, "record", counted)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 2))
    grown(net, torch.randn(5, 3))
    assert len(recorded) == 1
    frozen, x = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2)).double(), torch.randn(5, 3).double()
    frozen[2].requires_grad_(False)
    growth = net2net.widen(frozen, {"0": 11}, x)
    assert growth.plan.widenings[0].how == "zero_in" and len(recorded) == 2


@pytest.mark.filterwarnings("ignore:new entries get gradients:net2net.Net2NetWarning")
def test_captures_of_a_family_are_few(captured: list[nn.Module]) -> None:
    """Gemma 3: layers of two kinds, norms of queries and keys, tied embeddings."""
    model = next(m for m in huggingface_models() if m.name == "gemma3")
    net2net.widen(model.build(), 2.0, model.inputs())
    assert len(captured) <= 3
