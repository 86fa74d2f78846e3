"""Growth in the middle of a run of Lightning's Trainer."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from net2net.errors import MissingExtraError, OptionError
from net2net.moe import replica_figures
from net2net.optimizer import resume_ramp
from net2net.training._adopt import adopt, check_rates
from net2net.training._announce import announce, count
from net2net.training._replicas import balance_replicas
from net2net.training._schedule import GrowthSchedule, Training


def lightning_callback(schedule: GrowthSchedule, module: str) -> Any:
    """A callback that grows a network inside a LightningModule and its optimizer in place, after the schedule's steps.

    To resume, build everything as the run began and call `trainer.fit(..., ckpt_path=...)` as ever: the callback makes
    the network as large as the checkpoint's before Lightning loads it. One optimizer and one process.

    Args:
        schedule: its steps are the Trainer's `global_step`, its `example_inputs` those of the network; its `rates` must
            be "keep" or "paper". Replicas of experts are balanced after each step, and the loggers are told of them.
        module: the network's path in the LightningModule, "net" for `self.net`.

    Returns:
        A `Callback` of `lightning.pytorch` or of `pytorch_lightning`, whichever is there.

    Raises:
        MissingExtraError: neither is installed.
        OptionError: the rates can't be had in place.
    """
    check_rates(schedule.rates)

    class GrowthCallback(lightning_class()):  # type: ignore[misc]  # the class is known where Lightning is
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            self.done = 0
            if trainer.world_size > 1:
                raise OptionError("a growth in place needs one process: with several, stop, grow, and go on.")
            # Lightning tells a callback of a checkpoint after the weights are loaded, and the module before.
            told = pl_module.on_load_checkpoint

            def on_load_checkpoint(checkpoint: dict[str, Any]) -> None:
                self.done = checkpoint["global_step"]
                parent, _, name = module.rpartition(".")
                network = schedule.rebuild_model(self.done, pl_module.get_submodule(module))
                setattr(pl_module.get_submodule(parent), name, network)
                told(checkpoint)

            pl_module.on_load_checkpoint = on_load_checkpoint

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if len(trainer.optimizers) != 1:
                raise OptionError(f"a growth in place needs one optimizer; this run has {len(trainer.optimizers)}.")
            training = Training(pl_module.get_submodule(module), trainer.optimizers[0])
            schedule.check(training, self.done, max_steps=trainer.max_steps)
            resume_ramp(trainer.optimizers[0], schedule.ramp)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *known: Any) -> None:
            if trainer.global_step == self.done:  # in the middle of an accumulated batch
                return
            self.done = trainer.global_step
            network = pl_module.get_submodule(module)
            balance_replicas(network, schedule.balance)
            if trainer.loggers and self.done % trainer.log_every_n_steps == 0 and (figures := replica_figures(network)):
                for logger in trainer.loggers:
                    logger.log_metrics(figures, step=self.done)
            growth = schedule.growth(self.done, network)
            if growth is not None:
                announce(self.done, growth)
                for logger in trainer.loggers:
                    logger.log_metrics({"parameters": count(growth.student)}, step=self.done)
                adopt(growth, network, trainer.optimizers[0], rates=schedule.rates, ramp=schedule.ramp)

    return GrowthCallback()


def lightning_class() -> Any:
    """Lightning's class of callbacks: the one that the caller has imported, where both are installed.

    Raises:
        MissingExtraError: neither is.
    """
    for name in sorted(("lightning.pytorch", "pytorch_lightning"), key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name).Callback
        except ImportError:
            continue
    raise MissingExtraError("the callback needs Lightning: install lightning or pytorch-lightning.")
