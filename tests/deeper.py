"""What the tests of depth need: a deepening with every check that always holds, and errors measured by hand."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import net2net
from net2net.capture import named_outputs, split_inputs
from zoo.model import Inputs

State = dict[str, Tensor]


def state(model: nn.Module) -> State:
    """A copy of all tensors of a model."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal_states(a: State, b: State) -> bool:
    """Whether two models have the same tensors, bit by bit and under the same names."""
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def error(teacher: nn.Module, student: nn.Module, inputs: Inputs, train: bool = False) -> float:
    """The largest difference of an output relative to the output's largest entry, of copies without dropout."""
    ours, theirs = (_outputs(model, inputs, train) for model in (teacher, student))
    assert ours.keys() == theirs.keys() and ours
    worst = 0.0
    for name, reference in ours.items():
        assert reference.shape == theirs[name].shape, name
        size = float(reference.abs().max())
        assert size > 1e-3, f"'{name}' of the teacher is next to nothing: any student would do"
        worst = max(worst, float((reference - theirs[name]).abs().max()) / size)
    return worst


def _outputs(model: nn.Module, inputs: Inputs, train: bool) -> State:
    model = copy.deepcopy(model).train(train)
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    args, kwargs = split_inputs(inputs)
    with torch.no_grad():
        found = named_outputs(model(*args, **kwargs))
    return {str(k): v for k, v in found.items() if isinstance(v, Tensor) and v.is_floating_point()}


def exact(
    teacher: nn.Module, where: Any, inputs: Inputs, *, tolerance: float = 1e-12, **options: Any
) -> net2net.Growth:
    """Deepen, and check what always holds: the teacher's function, measured here once more on these and on other
    inputs, new weights that learn, and a teacher that is left as it was."""
    before, training = state(teacher), [module.training for module in teacher.modules()]
    random = torch.get_rng_state()
    growth = net2net.deepen(teacher, where, inputs, **options)
    assert equal_states(before, state(teacher)) and training == [module.training for module in teacher.modules()]
    assert torch.equal(random, torch.get_rng_state())
    check(teacher, growth, inputs, tolerance)
    return growth


def check(teacher: nn.Module, growth: net2net.Growth, inputs: Inputs, tolerance: float = 1e-12) -> None:
    """A growth in depth is exact in eval mode and has no dead weight, but for layers that are frozen as a whole."""
    assert growth.plan.preserves == "exact" and growth.verification.passed, growth
    frozen = {name for name, p in growth.student.named_parameters() if not p.requires_grad}
    assert growth.verification.dead is not None and frozen.issuperset(growth.verification.dead)
    assert type(growth.student) is type(teacher)
    for given in (inputs, others(inputs)):
        assert error(teacher, growth.student, given) <= tolerance


def others(inputs: Inputs) -> Inputs:
    """Inputs like these, with other numbers; whole numbers in another order."""

    def other(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            generator = torch.Generator().manual_seed(99)
            return 2 * torch.randn(tensor.shape, dtype=torch.float64, generator=generator).to(tensor.dtype)
        return tensor.flip(-1)

    return pytree.tree_map_only(Tensor, other, inputs)


def parameters(model: nn.Module) -> dict[str, Tensor]:
    """All parameters, by name."""
    return dict(model.named_parameters())


def learned(growth: net2net.Growth, inputs: Inputs, steps: int = 3) -> dict[str, bool]:
    """For every trainable parameter of the student, whether plain gradient descent moves it within a few steps."""
    student = copy.deepcopy(growth.student).eval()
    args, kwargs = split_inputs(inputs)
    moved = dict.fromkeys((n for n, p in student.named_parameters() if p.requires_grad), False)
    generator = torch.Generator().manual_seed(5)
    for _ in range(steps):
        student.zero_grad()
        outputs = [v for v in named_outputs(student(*args, **kwargs)).values() if v.is_floating_point()]
        losses = [(v * torch.randn(v.shape, generator=generator).to(v)).mean() for v in outputs]
        torch.stack(losses).sum().backward()
        with torch.no_grad():
            for name, parameter in student.named_parameters():
                if parameter.grad is not None and parameter.grad.any():
                    moved[name] = True
                    parameter -= 0.1 * parameter.grad
    return moved
