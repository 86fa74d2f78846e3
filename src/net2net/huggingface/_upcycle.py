"""More experts in a checkpoint: streamed in its own class; or with replica routing beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from net2net.capture import Inputs
from net2net.depth import DepthOptions
from net2net.errors import CheckpointError, NeedsMemory, OptionError
from net2net.huggingface._beside import CheckpointGrowth, complete
from net2net.huggingface._experts import plan_experts
from net2net.huggingface._folder import Folder, open_folder
from net2net.huggingface._grow import Progress, place, require, shard_bytes, streamed
from net2net.huggingface._hub import local_folder
from net2net.huggingface._inputs import suiting
from net2net.huggingface._job import Job
from net2net.huggingface._memory import load_teacher, widest
from net2net.huggingface._mixture import plan_mixture
from net2net.huggingface._save import memory, save
from net2net.huggingface._verify import trial_of
from net2net.huggingface._write import checksum
from net2net.moe import ROUTINGS, Experts, attach_replicas, save_replicas, upcycle
from net2net.plan import Plan
from net2net.proof import verify
from net2net.width import WidthOptions


def upcycle_checkpoint(
    source: str | Path,
    target: str | Path,
    experts: Experts,
    *,
    routing: str | None = None,
    noise: float = 1e-3,
    top_k: int | None = None,
    to: str | None = None,
    example_inputs: Inputs | None = None,
    max_shard_size: str = "5GB",
    seed: int = 0,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> CheckpointGrowth:
    """Give the mixtures of a Hugging Face checkpoint more experts, copies of their own; or make a dense one a mixture.

    With "raise_k" and "free" routing the new folder is of the same class, streamed, and loaded by `from_pretrained`
    alone. With "replica" routing `from_pretrained` loads the network with the first replica of each expert, and
    `net2net.attach_replicas(model, target)` puts the others and their routing back.

    With `to` the feed-forwards of a dense language model become copies behind a new router, in another class of
    transformers: Llama and Mistral become "mixtral", Qwen2 "qwen2_moe", Qwen3 "qwen3_moe". All that both configs have
    words for is carried over; tensors that only one of the two classes has are refused by name.

    Args:
        source: a folder with config.json and safetensors, or the name of a model on the hub. It is only read.
        target: the folder to write. It appears under its name when it is whole; an interrupted run goes on where it
            was when the same call is made again, where it is streamed.
        experts: as for `upcycle`: the new number of experts, a factor, or how often each expert is there.
        routing, noise, seed: as for `upcycle`.
        top_k, to: how many experts compute a token, and the kind of model that a dense one becomes.
        example_inputs, max_shard_size, dry_run, progress: as for `grow_checkpoint`.

    Returns:
        The plan, what it takes on disk, and the proof.

    Raises:
        CheckpointError: the source is damaged or doesn't fit its config; the target exists, or the disk is too small.
        GrowthError: a mixture can't grow so. Nothing is written then.
        VerificationError: the files don't compute the teacher's function; the target is not made.

    Source: Expert Upcycling, arXiv 2604.19835; see `upcycle`.

    Example:
        >>> upcycle_checkpoint("mixtral", "mixtral-16", "2x", routing="raise_k")  # doctest: +SKIP
        >>> upcycle_checkpoint("qwen3", "qwen3-moe", 8, top_k=2, to="qwen3_moe")  # doctest: +SKIP
    """
    if (to is None) != (top_k is None):
        raise OptionError(
            "to= names what a dense model becomes, and top_k= how many experts compute a token: give both."
        )
    if to is not None and routing is not None:
        raise OptionError("routing= is for more experts in a mixture; to= makes one of a dense model.")
    routing = routing or "replica"
    if routing not in ROUTINGS:
        raise OptionError(f"routing={routing!r} is not known; use one of {', '.join(ROUTINGS)}.")
    target, source = Path(target), local_folder(source)
    partial = place(target, source)
    folder = open_folder(source)
    trial = trial_of(folder, seed, example_inputs)
    sizes = {"experts": str(experts), "routing": routing, "noise": str(noise), "top_k": str(top_k), "to": str(to)}
    options, depth = WidthOptions(None, "uneven", None, seed), DepthOptions("identity", None, seed=seed)
    most = shard_bytes(max_shard_size)
    job = Job(folder, target, partial, sizes, options, depth, trial, None, most, None, dry_run)
    if to is not None and top_k is not None:
        if isinstance(experts, bool) or not isinstance(experts, int):
            raise OptionError(f"experts={experts!r}: a dense model has none yet, so say how many: 8.")
        return streamed(job, plan_mixture(folder, to, experts, top_k, seed, trial), progress)
    if routing == "replica":
        return _in_memory(job, experts, routing, noise, "each expert's replicas share out the tokens that it is given")
    try:
        planned = plan_experts(folder, experts, routing, noise, seed, trial)
    except NeedsMemory as reason:
        return _in_memory(job, experts, routing, noise, str(reason))
    return streamed(job, planned, progress)


def _in_memory(job: Job, experts: Experts, routing: str, noise: float, reason: str) -> CheckpointGrowth:
    """The way for replicas, and for files that can't be streamed. A dry run makes the student and proves it."""
    folder, partial, inputs = job.folder, job.partial, job.trial.inputs["given"]
    teacher = load_teacher(folder, widest(folder))
    with suiting(folder.model_class, inputs, job.trial.made):
        growth = upcycle(teacher, experts, inputs, routing=routing, noise=noise, seed=job.options.seed)
    length = sum(t.numel() * t.element_size() for t in growth.student.state_dict().values())
    room = job.room((teacher, growth.student), length)
    found = job.found(growth.plan, room, memory(room.bytes), reason)
    if job.dry_run:
        return found
    with job.begun_anew():
        if routing == "replica":
            loaded = _saved_with_replicas(growth.student, partial, folder, growth.plan, job.max_shard_bytes)
            require(verify(growth.student, loaded, inputs), partial, folder.config)
        else:
            save(growth.student, partial, folder.path, growth.plan, inputs, shard_bytes=job.max_shard_bytes)
    return job.finish(found, growth.verification)


def _saved_with_replicas(student: nn.Module, partial: Path, folder: Folder, plan: Plan, most: int) -> nn.Module:
    """Write a student with replica routing, and load it again."""
    save_replicas(student, partial, max_shard_size=most)
    written = open_folder(partial)
    complete(partial, folder.path, plan, {name: checksum(written.read(name)) for name in written.tensors})
    model_class: Any = folder.model_class
    try:
        loaded = model_class.from_pretrained(partial, dtype="auto", local_files_only=True)
    except Exception as error:  # constructors raise anything
        raise CheckpointError(f"what {model_class.__name__} saves, it doesn't load again: {error}.") from error
    return attach_replicas(loaded, partial)
