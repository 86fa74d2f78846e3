"""The door for rules from outside: what a custom operation does to axes."""

from __future__ import annotations

from collections.abc import Callable

from net2net.axes._inference import Flow, Rule, has_rule, rule
from net2net.errors import OptionError, require_kind

_ADDED: set[str] = set()  # rules from outside, which may be given anew


def register_rule(op_name: str, *, flow: str = "opaque") -> Callable[[Rule], Rule]:
    """Say what a custom operation does to the axes of its operands, so that dimensions grow through it.

    The rule is called with the inference and the call (a node). It relates the axes of the operands and returns the
    axes of each result, a list of tuples with one term for each axis; `inference.of(node["x"])` are those of the
    operand `x` of the operation's schema. An axis of an operand that no result has, and that the rule doesn't name as
    summed, reduced or normalised over, can't grow. docs/extending.md is a guide with worked operations.

    Args:
        op_name: the operation, "library::name", as `torch.library` knows it. All its overloads share the rule.
        flow: what becomes of one unit of an axis that passes through: "pass" (units of the first operand are moved or
            copied), "zero" (a unit that is 0 stays 0), "sum" and "product" (of that unit of every operand), "affine"
            (normalised, then multiplied by `weight` and shifted by `bias`), "contract" (a product that is summed over
            an axis; an operand called `bias` is added), or "opaque": nothing is known, and new units are never
            silenced, nor shares of copies carried, through the operation. A wrong flow is found by the proof of the
            growth, which is then refused.

    Returns:
        A decorator, which gives the function back.

    Raises:
        OptionError: the name is not of the form "library::name", has a rule in net2net, or the flow is not known.

    Example:
        >>> import torch, net2net
        >>> from torch import nn
        >>> @torch.library.custom_op("doctest::swish", mutates_args=())
        ... def swish(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        ...     return x * torch.sigmoid(slope * x)
        >>> _ = swish.register_fake(lambda x, slope: torch.empty_like(x))
        >>> @net2net.register_rule("doctest::swish", flow="zero")
        ... def swish_axes(inference, node):
        ...     return [inference.broadcast(node, [inference.of(node["x"]), inference.of(node["slope"])])]
        >>> class Swish(nn.Module):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.slope = nn.Parameter(torch.rand(width))
        ...     def forward(self, x):
        ...         return swish(x, self.slope)
        >>> network = nn.Sequential(nn.Linear(4, 8), Swish(8), nn.Linear(8, 2))
        >>> student = net2net.widen(network, {"0": 12}, torch.randn(3, 4)).student
        >>> student[1].slope.shape
        torch.Size([12])
    """
    require_kind(op_name, str, "the operation", 'its name, such as "mylib::scaled"')
    library, _, name = op_name.partition("::")
    if not library or not name or "." in name:
        raise OptionError(f"invalid operation {op_name!r}; give its library and its name, such as 'mylib::scaled'.")
    op = f"{library}.{name}"
    if has_rule(op) and op not in _ADDED:
        raise OptionError(f"{op_name} has a rule in net2net, which can't be replaced; call a custom operation instead.")
    flows = {f.name.lower(): f for f in Flow}
    if flow not in flows:
        raise OptionError(f"invalid flow {flow!r} for {op_name}; use one of {', '.join(flows)}.")
    _ADDED.add(op)
    return rule(op, flow=flows[flow])
