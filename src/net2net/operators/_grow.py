"""Wider and deeper in one call."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from net2net.analysis import Request, analyze_examples
from net2net.capture import Inputs, Methods, examples_of, require_request, require_teacher, unobserved
from net2net.depth import DepthOptions, Kernel, Positions, Where
from net2net.errors import OptionError
from net2net.growth import Growth
from net2net.operators._calibrate import Calibration
from net2net.operators._deepen import deepen, deeper
from net2net.operators._hanging import not_carried
from net2net.operators._widen import widen, wider
from net2net.width import NoiseSpec, WidthOptions


@unobserved
def grow(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    sizes: Request | None = None,
    where: Where | None = None,
    calibration: Calibration | None = None,
    how: str | None = None,
    shares: str = "uneven",
    noise: str | NoiseSpec | None = None,
    init: str = "identity",
    positions: Positions | None = None,
    kernel: Kernel = None,
    seed: int = 0,
    methods: Methods = (),
    unread: str = "refuse",
) -> Growth:
    """Make a network deeper, then wider: one plan, one proof.

    Args:
        model: the teacher. It is not changed.
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments; or a list of several
            of these: every branch that one of them runs grows, and is proved.
        sizes: as for `widen`; names are those of the deeper network, so that new layers can be widened too.
        where, calibration, init, positions, kernel: as for `deepen`.
        how, shares, noise, seed, methods, unread: as for `widen`.

    Returns:
        The growth. `plan.earlier` is the growth in depth.

    Raises:
        GrowthError: the request can't be met exactly.

    Source: Chen et al. (2016): an identity layer that is then widened gives a layer of any width from that of the
        one below.

    Example:
        >>> import torch
        >>> teacher = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> growth = grow(teacher, torch.randn(3, 4), where={"0": 1}, sizes={"2": 13})
        >>> [layer.out_features for layer in growth.student[::2]]
        [8, 13, 2]
    """
    if sizes is None and where is None:
        raise OptionError("grow() needs sizes= (wider), where= (deeper), or both.")
    if where is None:
        assert sizes is not None
        return widen(
            model, sizes, example_inputs, how=how, shares=shares, noise=noise, seed=seed, methods=methods, unread=unread
        )
    if sizes is None:
        return deepen(
            model,
            where,
            example_inputs,
            calibration,
            init=init,
            positions=positions,
            kernel=kernel,
            seed=seed,
            methods=methods,
        )
    width, depth = WidthOptions(how, shares, noise, seed), DepthOptions(init, positions, kernel, seed)
    require_teacher(model, example_inputs)
    require_request(sizes, "sizes")
    require_request(where, "where")
    examples = examples_of(example_inputs, methods, model)
    made = deeper(analyze_examples(model, examples[:1]), where, examples, depth, calibration)
    plan = replace(made.plan, notes=(*made.plan.notes, *not_carried(model, made.plan)))
    return wider(model, sizes, example_inputs, width, methods, unread, made._replace(plan=plan))
