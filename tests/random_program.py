"""A network as a program: a list of steps, each a module applied to earlier values.

It prints as the Python that makes it, so that a failing example can be read and copied.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import random_operations as ops
from zoo.model import awaken

VOCABULARY = 7
_WIDTHS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)


@dataclass(frozen=True)
class Step:
    """A module applied to the values `of` (0 is the input, i the result of step i).

    With `again` the module of that earlier step runs once more; with `tied` the weight is that step's weight.
    """

    of: tuple[int, ...]
    module: type[nn.Module]
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    again: int | None = None
    tied: int | None = None

    def build(self) -> nn.Module:
        """A new module of this step."""
        return self.module(*self.arguments, **dict(self.options))

    def __repr__(self) -> str:
        home = "ops" if self.module.__module__ == ops.__name__ else "nn"
        parts = [repr(self.of), f"{home}.{self.module.__name__}"]
        parts += [f"{name}={value!r}" for name, value in vars(self).items() if value and name not in ("of", "module")]
        return f"Step({', '.join(parts)})"


@dataclass(frozen=True)
class Program:
    """A network as data: the shape of its input (numbers below the vocabulary, if `ids`) and its steps."""

    shape: tuple[int, ...]
    ids: bool
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        lines = "".join(f"    {step},\n" for step in self.steps)
        return f"Program({self.shape}, {self.ids}, (\n{lines}))"

    def build(self) -> RandomNetwork:
        """The network in float64 and in eval mode, with no parameter at its default."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = RandomNetwork(self.steps)
        awaken(network.double())
        return network

    def inputs(self, seed: int = 0) -> Tensor:
        """Random inputs."""
        generator = torch.Generator().manual_seed(seed)
        if self.ids:
            return torch.randint(0, VOCABULARY, self.shape, generator=generator)
        return torch.randn(self.shape, generator=generator, dtype=torch.float64)


class RandomNetwork(nn.Module):
    """Runs the steps of a program."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps = tuple(steps)
        self.layers = nn.ModuleList()
        for step in steps:
            layer = step.build() if step.again is None else self.layers[step.again - 1]
            if step.tied is not None:
                layer.weight = self.layers[step.tied - 1].weight
            self.layers.append(layer)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step, layer in zip(self.steps, self.layers, strict=True):
            values.append(layer(*(values[i] for i in step.of)))
        return values[-1]


class Writer:
    """Writes a random program, block by block. `draw` makes every choice; `shapes` are the values' so far."""

    def __init__(self, draw: random.Random, shape: tuple[int, ...], ids: bool = False) -> None:
        self.draw, self.ids = draw, ids
        self.shapes = [shape]
        self.steps: list[Step] = []

    def put(self, of: int | tuple[int, ...], module: type[nn.Module], *arguments: Any, **options: Any) -> int:
        """Add a step; returns the number of its value."""
        again, tied = options.pop("again", None), options.pop("tied", None)
        of = of if isinstance(of, tuple) else (of,)
        step = Step(of, module, arguments, tuple(options.items()), again, tied)
        whole = self.ids and of == (0,)
        with torch.device("meta"), torch.no_grad():
            values = [torch.empty(self.shapes[i], dtype=torch.int64 if whole else torch.float32) for i in of]
            self.shapes.append(tuple(step.build().eval()(*values).shape))
        self.steps.append(step)
        return len(self.steps)

    def again(self, at: int, step: int) -> int:
        """Run the module of an earlier step on another value."""
        earlier = self.steps[step - 1]
        return self.put(at, earlier.module, *earlier.arguments, **dict(earlier.options), again=step)

    def width(self, at: int) -> int:
        """The number of channels of a value."""
        return self.shapes[at][self.channel(at)]

    def channel(self, at: int) -> int:
        """The axis that holds the channels, counted from the end."""
        return -3 if len(self.shapes[at]) == 4 else -1

    def divisor(self, *numbers: int) -> int:
        """A common divisor."""
        return self.draw.choice([d for d in range(1, 13) if all(n % d == 0 for n in numbers)])

    def some_width(self) -> int:
        return self.draw.choice(_WIDTHS)

    def coin(self) -> bool:
        return self.draw.random() < 0.5

    def like(self, at: int) -> list[int]:
        """Earlier values of the same shape."""
        return [i for i, shape in enumerate(self.shapes[:at]) if shape == self.shapes[at] and not (self.ids and i == 0)]
