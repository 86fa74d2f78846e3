"""The blocks of random networks: each adds a few steps after a value, and says which value it ends in."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

import random_operations as ops
from random_program import VOCABULARY, Writer

Block = Callable[[Writer, int], int]

_ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Hardswish, nn.LeakyReLU)


def finish(w: Writer, at: int) -> int:
    """A head after the last block. It ends in a layer with a bias, so that the output never vanishes."""
    if len(w.shapes[at]) == 4:
        at = w.draw.choice([_flatten, _positions_mean, to_tokens])(w, at)
    if len(w.shapes[at]) == 3 and w.ids and w.coin():
        width = w.shapes[1][-1]
        at = w.put(w.put(at, nn.Linear, w.width(at), width), nn.LayerNorm, width)
        return w.put(at, nn.Linear, width, VOCABULARY, bias=False, tied=1)
    if len(w.shapes[at]) == 3:
        at = w.draw.choice([_flatten, _positions_mean, activation])(w, at)
    return w.put(at, nn.Linear, w.width(at), w.draw.randint(2, 4))


# Blocks that fit any layout.


def activation(w: Writer, at: int) -> int:
    if w.draw.random() < 0.1:
        return w.put(at, nn.PReLU, w.shapes[at][1] if w.coin() else 1)
    return w.put(at, w.draw.choice(_ACTIVATIONS))


def dropout(w: Writer, at: int) -> int:
    return w.put(at, nn.Dropout, 0.3)


def residual(w: Writer, at: int) -> int:
    """x + f(x), where f ends in a layer of x's width."""
    inner = w.draw.choice(BLOCKS[len(w.shapes[at])])(w, at)
    if len(w.shapes[inner]) != len(w.shapes[at]) or w.shapes[inner][2:] != w.shapes[at][2:]:
        inner = at
    return w.put((at, layer(w, inner, w.width(at))), ops.Add)


def join(w: Writer, at: int) -> int:
    """The sum or the product with an earlier value of the same shape."""
    others = w.like(at)
    return w.put((at, w.draw.choice(others)), w.draw.choice([ops.Add, ops.Add, ops.Multiply])) if others else at


def branches(w: Writer, at: int) -> int:
    """Two or three layers side by side, laid end to end."""
    ends = [layer(w, at) for _ in range(w.draw.randint(1, 2))]
    ends = [activation(w, end) if w.coin() else end for end in ends]
    ends.append(at if w.coin() and not (w.ids and at == 0) else layer(w, at))
    return w.put(tuple(ends), ops.Concatenate, w.channel(at))


def halves(w: Writer, at: int) -> int:
    """A layer twice as wide, of which one half gates the other, or both are joined again."""
    wide = layer(w, at, 2 * w.some_width())
    if w.coin():
        return w.put(wide, nn.GLU, dim=w.channel(wide))
    first, second = (w.put(wide, ops.Half, bool(i), w.channel(wide)) for i in range(2))
    second = activation(w, second)
    if w.coin():
        return w.put((first, second), w.draw.choice([ops.Multiply, ops.Add]))
    return w.put((second, first), ops.Concatenate, w.channel(wide))


def parts(w: Writer, at: int) -> int:
    """A value taken apart in two, of which one goes on, or both do, one of them through a layer."""
    width, dim = w.width(at), w.channel(at)
    if width < 3:
        return at
    cut = w.draw.randint(1, width - 1)
    if len(w.shapes[at]) != 3 and w.coin():
        return w.put(at, ops.Rest, cut)
    first, second = (w.put(at, ops.Part, (cut, width - cut), i, dim) for i in (-2, -1))
    return w.put((layer(w, first), second), ops.Concatenate, dim)


def twice(w: Writer, at: int) -> int:
    """One layer that runs twice."""
    first = layer(w, at, w.width(at))
    return w.again(activation(w, first), first)


def gate(w: Writer, at: int) -> int:
    """A layer times the sigmoid of another."""
    width = w.some_width()
    return w.put((layer(w, at, width), w.put(layer(w, at, width), nn.Sigmoid)), ops.Multiply)


# Images.


def layer(w: Writer, at: int, width: int | None = None) -> int:
    """A convolution that keeps the positions, or a linear layer."""
    before, after, bias = w.width(at), width or w.some_width(), w.coin()
    if len(w.shapes[at]) != 4:
        return w.put(at, nn.Linear, before, after, bias=bias)
    kernel = w.draw.choice([1, 3])
    dilation = w.draw.choice([1, 1, 2]) if kernel == 3 else 1
    options = {
        "padding": dilation * (kernel // 2),
        "dilation": dilation,
        "groups": w.divisor(before, after),
        "bias": bias,
    }
    options["groups"] = w.draw.choice([1, options["groups"]])
    return w.put(at, nn.Conv2d, before, after, kernel, **options)


def strided(w: Writer, at: int) -> int:
    if min(w.shapes[at][2:]) < 3:
        return layer(w, at)
    if w.draw.random() < 0.2:
        return w.put(at, nn.ConvTranspose2d, w.width(at), w.some_width(), 2)
    return w.put(at, nn.Conv2d, w.width(at), w.some_width(), 3, stride=2, padding=1)


def depthwise(w: Writer, at: int) -> int:
    width = w.width(at)
    return w.put(at, nn.Conv2d, width, width * w.draw.choice([1, 1, 2]), 3, padding=1, groups=width, bias=w.coin())


def pool(w: Writer, at: int) -> int:
    if min(w.shapes[at][2:]) < 3:
        return activation(w, at)
    if w.draw.random() < 0.3:
        return w.put(at, nn.AdaptiveAvgPool2d, 2)
    return w.put(at, w.draw.choice([nn.MaxPool2d, nn.AvgPool2d]), 2, stride=w.draw.choice([1, 2]))


def image_norm(w: Writer, at: int) -> int:
    width, kind = w.width(at), w.draw.choice(["batch", "batch", "group", "instance"])
    if kind == "group":
        return w.put(at, nn.GroupNorm, w.divisor(width), width)
    if kind == "instance" and min(w.shapes[at][2:]) > 1:
        return w.put(at, nn.InstanceNorm2d, width, affine=w.coin(), track_running_stats=w.coin())
    return w.put(at, nn.BatchNorm2d, width)


def squeeze_excite(w: Writer, at: int) -> int:
    width, inner = w.width(at), w.some_width()
    pooled = w.put(at, nn.AdaptiveAvgPool2d, 1) if w.coin() else w.put(at, ops.Mean, -2, -1, keepdim=True)
    hidden = activation(w, w.put(pooled, nn.Conv2d, width, inner, 1))
    scale = w.put(w.put(hidden, nn.Conv2d, inner, width, 1), w.draw.choice([nn.Sigmoid, nn.Hardsigmoid]))
    return w.put((at, scale), ops.Multiply)


def shuffle(w: Writer, at: int) -> int:
    groups = w.divisor(w.width(at))
    return w.put(at, nn.ChannelShuffle, groups) if 1 < groups < w.width(at) else layer(w, at)


def _flatten(w: Writer, at: int) -> int:
    return w.put(at, nn.Flatten)


def _positions_mean(w: Writer, at: int) -> int:
    return w.put(at, ops.Mean, *((-2, -1) if len(w.shapes[at]) == 4 else (-2,)))


def to_tokens(w: Writer, at: int) -> int:
    return w.put(at, ops.ToTokens, w.coin())


# Tokens and vectors.


def norm(w: Writer, at: int) -> int:
    width = w.width(at)
    if len(w.shapes[at]) == 2 and w.coin():
        return w.put(at, nn.BatchNorm1d, width)
    return w.put(at, w.draw.choice([nn.LayerNorm, nn.RMSNorm]), width)


def mlp(w: Writer, at: int) -> int:
    """norm -> wide -> activation -> narrow, beside the stream."""
    hidden = activation(w, layer(w, norm(w, at), w.some_width()))
    return w.put((at, layer(w, hidden, w.width(at))), ops.Add)


def gain(w: Writer, at: int) -> int:
    return w.put(at, ops.Gain, w.width(at), w.coin())


def positions(w: Writer, at: int) -> int:
    return w.put(at, ops.Positions, *w.shapes[at][1:])


def attention(w: Writer, at: int) -> int:
    kv_heads, repeats, head_size = w.draw.randint(1, 3), w.draw.choice([1, 1, 2]), w.draw.choice([2, 3, 4])
    projection = w.draw.choice(["separate", "split", "reshape"] if repeats == 1 else ["separate", "split"])
    result = w.put(
        norm(w, at) if w.coin() else at,
        ops.Attention, w.width(at), kv_heads * repeats, kv_heads, head_size,
        projection=projection, fused=w.coin(), bias=w.coin(),
    )  # fmt: skip
    return w.put((at, result), ops.Add) if w.coin() else result


def mix_tokens(w: Writer, at: int) -> int:
    """A layer over the tokens, as in an MLP mixer."""
    length = w.shapes[at][1]
    return w.put(w.put(w.put(at, ops.Swap), nn.Linear, length, length), ops.Swap)


_ANYWHERE: list[Block] = [
    layer,
    layer,
    activation,
    dropout,
    residual,
    join,
    branches,
    halves,
    parts,
    twice,
    gate,
]

# By the number of axes of the value.
BLOCKS: dict[int, list[Block]] = {
    2: [*_ANYWHERE, norm, mlp, gain],
    3: [*_ANYWHERE, norm, mlp, gain, positions, attention, attention, mix_tokens],
    4: [*_ANYWHERE, strided, depthwise, pool, image_norm, image_norm, squeeze_excite, shuffle, to_tokens],
}
