"""One model of a chain while it trains: what the user's loop needs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from net2net.capture import Inputs
from net2net.chain._callbacks import lightning_callback, trainer_callback
from net2net.chain._distillation import Distillation
from net2net.chain._distiller import Distiller
from net2net.chain._meter import Meter
from net2net.chain._states import load_state, random_state, save_state, set_random_state
from net2net.errors import OptionError
from net2net.optimizer import resume_ramp


class Link:
    """What the user's function gets beside the model that it trains.

    Attributes:
        name, index: of the model in its chain.
        teacher: the model before it, trained; None for the first.
        steps: its budget.
        optimizer: carried from the teacher or fresh, as the chain was told; None if it was told nothing. Set it before
            `loop` if you make your own.
        seed: a number of its own, for the order of the data.
        folder: for files of your own.
    """

    def __init__(
        self,
        name: str,
        index: int,
        steps: int,
        seed: int,
        folder: Path,
        model: nn.Module,
        teacher: nn.Module | None,
        optimizer: Optimizer | None,
        distiller: Distiller | None,
    ) -> None:
        self.name, self.index, self.steps, self.seed, self.folder = name, index, steps, seed, folder
        self.teacher, self.optimizer, self.distiller = teacher, optimizer, distiller
        self._model = model
        self._meters = [Meter(m) for m in (model, teacher) if m is not None]
        self._begun, self._seconds = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """Wall time so far, that before an interruption included."""
        return self._seconds + time.monotonic() - self._begun

    @property
    def passes(self) -> int:
        """The model's forward passes with gradients."""
        return self._meters[0].passes(True)

    @property
    def flops(self) -> tuple[int, int, int]:
        """Of the model's training, of the teacher's forward passes, of the model's passes without gradients."""
        mine, *teachers = self._meters
        return mine.flops(True), sum(m.flops(True) + m.flops(False) for m in teachers), mine.flops(False)

    def distill(self, inputs: Inputs | None = None, *, task_loss: Tensor | None = None) -> Tensor:
        """The term of the loss that draws the model to its teacher, for the model's last forward pass.

        Args:
            inputs: what the model was called with: a tensor, a tuple or a dict; by default what it saw.
            task_loss: the loss of the task, which a cap needs.

        Returns:
            A scalar to add to the loss; 0 for the first model, and without distillation.
        """
        return torch.zeros(()) if self.distiller is None else self.distiller.term(inputs, task_loss)

    def loop(self, scheduler: Any = None, *, every: int | None = None) -> Iterator[int]:
        """The steps of the training, from where an interrupted run was: 0, 1, ..., steps - 1.

        After every so many of them the model, the optimizer, the distillation and the random state are written down; a
        run that goes on from there ends as if it had not been interrupted, to the last bit. Draw the data by the step
        (or from torch's random state).

        Args:
            scheduler: a learning-rate scheduler, or anything with a `state_dict`, to be written down too.
            every: steps between two records; by default a twentieth of the training.

        Raises:
            OptionError: the link has no optimizer.
        """
        if self.optimizer is None:
            raise OptionError(
                "link.loop writes the optimizer down: give the chain optimizer=, or set link.optimizer before the loop."
            )
        every = max(1, self.steps // 20) if every is None else every
        file, begin = self.folder / "progress.safetensors", 0
        parts = {"model": self._model, "optimizer": self.optimizer, "scheduler": scheduler, "distiller": self.distiller}
        parts |= {f"meter {n}": meter for n, meter in enumerate(self._meters)}
        if file.exists():
            saved = load_state(file)
            begin, self._seconds, self._begun = saved["step"], saved["seconds"], time.monotonic()
            for name, part in parts.items():
                if part is not None:
                    part.load_state_dict(saved[name])
            resume_ramp(self.optimizer)
            set_random_state(saved["random"])
        for step in range(begin, self.steps):
            yield step
            if (step + 1) % every == 0 and step + 1 < self.steps:
                states = {name: None if part is None else part.state_dict() for name, part in parts.items()}
                about = {"step": step + 1, "seconds": self.seconds, "random": random_state()}
                save_state(file, {**states, **about})

    def trainer_callback(self) -> Any:
        """The distillation as a callback of the Hugging Face Trainer, for its `callbacks=[...]`.

        Raises:
            OptionError: this link distils nothing.
        """
        return trainer_callback(*self._distils(), seed=self.seed)

    def lightning_callback(self, module: str) -> Any:
        """The distillation as a callback of Lightning's Trainer; `module` is the network's path in the LightningModule.

        Raises:
            OptionError: this link distils nothing.
        """
        return lightning_callback(*self._distils(), module, seed=self.seed)

    def _distils(self) -> tuple[nn.Module, Distillation, Inputs]:
        if self.distiller is None:
            raise OptionError(f"model '{self.name}' has no teacher or no distillation: it needs no callback.")
        return self.distiller.teacher, self.distiller.distillation, self.distiller.inputs

    def close(self) -> None:
        """Take all hooks off: the model is the user's again."""
        for meter in self._meters:
            meter.close()
        if self.distiller is not None:
            self.distiller.close()
