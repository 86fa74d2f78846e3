"""Feed-forwards in a network: modules that compute `down(act(up x))`, or with a gate `down(act(gate x) * up x)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from net2net.capture import Inputs, structural_copy
from net2net.moe._calls import Call, Calls, calls_of, recorded

Activation = Callable[[torch.Tensor], torch.Tensor]


def squared_relu(x: torch.Tensor) -> torch.Tensor:
    """The square of what is positive."""
    return F.relu(x).square()


def tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    """GELU by its approximation with a tanh."""
    return F.gelu(x, approximate="tanh")


_FUNCTIONS: tuple[Activation, ...] = (F.silu, F.gelu, tanh_gelu, F.relu, squared_relu, F.tanh, torch.sigmoid)


@dataclass(frozen=True)
class Product:
    """One of the products of a feed-forward: rows of a weight and a bias, by their names in it.

    `start` and `units` say which of the product's outputs they are, of a gate and an up that are one; `transposed`
    that the weight is (inputs, outputs).
    """

    weight: str
    bias: str | None
    start: int
    units: int
    transposed: bool


@dataclass(frozen=True)
class FeedForward:
    """A feed-forward: its path, the features of a token, its hidden units, and its products."""

    name: str
    width: int
    hidden: int
    up: Product
    down: Product
    gate: Product | None
    act: Activation


def feed_forwards(model: nn.Module, inputs: Inputs) -> tuple[dict[str, FeedForward], dict[str, torch.Tensor], bool]:
    """The feed-forwards of a network that each are a module, with the tokens that they are given, and whether something
    is computed in float32.

    What a module computes is measured on random tokens, with random numbers in its weights.
    """
    candidates = {path for path, m in model.named_modules() if path and 2 <= len(_weights(m)) <= 3 and _only_those(m)}
    calls, float32 = calls_of(model, inputs, lambda path, _: path in candidates)
    found: dict[str, FeedForward] = {}
    tokens: dict[str, torch.Tensor] = {}
    for path in sorted(candidates & calls.keys(), key=len, reverse=True):  # the innermost first
        if any(other.startswith(f"{path}.") for other in found):
            continue
        feed_forward = _recognised(path, model.get_submodule(path), calls[path][0])
        if feed_forward is not None:
            found[path] = feed_forward
            given = [next(iter(c.given.values())) for c in calls[path]]
            tokens[path] = torch.cat([t.reshape(-1, t.shape[-1]) for t in given])
    order = [path for path, _ in model.named_modules() if path in found]
    return {path: found[path] for path in order}, tokens, float32


def _weights(module: nn.Module) -> list[str]:
    """The paths of modules in it with a matrix of their own."""
    return [path for path, m in module.named_modules() if isinstance(w := getattr(m, "weight", None), nn.Parameter)
            and w.dim() == 2]  # fmt: skip


def _only_those(module: nn.Module) -> bool:
    """Whether all its parameters are matrices and biases of these modules."""
    own = {f"{path}.{last}" if path else last for path in _weights(module) for last in ("weight", "bias")}
    return all(name in own for name, _ in module.named_parameters())


def _recognised(path: str, module: nn.Module, call: Call) -> FeedForward | None:
    """The feed-forward that a module is; None if it is none."""
    given = call.given
    if len(given) != 1 or len(call.results) != 1 or next(iter(given.values())).shape != call.results[0].shape:
        return None
    if any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in module.modules()):
        return None
    width = call.results[0].shape[-1]
    generator = torch.Generator().manual_seed(0)

    def drawn(_: str, t: torch.Tensor) -> torch.Tensor:
        if not isinstance(t, nn.Parameter):
            return t.detach().clone()
        numbers = torch.randn(t.shape, generator=generator, dtype=torch.float64) / max(t.shape[-1], 1) ** 0.5
        return nn.Parameter(numbers.to(t.device))

    copied = structural_copy(module, drawn).eval()
    x = torch.randn(8, width, generator=generator, dtype=torch.float64).to(call.results[0].device)
    try:
        with torch.no_grad(), recorded(copied, lambda p, _: p in _weights(copied)) as inside:
            result = Call((), {}, copied(x)).results[0]
    except Exception:  # it isn't for tokens of any number, or not in float64
        return None
    with torch.no_grad():
        for up, gate, down in _roles(copied, inside, x):
            for act in _activations(copied):
                found = FeedForward(path, width, down_inputs(copied, down), up, down, gate, act)
                try:
                    same = torch.allclose(computed(found, dict(copied.named_parameters()), x), result, atol=1e-9)
                except Exception:  # a module that is no activation
                    same = False
                if same:
                    return found
    return None


def down_inputs(module: nn.Module, down: Product) -> int:
    weight = module.get_parameter(down.weight)
    return weight.shape[0 if down.transposed else 1]


def _roles(module: nn.Module, inside: Calls, x: torch.Tensor) -> Iterator[tuple[Product, Product | None, Product]]:
    """Ways to take the products for up, gate and down: the last one reads what the first ones gave."""
    if any(len(calls) != 1 for calls in inside.values()) or set(inside) != set(_weights(module)):
        return
    given = {path: next(iter(calls[0].given.values())) for path, calls in inside.items()}
    first = [path for path, t in given.items() if t.shape == x.shape and torch.equal(t, x)]
    last = [path for path in given if path not in first]
    if len(last) != 1:
        return
    down = _product(module, last[0], given[last[0]], inside[last[0]][0])
    products = [_product(module, path, given[path], inside[path][0]) for path in first]
    if down is None or None in products:
        return
    hidden = given[last[0]].shape[-1]
    if len(products) == 1 and (whole := products[0]) is not None:
        if whole.units == hidden:
            yield whole, None, down
        elif whole.units == 2 * hidden:
            halves = [Product(whole.weight, whole.bias, k * hidden, hidden, whole.transposed) for k in (0, 1)]
            yield halves[1], halves[0], down
            yield halves[0], halves[1], down
    elif len(products) == 2 and (one := products[0]) is not None and (other := products[1]) is not None:
        yield one, other, down
        yield other, one, down


def _product(module: nn.Module, path: str, given: torch.Tensor, call: Call) -> Product | None:
    """A product, if a module computes one."""
    owner: Any = module.get_submodule(path)
    bias = getattr(owner, "bias", None)
    prefix = f"{path}." if path else ""
    for transposed in (False, True):
        weight = owner.weight.T if transposed else owner.weight
        fits = weight.shape == (call.results[0].shape[-1], given.shape[-1])
        if fits and torch.allclose(F.linear(given, weight, bias), call.results[0], atol=1e-9):
            named = None if bias is None else f"{prefix}bias"
            return Product(f"{prefix}weight", named, 0, weight.shape[0], transposed)
    return None


def _activations(module: nn.Module) -> Iterator[Activation]:
    """The functions that may be a feed-forward's activation: modules in it without parameters, then functions."""
    for inner in module.modules():
        if inner is not module and not list(inner.parameters()) and not list(inner.children()):
            yield inner
    for name in ("act", "act_fn", "activation", "activation_fn", "activation_function"):
        function = getattr(module, name, None)
        if callable(function) and not isinstance(function, nn.Module):
            yield function
    yield from _FUNCTIONS


def rows(product: Product, parameters: dict[str, nn.Parameter]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The weight (outputs, inputs) and the bias of a product."""
    weight = parameters[product.weight]
    part = slice(product.start, product.start + product.units)
    return (weight.T if product.transposed else weight)[part], (
        None if product.bias is None else parameters[product.bias][part]
    )


def computed(feed_forward: FeedForward, parameters: dict[str, nn.Parameter], x: torch.Tensor) -> torch.Tensor:
    """What a feed-forward with these parameters computes."""
    hidden = F.linear(x, *rows(feed_forward.up, parameters))
    if feed_forward.gate is None:
        hidden = feed_forward.act(hidden)
    else:
        hidden = feed_forward.act(F.linear(x, *rows(feed_forward.gate, parameters))) * hidden
    return F.linear(hidden, *rows(feed_forward.down, parameters))
