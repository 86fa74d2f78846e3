"""Networks that others have trained, on real data: grown, they say the same. Skipped where the files are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import net2net
from support import refused
from zoo.resnets import CifarResNet

SHARED = Path(__file__).parents[2] / "shared"
STORIES = SHARED / "weights" / "llama2c-stories260K"


def shared(*parts: str) -> Path:
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared/{'/'.join(parts)} is not there")
    return path


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part) for part in torch.split(x, 50)])


def same(growth: net2net.Growth, teacher: nn.Module, x: Tensor, before: Tensor) -> None:
    """The student is larger, and its outputs are those of the teacher."""
    after = outputs(growth.student.eval(), x)
    assert float((after - before).abs().max() / before.abs().max()) <= 1e-10
    assert torch.equal(after.argmax(-1), before.argmax(-1))
    assert sum(p.numel() for p in growth.student.parameters()) > sum(p.numel() for p in teacher.parameters())
    assert growth.verification.passed and growth.plan.preserves == "exact"


@pytest.fixture(scope="module")
def resnet() -> tuple[nn.Module, Tensor, Tensor]:
    """ResNet-20, test images of CIFAR-10 as it was trained on them, and its outputs for these."""
    file = shared("weights", "cifar10-resnet20", "resnet20-12fca82f.th")
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    model = CifarResNet((3, 3, 3), (16, 32, 64))
    odd = model.load_state_dict({name.removeprefix("module."): t for name, t in state.items()}, strict=False)
    assert not odd.unexpected_keys and all(name.endswith("num_batches_tracked") for name in odd.missing_keys)
    model.double().eval()
    with np.load(shared("data", "cifar10", "cifar10_subset_12k.npz")) as data:
        x, y = (torch.from_numpy(data[name][:200]) for name in ("test_x", "test_y"))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = (x.permute(0, 3, 1, 2).double() / 255 - mean) / std
    before = outputs(model, x)
    assert float((before.argmax(-1) == y).double().mean()) > 0.75  # 81 % of all of these lossy images
    return model, x, before


@pytest.mark.parametrize("how", [None, "split"])
def test_a_resnet_wider(resnet: Any, how: str | None) -> None:
    model, x, before = resnet
    same(net2net.widen(model, {"layer*.conv1": 2.0}, x[:4], how=how), model, x, before)


def test_a_resnet_deeper(resnet: Any) -> None:
    model, x, before = resnet
    growth = net2net.deepen(model, {"layer3": 2}, x[:4], [x[100:]])
    assert len(growth.student.layer3) == 5
    same(growth, model, x, before)


@pytest.mark.sweep
def test_a_resnet_grown_as_a_whole(resnet: Any) -> None:
    model, x, before = resnet
    growth = net2net.grow(model, x[:4], sizes=2.0, where=2.0)
    assert len(growth.student.layer3) == 5 and growth.student.layer3[0].conv1.out_channels == 128
    same(growth, model, x, before)


class Beats(nn.Module):
    """BeatNet: features of each frame, an LSTM over the frames, and whether there is a beat."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, 2, 10)
        self.linear0 = nn.Linear(262, 150)
        self.lstm = nn.LSTM(150, 150, 2, batch_first=True)
        self.linear = nn.Linear(150, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, frames, features = x.shape
        x = torch.relu(self.conv1(x.reshape(batch * frames, 1, features)))
        x = self.linear0(nn.functional.max_pool1d(x, 2).reshape(batch * frames, -1))
        result: Tensor = self.linear(self.lstm(x.reshape(batch, frames, -1))[0])
        return result


@pytest.fixture(scope="module")
def beats() -> tuple[nn.Module, Tensor, Tensor]:
    model = Beats()
    file = shared("weights", "beatnet", "model_1_weights.pt")
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    model.double().eval()
    x = torch.rand(100, 40, 272, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return model, x, outputs(model, x)


@pytest.mark.thin(3)
@pytest.mark.parametrize("how", [None, "split"])
@pytest.mark.parametrize("sizes", [2.0, {"lstm": 201}, {"linear0": 1.5}, {"conv1": 3}], ids=str)
def test_an_lstm_wider(beats: Any, sizes: Any, how: str | None) -> None:
    model, x, before = beats
    growth = net2net.widen(model, sizes, x[:2], how=how)
    same(growth, model, x, before)
    if sizes == 2.0:
        assert growth.student.lstm.hidden_size == 300 and not growth.plan.left_out


def test_an_lstm_deeper(beats: Any) -> None:
    """A further LSTM can't be the identity; the convolution before it can get one."""
    model, x, before = beats
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(model, {"lstm": 1}, x[:2]), "lstm", "gates")
    same(net2net.deepen(model, {"conv1": 1}, x[:2]), model, x, before)


def test_an_lstm_grown(beats: Any) -> None:
    model, x, before = beats
    same(net2net.grow(model, x[:2], sizes={"lstm": 2.0}, where={"conv1": 1}), model, x, before)


HEADS = {"num_attention_heads": "2x", "num_key_value_heads": "2x"}
REQUESTS: dict[str, dict[str, Any]] = {
    "hidden size": {"hidden_size": "2x"},
    "heads": HEADS,
    "feed-forward": {"intermediate_size": "2x"},
    "feed-forward to an odd size": {"intermediate_size": 301},
    "depth": {"num_hidden_layers": 8},
    "all": {"hidden_size": "2x", "intermediate_size": "2x", "num_hidden_layers": 8, **HEADS},
}


def story(folder: Path, dtype: str) -> list[int]:
    """What a model tells of its own accord: 200 tokens, each the most likely one."""
    transformers = pytest.importorskip("transformers")
    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    told: list[int] = model.generate(torch.tensor([[1]]), max_new_tokens=200, do_sample=False)[0].tolist()
    return told


@pytest.mark.thin(3)
@pytest.mark.parametrize("request_", REQUESTS)
def test_the_stories_go_on_word_for_word(tmp_path: Path, request_: str) -> None:
    folder = shared("weights", "llama2c-stories260K", "hf")
    net2net.grow_checkpoint(folder, tmp_path / "s", REQUESTS[request_])
    told = story(tmp_path / "s", "float32")
    assert len(told) == 201 and told == json.loads((STORIES / "greedy_ids.json").read_text())[:201]


EVEN = {"how": "split", "shares": "even"}
REST = {name: size for name, size in REQUESTS["all"].items() if name != "hidden_size"}
IN_BFLOAT16 = [
    pytest.param([("hidden size", EVEN)], marks=pytest.mark.sweep),
    pytest.param([("heads", {})], marks=pytest.mark.sweep),
    pytest.param([("feed-forward", {})], marks=pytest.mark.sweep),
    pytest.param([("depth", {})], marks=pytest.mark.sweep),
    [("rest", {}), ("hidden size", EVEN)],
    [("all", EVEN)],
    pytest.param([("heads", EVEN)], marks=pytest.mark.sweep),
    pytest.param([("feed-forward", EVEN)], marks=pytest.mark.sweep),
]


@pytest.mark.parametrize("steps", IN_BFLOAT16, ids=str)
def test_the_stories_in_bfloat16(tmp_path: Path, steps: list[tuple[str, dict[str, Any]]]) -> None:
    """Silent units change no weight, and even copies of the stream halve them: nothing is rounded.

    That tokens agree can be chance, so the proof, which computes in float64, has to find no rounded weight.
    """
    transformers = pytest.importorskip("transformers")
    teacher = tmp_path / "t"
    folder = shared("weights", "llama2c-stories260K", "hf")
    transformers.LlamaForCausalLM.from_pretrained(folder, dtype="bfloat16").save_pretrained(teacher)
    source = teacher
    for i, (what, options) in enumerate(steps):
        growth = net2net.grow_checkpoint(source, tmp_path / str(i), {**REQUESTS, "rest": REST}[what], **options)
        assert growth.verification is not None and growth.verification.max_relative_error <= 1e-6
        source = tmp_path / str(i)
    assert story(source, "bfloat16") == story(teacher, "bfloat16")
