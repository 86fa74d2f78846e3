"""The graph of what a model runs, recorded on tensors without memory: as `capture` finds it, in a tenth of the time.

A recording tells what a draft of a student computes, operation by operation and shape by shape, and whether a model
computes another function in train mode than in eval mode. It knows the model's own tensors by name, not by entries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch._subclasses.schema_check_mode import SchemaCheckMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from net2net.capture._examples import Example, Inputs, examples_of
from net2net.capture._export import without_dropout
from net2net.capture._fake import without_memory
from net2net.capture._graph import Graph, Kind, Node, Value, connected, without_unread
from net2net.capture._kept import entries_of, kept_tensors
from net2net.capture._merge import merged
from net2net.capture._modes import prepared
from net2net.capture._plain import plain_operations
from net2net.capture._quiet import silent
from net2net.capture._reasons import module_of
from net2net.capture._signature import named_outputs
from net2net.capture._unknown import Sizes

_VALUE = "_net2net_value"
_FLAGS = ("_is_compiling_flag", "_is_exporting_flag")


class Stopped(Exception):
    """A forward that doesn't run without memory: torch's words, and the path of the module whose forward it was in.

    `steps` counts the operations before. `about_sizes` is False where tensors are on different devices, or the forward
    asks for the values of a tensor: no size can help.
    """

    def __init__(self, error: Exception, module: str, steps: int) -> None:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        super().__init__(f"{reason[0]} (in '{module}')" if module else reason[0])
        self.module, self.steps = module, steps
        self.about_sizes = "two devices" not in reason[0] and not isinstance(error, DataDependentOutputException)


def record(model: nn.Module, inputs: Inputs) -> Graph:
    """What `model` runs on `inputs`. Its tensors may be without memory; attributes may be real tensors.

    Raises:
        Stopped: its forward doesn't run like this.
    """
    examples = examples_of(inputs)
    return merged(examples, [_graph(*_run(model, example)[:2]) for example in examples])


def record_effects(model: nn.Module, example: Example) -> Graph:
    """What `model` runs on an example; what it leaves in its own tensors and attributes is among the outputs.

    Raises:
        Stopped: its forward doesn't run like this.
    """
    nodes, outputs, left = _run(model, example)
    return _graph(nodes, outputs | left)


def _graph(nodes: list[Node], outputs: dict[str, Value]) -> Graph:
    return Graph(without_unread(nodes, set(outputs.values())), {}, [], outputs, {}, False, set())


def _run(model: nn.Module, example: Example) -> tuple[list[Node], dict[str, Value], dict[str, Value]]:
    """The operations, what is given back, and what is left in the model's own tensors and attributes."""
    copy = prepared(without_memory(model), example)
    own = _own_tensors(copy)
    mode = next((t.fake_mode for t, _ in own.values() if isinstance(t, FakeTensor)), None) or FakeTensorMode()
    mode.allow_non_fake_inputs = True
    mode.shape_env = ShapeEnv()  # names sizes that depend on values; those of the inputs stay numbers
    device = next((t.device for t, kind in own.values() if kind != "constant"), torch.device("cpu"))
    args, kwargs = pytree.tree_map_only(
        torch.Tensor, lambda t: mode.from_tensor(t.detach().to(device)), (example.args, example.kwargs)
    )
    recorder = _Recorder({entries_of(t): name for name, (t, _) in own.items() if not isinstance(t, FakeTensor)})
    given = enumerate(leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor))
    named: dict[str, tuple[torch.Tensor, Kind]] = {f"input {k}": (leaf, "input") for k, leaf in given}
    for name, (tensor, kind) in (named | own).items():
        value = recorder.value(tensor)
        value.name, value.kind = name, kind
    with contextlib.ExitStack() as stack:
        stack.enter_context(silent())
        stack.enter_context(mode)
        stack.enter_context(torch.no_grad())
        stack.enter_context(plain_operations())
        stack.enter_context(without_dropout(example))
        stack.enter_context(_as_in_export())
        stack.enter_context(enable_python_dispatcher())
        stack.enter_context(recorder)
        paths = {id(module): path for path, module in copy.named_modules()}
        try:
            result = copy(*args, **kwargs)
        except Exception as error:  # a forward raises anything
            raise Stopped(error, module_of(error.__traceback__, paths), len(recorder.nodes)) from error
    leaves = named_outputs(result)
    outputs = {name: recorder.value(leaf) for name, leaf in leaves.items() if isinstance(leaf, torch.Tensor)}
    left = {
        f"{name} afterwards": recorder.value(tensor)
        for name, (tensor, _) in _own_tensors(copy).items()
        if isinstance(tensor, FakeTensor) and own.get(name, (None,))[0] is not tensor
    }
    return recorder.nodes, outputs, left


def _own_tensors(model: nn.Module) -> dict[str, tuple[torch.Tensor, Kind]]:
    """The tensors of a model by name: parameters, buffers, and, as constants, what its attributes hold."""
    found: dict[str, tuple[torch.Tensor, Kind]] = {n: (t, "parameter") for n, t in model.named_parameters()}
    found |= {name: (tensor, "buffer") for name, tensor in model.named_buffers()}
    return found | {name: (tensor, "constant") for name, tensor in kept_tensors(model).items()}


@contextlib.contextmanager
def _as_in_export() -> Iterator[None]:
    """Let torch say that it compiles, and exports where it has that word (since 2.7), as it does while it captures."""
    before = {n: getattr(torch.compiler, n) for n in _FLAGS if hasattr(torch.compiler, n)}
    try:
        for name in before:
            setattr(torch.compiler, name, True)
        yield
    finally:
        for name, value in before.items():
            setattr(torch.compiler, name, value)


def _mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """A tree of the containers that an operation is called with; pytree's own map takes five times as long."""
    if isinstance(tree, (tuple, list)):
        return type(tree)([_mapped(item, function) for item in tree])
    if isinstance(tree, dict):
        return {key: _mapped(item, function) for key, item in tree.items()}
    return function(tree)


class _Recorder(SchemaCheckMode):  # type: ignore[no-untyped-call]  # torch's classes of modes have no types
    """Sees each operation before composite ones are taken apart, as `torch.export` does.

    Three classes of modes may stand in that place; this is one of them in name only.
    """

    def __init__(self, held: dict[object, str]) -> None:
        TorchDispatchMode.__init__(self, _dispatch_key=torch._C.DispatchKey.PreDispatch)  # type: ignore[no-untyped-call]  # as above
        self.nodes: list[Node] = []
        self.sizes = Sizes()
        self.held = held  # names of tensors with memory, by their entries

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        arguments, keywords = _mapped((args, kwargs), self._seen)
        # torch takes composite operations apart in C++ faster than in Python, which only symbols need.
        with contextlib.nullcontext() if self.sizes.unknown else torch._C._DisablePythonDispatcher():
            result = func(*args, **kwargs)
        leaves = [result] if isinstance(result, torch.Tensor) else pytree.tree_leaves(result)
        made = tuple(self._new(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor))
        if made:
            self.nodes.append(connected(func, arguments, keywords, made, ""))
        return result

    def _seen(self, leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            return self.value(leaf)
        return self.sizes.of(leaf) if isinstance(leaf, torch.SymInt) else leaf

    def value(self, tensor: torch.Tensor) -> Value:
        """The value that a tensor holds now."""
        known: Value | None = getattr(tensor, _VALUE, None)
        return known or self._new(tensor)

    def _new(self, tensor: torch.Tensor) -> Value:
        if not isinstance(tensor, FakeTensor):
            return self._constant(tensor)
        value = Value("", self.sizes.shape(tensor), tensor.dtype, "computed")
        setattr(tensor, _VALUE, value)  # on itself: torch makes others of tensors that somebody else holds
        return value

    def _constant(self, tensor: torch.Tensor) -> Value:
        number = None
        if tensor.numel() == 1 and tensor.device.type != "meta":
            with unset_fake_temporarily():
                number = float(tensor)
        name = self.held.get(entries_of(tensor), "")
        return Value(name, tuple(tensor.shape), tensor.dtype, "constant", number, tensor)
