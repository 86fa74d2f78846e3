"""Size overrides for a config -> a plan for every tensor of the new checkpoint. No weight is read."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from net2net._version import __version__
from net2net.analysis import Size, analyze, analyze_examples
from net2net.depth import DepthOptions
from net2net.errors import CheckpointError, NeedsMemory
from net2net.huggingface._config import check_saves, new_config
from net2net.huggingface._depth import GrownList, check_kinds, depth_edits, origin
from net2net.huggingface._folder import NAMES, Folder, tied_names
from net2net.huggingface._grouped import more_key_value_heads
from net2net.huggingface._ignored import without_ignored
from net2net.huggingface._inputs import suiting
from net2net.huggingface._layers import Layers, depends_on_depth, different_numbers, lists_of_layers, shallow
from net2net.huggingface._parts import by_files, by_modules
from net2net.huggingface._verify import Trial
from net2net.operators import plan_of
from net2net.plan import Plan, TensorPlan, Widening, weakest
from net2net.pretrained import bare_model, set_key, shapes, words_of_places
from net2net.proof import SAME, Interface
from net2net.student import eps_in_configs
from net2net.width import WidthOptions, how_of


@dataclass(frozen=True)
class CheckpointPlan:
    """What will be written: the plan for every tensor of the modules and for every one of the `files`, the config, the
    two models without weights, and which inputs and outputs the student has otherwise."""

    plan: Plan
    files: Plan
    config: Any
    teacher: nn.Module
    student: nn.Module
    interface: Interface = SAME


def plan_checkpoint(
    folder: Folder, sizes: Mapping[str, Size], options: WidthOptions, depth: DepthOptions, trial: Trial
) -> CheckpointPlan:
    """Plan the growth of a checkpoint from its config and the headers of its files.

    Raises:
        CheckpointError: the files don't fit the config.
        GrowthError: the request can't be met exactly.
        NeedsMemory: it can't be streamed.
    """
    teacher = bare_model(folder.model_class, folder.config)
    folder, ignored = without_ignored(by_modules(folder, teacher), teacher)
    check_files(folder, teacher)
    if options.how is not None and how_of(options.how).fill == "initial":
        raise NeedsMemory(f"{options.how} draws as each layer's own initialiser does, which needs the model in memory.")
    inputs = trial.inputs["given"]
    asked = new_config(folder.config, sizes)
    lists = lists_of_layers(teacher)
    small = small_model(teacher, folder.config, lists)
    with suiting(folder.model_class, inputs, trial.made):
        analysis = analyze(small, inputs)
    found = depends_on_depth(teacher, small, lists)
    if found is not None:
        raise NeedsMemory(f"'{found}' depends on the number of layers.")
    of_one = analysis if len(analysis.examples) == 1 else analyze_examples(small, analysis.examples[:1])
    grown, config = depth_edits(folder, small, of_one, lists, asked, depth)
    student_small = _small_student(teacher, (folder.config, config, asked), lists)
    _check_parts(small, student_small)
    grouped = more_key_value_heads(small, student_small, (folder.config, asked), sizes, options)
    width = grouped or plan_of(small, analysis, student_small, None, options)
    for _, key, value in eps_in_configs(student_small, width.attributes):
        set_key(config, key, value)
    check_saves(config)
    student = bare_model(folder.model_class, config)
    check_kinds(teacher, student, grown)
    known = {f"{path}.{name}" for path, values in width.attributes.items() for name in values}
    found = _changed_by_depth((teacher, student), (small, student_small), grown, known)
    if found is not None:
        raise NeedsMemory(f"'{found}' depends on the number of layers.")
    tensors = plan_tensors(folder, teacher, student, grown, width)
    changes = (*(g.edit.deepening for g in grown if g.edit), *_everywhere(width.widenings, lists))
    plan = Plan(tensors, changes, options.seed, weakest(changes), notes=ignored, version=__version__)
    return CheckpointPlan(plan, replace(plan, tensors=by_files(tensors, folder, student)), config, teacher, student)


def _everywhere(widenings: tuple[Widening, ...], lists: list[Layers]) -> Iterator[Widening]:
    """What grows in the small model, for all layers of the teacher."""
    for widening in widenings:
        layers = next((lay for lay in lists if widening.dimension.startswith(f"{lay.path}.")), None)
        if layers is None:
            yield widening
            continue
        index, _, rest = widening.dimension.removeprefix(f"{layers.path}.").partition(".")
        kinds = layers.kinds
        if index.isdigit() and kinds.index(kinds[int(index)]) == int(index):
            for i in (i for i, kind in enumerate(kinds) if kind == kinds[int(index)]):
                yield replace(widening, dimension=f"{layers.path}.{i}.{rest}")


def check_files(folder: Folder, teacher: nn.Module) -> None:
    """Every tensor of the model is in the files, at the shape that the config says, and nothing else is."""
    ties = tied_names(teacher)
    own, expected = teacher.state_dict(), shapes(teacher)
    missing = [n for n in expected if n not in folder.tensors and n not in ties]
    unknown = [n for n in folder.tensors if n not in expected]
    if missing and unknown:
        raise NeedsMemory(f"the files have other names than the modules ('{unknown[0]}'; '{missing[0]}').")
    if missing:  # its class may know how to make it from what is there
        raise NeedsMemory(f"the files lack '{missing[0]}'.")
    if unknown:
        raise CheckpointError(f"the files hold '{unknown[0]}', which {type(teacher).__name__} doesn't have.")
    for name, stored in folder.tensors.items():
        if stored.shape != expected[name]:
            raise CheckpointError(
                f"'{name}' is {list(stored.shape)} in {stored.file.name} and {list(expected[name])} by the config."
            )
        if own[name].is_floating_point() and not stored.dtype.is_floating_point:
            raise CheckpointError(
                f"'{name}' is {NAMES[stored.dtype]} in {stored.file.name}: weights are floating-point numbers."
            )


def small_model(model: nn.Module, config: Any, lists: list[Layers]) -> nn.Module:
    try:
        return shallow(model, config, lists)
    except CheckpointError:
        return model


def _check_parts(small: nn.Module, student: nn.Module) -> None:
    """Lists inside lists, as the blocks of stages are, have the same number of layers in both small models."""
    for path, module in student.named_modules():
        known = dict(small.named_modules()).get(path)
        if isinstance(module, nn.ModuleList) and isinstance(known, nn.ModuleList) and len(known) != len(module):
            raise NeedsMemory(f"'{path}' gets deeper, which is a list inside a list of layers.")


def _small_student(teacher: nn.Module, configs: tuple[Any, Any, Any], lists: list[Layers]) -> nn.Module:
    """The student with the layers of the small teacher: the same kinds in the same order.

    `configs` are the teacher's, the student's, and that with the numbers of layers asked for.
    """
    before, config, asked = configs
    student = bare_model(type(teacher), config)
    config = copy.deepcopy(config)
    for layers in lists:
        for key, value in words_of_places(before, len(layers)).items():
            set_key(config, key, value)
    try:
        return shallow(student, config, lists, asked)
    except CheckpointError as error:
        raise NeedsMemory(str(error)) from error


def _changed_by_depth(
    whole: tuple[nn.Module, nn.Module], small: tuple[nn.Module, nn.Module], lists: list[GrownList], known: set[str]
) -> str | None:
    """A number in the first layer that is another one in the student because that is deeper; `known` ones aside."""
    for grown in lists:
        if grown.edit is not None and grown.order[0][0] == 0:
            path = f"{grown.layers.path}.0"
            by_depth = different_numbers(*(m.get_submodule(path) for m in whole))
            by_width = different_numbers(*(m.get_submodule(path) for m in small))
            odd = [n for n in sorted(by_depth - by_width) if f"{path}.{n.lstrip('.')}" not in known]
            if odd:
                return f"{path}.{odd[0].lstrip('.')}"
    return None


def plan_tensors(
    folder: Folder, teacher: nn.Module, student: nn.Module, lists: list[GrownList], width: Plan
) -> dict[str, TensorPlan]:
    """How every tensor of the student is made, by the names in the files."""
    ties, mine = tied_names(student), tied_names(teacher)
    found: dict[str, TensorPlan] = {}
    for name, shape in shapes(student).items():
        if name in ties:
            continue
        own = origin(name, lists)
        plan = width.tensors.get(own.template) or TensorPlan(shape, (None,) * len(shape))
        if plan.shape != shape:
            raise NeedsMemory(f"'{name}' would be {list(shape)} by its class and {list(plan.shape)} by the plan.")
        source = mine.get(own.source, own.source)
        if source not in folder.tensors:  # a tied tensor may be stored under its other name
            source = next(n for n, first in mine.items() if first == source)
        if own.template not in width.tensors and folder.tensors[source].shape != shape:
            raise NeedsMemory(f"'{name}' would be {list(shape)}, by the number of layers.")
        plan = replace(plan, source=source, new=own.new)
        found[name] = plan if own.change is None else own.change.of(plan)
    return found
