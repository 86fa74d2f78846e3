"""An exported program -> a graph."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from net2net.capture._graph import Graph, Kind, Node, Value, connected, without_unread
from net2net.capture._kept import entries_of
from net2net.capture._signature import named_outputs
from net2net.capture._unknown import Sizes

_NUMBERS: dict[type, torch.dtype] = {
    torch.SymInt: torch.int64,
    torch.SymFloat: torch.float64,
    torch.SymBool: torch.bool,
}
_KINDS: dict[InputKind, Kind] = {
    InputKind.PARAMETER: "parameter",
    InputKind.BUFFER: "buffer",
    InputKind.CONSTANT_TENSOR: "constant",
    InputKind.USER_INPUT: "input",
}


def read(
    program: torch.export.ExportedProgram, ties: dict[str, str], state: dict[str, Value], held: dict[object, str]
) -> Graph:
    """The graph of an exported program; `ties` maps each further name of a shared tensor to its first, `state` holds
    parameters and buffers that another program of the same model has read, and `held` has the names of all tensors
    that the model holds, by their entries: a function on a module may read a parameter in its closure."""
    return _Reader(program, ties, state, held).read()


class _Reader:
    """Reads an exported program into a Graph, opening the wrappers that hold a subgraph."""

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        ties: dict[str, str],
        state: dict[str, Value],
        held: dict[object, str],
    ) -> None:
        self.program = program
        self.held = held
        self.ties = ties
        self.nodes: list[Node] = []
        self.state = state
        self.inputs: list[Value] = []
        self.casts_to_float32 = False
        self.written: dict[Value, Value] = {}
        self.mutated: set[Value] = set()
        self.sizes = Sizes()

    def read(self) -> Graph:
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs if hasattr(spec.arg, "name")}
        environment: dict[Any, Any] = {}
        examples = iter(pytree.tree_leaves(self.program.example_inputs))
        for fx_node in self.program.graph.nodes:
            if fx_node.op == "placeholder":
                spec = specs.get(fx_node.name)
                example = next(examples, None) if spec is not None and spec.kind is InputKind.USER_INPUT else None
                environment[fx_node] = self._placeholder(fx_node, spec, example)
        results = self._run(self.program.graph_module, environment)
        specs_out = self.program.graph_signature.output_specs
        user = [
            result
            for result, spec in zip(results, specs_out, strict=True)
            if spec.kind in (OutputKind.USER_OUTPUT, OutputKind.LOSS_OUTPUT)
        ]
        outputs = self._outputs(user)
        nodes = without_unread(self.nodes, set(outputs.values()))
        return Graph(nodes, self.state, self.inputs, outputs, self.ties, self.casts_to_float32, self.mutated)

    def _outputs(self, results: list[Any]) -> dict[str, Value]:
        spec = self.program.call_spec.out_spec
        assert spec is not None
        named = named_outputs(pytree.tree_unflatten(list(range(len(results))), spec))
        return {name: results[i] for name, i in named.items() if isinstance(results[i], Value)}

    def _placeholder(self, fx_node: torch.fx.Node, spec: Any, given: Any) -> Any:
        example = fx_node.meta.get("val")
        if not isinstance(example, torch.Tensor):
            return example
        kind = _KINDS.get(spec.kind, "constant") if spec is not None else "constant"
        name = spec.target if spec is not None and spec.target is not None else fx_node.name
        if kind == "constant" and spec is not None:
            name = self.held.get(entries_of(self.program.constants.get(spec.target)), name)
        if kind != "input":
            name = self.ties.get(name, name)
            if name in self.state:
                return self.state[name]
        value = Value(name, self.sizes.shape(example), example.dtype, kind, self._number(spec, kind))
        if kind in ("buffer", "constant") and spec is not None and "lifted_tensor" not in name:
            stored = self.program.state_dict.get(spec.target, self.program.constants.get(spec.target))
            value.zeros = _is_zero(stored)
        if value.is_state:
            value.saved = getattr(spec, "persistent", None) is not False
            self.state[name] = value
        elif kind == "input":
            value.data = given if isinstance(given, torch.Tensor) else None
            self.inputs.append(value)
        elif spec is not None:
            value.data = self.program.constants.get(spec.target)
        return value

    def _number(self, spec: Any, kind: Kind) -> float | None:
        """The value of a constant with one entry, made in the forward from a size for example."""
        constant = self.program.constants.get(spec.target) if kind == "constant" and spec is not None else None
        if not isinstance(constant, torch.Tensor) or constant.numel() != 1 or constant.device.type == "meta":
            return None
        return float(constant)

    def _run(self, module: torch.fx.GraphModule, environment: dict[Any, Any]) -> list[Any]:
        for fx_node in module.graph.nodes:
            if fx_node.op == "get_attr":
                attribute = operator.attrgetter(fx_node.target)(module)
                environment[fx_node] = (
                    attribute
                    if isinstance(attribute, torch.fx.GraphModule)
                    else Value(str(fx_node.target), tuple(attribute.shape), attribute.dtype, "constant", data=attribute)
                )
            elif fx_node.op == "output":
                (results,) = fx_node.args
                results = results if isinstance(results, (list, tuple)) else (results,)
                return list(self._deep(results, environment))
            elif fx_node.op == "call_function":
                environment[fx_node] = self._call(fx_node, environment)
        return []

    def _call(self, fx_node: torch.fx.Node, environment: dict[Any, Any]) -> Any:
        arguments, keywords = self._deep(fx_node.args, environment), self._deep(fx_node.kwargs, environment)
        if fx_node.target is operator.getitem:
            return arguments[0][arguments[1]]
        if isinstance(example := fx_node.meta.get("val"), tuple(_NUMBERS)) and not _reads_value(fx_node):
            return self.sizes.of(example) if isinstance(example, torch.SymInt) else example
        subgraph = next((a for a in arguments if isinstance(a, torch.fx.GraphModule)), None)
        if subgraph is not None:  # set-grad and autocast wrappers: (settings..., subgraph, *operands)
            operands = arguments[arguments.index(subgraph) + 1 :]
            placeholders = [n for n in subgraph.graph.nodes if n.op == "placeholder"]
            return tuple(self._run(subgraph, dict(zip(placeholders, operands, strict=True))))
        return self._operation(fx_node, arguments, keywords)

    def _record_write(self, node: Node) -> None:
        """An in-place operation: later readers of its target see the result, and what it is a view of changes, unless
        the operation is one of shapes alone."""
        target = node.inputs[0]
        self.written[target] = node.output
        if not node.op.endswith("_"):
            return
        base = target
        while base.producer is not None and base.producer.inputs:
            base = base.producer.inputs[0]
            self.mutated.add(base)

    def _deep(self, argument: Any, environment: dict[Any, Any]) -> Any:
        if isinstance(argument, torch.fx.Node):
            found = environment[argument]
            while isinstance(found, Value) and found in self.written:
                found = self.written[found]
            return found
        if isinstance(argument, (list, tuple)):
            return tuple(self._deep(a, environment) for a in argument)
        if isinstance(argument, dict):
            return {k: self._deep(a, environment) for k, a in argument.items()}
        return argument

    def _operation(self, fx_node: torch.fx.Node, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        example = fx_node.meta.get("val")
        examples = example if isinstance(example, (list, tuple)) else (example,)
        outputs = tuple(
            Value(
                fx_node.name if len(examples) == 1 else f"{fx_node.name}.{i}",
                self.sizes.shape(e),
                e.dtype,
                "computed",
            )
            if isinstance(e, torch.Tensor)
            else Value(fx_node.name, (), _NUMBERS[type(e)], "computed")
            if isinstance(e, tuple(_NUMBERS))
            else e
            for i, e in enumerate(examples)
        )
        made = tuple(o for o in outputs if isinstance(o, Value))
        if not made:  # assertions and the like
            return example
        arguments, keywords = _read_out(fx_node.target, arguments, keywords)
        node = connected(fx_node.target, arguments, keywords, made, _module_of(fx_node))
        if node.get("dtype") == torch.float32 and any(v.dtype.is_floating_point for v in node.inputs):
            self.casts_to_float32 = True
        self.nodes.append(node)
        target = fx_node.target
        if node.inputs and isinstance(target, torch._ops.OpOverload) and target._schema.name.endswith("_"):
            self._record_write(node)
        if isinstance(example, torch.SymInt):
            return _Number(node.output, self.sizes.of(example))
        return outputs if isinstance(example, (list, tuple)) else outputs[0]


@dataclass(frozen=True)
class _Number:
    """A whole number read out of a tensor: an operand of arithmetic, or a size."""

    value: Value
    size: int


def _read_out(target: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """The arguments, with numbers read out of tensors as operands or sizes, whichever the operation takes them for."""
    schema = target._schema.arguments if isinstance(target, torch._ops.OpOverload) else ()
    operands = {a.name for a in schema if str(a.type) in ("Tensor", "Optional[Tensor]", "number")}
    names = [a.name for a in schema] + [""] * len(arguments)
    found = tuple(_as_read(value, name in operands) for name, value in zip(names, arguments, strict=False))
    return found, {name: _as_read(value, name in operands) for name, value in keywords.items()}


def _as_read(argument: Any, as_tensor: bool) -> Any:
    if isinstance(argument, _Number):
        return argument.value if as_tensor else argument.size
    if isinstance(argument, (list, tuple)):
        return tuple(_as_read(a, as_tensor) for a in argument)
    return argument


def _reads_value(fx_node: torch.fx.Node) -> bool:
    """Whether a number comes out of a tensor's entries rather than its shape."""
    return fx_node.target in (torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default) or any(
        isinstance(n.meta.get("val"), tuple(_NUMBERS)) and _reads_value(n) for n in fx_node.all_input_nodes
    )


def _module_of(fx_node: torch.fx.Node) -> str:
    stack = fx_node.meta.get("nn_module_stack")
    return str(list(stack.values())[-1][0]) if stack else ""


def _is_zero(tensor: Any) -> bool:
    if not isinstance(tensor, torch.Tensor) or isinstance(tensor, FakeTensor) or tensor.device.type == "meta":
        return False
    if tensor.layout is not torch.strided:
        return False
    return tensor.is_floating_point() and tensor.dim() > 0 and not bool(tensor.any())
