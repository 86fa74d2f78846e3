"""Which blocks repeat: modules of one class and structure, chained through one stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby, pairwise

from torch import nn

from net2net.axes import Inference, Term, resolve
from net2net.capture import Value, shown
from net2net.depth._block import Block
from net2net.depth._identity import identity_rule
from net2net.depth._joined import joined
from net2net.depth._regions import Regions, taps_of
from net2net.depth._stack import Stack
from net2net.sites import NotPossible


def find_stacks(inference: Inference, model: nn.Module) -> list[Stack]:
    """The stacks of a network, in the order of its modules; stacks inside blocks are found too.

    A block that stands alone counts where it adds to its stream and is no part of another stack's block.
    """
    regions = Regions(inference)
    stacks: list[Stack] = []
    shared = shared_modules(model)
    for path, module in model.named_modules():
        children = [name for name, _ in module.named_children() if regions.of.get(_join(path, name))]
        if any(id(child) in shared for child in module.children()):
            continue
        if children and _in_sequence(regions, [_join(path, c) for c in children]):
            found = list(_stacks_in(regions, inference, path, module, children))
            listed = isinstance(module, (nn.Sequential, nn.ModuleList))
            stacks += joined(regions, inference, model, found) if listed else found
    several = [s for s in stacks if len(s) > 1]
    alone = [s for s in stacks if len(s) == 1 and _adds_to_stream(s.blocks[0], model, inference)]
    outermost = [s for s in alone if not _covered(s, [*several, *alone])]
    return [s for s in stacks if s in several or s in outermost]


def shared_modules(model: nn.Module) -> set[int]:
    """The identities of modules that stand at several places: one set of weights for several layers."""
    counts = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    return {key for key, count in counts.items() if count > 1}


def _adds_to_stream(block: Block, model: nn.Module, inference: Inference) -> bool:
    if isinstance(model.get_submodule(block.path), (nn.Sequential, nn.ModuleList)):
        return False
    try:
        return bool(identity_rule(inference, block, block.stream_out).fills)
    except NotPossible:
        return False


def _covered(stack: Stack, others: list[Stack]) -> bool:
    """Whether a single block is a part of something that repeats, or only wraps it."""
    (block,) = stack.blocks
    for other in others:
        first, last = other.blocks[0], other.blocks[-1]
        inside = other.container and block.path.startswith(other.container + ".") and stack.container != other.container
        wraps = first.path.startswith(block.path + ".")
        same = first.stream_in is block.stream_in and last.stream_out is block.stream_out
        repeats = len(other) > 1 or (len(other.children) == 1 and other.container != block.path)
        if (inside and not same) or (wraps and (same or repeats)):
            return True
    return False


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _in_sequence(regions: Regions, paths: list[str]) -> bool:
    """Whether the modules run one after the other, each once."""
    spans = [(regions.of[p][0], regions.of[p][-1]) for p in paths]
    return all(before[1] < after[0] for before, after in pairwise(spans))


def _stacks_in(
    regions: Regions, inference: Inference, path: str, module: nn.Module, children: list[str]
) -> Iterator[Stack]:
    start = 0
    runs = [list(run) for _, run in groupby(children, key=lambda name: _signature(module.get_submodule(name)))]
    for run in runs:
        once = all(regions.called_once(_join(path, name)) for name in run)
        if once and _may_be_block(module.get_submodule(run[0])):
            for offset, blocks in _chained(regions, inference, [_join(path, name) for name in run]):
                whole = len(blocks) == len(children)
                alone = sum(len(r) > 1 for r in runs) == 1 and len(blocks) == len(run) > 1
                name = path if whole or alone else blocks[0].path
                listed = isinstance(module, (nn.Sequential, nn.ModuleList))
                taps = taps_of(regions, blocks, set(inference.graph.outputs.values())) if listed else {}
                kinds = (_signature(module.get_submodule(run[0])),) * len(blocks)
                yield Stack(shown(name) or ".", path, tuple(children), start + offset, tuple(blocks), kinds, taps)
        start += len(run)


def _may_be_block(module: nn.Module) -> bool:
    """Whether a module has weights and is no single layer of torch's own."""
    layer = type(module).__module__.startswith("torch.nn.modules") and not any(True for _ in module.children())
    return not layer and any(True for _ in module.parameters())


def _signature(block: nn.Module) -> tuple[object, ...]:
    tensors = [*block.named_parameters(remove_duplicate=False), *block.named_buffers(remove_duplicate=False)]
    return type(block), tuple((name, tuple(tensor.shape)) for name, tensor in tensors)


def _chained(regions: Regions, inference: Inference, paths: list[str]) -> Iterator[tuple[int, list[Block]]]:
    """The longest runs of these modules in which each hands one stream to the next, with where each begins."""
    streams = [_stream_between(regions, a, b) for a, b in pairwise(paths)]
    start = 0
    while start < len(paths):
        end = start
        while end < len(streams) and streams[end] is not None:
            end += 1
        between = [s for s in streams[start:end] if s is not None]
        blocks = _blocks(regions, inference, paths[start : end + 1], between)
        if blocks:
            yield start + len(paths[start : end + 1]) - len(blocks), blocks
        start = end + 1


def _stream_between(regions: Regions, before: str, after: str) -> Value | None:
    """The one value through which a module's result reaches the next one, if there is just one."""
    first, inside = regions.of[before][0], set(regions.of[before])
    last = regions.of[after][-1]
    depends: set[Value] = set()
    made = regions.made(before)
    read: dict[Value, None] = {}
    after_nodes = set(regions.of[after])
    for i in range(first, last + 1):
        node = regions.nodes[i]
        if i in after_nodes:
            for value in node.inputs:
                if value in depends:
                    read.setdefault(value)
        elif i in inside:
            depends.update(made.intersection(node.outputs))
        elif any(v in depends for v in node.inputs):
            depends.update(node.outputs)
    return next(iter(read)) if len(read) == 1 else None


def _blocks(regions: Regions, inference: Inference, paths: list[str], between: list[Value]) -> list[Block]:
    """The blocks with their streams. What the first takes and the last gives is found by their likeness to others."""
    if not between:
        ends = _ends_alone(regions, inference, paths[0])
        return [Block(paths[0], *ends)] if ends else []
    first = _alike_input(regions, paths[0], paths[1], between[0])
    last = _alike_output(regions, paths[-2], paths[-1], between[-1])
    if last is None:  # the last block is read in another way: it stays what follows the stack
        paths, last, between = paths[:-1], between[-1], between[:-1]
    if not _same_shape(first, last):
        # the first block makes the stream (a stage that halves the resolution): the stack begins after it
        if not between:
            return []
        paths, first, between = paths[1:], between[0], between[1:]
        if not _same_shape(first, last):
            return []
    assert first is not None
    streams = [first, *between, last]
    return [Block(p, a, b) for p, a, b in zip(paths, streams, streams[1:], strict=False)]


def _same_shape(a: Value | None, b: Value | None) -> bool:
    return a is not None and b is not None and a.shape == b.shape and a.dtype == b.dtype


def _alike_input(regions: Regions, path: str, like: str, stream: Value) -> Value | None:
    """What a module reads where a module of the same structure reads the stream."""
    for ordinal, i in enumerate(regions.of[like]):
        node = regions.nodes[i]
        for name, argument in node.arguments.items():
            if argument is stream and ordinal < len(regions.of[path]):
                found = regions.nodes[regions.of[path][ordinal]].arguments.get(name)
                return found if isinstance(found, Value) else None
            if isinstance(argument, (list, tuple)) and any(a is stream for a in argument):
                return None
    return None


def _alike_output(regions: Regions, like: str, path: str, stream: Value) -> Value | None:
    """What a module makes where a module of the same structure makes the stream, in itself or right after itself."""
    producer = stream.producer
    assert producer is not None
    which = next(k for k, v in enumerate(producer.outputs) if v is stream)
    at, end = regions.position[producer], regions.of[like][-1]
    mine, theirs = regions.of[path], regions.of[like]
    if at in set(theirs):
        ordinal = theirs.index(at) - len(theirs)  # from the end: the last operations are alike
        position = mine[ordinal] if -ordinal <= len(mine) else -1
    else:
        position = mine[-1] + at - end
    if not 0 <= position < len(regions.nodes):
        return None
    node = regions.nodes[position]
    return node.outputs[which] if node.op == producer.op and which < len(node.outputs) else None


def _ends_alone(regions: Regions, inference: Inference, path: str) -> tuple[Value, Value] | None:
    """What a single block takes and hands on: the one result of it, and the one input that has its axes."""
    inside, made = set(regions.of[path]), regions.made(path)
    graph_outputs = set(inference.graph.outputs.values())
    results = [
        value
        for i in regions.of[path]
        for value in made.intersection(regions.nodes[i].outputs)
        if value in graph_outputs or any(regions.position.get(n, -1) not in inside for n in value.consumers)
    ]
    if len(results) != 1:
        return None
    axes = inference.of(results[0])
    inputs = [v for v in regions.inputs(path) if v.shape == results[0].shape and _unified(axes, inference.of(v))]
    return (inputs[0], results[0]) if len(inputs) == 1 else None


def _unified(a: tuple[Term, ...], b: tuple[Term, ...]) -> bool:
    return all(resolve(x) == resolve(y) for x, y in zip(a, b, strict=True))
