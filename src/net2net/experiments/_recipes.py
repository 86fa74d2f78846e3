"""The paper's three experiments, and the one on language that goes beyond it, at three sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from net2net.experiments._experiment import Arm, Experiment, Group
from net2net.experiments._inception import InceptionShape
from net2net.experiments._language import LanguageShape

# In the paper's sense: the narrow teacher of E1, and the wider student of E3.
NARROW, WIDE = math.sqrt(0.3), math.sqrt(2)
# Half a decade apart: whatever rate is best from scratch, a tenth of it is tried too.
IMAGE_RATES = (0.2, 0.0632, 0.02, 0.00632)
TEXT_RATES = (1.6e-2, 8e-3, 4e-3, 2e-3)
VERTICAL_HORIZONTAL = ((3, 1), (1, 3))


@dataclass(frozen=True)
class Size:
    """How large the networks are and how long they train; `steps` are those from scratch at budget 1."""

    images: InceptionShape
    image_batch: int
    image_steps: int
    text: LanguageShape
    text_batch: int
    text_length: int
    text_steps: int


SIZES: Mapping[str, Size] = {
    "smoke": Size(InceptionShape((4,), (4, 3, 4, 3), (1,), (1,)), 32, 16, LanguageShape(16, 1, head=8), 4, 16, 16),
    "cpu": Size(
        InceptionShape((8, 16), (16, 12, 16, 12), (1, 1), (2, 2)), 64, 2000, LanguageShape(32, 2), 16, 64, 2000
    ),
    "gpu": Size(
        InceptionShape((32, 64), (64, 48, 64, 48), (2, 2, 2), (1, 1)),
        128,
        20_000,
        LanguageShape(256, 4, 64),
        64,
        256,
        20_000,
    ),
}

DEFAULT = Arm("net2net", "Net2Net, silent new units (the library's default)")
PAPER = Arm(
    "paper", "Net2WiderNet, copies with noise (the paper)", options={"how": "split", "shares": "even", "noise": "paper"}
)
COPIES = Arm("copies", "Net2WiderNet, exact copies with uneven shares", options={"how": "split"})
RANDOM_PAD = Arm("random_pad", "Random pad", options={"how": "random_pad"})
DEEPER = Arm("net2net", "Net2DeeperNet (the library's default)")
SCRATCH = Arm("scratch", "Random initialisation", kind="scratch")
CONTINUED = Arm("continued", "The teacher, trained on without growing", kind="continue")


def wider(size: Size) -> Experiment:
    """E1 (section 4.2): all Inception modules from sqrt(0.3) of the standard width to the standard width."""
    group = Group("standard", size.images, (DEFAULT, PAPER, COPIES, RANDOM_PAD, SCRATCH))
    title = "Wider: Inception modules at 0.55 of their width, grown to the standard width"
    return _images("wider", title, replace(size.images, factor=NARROW), (group,), size)


def deeper(size: Size) -> Experiment:
    """E2 (section 4.3): two more pairs of convolutions for every pair of the standard network."""
    pairs = (2, 2, 2)
    group = _deeper_group("deeper", size.images, pairs, (DEEPER, SCRATCH))
    title = "Deeper: two more pairs of vertical and horizontal convolutions for every pair"
    return _images("deeper", title, size.images, (group,), size)


def explore(size: Size) -> Experiment:
    """E3 (section 4.4): from the standard network to sqrt(2) of its width, and to four more pairs in each module."""
    wide = Group(
        "wider",
        replace(size.images, factor=WIDE),
        _named("wider", DEFAULT, RANDOM_PAD, SCRATCH, CONTINUED),
    )
    deep = _deeper_group("deeper", size.images, (2, 0, 2), _named("deeper", DEEPER, SCRATCH, CONTINUED))
    title = "Explore: the standard network 1.41 times as wide, and with four more pairs in every module"
    return _images("explore", title, size.images, (wide, deep), size)


def language(size: Size) -> Experiment:
    """Beyond the paper: a small Llama twice as wide, and twice as deep, in the middle of its training."""
    small = size.text
    cloning = Arm(
        "hypercloning",
        "HyperCloning: even copies with zero-sum noise",
        options={"how": "split", "shares": "even", "noise": "zero_sum"},
    )
    wide = Group(
        "wider",
        replace(small, width=2 * small.width),
        _named(
            "wider", DEFAULT, cloning, COPIES, RANDOM_PAD, Arm("g_zero", "G_zero as published", kind="zero_rows"),
            SCRATCH, CONTINUED,
        ),
    )  # fmt: skip
    deep = Group(
        "deeper",
        replace(small, layers=2 * small.layers),
        _named(
            "deeper",
            Arm("net2net", "Copied blocks, silent at first (the library's default)"),
            Arm("zero_random", "Random blocks, silent at first", options={"init": "zero-random"}),
            Arm("stack", "Stacked blocks (G_stack)", options={"init": "stack"}),
            Arm("random", "Random blocks", options={"init": "random"}),
            SCRATCH,
            CONTINUED,
        ),
    )
    return Experiment(
        "language",
        "Language: a Llama of bytes, grown twice as wide or twice as deep in the middle of its training",
        small,
        (wide, deep),
        size.text_steps,
        TEXT_RATES,
        teacher_budget=0.5,
        teacher_decays=False,
        budgets=(0.125, 0.25, 0.5),
    )


RECIPES: Mapping[str, Callable[[Size], Experiment]] = {
    "wider": wider,
    "deeper": deeper,
    "explore": explore,
    "language": language,
}


def _images(name: str, title: str, teacher: InceptionShape, groups: tuple[Group, ...], size: Size) -> Experiment:
    return Experiment(name, title, teacher, groups, size.image_steps, IMAGE_RATES)


def _deeper_group(name: str, shape: InceptionShape, more: tuple[int, int, int], arms: tuple[Arm, ...]) -> Group:
    """So many more pairs at each of the three places of every module; an identity pair follows the last one there."""
    # In a branch a 1 x 1 convolution comes first, then the pairs; a layer is a convolution, BatchNorm and a ReLU.
    places = {"one_pair.6": more[0], "two_pairs.6": more[1], "two_pairs.12": more[2]}
    modules = [i + j for i, j in _modules(shape)]
    where = {f"stages.{i}.{place}": count for i in modules for place, count in places.items() if count}
    a, b, c = (p + m for p, m in zip(shape.pairs, more, strict=True))
    return Group(name, replace(shape, pairs=(a, b, c)), arms, where, list(VERTICAL_HORIZONTAL))


def _modules(shape: InceptionShape) -> list[tuple[int, int]]:
    """Where the modules are in the network's stages: a pooling comes between two stages."""
    found, index = [], 0
    for number, count in enumerate(shape.stages):
        found += [(index + number, i) for i in range(count)]
        index += count
    return found


def _named(group: str, *arms: Arm) -> tuple[Arm, ...]:
    """Arms with keys of their own in an experiment of several groups."""
    return tuple(replace(arm, key=f"{arm.key}_{group}") for arm in arms)
