"""What blocks call themselves by: their own numbers are counted anew, everything else is a copy's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from support import trained
from zoo import huggingface_causal

T = torch.randint(0, 7, (3, 6), generator=torch.Generator().manual_seed(0))


class Mixer(nn.Module):
    """Mixes with the token before; decoding keeps that in `state`, by the number of the layer."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.layer_idx = index

    def forward(self, x: Tensor, state: dict[int, Tensor] | None) -> Tensor:
        before = F.pad(x, (0, 0, 1, 0))[:, :-1]
        if state is not None:
            before, state[self.layer_idx] = state.get(self.layer_idx, before), x
        return x - 0.5 * before


class Block(nn.Module):
    def __init__(self, index: int, rate: float = 0.0, n: int = 6) -> None:
        super().__init__()
        self.mixer, self.a, self.b, self.drop = Mixer(index), nn.Linear(n, 9), nn.Linear(9, n), nn.Dropout(rate)

    def forward(self, x: Tensor, state: dict[int, Tensor] | None = None) -> Tensor:
        return x + self.drop(self.b(torch.relu(self.a(self.mixer(x, state)))))


class Last(Block):
    """A block of a class of its own after the others."""


class Decoder(nn.Module):
    def __init__(self, depth: int = 3, start: int = 0, last: bool = False, rates: float = 0.0) -> None:
        super().__init__()
        self.e, self.o, self.n_layer = nn.Embedding(7, 6), nn.Linear(6, 7), depth + last
        blocks = [Block(start + k, rates * k) for k in range(depth)] + ([Last(start + depth)] if last else [])
        self.blocks = nn.ModuleList(blocks)

    def forward(self, t: Tensor, state: dict[int, Tensor] | None = None) -> Tensor:
        x = self.e(t)
        for block in self.blocks:
            x = block(x, state)
        return self.o(x)

    def decode(self, t: Tensor) -> Tensor:
        state: dict[int, Tensor] = {}
        return torch.cat([self(t[:, i : i + 1], state) for i in range(t.shape[1])], 1)


def numbers(net: Any) -> list[int]:
    return [block.mixer.layer_idx for block in net.blocks]


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("where", [{"blocks": [-1]}, {"blocks": [1, 1]}, "2x"], ids=str)
def test_numbers_are_counted_anew(start: int, last: bool, where: Any) -> None:
    teacher: Any = trained(Decoder(3, start, last))
    if last and isinstance(where, dict):
        where = {net2net.depth.find_stacks(net2net.analyze(teacher, T).sites.inference, teacher)[0].name: [1]}
    growth = net2net.deepen(teacher, where, T)
    student: Any = growth.student
    assert numbers(student) == list(range(start, start + len(student.blocks))) and len(student.blocks) > 3 + last
    for net in (teacher, student):
        assert torch.allclose(net(T), net.decode(T), atol=1e-12)
    assert float((teacher(T) - student(T)).detach().abs().max()) <= 1e-10
    name, (old, new) = next((n, c) for n, c in growth.plan.changed.items() if n.endswith("layer_idx"))
    assert new == student.get_submodule(name.rpartition(".")[0]).layer_idx and f"{name}: {old} -> {new}" in str(growth)
    assert growth.plan.changed["n_layer"] == (teacher.n_layer, student.n_layer) == (3 + last, len(student.blocks))


def test_changes_are_saved(tmp_path: Path) -> None:
    plan = net2net.deepen(trained(Decoder()), {"blocks": 2}, T).plan
    plan.save(tmp_path / "plan")
    assert net2net.Plan.load(tmp_path / "plan").changed == plan.changed != {}


def test_numbers_that_are_no_names_stay() -> None:
    """A shift that happens to be 1, 2, 3: counted anew it would change what the old blocks compute."""

    class Shifted(Block):
        def __init__(self, k: int) -> None:
            super().__init__(0)
            self.shift = k

        def forward(self, x: Tensor, state: Any = None) -> Tensor:
            return x + self.b(torch.relu(self.a(x.roll(self.shift, 1))))

    teacher: Any = Decoder()
    teacher.blocks = nn.ModuleList(map(Shifted, (1, 2, 3)))
    growth = net2net.deepen(trained(teacher), {"blocks": [0]}, T)
    assert [b.shift for b in growth.student.blocks] == [1, 1, 2, 3]
    assert float((teacher(T) - growth.student(T)).detach().abs().max()) <= 1e-10
    assert any("shift" in note and "not counted" in note for note in growth.plan.notes)


@pytest.mark.parametrize("values", [(0, 0, 0), (4, 5, 6), (2, 1, 0), (0, 2, 4)], ids=str)
def test_other_numbers_stay(values: tuple[int, ...]) -> None:
    teacher: Any = trained(Decoder())
    for block, value in zip(teacher.blocks, values, strict=True):
        block.mixer.layer_idx = value
    student: Any = net2net.deepen(teacher, {"blocks": [1]}, T).student
    assert numbers(student) == [values[0], values[1], values[1], values[2]]


def test_rates_that_rise_evenly_are_noted() -> None:
    growth = net2net.deepen(trained(Decoder(rates=0.1)), {"blocks": [1]}, T)
    assert [round(b.drop.p, 6) for b in growth.student.blocks] == [0, 0.1, 0.1, 0.2]
    assert any("drop.p" in note and "evenly" in note for note in growth.plan.notes)
    assert not net2net.deepen(trained(Decoder()), {"blocks": [1]}, T).plan.notes


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_caches_work_in_a_deeper_student(name: str) -> None:
    model = next(m for m in huggingface_causal.MODELS if m.name == name)
    teacher: Any = model.build().double().eval()
    student: Any = net2net.deepen(teacher, "2x", model.inputs()).student.eval()
    tokens = torch.randint(3, 30, (2, 5), generator=torch.Generator().manual_seed(0))
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    cached, plain = (student.generate(tokens, use_cache=cache, **options) for cache in (True, False))
    assert torch.equal(cached, plain) and torch.equal(plain, teacher.generate(tokens, use_cache=False, **options))
