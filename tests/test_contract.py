"""What users rely on: the teacher stays as it is, the student is an ordinary network of its class."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import net2net
from support import (
    ZOO,
    X,
    from_zoo,
    in_float64,
    mlp,
    names_at,
    trained,
    widen_at,
)
from zoo.attention import ViT
from zoo.plain import MLP
from zoo.resnets import BasicBlock, ResNet


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("how", [None, "split", "random_pad"])
@pytest.mark.parametrize("name", ["resnet_basic", "gru_lm", "mlp_dropout"])
def test_the_teacher_and_the_random_state_stay_as_they_are(name: str, how: str | None) -> None:
    teacher, x = from_zoo(name)
    teacher.train()
    next(teacher.parameters()).requires_grad_(False)
    next(teacher.children()).eval()
    identities = {n: id(p) for n, p in teacher.named_parameters()}
    before, modes = copies(teacher), [m.training for m in teacher.modules()]
    grads, state = [p.requires_grad for p in teacher.parameters()], torch.get_rng_state()
    attributes = {path: dict(vars(m)) for path, m in teacher.named_modules()}
    net2net.widen(teacher, 2.0, x, how=how)
    assert torch.equal(torch.get_rng_state(), state)
    assert {n: id(p) for n, p in teacher.named_parameters()} == identities
    assert [m.training for m in teacher.modules()] == modes
    assert [p.requires_grad for p in teacher.parameters()] == grads
    assert all(p.grad is None for p in teacher.parameters())
    for key, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, before[key]), key
    for path, module in teacher.named_modules():
        assert vars(module).keys() == attributes[path].keys(), path


@pytest.mark.filterwarnings("ignore:no gradient reaches")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_student_has_the_teachers_class_dtype_modes_and_frozen_parameters(dtype: torch.dtype) -> None:
    teacher, x = ZOO["resnet_basic"].build().to(dtype), ZOO["resnet_basic"].inputs().to(dtype)
    for name, parameter in teacher.named_parameters():
        parameter.requires_grad_("layers.0" not in name)
    teacher.train()
    teacher.bn1.eval()
    growth = net2net.widen(teacher, 2.0, x)
    student = growth.student
    assert type(student) is type(teacher) and growth.verification.passed
    assert [type(m) for m in student.modules()] == [type(m) for m in teacher.modules()]
    assert [m.training for m in student.modules()] == [m.training for m in teacher.modules()]
    assert {n: p.requires_grad for n, p in student.named_parameters()} == {
        n: p.requires_grad for n, p in teacher.named_parameters()
    }
    assert {n: t.dtype for n, t in student.state_dict().items()} == {
        n: t.dtype for n, t in teacher.state_dict().items()
    }
    assert all(isinstance(p, nn.Parameter) and p.is_leaf and p.is_contiguous() for p in student.parameters())
    mine = {p.data_ptr() for p in student.parameters()} | {b.data_ptr() for b in student.buffers() if b.numel()}
    theirs = {p.data_ptr() for p in teacher.parameters()} | {b.data_ptr() for b in teacher.buffers() if b.numel()}
    assert not mine & theirs  # training one must not train the other


def test_tied_weights_stay_tied() -> None:
    teacher, x = from_zoo("tied_linears")
    student = widen_at(teacher, {("first.weight", 1): 25}, x).student
    assert student.first.weight is student.second.weight
    teacher, x = from_zoo("shared_module")
    student = net2net.widen(teacher, 2.0, x).student
    assert len(list(student.parameters())) == len(list(teacher.parameters()))


class Extras(nn.Module):
    """Buffers of all kinds, plain attributes, a hook."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, hidden), nn.Linear(hidden, 2)
        self.register_buffer("scale", torch.tensor([1.5, 2.0, 0.5, -1.0]))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long), persistent=False)
        self.hidden, self.names = hidden, ["a", "b"]

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x * self.scale)))


def doubled(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output * 2


def test_buffers_attributes_and_hooks_are_kept() -> None:
    teacher = trained(Extras())
    handle = teacher.last.register_forward_hook(doubled)
    with_hook = teacher(X)
    student = widen_at(teacher, {"first.weight": 13}, X).student
    assert torch.equal(student.scale, teacher.scale) and student.scale is not teacher.scale
    assert student.calls.dtype == torch.long and "calls" not in student.state_dict()
    assert student.hidden == 8 and student.names == ["a", "b"]
    assert torch.allclose(student(X), with_hook, rtol=0, atol=1e-12)
    handle.remove()
    assert torch.allclose(student(X), 2 * teacher(X), rtol=0, atol=1e-12)


class Constant(nn.Module):
    """Holds a tensor that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)
        self.mixing = torch.randn(4, 4, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x @ self.mixing)))


def test_plain_tensors_are_kept() -> None:
    teacher = trained(Constant())
    student = widen_at(teacher, {"first.weight": 11}, X).student
    assert torch.equal(student.mixing, teacher.mixing)
    assert torch.allclose(student(X), teacher(X), rtol=0, atol=1e-12)


def round_trip(student: nn.Module, bigger: nn.Module, x: Any) -> None:
    """The student's weights fit a network constructed at its size, which then computes the same.

    Numbers that no forward reads stay what they were.
    """
    bigger = bigger.to(next(student.parameters()).dtype).eval()
    bigger.load_state_dict(student.state_dict(), strict=True)
    for (path, a), b in zip(student.named_modules(), bigger.modules(), strict=True):
        for name, value in vars(b).items():
            if isinstance(value, int) and type(b).__module__.startswith("torch.nn"):
                assert getattr(a, name) == value or name == "training", (path, name)
    with torch.no_grad():
        theirs, ours = (model(**x) if isinstance(x, dict) else model(x) for model in (bigger, student.eval()))
    theirs, ours = (getattr(y, "logits", y) for y in (theirs, ours))
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_an_mlp_round_trips() -> None:
    teacher, x = from_zoo("mlp")
    student = widen_at(teacher, {"0.weight": 20, "2.weight": 31}, x).student
    round_trip(student, MLP(hidden=(20, 31)), x)


def test_a_resnet_round_trips() -> None:
    teacher, x = from_zoo("resnet_basic")
    round_trip(net2net.widen(teacher, 2.0, x).student, ResNet(BasicBlock, planes=(16, 28), stem=20), x)


def test_a_vit_round_trips() -> None:
    teacher, x = from_zoo("vit")
    student = widen_at(teacher, {f"blocks.{i}.mlp.fc1.weight": 51 for i in range(2)}, x).student
    round_trip(student, ViT(hidden=51), x)


def test_a_whole_vit_is_refused_or_round_trips_but_for_its_norms() -> None:
    """Copies need no new eps: the student of a split is what its constructor makes."""
    teacher, x = from_zoo("vit")
    student = net2net.widen(teacher, 2.0, x, how="split").student
    round_trip(student, ViT(dim=48, heads=6, hidden=80), x)


def test_a_hugging_face_llama_round_trips_by_its_config() -> None:
    from zoo.huggingface_causal import MODELS

    entry = next(m for m in MODELS if m.name == "llama")
    teacher, x = entry.build(), entry.inputs()
    student = net2net.widen(teacher, "2x", x, how="split").student
    assert type(student) is type(teacher) and student.config is not teacher.config
    assert student.config.hidden_size == 48 and teacher.config.hidden_size == 24
    assert student.config.intermediate_size == 80 and student.config.num_key_value_heads == 4
    round_trip(student, type(student)(student.config), x)


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_parametrised_layers_are_exact_or_refused_by_name(wrap: Callable[[nn.Module], nn.Module]) -> None:
    teacher = (
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), wrap(nn.Linear(8, 6)), nn.ReLU(), nn.Linear(6, 2)).double().eval()
    )
    for key in ("0", "3"):
        try:
            growth = net2net.widen(teacher, {key: 12}, X)
        except net2net.GrowthError as refusal:
            assert any(word in str(refusal) for word in ("_weight_norm", "weight_norm", "_u", "_v", "vdot", "'2")), (
                refusal
            )
        else:
            assert growth.verification.max_relative_error < 1e-10
            stored = {"2.weight_g", "2.parametrizations.weight.original0", "2.parametrizations.weight.original"}
            assert stored & growth.student.state_dict().keys()


def test_analysis_needs_no_weights() -> None:
    for name in ("resnet_basic", "llama", "gru_lm"):
        teacher, x = from_zoo(name)
        here, there = net2net.analyze(teacher, x), net2net.analyze(teacher.to("meta"), x)
        assert there.dimensions == here.dimensions
        assert str(there) == str(here)


@pytest.mark.parametrize("options", [{}, {"how": "split", "noise": "zero_sum"}, {"how": "pair"}, {"how": "random_pad"}])
def test_the_seed_decides_every_draw(options: dict[str, Any]) -> None:
    def state(seed: int) -> dict[str, Tensor]:
        torch.seed()
        return net2net.widen(mlp(), {"0": 20, "2": 14}, X, seed=seed, **options).student.state_dict()

    first, again, other = state(1), state(1), state(2)
    assert all(torch.equal(first[k], again[k]) for k in first)
    differing = {k for k in first if not torch.equal(first[k], other[k])}
    assert {"0.weight", "2.weight"} <= differing


def test_a_grown_network_grows_again() -> None:
    teacher, x = from_zoo("llama")
    once = net2net.widen(teacher, dict.fromkeys(names_at(net2net.analyze(teacher, x), "embed_tokens.weight", 1), 33), x)
    twice = widen_at(once.student, {("embed_tokens.weight", 1): 47}, x)
    report = net2net.verify(teacher, twice.student, x)
    assert report.passed and report.max_relative_error < 1e-10


def test_the_public_names() -> None:
    public = {name for name, value in vars(net2net).items() if name[0] != "_" and type(value) is not type(sys)}
    assert net2net.__all__ == sorted(public | set(net2net._LAZY))


def test_importing_the_library_brings_no_extra() -> None:
    code = (
        "import sys, net2net; "
        "print([m for m in ('transformers', 'matplotlib', 'typer', 'rich', 'sklearn') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_inputs_of_another_dtype_are_no_obstacle() -> None:
    growth = net2net.widen(mlp().float(), {"0": 12}, in_float64(X).float())
    assert growth.verification.dtype == "float64" and growth.verification.max_relative_error < 1e-10
