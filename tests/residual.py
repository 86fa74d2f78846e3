"""Networks of residual blocks in the ways that people write them down."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 6


class Block(nn.Module):
    """x + down(gelu(up(norm(x))))."""

    def __init__(self, hidden: int = 9, activation: Callable[[Tensor], Tensor] = F.gelu) -> None:
        super().__init__()
        self.activation = [activation]
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, hidden), nn.Linear(hidden, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.activation[0](self.up(self.norm(x))))


class Ends(nn.Module):
    """A layer before and after the parts given by name; blocks are called one after the other."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Linear(4, WIDTH)
        for name, part in parts.items():
            self.add_module(name, part)
        self.head = nn.Linear(WIDTH, 3)

    def called(self) -> Iterable[nn.Module]:
        """The blocks in their order."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.called():
            x = block(x)
        return self.head(x)


class Attributes(Ends):
    """Blocks that are attributes by name."""

    def __init__(self) -> None:
        super().__init__(block1=Block(), block2=Block(), block3=Block())

    def called(self) -> Iterable[nn.Module]:
        return self.block1, self.block2, self.block3


class Counted(Ends):
    """Blocks that are called by their number, up to an attribute."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__(blocks=nn.ModuleList(Block() for _ in range(depth)))
        self.depth, self.width = depth, 3  # another number that is the same by chance

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i in range(self.depth):
            x = self.blocks[i](x)
        return self.head(x.reshape(-1, self.width, 2).reshape(-1, WIDTH))


class Stages(Ends):
    """Lists of blocks in a list."""

    def __init__(self, depths: tuple[int, ...] = (2, 3), hidden: tuple[int, ...] = (7, 8)) -> None:
        stages = (nn.ModuleList(Block(h) for _ in range(n)) for n, h in zip(depths, hidden, strict=True))
        super().__init__(stages=nn.ModuleList(stages))

    def called(self) -> Iterable[nn.Module]:
        return (block for stage in self.stages for block in stage)


class Named(Ends):
    """Blocks among others in a Sequential with names."""

    def __init__(self) -> None:
        parts = [("pre", nn.Linear(WIDTH, WIDTH)), ("a", Block()), ("b", Block()), ("post", nn.LayerNorm(WIDTH))]
        super().__init__(body=nn.Sequential(OrderedDict(parts)))

    def called(self) -> Iterable[nn.Module]:
        return [self.body]


class InADict(Ends):
    """Blocks in a ModuleDict."""

    def __init__(self) -> None:
        super().__init__(body=nn.ModuleDict({"first": Block(), "second": Block()}))

    def called(self) -> Iterable[nn.Module]:
        return self.body.values()


class Single(Ends):
    """One block, which adds to its stream: a stack of one."""

    def __init__(self) -> None:
        super().__init__(block=Block())

    def called(self) -> Iterable[nn.Module]:
        return [self.block]


class Shared(Ends):
    """Blocks that share their norm, a weight, and a table that each of them adds on its branch."""

    class Biased(Block):
        def __init__(self, table: nn.Parameter) -> None:
            super().__init__()
            self.table = table

        def forward(self, x: Tensor) -> Tensor:
            return x + self.down(F.gelu(self.up(self.norm(x)) + self.table))

    def __init__(self, depth: int = 3) -> None:
        table = nn.Parameter(torch.randn(9))
        super().__init__(blocks=nn.ModuleList(Shared.Biased(table) for _ in range(depth)))
        for block in self.blocks[1:]:
            block.norm, block.up.weight = self.blocks[0].norm, self.blocks[0].up.weight

    def called(self) -> Iterable[nn.Module]:
        return self.blocks


class Rates(Ends):
    """A list of numbers with one for each block, which `zip(strict=True)` holds to their number."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__(blocks=nn.ModuleList(Block() for _ in range(depth)))
        self.rates = [0.1 * i for i in range(depth)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for rate, block in zip(self.rates, self.blocks, strict=True):
            x = F.dropout(block(x), rate, self.training)
        return self.head(x)


class Summed(Ends):
    """All states of the stream are used: any further block would change the sum."""

    def __init__(self) -> None:
        super().__init__(blocks=nn.ModuleList(Block() for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        states = [self.stem(x)]
        for block in self.blocks:
            states.append(block(states[-1]))
        return self.head(torch.stack(states).sum(0))


class Tables(Ends):
    """A parameter with one entry for each block, outside of the blocks."""

    def __init__(self) -> None:
        super().__init__(blocks=nn.ModuleList(Block() for _ in range(3)))
        self.gains = nn.Parameter(torch.rand(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = x + self.gains[i] * block(x)
        return self.head(x)


class Stack(Ends):
    """Blocks of any kind in a list."""

    def __init__(self, make: Callable[[], nn.Module], count: int = 3) -> None:
        super().__init__(blocks=nn.ModuleList(make() for _ in range(count)))

    def called(self) -> Iterable[nn.Module]:
        return self.blocks
