"""Trained modules: whatever hangs on them, they grow, and the student has it."""

from __future__ import annotations

import functools
import threading
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import net2net


def preserved(teacher: nn.Module, student: nn.Module, *inputs: torch.Tensor) -> bool:
    """Whether two networks compute the same, in both modes, and the student can be trained."""
    for train in (False, True):
        with torch.no_grad():
            before, after = teacher.train(train)(*inputs), student.train(train)(*inputs)
        if ((before - after).abs().max() / before.abs().max()).item() > 1e-10:
            return False
    optimizer = torch.optim.SGD(student.parameters(), 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        student(*inputs).square().mean().backward()
        optimizer.step()
    return True


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(4, 8), nn.Linear(8, 2), None
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(x)))


def x(*shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (5, 4)), generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def trained(net: nn.Module, *inputs: torch.Tensor) -> nn.Module:
    optimizer = torch.optim.SGD(net.parameters(), 1e-2)
    net(*inputs).square().mean().backward()
    optimizer.step()
    return net


def pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", 0.3)


class KeepsLoss(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        self.last = out.square().mean()  # type: ignore[assignment]
        return out


class KeepsMany(Net):
    """A graph in a list, a tuple, a dict and an object."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.a(x))
        self.seen = [h, (h, {"h": h}), types.SimpleNamespace(h=h)]
        return self.b(h)


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.last = *(nn.Linear(width, width) for _ in range(3)), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = (self.q(x) @ self.k(x).mT).softmax(-1)
        return x + self.last @ self.v(x)


@pytest.mark.parametrize("kind", [KeepsLoss, KeepsMany])
def test_tensors_with_a_graph_kept_on_the_module(kind: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = trained(kind(), x())
    growth = net2net.widen(net, {"a": 13}, x())
    assert growth.student.a.out_features == 13 and preserved(net, growth.student, x())  # type: ignore[union-attr]


def test_kept_attention_in_width_and_depth() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), Attention(8), Attention(8), nn.Linear(8, 2)).double()
    given = x(2, 5, 3)
    trained(net, given)
    assert net[1].last.grad_fn is not None
    for growth in (net2net.widen(net, 2.0, given), net2net.deepen(net, "2x", given)):
        assert preserved(net, growth.student, given)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("parametrize", [
    nn.utils.spectral_norm, nn.utils.weight_norm, nn.utils.parametrizations.spectral_norm,
    nn.utils.parametrizations.weight_norm, pruned,
])  # fmt: skip
def test_weights_that_are_computed_anew(parametrize: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    parametrize(net[0])
    trained(net, x())
    for mode in (True, False):
        student: Any = net2net.widen(net.train(mode), {"2": 13}, x()).student
        net.eval(), student.eval()
        with torch.no_grad():
            assert torch.allclose(net(x()), student(x()), rtol=0, atol=1e-10)
        trained(student.train(), x())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("parametrize", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm, pruned])
def test_computed_weights_grow_after_training(parametrize: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    net = Net()
    parametrize(net.a)
    trained(net, x())
    student: Any = net2net.widen(net, {"a": 13}, x()).student
    assert preserved(net, student, x()) and student.a.weight.shape == (13, 4)


def test_what_is_no_part_of_the_function_is_shared(tmp_path: Path) -> None:
    net: Any = Net()
    net.lock, net.condition, net.config, net.loss = threading.Lock(), threading.RLock(), types, nn.functional.mse_loss
    net.stream = (n for n in range(3))
    net.kind = nn.Linear
    net.loader = torch.utils.data.DataLoader([1, 2])  # type: ignore[var-annotated, arg-type]
    net.generator = torch.Generator().manual_seed(7)
    with open(tmp_path / "log", "w") as net.log:
        student: Any = net2net.widen(net, {"a": 13}, x()).student
        for name in ("lock", "condition", "config", "loss", "stream", "kind", "loader", "log"):
            assert getattr(student, name) is getattr(net, name), name
    assert student.generator is not net.generator
    assert torch.equal(torch.rand(3, generator=student.generator), torch.rand(3, generator=net.generator))


class Bound(Net):
    """Functions kept as attributes, each over `self`."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((8,), 1.5, dtype=torch.float64))
        made: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "closure": lambda h: h * self.scale,
            "default": lambda h, of=self: h * of.scale,
            "method": self.scaled,
            "partial": functools.partial(Bound.scaled, self),
            "wrapped": functools.wraps(self.scaled)(lambda h: self.scaled(h)),
            "in a list": (lambda both: lambda h: both[0].scaled(h))([self]),
        }
        self.act = [made[way]]

    def scaled(self, h: torch.Tensor) -> torch.Tensor:
        return h * self.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.act[0](self.a(x))))


@pytest.mark.parametrize("way", ["closure", "default", "method", "partial", "wrapped", "in a list"])
def test_functions_over_the_module_mean_the_students(way: str) -> None:
    torch.manual_seed(0)
    net = Bound(way)
    student: Any = net2net.widen(net, {"a": 13}, x()).student
    assert preserved(net, student, x())
    with torch.no_grad():
        student.scale.zero_()  # the function must read the student's scale
        assert torch.equal(student(x()), student.b.bias.expand(5, 2))
        assert not torch.equal(net(x()), net.b.bias.expand(5, 2))


def test_a_weak_reference_to_the_parent_means_the_students() -> None:
    net: Any = Net()
    net.a.parent = weakref.ref(net)
    student: Any = net2net.widen(net, {"a": 13}, x()).student
    assert student.a.parent() is student and net.a.parent() is net


def test_a_handle_removes_the_hook_of_its_own_network() -> None:
    net: Any = Net()
    net.a.handle = net.a.register_forward_hook(lambda module, args, out: 2 * out)
    student: Any = net2net.widen(net, {"a": 13}, x()).student
    assert preserved(net, student, x())
    student.a.handle.remove()
    assert not student.a._forward_hooks and len(net.a._forward_hooks) == 1


class Stubborn:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("no")


def test_what_cant_be_copied_is_named() -> None:
    net: Any = nn.Sequential(Net(), nn.Linear(2, 4).double(), Net())
    net[2].a.extras = {"deep": [1, types.SimpleNamespace(thing=Stubborn())]}
    with pytest.raises(net2net.CaptureError, match=r"'2\.a\.extras\['deep'\]\[1\]\.thing' of Sequential .*Stubborn"):
        net2net.widen(net, {"0.a": 13}, x())


def test_an_optimizer_on_the_module_is_the_students_without_state() -> None:
    net: Any = Net()
    net.tools = {"optimizer": torch.optim.Adam(net.parameters(), 1e-2)}
    net(x()).square().mean().backward()
    net.tools["optimizer"].step()
    for grow, request in ((net2net.widen, {"a": 13}), (net2net.deepen, {"a": 1})):
        with pytest.warns(net2net.Net2NetWarning, match=r"Net keeps optimizers \(tools\['optimizer'\]\)") as caught:
            student: Any = grow(net, request, x()).student  # type: ignore[operator]
        assert len(caught) == 1
        mine = student.tools["optimizer"]
        assert not mine.state and len(net.tools["optimizer"].state) == 4
        assert {id(p) for p in mine.param_groups[0]["params"]} <= {id(p) for p in student.parameters()}


# What hangs on a parameter


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.inner(x))


class Marked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(8, 2)
        self.calls: list[str] = []
        self.to(torch.float64, memory_format=torch.channels_last)
        for name, parameter in self.named_parameters():
            parameter._no_weight_decay = name.endswith("bias")  # type: ignore[attr-defined]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


@pytest.mark.filterwarnings("ignore:no gradient reaches")
def test_marks_hooks_and_memory_format_of_parameters_are_kept_in_width_and_depth() -> None:
    torch.manual_seed(0)
    net, given, seen = Marked(), x(2, 3, 5, 5), list[str]()
    for name, parameter in net.named_parameters():
        parameter.register_hook(lambda gradient, name=name: seen.append(name))
    net.head.weight.register_post_accumulate_grad_hook(lambda parameter: seen.append("after"))
    for growth, more in ((net2net.widen(net, 2.0, given), 0), (net2net.deepen(net, {"blocks": "2x"}, given), 4)):
        student: Any = growth.student
        assert not seen
        for name, parameter in student.named_parameters():
            assert parameter._no_weight_decay == name.endswith("bias"), name
            if parameter.dim() == 4:
                assert parameter.is_contiguous(memory_format=torch.channels_last), name
        student(given).sum().backward()
        assert len(seen) == 8 + 1 + more
        seen.clear()
        assert preserved(net, student, given)
        seen.clear()


def test_marks_that_hold_the_old_shape_are_noted() -> None:
    net: Any = Net()
    net.a.weight.main_grad, net.b.bias.main_grad = torch.zeros(8, 4), torch.zeros(2)
    mask = torch.ones(8, 4, dtype=torch.float64)
    net.a.weight.register_hook(lambda gradient: gradient * mask)
    growth = net2net.widen(net, {"a": 13}, x())
    student: Any = growth.student
    assert [note for note in growth.plan.notes if "main_grad" in note and "'a.weight'" in note]
    assert [note for note in growth.plan.notes if "a hook of 'a.weight'" in note]
    assert not hasattr(student.a.weight, "main_grad") and student.b.bias.main_grad.shape == (2,)
    assert preserved(net, student, x())


def test_a_students_own_marks_stay_in_transfer() -> None:
    net: Any = Net()
    net.a.weight.mark = "teacher"
    student: Any = Net()
    student.a, student.b = nn.Linear(4, 13).double(), nn.Linear(13, 2).double()
    student.a.weight.mark = "student"
    net2net.transfer(net, student, x())
    assert student.a.weight.mark == "student" and not vars(student.b.weight) and preserved(net, student, x())


# Hooks on modules


seen_globally: list[int] = []


def test_hooks_that_observe_dont_see_a_growth_and_are_on_in_the_student() -> None:
    torch.manual_seed(0)
    net: Any = Net()
    seen: list[str] = []
    net.a.register_forward_hook(lambda module, args, out: seen.append("after"))
    net.a.register_forward_hook(lambda module, args, out: seen_globally.append(1))
    net.register_forward_pre_hook(lambda module, args: seen.append("before"))
    net.b.register_full_backward_hook(lambda module, inward, outward: seen.append("back"))
    everywhere = nn.modules.module.register_module_forward_hook(lambda module, args, out: seen.append("everywhere"))
    student: Any = Net()
    student.a, student.b = nn.Linear(4, 13).double(), nn.Linear(13, 2).double()
    student.a.register_forward_hook(lambda module, args, out: seen.append("student"))
    growths = [net2net.widen(net, {"a": 13}, x()), net2net.deepen(net, {"a": 1}, x())]
    growths.append(growths[0].replay(net))
    net2net.transfer(net, student, x())
    net2net.analyze(net, x()), net2net.verify(net, net, x())
    assert not seen and not seen_globally
    for growth in growths:
        growth.student(x()).sum().backward()
        assert {"after", "before", "back", "everywhere"} == set(seen) and seen_globally == [1]
        seen.clear(), seen_globally.clear()
    everywhere.remove()
    student(x())
    assert seen == ["student"]
    seen.clear()
    net(x())
    assert seen == ["before", "after"]
    seen_globally.clear()


def test_hooks_that_take_part_are_captured() -> None:
    torch.manual_seed(0)

    def doubled(module: nn.Module, args: Any, out: torch.Tensor) -> torch.Tensor:
        return 2 * out

    def shifted(module: nn.Module, args: Any) -> tuple[torch.Tensor]:
        return (args[0] + 1,)

    for register in (
        lambda net: net.a.register_forward_hook(doubled),
        lambda net: net.b.register_forward_pre_hook(shifted),
        lambda net: nn.modules.module.register_module_forward_hook(
            lambda module, args, out: out.tanh() if isinstance(module, nn.Linear) else None
        ),
    ):
        net = Net()
        handle = register(net)
        student = net2net.widen(net, {"a": 13}, x()).student
        assert preserved(net, student, x())
        handle.remove()


class Collects(Net):
    """What a hook collects is read by the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.features: dict[str, torch.Tensor] = {}
        self.c = nn.Linear(8, 2).double()
        self.a.register_forward_hook(lambda module, args, out: self.features.update(a=out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = super().forward(x)
        return out + self.c(self.features["a"])


def test_hooks_that_collect_what_the_forward_reads_take_part() -> None:
    torch.manual_seed(0)
    net = Collects()
    student: Any = net2net.widen(net, {"a": 13}, x()).student
    assert student.c.in_features == 13 and preserved(net, student, x())


def test_hooks_are_on_again_after_a_refusal() -> None:
    net: Any = Net()
    seen: list[int] = []
    net.a.register_forward_hook(lambda module, args, out: seen.append(1))
    with pytest.raises(net2net.GrowthError):
        net2net.widen(net, {"a": 3}, x())
    assert not seen
    net(x())
    assert seen == [1]


def test_a_schedule_goes_on_with_what_training_keeps() -> None:
    torch.manual_seed(0)
    net = trained(KeepsLoss(), x())
    net.a.register_forward_hook(lambda module, args, out: None)  # type: ignore[operator, union-attr]
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    schedule = net2net.training.GrowthSchedule({1: {"sizes": {"a": 13}}, 2: {"where": {"a": 1}}}, x())
    training = net2net.training.Training(net, optimizer)
    for step in range(1, 4):
        training.optimizer.zero_grad()
        training.model(x()).square().mean().backward()
        training.optimizer.step()
        training = schedule.after(step, training)
    assert sum(p.numel() for p in training.model.parameters()) == 13 * 5 + 13 * 14 + 2 * 14


class OverParameter(Net):
    """A function kept as an attribute, over a parameter itself."""

    def __init__(self, way: str) -> None:
        super().__init__()
        scale = self.scale = nn.Parameter(torch.full((8,), 1.5, dtype=torch.float64))

        def local(h: torch.Tensor) -> torch.Tensor:
            return h * scale

        made: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "lambda": lambda h: h * scale,
            "local function": local,
            "default": lambda h, of=scale: h * of,
            "partial": functools.partial(torch.mul, scale),
            "of a list": (lambda both: lambda h: h * both[0])([scale]),
        }
        self.act = [made[way]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.act[0](self.a(x))))


@pytest.mark.parametrize("way", ["lambda", "local function", "default", "partial", "of a list"])
def test_functions_over_a_parameter_mean_the_students(way: str) -> None:
    torch.manual_seed(0)
    net = OverParameter(way)
    student: Any = net2net.widen(net, {"a": 13}, x()).student
    assert student.scale.shape == (13,)
    assert preserved(net, student, x())
    with torch.no_grad():
        student.scale.zero_()
        assert torch.equal(student(x()), student.b.bias.expand(5, 2))
        assert not torch.equal(net(x()), net.b.bias.expand(5, 2))


def test_a_parameter_that_only_a_function_has_is_named() -> None:
    net: Any = OverParameter("lambda")
    del net.scale
    with pytest.raises(net2net.FixedDimensionError, match=r"act\[0\] \(its closure's 'scale'\)"):
        net2net.widen(net, {"a": 13}, x())
