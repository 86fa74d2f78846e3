"""Other tokens, labels or channels in a checkpoint: streamed, or in memory where that can't be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from net2net.capture import Inputs, examples_of
from net2net.depth import DepthOptions
from net2net.errors import NeedsMemory, OptionError
from net2net.huggingface._beside import CheckpointGrowth
from net2net.huggingface._depth import GrownList
from net2net.huggingface._ends import Ends
from net2net.huggingface._folder import open_folder
from net2net.huggingface._grow import Progress, place, shard_bytes, streamed
from net2net.huggingface._hub import local_folder
from net2net.huggingface._ignored import without_ignored
from net2net.huggingface._inputs import suiting
from net2net.huggingface._job import Job
from net2net.huggingface._layers import lists_of_layers
from net2net.huggingface._memory import load_teacher, widest
from net2net.huggingface._optimizer import optimizer_writer, state_file
from net2net.huggingface._parts import by_files, by_modules
from net2net.huggingface._plan import CheckpointPlan, check_files, plan_tensors, small_model
from net2net.huggingface._save import memory, save
from net2net.huggingface._verify import Outputs, reference, trial_of
from net2net.pretrained import bare_model, name_labels
from net2net.surgeries import Design, Features, designed, surgery
from net2net.width import WidthOptions

Wanted = Mapping[str | int, Features]


def surgery_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    tokens: int | None = None,
    labels: Sequence[str] = (),
    channels: int | None = None,
    rows: str = "mean",
    start: str | float | None = None,
    example_inputs: Inputs | None = None,
    optimizer: str | None = None,
    max_shard_size: str = "5GB",
    seed: int = 0,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> CheckpointGrowth:
    """Give a Hugging Face checkpoint more tokens, labels or image channels; what it knew it goes on computing.

    New ones stand behind the old. The files of the tokenizer are kept as they are: add the tokens to it before or
    afterwards, and let `tokens` be its length or more.

    Args:
        source: a folder with config.json and safetensors, or the name of a model on the hub. It is only read.
        target: the folder to write. It appears under its name when it is whole; an interrupted run goes on where it
            was when the same call is made again, where it is streamed.
        tokens: the new size of the vocabulary: of the embedding, and of the head, tied or not.
        labels: names of new classes of a classifier; the config's `id2label` and `label2id` follow.
        channels: the new number of channels of images, without effect at first. (The image processor's means and
            deviations are files beside the weights: give these an entry for each new channel yourself.)
        rows: how new rows of the embedding begin: "mean" (of the old ones), "zero", "random", or "copy:17", the row of
            another token. Where the head has the same weights, `start` says it.
        start: how new entries of outputs begin, as for `Features`. Of tokens by default "mean", as in transformers; of
            labels "never", which needs a bias.
        example_inputs, optimizer, max_shard_size, seed, dry_run, progress: as for `grow_checkpoint`.

    Returns:
        The plan, what it takes on disk, and the proof, whose notes say how much of the probability new entries get.

    Raises:
        CheckpointError: the source is damaged or doesn't fit its config; the target exists, or the disk is too small.
        GrowthError: the request has no meaning here, or can't be met exactly. Nothing is written then.
        VerificationError: the files don't compute the teacher's function; the target is not made.

    Source: see `surgery`; the mean of old rows is what Hewitt (2021), "Initializing new word embeddings for pretrained
        language models", recommends.

    Example:
        >>> surgery_checkpoint("llama", "llama-tools", tokens=32_008)  # doctest: +SKIP
        >>> surgery_checkpoint("bert-sentiment", "bert-5", labels=["mixed", "unclear"])  # doctest: +SKIP
    """
    target, source = Path(target), local_folder(source)
    partial = place(target, source)
    folder = open_folder(source)
    state = None if optimizer is None else state_file(folder.path, optimizer)
    if isinstance(labels, str):
        raise OptionError(f"labels={labels!r}: give a list of names.")
    ends = Ends(tokens, tuple(labels), channels, rows, start)
    config = ends.config(folder.config)
    trial = trial_of(folder, seed, example_inputs)
    features = ends.features(folder.config, trial.inputs["given"])
    given = reference(folder, trial)
    outputs = ends.outputs(bare_model(folder.model_class, folder.config), folder.config, given.values["given"])
    options, depth = WidthOptions(None, "uneven", None, seed), DepthOptions("identity", None, seed=seed)
    most, asked = shard_bytes(max_shard_size), {"surgery": repr(ends)}
    job = Job(folder, target, partial, asked, options, depth, trial, None, most, state, dry_run)
    try:
        planned = _planned(job, config, features, outputs, given)
    except NeedsMemory as reason:
        return _in_memory(job, config, features, outputs, str(reason))
    return streamed(job, planned, progress, given)


def _planned(job: Job, config: Any, features: Wanted, outputs: Wanted, given: Outputs) -> CheckpointPlan:
    """Plan it from the config and the headers of the files; no weight is read.

    Raises:
        CheckpointError: the files don't fit the config.
        GrowthError: the request can't be met.
        NeedsMemory: it can't be streamed.
    """
    model_class, inputs = job.folder.model_class, job.trial.inputs["given"]
    teacher, student = (bare_model(model_class, c) for c in (job.folder.config, config))
    folder, ignored = without_ignored(by_modules(job.folder, teacher), teacher)
    check_files(folder, teacher)
    lists = lists_of_layers(teacher)
    small = small_model(teacher, folder.config, lists)

    def make(design: Design) -> CheckpointPlan:
        tensors = plan_tensors(folder, teacher, student, [GrownList(each) for each in lists], design.plan)
        plan = replace(design.plan, tensors=tensors, notes=ignored)
        files = replace(plan, tensors=by_files(tensors, folder, student))
        return CheckpointPlan(plan, files, config, teacher, student, design.interface)

    with suiting(model_class, inputs, job.trial.made):
        examples = examples_of(inputs, (), small)
        return designed(small, examples, features, outputs, job.options.seed, make, lambda: [given.values["given"]])


def _in_memory(job: Job, config: Any, features: Wanted, outputs: Wanted, reason: str) -> CheckpointGrowth:
    """The way for files that can't be streamed. A dry run makes the student and proves it."""
    folder, inputs = job.folder, job.trial.inputs["given"]
    teacher = load_teacher(folder, widest(folder))
    with suiting(folder.model_class, inputs, job.trial.made):
        growth = surgery(teacher, inputs, features=features, outputs=outputs, seed=job.options.seed)
    student: Any = growth.student
    name_labels(student.config, list(config.id2label.values()))
    length = sum(t.numel() * t.element_size() for t in student.state_dict().values())
    room = job.room((teacher, student), length)
    write_state = None if job.state is None else optimizer_writer(job.state, growth.plan, teacher, student)
    found = job.found(growth.plan, room, memory(room.bytes), reason)
    if job.dry_run:
        return found
    more: dict[str, Any] = {"shard_bytes": job.max_shard_bytes, "run": job.state is not None}
    with job.begun_anew():
        save(student, job.partial, folder.path, growth.plan, growth.student_inputs, **more)
        if write_state is not None:
            write_state(job.partial)
    return job.finish(found, growth.verification)
