"""The plan of a growth, and the student's modules, of a network without memory: nothing is measured or proved."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from net2net.analysis import Request, analyze, analyze_examples, apart_from_unread, resolve_request
from net2net.apply import grow_state
from net2net.capture import Inputs, Methods, examples_of, unobserved
from net2net.depth import DepthOptions, Where
from net2net.errors import OptionError
from net2net.growth import known_of_width, state_of
from net2net.operators._deepen import deeper
from net2net.operators._made import Made
from net2net.operators._width_design import WidthDesigner
from net2net.student import Trial, fill
from net2net.width import WidthOptions


@unobserved
def planned(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    sizes: Request | None = None,
    where: Where | None = None,
    width: WidthOptions,
    depth: DepthOptions,
    methods: Methods = (),
    unread: str = "refuse",
) -> Made:
    """What `grow` plans for a network whose parameters are on the meta device; the student's are there too.

    New random entries have the size of the tensor's old ones: how large they are best is measured with weights.

    Args:
        model: its parameters are on the meta device, its buffers have their values.
        example_inputs, sizes, where, methods, unread: as for `grow`.
        width, depth: the options.

    Raises:
        GrowthError: the request can't be met exactly.
    """
    if sizes is None and where is None:
        raise OptionError("a growth needs sizes= (wider), where= (deeper), or both.")
    made: Made | None = None
    if where is not None:
        examples = examples_of(example_inputs, methods, model)
        made = deeper(analyze_examples(model, examples[:1]), where, examples, depth)
    if sizes is None:
        assert made is not None
        return made
    before = model if made is None else made.student
    analysis = analyze(before, example_inputs, methods=methods)
    every = not isinstance(sizes, Mapping)
    by_name, _ = apart_from_unread(analysis, resolve_request(analysis, sizes), unread, every)
    trial = Trial(before, analysis.sites.inference.graph, analysis.examples)
    designer = WidthDesigner(before, analysis, width, trial)
    plan, blueprint, new_sizes = designer.of_most(by_name) if every else designer.of_named(by_name)
    student = fill(before, blueprint, plan, new_sizes, grow_state(plan, state_of(before, analysis)))
    return Made(student, plan, known_of_width(plan, analysis)).after(made)
