"""Growth in the middle of a run of the Hugging Face Trainer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from net2net.errors import MissingExtraError, OptionError
from net2net.moe import replica_figures, save_replicas
from net2net.optimizer import resume_ramp
from net2net.pretrained import is_pretrained
from net2net.training._adopt import adopt, check_rates, unwrapped
from net2net.training._announce import announce, count
from net2net.training._replicas import balance_replicas, has_replicas
from net2net.training._schedule import GrowthSchedule, Training


def trainer_callback(schedule: GrowthSchedule) -> Any:
    """A callback that grows the Trainer's model and optimizer in place, after the steps that the schedule names.

    Checkpoints that the Trainer saves hold the grown model with its config and the optimizer's state. To resume, load
    the model from the checkpoint (`from_pretrained(newest_checkpoint(output_dir))`), and call
    `trainer.train(resume_from_checkpoint=...)` as ever: growths that the checkpoint has already are not made again.

    Args:
        schedule: its `rates` must be "keep" or "paper".

    Returns:
        A `transformers.TrainerCallback`.

    The growths that are to come are tried when training begins, so that one that can't be met is found then; of one
    that the run won't reach there is a warning. A growth is a line in the Trainer's log and in `state.log_history`. The
    best checkpoint is looked for anew after a growth (`load_best_model_at_end`): older ones are of a smaller network.
    Replicas of experts are balanced after each step; their least distance and their loads are in the log.
    Checkpoints hold them as `net2net.save_replicas` does: resume with `net2net.attach_replicas(model, checkpoint)`.

    Raises:
        MissingExtraError: transformers isn't installed.
        OptionError: the rates can't be had in place.

    Example:
        >>> import torch
        >>> ids = {"input_ids": torch.arange(8)[None]}
        >>> schedule = GrowthSchedule({2000: {"sizes": {"model.layers.*.mlp.up_proj": "2x"}}}, ids)
        >>> type(trainer_callback(schedule)).__name__
        'GrowthCallback'
    """
    check_rates(schedule.rates)
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise MissingExtraError("the Trainer needs transformers: install net2net[huggingface].") from error

    class GrowthCallback(TrainerCallback):
        said: Mapping[str, Any] = MappingProxyType({})  # of a growth that isn't in the printed log yet

        def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
            if args.world_size > 1:
                raise OptionError(
                    "a growth in place needs one process: with several, stop, grow the checkpoint, go on."
                )
            if args.torch_compile:
                raise OptionError("a growth in place doesn't reach a compiled copy: stop, grow the checkpoint, go on.")
            model, optimizer = known["model"], _bare(known["optimizer"])
            with unwrapped(model):
                schedule.check(Training(model, optimizer), done=state.global_step, max_steps=state.max_steps)
            resume_ramp(optimizer, schedule.ramp)

        def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
            model, optimizer = known["model"], _bare(known["optimizer"])
            balance_replicas(model, schedule.balance)
            with unwrapped(model):
                growth = schedule.growth(state.global_step, model)
            if growth is None:
                return
            entry = {"growth": announce(state.global_step, growth), "parameters": count(growth.student)}
            adopt(growth, model, optimizer, rates=schedule.rates, ramp=schedule.ramp)
            state.log_history.append({**entry, "epoch": state.epoch, "step": state.global_step})
            self.said = entry
            control.should_log = control.should_log or args.logging_strategy != "no"
            # An older checkpoint is of a smaller network, which this one couldn't load at the end.
            state.best_metric = state.best_model_checkpoint = state.best_global_step = None

        def on_save(self, args: Any, state: Any, control: Any, **known: Any) -> None:
            model: Any = known["model"]
            if is_pretrained(model) and has_replicas(model):
                # What the Trainer has saved has names that no class of transformers loads.
                folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                with unwrapped(model):
                    save_replicas(model, folder)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **known: Any) -> None:
            figures = replica_figures(known["model"])
            if state.log_history:
                state.log_history[-1].update(figures)
            if logs is not None:
                logs.update({**self.said, **figures})  # for the callbacks that print
            self.said = {}

    return GrowthCallback()


def newest_checkpoint(output_dir: str | Path) -> Path | None:
    """The checkpoint with the most steps in the Trainer's output folder, or None.

    One that a crash has left unfinished is passed over: the Trainer writes `trainer_state.json` last.

    Example:
        >>> newest_checkpoint("a folder that isn't there") is None
        True
    """
    found = [p for p in Path(output_dir).glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    return max(filter(_is_whole, found), key=lambda p: int(p.name.removeprefix("checkpoint-")), default=None)


def _is_whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _bare(optimizer: Any) -> Any:
    """The optimizer of torch inside accelerate's."""
    return getattr(optimizer, "optimizer", optimizer)
