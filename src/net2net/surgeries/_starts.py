"""How new entries of outputs begin: as words, and as numbers found on the example inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from net2net.capture import Example, named_outputs, silent, steady
from net2net.errors import OptionError
from net2net.plan import Fresh
from net2net.proof import Port, output_name
from net2net.surgeries._ports import Wish

# So much of the probability new logits may get on the example inputs, all together, where they begin at "never".
NEVER = 1e-6
_OF_VALUES, _OF_LOGITS = ("q",), ("logit", "action", "policy", "class", "score")


@dataclass(frozen=True)
class Start:
    """How new places of an axis begin: rows of weights by `fill`, what is added as the number `bias`, or all as a copy
    of the old place `copied`. `words` say it; `tokens` that rows of tables are meant."""

    words: str
    fill: Fresh = "zero"
    bias: float = 0.0
    copied: int | None = None


Given = list[dict[str, torch.Tensor]]  # what a network gives back for each example, by name


def start_of(wish: Wish, hidden: bool, given: Callable[[], Given]) -> Start:
    """How the new places of a wish begin.

    Args:
        wish: at an output, or at an input of tokens.
        hidden: whether the places are units that the network makes and reads again: a state.
        given: gives what the teacher gives back, for each example.

    Raises:
        OptionError: nothing is said of an output, or what is said has no meaning here.
    """
    features = wish.features
    copied = features.copied
    if copied is not None:
        return Start(f"as {copied}", copied=features.old.index(copied))
    start = features.start
    if wish.side == "input" or hidden:
        if start is None:
            return Start("random", "random")
        if start in ("zero", "mean", "random"):
            return Start(start, start)  # type: ignore[arg-type]  # one of the three words of Fresh
        raise OptionError(
            f"start={start!r} has no meaning at {wish.what}; use 'random', 'mean', 'zero' or 'copy:NAME'."
        )
    chosen = _default(wish) if start is None else start
    if isinstance(chosen, (int, float)):
        return Start(f"at {chosen:g}", bias=float(chosen))
    if chosen in ("zero", "mean", "random"):
        return Start(chosen, chosen)  # type: ignore[arg-type]  # as above
    numbers = [found[wish.name].double() for found in given() if wish.name in found]
    if not numbers or any(not n.isfinite().all() for n in numbers):
        raise OptionError(f"{wish.what} is not finite on the example inputs; say start= as a number.")
    if chosen == "lowest":
        lowest = min(float(n.min()) for n in numbers)
        return Start(f"lowest: {lowest:.4g}, the least value on the example inputs", bias=lowest)
    axis, count = -1 if wish.axis is None else wish.axis, len(wish.places.new)
    if features.share is not None:
        bias = _of_share(torch.cat([torch.logsumexp(n, axis).flatten() for n in numbers]), features.share, count)
        return Start(f"{chosen}: a logit of {bias:.4g}", bias=bias)
    least = min(float(torch.logsumexp(n, axis).min()) for n in numbers)
    bias = math.floor(least + math.log(NEVER / max(count, 1)))
    return Start(f"never: a logit of {bias:g}", bias=float(bias))


def _of_share(others: torch.Tensor, share: float, count: int) -> float:
    """The logit with which each of `count` entries gets that mean share of the probability.

    Args:
        others: logsumexp of the logits that are there, of shape (rows,).

    Raises:
        OptionError: there isn't so much.
    """
    if share * count >= 1:
        raise OptionError(f"start='share:{share:g}': {count} new entries can't each have that much of the probability.")
    low, high = float(others.min()) - 100, float(others.max()) + 100
    for _ in range(80):  # halving: to the last digit
        middle = (low + high) / 2
        mean = float(torch.sigmoid(middle + math.log(count) - others).mean()) / count
        low, high = (middle, high) if mean < share else (low, middle)
    return middle


def _default(wish: Wish) -> str:
    """What an output's name says of it: values are looked for before logits."""
    words = wish.name.lower().replace(".", "_").split("_")
    if any(word.startswith(_OF_VALUES) for word in words):
        return "lowest"
    if any(word.startswith(_OF_LOGITS) for word in words):
        return "never"
    if not len(wish.places.new):
        return "zero"
    raise OptionError(
        f"how do the new entries of {wish.what} begin? Say start='never' for logits of a policy or classifier, "
        "'lowest' for Q-values, 'zero', 'copy:NAME', or a number."
    )


@silent()
def outputs_on(model: nn.Module, examples: tuple[Example, ...]) -> Given:
    """What a network gives back for each example, in eval mode."""
    modes = {module: module.training for module in model.modules()}
    devices = list({p.device for p in model.parameters() if p.device.type == "cuda"})
    found = []
    try:
        model.eval()
        with torch.no_grad(), steady(devices):
            for example in examples:
                given = named_outputs(getattr(model, example.method)(*example.args, **example.kwargs))
                found.append(
                    {output_name(example.method, name): t for name, t in given.items() if isinstance(t, torch.Tensor)}
                )
    finally:
        for module, training in modes.items():
            module.training = training
    return found


def moved(port: Port, outputs: Given) -> float | None:
    """The largest part of the probability that new logits get: of what the student gives back for each example."""
    shares = [port.share(given[port.name]) for given in outputs if port.name in given]
    return max((share for share in shares if share is not None), default=None)
