"""Does a forward choose: by a maximum, a comparison, a mask that comes of its inputs?"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that choose, with the argument whose values are chosen by; all of its tensors, where none is named.
_CHOICES = {
    **dict.fromkeys((
        "max", "min", "amax", "amin", "argmax", "argmin", "sort", "argsort", "topk", "median", "kthvalue", "cummax",
        "cummin", "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices",
        "max_pool3d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "maximum",
        "minimum", "nonzero", "_local_scalar_dense", "bucketize", "searchsorted",
    )),
    "where": "condition", "masked_fill": "mask", "masked_select": "mask", "masked_scatter": "mask",
    "index_put": "indices",
}  # fmt: skip
# Operations that cut off: where the result isn't what goes in, no gradient passes. And those that pick by ids.
_CUTS = ("relu", "relu6", "threshold", "clamp", "clamp_min", "clamp_max", "hardtanh", "hardsigmoid", "hardswish",
         "hardshrink", "softshrink", "rrelu_with_noise", "round", "floor", "ceil", "trunc", "sign", "prelu",
         "_prelu_kernel", "leaky_relu")  # fmt: skip
_PICKS = ("index", "index_select", "gather", "take", "scatter", "scatter_add", "index_add", "bincount", "histc")
_COMPARISONS = ("gt", "ge", "lt", "le", "eq", "ne")  # of numbers; those of ids count where something is done by them
_ENTRIES = 10_000  # so many take about as long as an operation by itself
_UNKNOWN = -1  # of a tensor without memory of its own (sparse): taken to come of the inputs


class Choices(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class has no types
    """Whether what runs under it chooses by values that come of the inputs.

    A choice that is the same for all inputs, as that of a causal mask, is none. Followed are pieces of memory: what an
    operation makes of one that comes of the inputs comes of them too.
    """

    def __init__(self, inputs: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.found = False
        self.dark = False  # whether no gradient may reach what it would reach on other inputs
        self.work = 0  # operations, and more of them for results of many entries
        self._memories = {_UNKNOWN, *map(_memory, _tensors(inputs))}

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read = _tensors((args, kwargs))
        depends = self._depends(read)
        self.found = self.found or (depends and self._chooses(operation, args, kwargs, read))
        result = operation(*args, **kwargs)
        results = _tensors(result)
        self.dark = self.dark or self.found or (depends and self._cuts(operation, args, read, results))
        self.work += 1 + sum(t.numel() for t in results) // _ENTRIES
        made, given = {_memory(t) for t in results}, {_memory(t) for t in read}
        if depends:
            self._memories |= made | (given if operation._schema.is_mutable else set())
        else:  # memory that was somebody else's before
            self._memories -= made - given - {_UNKNOWN}
        return result

    def _depends(self, tensors: list[torch.Tensor]) -> bool:
        return any(_memory(tensor) in self._memories for tensor in tensors)

    def _chooses(self, operation: Any, args: Any, kwargs: Any, read: list[torch.Tensor]) -> bool:
        name = operation._schema.name.removeprefix("aten::").removesuffix("_")
        if name in _COMPARISONS:
            return any(t.is_floating_point() for t in read)
        if name not in _CHOICES:
            return False
        argument = _CHOICES[name]
        names = [a.name for a in operation._schema.arguments]
        by = (dict(zip(names, args, strict=False)) | kwargs).get(argument) if argument else read
        return self._depends(_tensors(by))

    def _cuts(self, operation: Any, args: Any, read: list[torch.Tensor], results: list[torch.Tensor]) -> bool:
        name = operation._schema.name.removeprefix("aten::").removesuffix("_")
        if name in _PICKS:
            return any(not t.is_floating_point() and self._depends([t]) for t in read)
        return name in _CUTS and (operation._schema.is_mutable or not torch.equal(results[0], read[0]))


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _memory(tensor: torch.Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return _UNKNOWN
