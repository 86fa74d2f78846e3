"""The core of the state rule: a plan says what every gradient of the student is, and autograd agrees."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import net2net
from deeper import state
from net2net.apply import grow_state
from net2net.capture import named_outputs, split_inputs
from net2net.optimizer import grow_optimizer
from support import ZOO, X, from_zoo, in_float64, mlp, names_at, refused, trained
from zoo.huggingface_causal import MODELS
from zoo.model import Inputs

pytestmark = pytest.mark.filterwarnings("ignore:copies with even shares")

HUGGING_FACE = {model.name: model for model in MODELS}
# Modules of transformers compute their norms in float32: gradients agree to that only.
EXACT, IN_FLOAT32 = 1e-10, 2e-5


def network(name: str) -> tuple[nn.Module, Inputs]:
    if name in ZOO:
        return from_zoo(name)
    return HUGGING_FACE[name].build().double(), in_float64(HUGGING_FACE[name].inputs())


def gradients(model: nn.Module, inputs: Inputs, train: bool) -> dict[str, Tensor]:
    model = copy.deepcopy(model).train(train)
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    arguments, keywords = split_inputs(inputs)
    generator = torch.Generator().manual_seed(3)
    loss = torch.zeros((), dtype=torch.float64)
    for output in named_outputs(model(*arguments, **keywords)).values():
        if isinstance(output, Tensor) and output.requires_grad:
            weight = torch.randn(output.shape, generator=generator, dtype=torch.float64)
            loss = loss + (output * weight).tanh().sum()
    loss.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def carried(growth: net2net.Growth, gradient: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the rule makes of the teacher's gradients and of their squares: the state after one step of Adam with
    betas (0, 0), which keeps the last gradient."""
    teacher = growth.teacher
    optimizer = torch.optim.Adam(teacher.parameters(), betas=(0.0, 0.0))
    for name, parameter in teacher.named_parameters():
        if name in gradient:
            g = gradient[name]
            optimizer.state[parameter] = {"step": torch.ones(()), "exp_avg": g.clone(), "exp_avg_sq": g.square()}
    new = growth.optimizer(optimizer, ramp=0)
    states = {n: new.state[p] for n, p in growth.student.named_parameters() if p in new.state}
    first = {n: s["exp_avg"] for n, s in states.items() if s}
    return first, {n: s["exp_avg_sq"] for n, s in states.items() if s}


def is_old(growth: net2net.Growth, name: str) -> Tensor | None:
    """Which entries of a tensor copy one of the teacher's; None if it is new as a whole."""
    plan, mask = growth.plan, torch.ones((), dtype=torch.bool)
    steps = [plan] if plan.earlier is None else [plan.earlier, plan]
    for step in steps:
        tensor = step.tensors.get(name)
        if tensor is None:
            continue
        if tensor.new:
            return None
        mask = torch.ones(tensor.shape, dtype=torch.bool)
        for axis, m in enumerate(tensor.axes):
            if m is not None:
                column = [-1 if d == axis else 1 for d in range(mask.dim())]
                mask = mask & torch.from_numpy(m.source >= 0).reshape(column)
    return mask


def largest_error(growth: net2net.Growth, inputs: Inputs, train: bool = False) -> float:
    ours, theirs = (gradients(model, inputs, train) for model in (growth.teacher, growth.student))
    first, second = carried(growth, ours)
    worst, compared = 0.0, 0
    # A bias before a norm over positions has no gradient but rounding.
    least = 1e-6 * max(float(g.abs().max()) for g in theirs.values())
    for name, gradient in theirs.items():
        mask = is_old(growth, name)
        if mask is None:
            assert not first[name].any(), f"{name} is new, and has momentum"
            continue
        size = max(float(gradient[mask.expand_as(gradient)].abs().max()), least)
        for rule, found, scale in ((first, gradient, size), (second, gradient.square(), size**2)):
            worst = max(worst, float(((rule[name] - found) * mask).abs().max()) / scale)
        compared += 1
    assert compared >= len(ours) - 2
    return worst


EVERYTHING = [
    ("mlp", EXACT),
    ("resnet_basic", EXACT),
    ("llama", EXACT),
    ("gru_lm", EXACT),
    ("llama_tied", IN_FLOAT32),
    ("gpt2", EXACT),
]


@pytest.mark.thin(3)
@pytest.mark.parametrize("options", [{"how": "split", "shares": "even"}, {"how": "pair"}])
@pytest.mark.parametrize("name,tolerance", EVERYTHING)
def test_even_copies_and_silent_units_have_the_gradients_of_the_rule(
    name: str, tolerance: float, options: dict[str, Any]
) -> None:
    teacher, x = network(name)
    growth = net2net.widen(teacher, 2.0, x, **options)
    assert largest_error(growth, x) < tolerance


@pytest.mark.parametrize("name,tolerance", [("mlp", EXACT), ("resnet_basic", EXACT), ("gru_lm", EXACT)])
@pytest.mark.parametrize("options", [{"how": "split"}, {"how": "zero_out"}])
def test_uneven_copies_and_new_units_where_no_norm_mixes_units(
    name: str, tolerance: float, options: dict[str, Any]
) -> None:
    teacher, x = network(name)
    assert largest_error(net2net.widen(teacher, 1.5, x, **options), x) < tolerance


def test_batch_norm_in_train_mode() -> None:
    teacher, x = from_zoo("resnet_basic")
    growth = net2net.widen(teacher, 2.0, x, how="split")
    assert largest_error(growth, x, train=True) < EXACT


@pytest.mark.parametrize("name,tolerance", [("llama", EXACT), ("llama_tied", IN_FLOAT32)])
def test_zero_out_on_a_stream_that_is_normalised_by_its_rms(name: str, tolerance: float) -> None:
    teacher, x = network(name)
    assert largest_error(net2net.widen(teacher, 1.5, x, how="zero_out"), x) < tolerance


def test_uneven_heads_and_feed_forward_widths_of_a_grouped_query_llama() -> None:
    teacher, x = network("llama_tied")
    analysis = net2net.analyze(teacher, x)
    names = {names_at(analysis, f"model.layers.{i}.mlp.down_proj.weight", 1)[0]: "1.5x" for i in range(2)}
    names |= {names_at(analysis, f"model.layers.{i}.self_attn.k_proj.weight", 0)[0]: "2x" for i in range(2)}
    assert largest_error(net2net.widen(teacher, names, x, how="split"), x) < IN_FLOAT32


@pytest.mark.parametrize("name,where,tolerance", [("mlp", {"0": 1}, EXACT), ("llama", 2.0, EXACT)])
def test_deeper_networks_keep_their_gradients(name: str, where: Any, tolerance: float) -> None:
    teacher, x = network(name)
    places = net2net.analyze(teacher, x).places
    where = where if not isinstance(where, dict) else {next(n for n, p in places.items() if p.growth == "exact"): 1}
    assert largest_error(net2net.deepen(teacher, where, x), x) < tolerance


@pytest.mark.sweep
@pytest.mark.parametrize("options", [{"how": "split", "shares": "even"}, {"how": "pair"}])
@pytest.mark.parametrize("name", ZOO)
def test_the_whole_zoo(name: str, options: dict[str, Any]) -> None:
    teacher, x = from_zoo(name)
    try:
        growth = net2net.widen(teacher, 2.0, x, **options)
    except net2net.GrowthError as refusal:
        pytest.skip(str(refusal))
    assert largest_error(growth, x) < 1e-9


class Fused(nn.Module):
    """Attention with one projection for queries, keys and values; its scale is computed from the size of its heads."""

    def __init__(self, heads: int = 2, size: int = 4) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.qkv, self.out = nn.Linear(5, 3 * heads * size), nn.Linear(heads * size, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).split(self.heads * self.size, dim=2)
        q, k, v = (t.view(batch, length, self.heads, self.size).transpose(1, 2) for t in (q, k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(batch, length, self.heads * self.size))


@pytest.mark.parametrize("how", ["split", "zero_out"])
def test_fused_rows_with_factors_of_their_own(how: str) -> None:
    """The size of the heads: rows of the queries take the shares, and make up for the attention's scale."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher, x = trained(Fused()), torch.randn(2, 6, 5, dtype=torch.float64)
    name = names_at(net2net.analyze(teacher, x), "qkv.weight", 0)[-1]
    growth = net2net.widen(teacher, {name: 7}, x, how=how)
    assert growth.plan.tensors["qkv.weight"].axes[0].factor is not None
    assert largest_error(growth, x) < EXACT


def test_deeper_and_wider() -> None:
    teacher, x = network("llama")
    growth = net2net.grow(teacher, x, sizes=2.0, where=2.0, how="split", shares="even")
    assert growth.plan.earlier is not None
    assert largest_error(growth, x) < EXACT


def test_a_student_that_the_user_built() -> None:
    teacher = mlp()
    student = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 2)).double()
    assert largest_error(net2net.transfer(teacher, student, X, how="split"), X) < EXACT
    deeper = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 12), *student[1:]).double()
    assert largest_error(net2net.transfer(teacher, deeper, X, how="split"), X) < EXACT


@pytest.mark.thin(3)
@pytest.mark.parametrize("name", ["mlp", "resnet_basic", "llama", "vit", "gru_lm", "llama_tied", "gpt2", "qwen3"])
def test_weights_times_gradients_sum_to_one_over_copies(name: str) -> None:
    """What must hold for any function-preserving plan: the student's derivative along the teacher's directions."""
    teacher, x = network(name)
    for tensor_name, tensor in net2net.widen(teacher, 2.0, x, how="split").plan.tensors.items():
        if tensor_name in dict(teacher.named_parameters()):
            for m in tensor.axes:
                if m is not None:
                    ones = np.ones(len(m.source))
                    both = (ones if m.factor is None else m.factor) * (ones if m.gradient is None else m.gradient)
                    total = np.zeros(m.source.max() + 1)
                    np.add.at(total, m.source, both)
                    assert np.allclose(total, 1.0), tensor_name


def test_a_plan_from_disk_carries_the_same_state(tmp_path: Path) -> None:
    teacher, x = network("llama")
    growth = net2net.grow(teacher, x, sizes=2.0, where=2.0, how="split")
    growth.plan.save(tmp_path / "plan.safetensors")
    plan = net2net.Plan.load(tmp_path / "plan.safetensors")
    assert plan == growth.plan
    optimizer = torch.optim.AdamW(teacher.parameters())
    for p, g in zip(teacher.parameters(), gradients(teacher, x, False).values(), strict=True):
        p.grad = g
    optimizer.step()
    here = growth.optimizer(optimizer, ramp=0).state_dict()["state"]
    there = grow_optimizer(plan, teacher, growth.student, optimizer).state_dict()["state"]
    assert here.keys() == there.keys()
    assert all(torch.equal(here[k][key], there[k][key]) for k in here for key in here[k])


def test_a_plan_without_gradients_still_loads(tmp_path: Path) -> None:
    """Plans saved before the field existed."""
    import json

    from safetensors import safe_open
    from safetensors.numpy import save_file

    growth = net2net.widen(mlp(), {"0": 12}, X, how="split")
    growth.plan.save(tmp_path / "plan.safetensors")
    with safe_open(str(tmp_path / "plan.safetensors"), framework="numpy") as file:
        header, arrays = json.loads(file.metadata()["net2net.plan"]), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    for tensor in header["tensors"].values():
        del tensor["new"]
        for axis in tensor["axes"]:
            if axis is not None:
                axis.pop("gradient", None)
    save_file(arrays, str(tmp_path / "old.safetensors"), metadata={"net2net.plan": json.dumps(header)})
    old = net2net.Plan.load(tmp_path / "old.safetensors")
    assert old != growth.plan
    assert all(torch.equal(t, grow_state(old, state(growth.teacher))[n]) for n, t in state(growth.student).items())
    optimizer = torch.optim.SGD(growth.teacher.parameters(), lr=0.1)
    call = partial(grow_optimizer, old, growth.teacher, growth.student, optimizer)
    refused(net2net.OptionError, call, "'0.weight'", "earlier version")


def test_an_optimizer_of_another_network_is_refused() -> None:
    growth = net2net.widen(mlp(), {"0": 12}, X)
    other = torch.optim.SGD(mlp().parameters(), lr=0.1)
    refused(net2net.OptionError, lambda: growth.optimizer(other), "none of the", "teacher")
