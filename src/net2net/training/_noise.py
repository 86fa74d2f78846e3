"""Noise on new weights that begin at 0, as loud as it may be without harm."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Callable, Iterator

import torch
from torch import nn

from net2net.errors import OptionError, require_kind
from net2net.growth import Growth

# Scales are tried by factors of 2 between these, and then this many times between a harmless and a harmful one.
_LEAST, _MOST, _FINER = 2.0**-20, 2.0**6, 3


def add_noise(growth: Growth, scale: float, *, seed: int = 0) -> None:
    """Add noise to the new weights of a student that are 0: old units hear new ones from then on, a little.

    Args:
        growth: its student is changed in place.
        scale: of the noise, as a part of the root mean square of the other entries of each tensor.
        seed: of the draws.

    Raises:
        OptionError: the scale is no number of at least 0.

    Example:
        >>> import net2net
        >>> policy = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> growth = net2net.widen(policy, {"0": 12}, torch.randn(4, 3), how="zero_out")
        >>> add_noise(growth, 0.01)
        >>> bool(growth.student[2].weight[:, 8:].all())
        True
    """
    require_kind(growth, Growth, "the growth", "what net2net.surgery, widen or grow returned")
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 <= scale < math.inf:
        raise OptionError(f"scale={scale!r}: give a part of the size of the other weights, such as 0.01.")
    with torch.no_grad():
        for name, parameter, silent in _silent(growth):
            rest = parameter[~silent]
            size = float(rest.double().square().mean().sqrt()) if rest.numel() else 0.0
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
            drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.add_(drawn * silent * (scale * size))


def largest_harmless_noise(
    growth: Growth, evaluate: Callable[[nn.Module], float], tolerance: float = 0.01, *, seed: int = 0
) -> float:
    """The largest scale of `add_noise` that doesn't noticeably lower a score.

    OpenAI Five chose the size of the new weights of its bigger LSTM so. An exact growth needs no noise to learn; where
    new weights are to be heard from the first step, this says how loud they may be.

    Args:
        growth: its student is as it was afterwards.
        evaluate: gives the score of a network, the higher the better: as steady as it can be, so with fixed seeds.
        tolerance: the part of its size by which the score may drop.
        seed: of the draws; `add_noise` with the same one adds what was tried.

    Returns:
        The scale; 0 where every noise does harm.

    Raises:
        OptionError: the student has no new weights that are 0, or the tolerance or the score is no number.

    Source: OpenAI et al. (2019), appendix B: "as large as possible without noticeably lowering TrueSkill".

    Example:
        >>> import net2net
        >>> policy = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> x = torch.randn(50, 3)
        >>> growth = net2net.widen(policy, {"0": 12}, x, how="zero_out")
        >>> wanted = policy(x).detach()
        >>> scale = largest_harmless_noise(growth, lambda net: 10 - float((net(x) - wanted).abs().max()), 0.01)
        >>> 0.001 < scale < 1
        True
    """
    require_kind(growth, Growth, "the growth", "what net2net.surgery, widen or grow returned")
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < math.inf:
        raise OptionError(f"tolerance={tolerance!r}: give the part of the score by which it may drop, such as 0.01.")
    if not any(True for _ in _silent(growth)):
        raise OptionError("the student has no new weights that are 0: there is nothing to add noise to.")
    base = evaluate(growth.student)
    if not math.isfinite(base):
        raise OptionError(f"the score of the student is {base}; give an evaluate that returns a number.")

    def harmless(scale: float) -> bool:
        with _kept(growth):
            add_noise(growth, scale, seed=seed)
            return evaluate(growth.student) >= base - tolerance * abs(base)  # NaN isn't

    scale = 2.0**-4
    up = harmless(scale)
    while up and scale < _MOST and harmless(2 * scale):
        scale *= 2
    while not up and scale > _LEAST:
        scale /= 2
        if harmless(scale):
            break
    else:
        if not up:
            return 0.0
    above = 2 * scale
    for _ in range(_FINER):
        between = math.sqrt(scale * above)
        scale, above = (between, above) if harmless(between) else (scale, between)
    return scale


def _silent(growth: Growth) -> Iterator[tuple[str, nn.Parameter, torch.Tensor]]:
    """The parameters of a student with new entries that are 0, and where these are."""
    parameters = dict(growth.student.named_parameters())
    new: dict[str, torch.Tensor] = {}
    for units in growth.known.units:
        parameter = parameters.get(units.tensor)
        if parameter is None or units.axis is None or parameter.dim() < 2:
            continue  # noise on a bias would be no unit's
        places = torch.from_numpy(units.new).to(parameter.device)
        mask = new.setdefault(units.tensor, torch.zeros_like(parameter, dtype=torch.bool))
        mask.index_fill_(units.axis, places, True)
    for name, mask in new.items():
        silent = mask & (parameters[name].detach() == 0)
        if silent.any():
            yield name, parameters[name], silent


@contextlib.contextmanager
def _kept(growth: Growth) -> Iterator[None]:
    """The student is as it was afterwards."""
    before = [(parameter, parameter.detach().clone()) for _, parameter, _ in _silent(growth)]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in before:
                parameter.copy_(value)
