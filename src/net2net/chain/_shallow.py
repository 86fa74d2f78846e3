"""Shorter copies of two models whose blocks repeat: what holds for a few of them holds for all."""

from __future__ import annotations

from torch import nn

from net2net.capture import structural_copy

# So many blocks of the teacher stay: one of each kind where two take turns.
_BLOCKS = 2


def shallow(teacher: nn.Module, student: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Copies with the first blocks of every list of equal blocks; the student's has one more where it is deeper.

    Weights are shared. A list that isn't in both, or whose blocks differ, stays as it is.

    Example:
        >>> a, b = (nn.Sequential(*(nn.Linear(w, w) for _ in range(n))) for w, n in ((2, 6), (3, 9)))
        >>> [len(model) for model in shallow(a, b)]
        [2, 3]
    """
    small, large = structural_copy(teacher), structural_copy(student)
    theirs = dict(large.named_modules())
    for path, module in list(small.named_modules()):
        other = theirs.get(path)
        if _repeats(module) and other is not None and _repeats(other) and len(module) <= len(other):
            more = int(len(other) > len(module))
            _shorten(small, module, _BLOCKS)
            _shorten(large, other, len(module) + more)
    return small, large


def _repeats(module: nn.Module) -> bool:
    """Whether a list holds several blocks, all with tensors of the same names and shapes."""
    if not isinstance(module, (nn.ModuleList, nn.Sequential)) or len(module) <= 1:
        return False
    kinds = {(type(b), tuple((n, t.shape) for n, t in b.state_dict(keep_vars=True).items())) for b in module}
    return len(kinds) == 1 and bool(next(iter(kinds))[1])


def _shorten(model: nn.Module, module: nn.ModuleList | nn.Sequential, count: int) -> None:
    """Leave the first blocks, and say so in the configs of transformers, from which deeper drafts are made."""
    before = len(module)
    for name in list(module._modules)[count:]:
        del module._modules[name]
    for config in {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}.values():
        for key, value in list(getattr(config, "__dict__", {}).items()):
            if isinstance(value, int) and value == before and "layer" in key:
                config.__dict__[key] = min(before, count)
            elif isinstance(value, (list, tuple)) and len(value) == before:
                config.__dict__[key] = value[:count]
