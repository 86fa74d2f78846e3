"""Distillation inside the Hugging Face Trainer and Lightning: one callback each, which adds the term to the loss."""

from __future__ import annotations

import functools
from typing import Any

from torch import Tensor, nn

from net2net.capture import Inputs
from net2net.chain._distillation import Distillation
from net2net.chain._distiller import Distiller
from net2net.errors import MissingExtraError, OptionError
from net2net.training import lightning_class


def trainer_callback(teacher: nn.Module, distillation: Distillation, inputs: Inputs, *, seed: int = 0) -> Any:
    """A callback by which the Trainer's model learns from a smaller teacher beside its task.

    The model must give its loss itself, as those of transformers do when they get labels. The term is part of that
    loss: it is scaled, divided and logged with it, and a cap needs nothing more. In evaluation it is left out.

    Args:
        teacher: the smaller model.
        distillation: what is compared.
        inputs: example inputs of both.
        seed: of projections.

    Returns:
        A `transformers.TrainerCallback`.

    Raises:
        MissingExtraError: transformers isn't installed.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise MissingExtraError("the Trainer needs transformers: install net2net[huggingface].") from error

    class DistillationCallback(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
            model = known["model"]
            passes = state.max_steps * args.gradient_accumulation_steps
            self.distiller = Distiller(teacher, model, distillation, inputs, steps=passes, seed=seed)
            self.distiller.done = state.global_step * args.gradient_accumulation_steps

            def with_term(module: nn.Module, called: Any, kwargs: dict[str, Any], output: Any) -> Any:
                if not module.training:
                    return output
                loss = output.get("loss") if hasattr(output, "get") else None
                if not isinstance(loss, Tensor):
                    raise OptionError(
                        f"{type(module).__name__} gives no loss of its own here: the Trainer computes it "
                        "(compute_loss_func, label_smoothing_factor), where a callback can't add to it. Leave these "
                        "out, or call link.distill in a compute_loss of your own."
                    )
                # The Trainer sums losses that are divided by all items of the step, and divides others itself.
                summed = args.gradient_accumulation_steps if kwargs.get("num_items_in_batch") is not None else 1
                output["loss"] = loss + self.distiller.term(task_loss=loss * summed) / summed
                return output

            self.handle = model.register_forward_hook(with_term, with_kwargs=True)

        def on_train_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
            self.handle.remove()
            self.distiller.close()

    return DistillationCallback()


def lightning_callback(
    teacher: nn.Module, distillation: Distillation, inputs: Inputs, module: str, *, seed: int = 0
) -> Any:
    """A callback by which a network inside a LightningModule learns from a smaller teacher beside its task.

    What `training_step` returns, a loss or a dict with "loss", gets the term.

    Args:
        teacher, distillation, inputs, seed: as for `trainer_callback`.
        module: the network's path in the LightningModule, "net" for `self.net`.

    Returns:
        A `Callback` of `lightning.pytorch` or of `pytorch_lightning`, whichever is there.

    Raises:
        MissingExtraError: neither is installed.
    """

    class DistillationCallback(lightning_class()):  # type: ignore[misc]  # the class is known where Lightning is
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            network = pl_module.get_submodule(module)
            passes = trainer.max_steps if trainer.max_steps > 0 else trainer.estimated_stepping_batches
            passes *= trainer.accumulate_grad_batches
            self.distiller = Distiller(teacher, network, distillation, inputs, steps=int(passes), seed=seed)
            self.distiller.done = trainer.global_step * trainer.accumulate_grad_batches
            step = pl_module.training_step

            @functools.wraps(step)
            def with_term(*args: Any, **kwargs: Any) -> Any:
                found = step(*args, **kwargs)
                if found is None:
                    return None
                loss = found["loss"] if isinstance(found, dict) else found
                whole = loss + self.distiller.term(task_loss=loss)
                return {**found, "loss": whole} if isinstance(found, dict) else whole

            pl_module.training_step = with_term

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            del pl_module.training_step
            self.distiller.close()

    return DistillationCallback()
