"""What the router of a mixture does, seen from outside: logits, choices and mixing weights for many tokens."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from net2net.capture import silent, structural_copy
from net2net.moe._calls import Call, Calls, recorded
from net2net.moe._gate import Gate, Logits, gate_rule

Slots = tuple[int | str, int | str, int | str]
_TOKENS = 256
# What the number of experts of a token is called.
TOP_K = re.compile(
    r"(moe_)?top_?k(_experts)?|k|moe_k|num_experts_per_tok(en)?|n_experts_per_tok(en)?|experts_per_tok(en)?"
    r"|num_selected_experts|num_selects|n_activated_experts|num_activated_experts|experts_top_k"
)
# What the groups of a router are called: how many there are, and how many are kept.
_GROUPS = (("num_group", "n_group", "num_groups", "n_groups"), ("topk_group", "topk_groups", "num_limited_groups"))


def slots_of(call: Call) -> Slots | None:
    """Where the tokens, the numbers of experts and the mixing weights are among the arguments of a call."""
    given = call.given
    numbers = [k for k, t in given.items() if not t.is_floating_point() and t.dtype != torch.bool and t.dim() > 1]
    for number in numbers:
        shape = given[number].shape
        tokens = [k for k, t in given.items() if t.is_floating_point() and t.shape[:-1] == shape[:-1]]
        weights = [k for k in tokens[1:] if given[k].shape == shape]
        if weights:
            return tokens[0], number, weights[0]
    return None


@silent()
def observed_gate(
    block: nn.Module, experts: str, members: tuple[str, ...], slots: Slots | None, size: int, call: Call
) -> Gate | None:
    """The rule of the gate of a block, as it acts on random tokens with random router weights.

    Args:
        block: the module that holds the router and the experts. It is not changed.
        experts: the path of the experts in it.
        members: the paths of single experts, where they are modules of their own.
        slots: where the arguments of stacked experts are.
        size: how many experts there are.
        call: a call of the block.

    Returns:
        The rule, with the names of tensors in the block; None if it is none of those known, or can't be seen.
    """
    copied = structural_copy(block, lambda _, t: _wide(t)).eval()
    found = _seen(copied, experts, members, slots, size, call)
    if found is None or found.top_k < size:
        return found
    # Where every expert is chosen, nothing shows by what: once more with fewer of them, if a number says how many.
    for module in copied.modules():
        for name, value in list(vars(module).items()):
            if TOP_K.fullmatch(name) and type(value) is int and value == size:
                setattr(module, name, max(1, size // 2))
    fewer = _seen(copied, experts, members, slots, size, call)
    return found if fewer is None else replace(fewer, top_k=size)


def _seen(
    copied: nn.Module, experts: str, members: tuple[str, ...], slots: Slots | None, size: int, call: Call
) -> Gate | None:
    """The rule of the gate of a block that may be changed."""
    generator = torch.Generator().manual_seed(0)
    outside = [
        (name, t)
        for name, t in (*copied.named_parameters(), *copied.named_buffers())
        if not f"{name}.".startswith(f"{experts}.") and t.is_floating_point()
    ]
    rows = [(name, t) for name, t in outside if t.dim() == 2 and t.shape[0] == size]
    numbers = {name: t for name, t in outside if t.numel() == size}
    with torch.no_grad():  # trained routers may be saturated, and new ones may be zero
        for _, t in rows:
            t.copy_(torch.randn(t.shape, generator=generator) / t.shape[1] ** 0.5)
        for t in numbers.values():
            t.copy_(0.3 * torch.randn(t.shape, generator=generator))
        try:
            args, kwargs = _many_tokens(call, generator)
            weights, calls = _mixing(copied, experts, members, slots, size, args, kwargs)
        except Exception:  # whatever a forward raises on such inputs
            return None
    if weights is None:
        return None
    for name, weight in rows:
        owner = name.rpartition(".")[0]
        inputs = [t for c in calls.get(owner, []) for t in c.given.values() if t.shape[-1:] == weight.shape[1:]]
        flat = inputs[0].reshape(-1, weight.shape[1]).to(weight.dtype) if inputs else None
        if flat is None or len(flat) != len(weights):
            continue
        own = [n for n in numbers if n.rpartition(".")[0] == owner and n != name]
        for bias in own if own and isinstance(copied.get_submodule(owner), nn.Linear) else [None, *own]:
            logits = Logits(F.linear(flat, weight, None if bias is None else numbers[bias].flatten()), name, bias)
            others = {n: t for n, t in numbers.items() if n not in (name, bias)}
            found = gate_rule(logits, weights, others, _groups(copied, owner))
            if found is not None:
                return found
    return None


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, in float32 at least."""
    wide = torch.promote_types(tensor.dtype, torch.float32) if tensor.is_floating_point() else tensor.dtype
    copied = tensor.detach().to(wide, copy=True)
    return nn.Parameter(copied) if isinstance(tensor, nn.Parameter) else copied


def _many_tokens(call: Call, generator: torch.Generator) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with random features, of as many tokens as a rule is told by."""
    slot, given = next((k, t) for k, t in call.given.items() if t.is_floating_point() and t.dim() > 1)
    tokens = given.numel() // given.shape[-1]
    shape = (given.shape[0] * -(-_TOKENS // tokens), *given.shape[1:])
    drawn = torch.randn(shape, generator=generator).to(given.device, torch.promote_types(given.dtype, torch.float32))
    args = tuple(drawn if k == slot else a for k, a in enumerate(call.args))
    return args, {k: drawn if k == slot else v for k, v in call.kwargs.items()}


def _mixing(
    block: nn.Module,
    experts: str,
    members: tuple[str, ...],
    slots: Slots | None,
    size: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[torch.Tensor | None, Calls]:
    """The mixing weights (tokens, experts), and the calls of the modules beside the experts."""

    def beside(path: str, _: nn.Module) -> bool:
        return path == experts or not f"{path}.".startswith(f"{experts}.")

    with recorded(block, beside) as calls:
        result = block(*args, **kwargs)
    if slots is None:
        return _by_stand_ins(block, members, args, kwargs, result), calls
    given = calls[experts][0].given
    _, number, weight = slots
    chosen, values = given[number].flatten(0, -2), given[weight].flatten(0, -2)
    return values.new_zeros(len(chosen), size).scatter_add(1, chosen.long(), values), calls


def _by_stand_ins(
    block: nn.Module, members: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> torch.Tensor | None:
    """The mixing weights, from what the block gives when each expert gives a vector of its own for every token."""
    width = _first(result).shape[-1]

    def given(codes: torch.Tensor) -> torch.Tensor:
        with _standing_in(block, members, codes):
            return _first(block(*args, **kwargs)).reshape(-1, width).double()

    like = _first(result)
    nothing = given(like.new_zeros(len(members), width))
    parts = []
    for start in range(0, len(members), width):
        codes = like.new_zeros(len(members), width)
        some = min(width, len(members) - start)
        codes[start : start + some, :some] = torch.eye(some).to(codes)
        parts.append((given(codes) - nothing)[:, :some])
    weights = torch.cat(parts, 1)
    weights = weights.masked_fill(weights.abs() < 1e-6, 0.0)
    drawn = torch.randn(len(members), width, generator=torch.Generator().manual_seed(1)).to(like)
    is_mixture = torch.allclose(given(drawn) - nothing, weights @ drawn.double(), rtol=1e-3, atol=1e-4)
    return weights if is_mixture else None


@contextlib.contextmanager
def _standing_in(block: nn.Module, members: tuple[str, ...], codes: torch.Tensor) -> Iterator[None]:
    """Experts whose output is their row of `codes` while the context is open."""

    def hook(code: torch.Tensor) -> Any:
        return lambda _, args, output: code.to(output).expand(output.shape)

    handles = [block.get_submodule(m).register_forward_hook(hook(c)) for m, c in zip(members, codes, strict=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first(result: Any) -> torch.Tensor:
    return Call((), {}, result).results[0]


def _groups(block: nn.Module, owner: str) -> tuple[int, int] | None:
    """How many groups the router keeps, of how many."""
    for path in (owner, owner.rpartition(".")[0]):
        found = [
            next((v for n in names if isinstance(v := getattr(block.get_submodule(path), n, None), int)), None)
            for names in _GROUPS
        ]
        if found[0] and found[1]:
            return found[1], found[0]
    return None
