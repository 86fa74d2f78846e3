"""What is recorded without memory is what torch.export captures: the same operations, shapes and numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from net2net.capture import Graph, capture, record
from net2net.student import operations
from zoo import TORCH_MODELS
from zoo.huggingface import FAMILIES, huggingface_models
from zoo.model import ZooModel

MODELS = TORCH_MODELS + [m for m in huggingface_models() if m.name in FAMILIES]


def described(graph: Graph) -> list[object]:
    return [
        (
            node.op,
            [value.shape for value in node.outputs],
            [value.number for value in node.inputs],
            {name: value for name, value in node.arguments.items() if isinstance(value, float)},
        )
        for node in operations(graph)
    ]


@pytest.mark.sweep
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_recording_has_the_operations_of_the_capture(model: ZooModel) -> None:
    captured, recorded = capture(model.build(), model.inputs()), record(model.build(), model.inputs())
    assert described(recorded) == described(captured)
    assert recorded.outputs.keys() == captured.outputs.keys()


class Small(nn.Module):
    """Constants made in the forward, a result that nothing reads, an operation in place, a number from a size."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.scale = nn.Linear(3, 4), nn.Linear(4, 2), torch.tensor([0.5])

    def forward(self, x: torch.Tensor, half: bool = False) -> torch.Tensor:
        y = self.a(x) + torch.arange(x.shape[0])[:, None] * torch.tensor(0.5)
        y[:, :2]
        y.relu_()
        return self.b(y / y.shape[1] ** 0.5) * (self.scale if half else torch.ones(1))


def test_of_several_examples() -> None:
    inputs = [torch.randn(5, 3), {"x": torch.randn(2, 3), "half": True}]
    captured, recorded = capture(Small(), inputs), record(Small(), inputs)
    assert described(recorded) == described(captured)
    assert recorded.outputs.keys() == captured.outputs.keys()


def test_needs_no_memory() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(10, 10**9), nn.ReLU(), nn.Linear(10**9, 3))
    assert [node.op for node in record(model, torch.randn(2, 10)).nodes] == ["aten.linear", "aten.relu", "aten.linear"]
