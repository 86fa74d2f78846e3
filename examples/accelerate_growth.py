"""A run with Accelerate that grows twice, and goes on after a crash: run it again with the same folder.

python examples/accelerate_growth.py folder
accelerate launch --cpu --num_processes 2 examples/accelerate_growth.py folder
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn

from net2net.training import GrowthSchedule, Training

STEPS, SAVE_EVERY, BATCH = 150, 10, 256


def begun() -> Training:
    """The run's first state: the same network at every start."""
    set_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.LayerNorm(12), nn.GELU(), nn.Linear(12, 8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return Training(model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS))


def batch(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Batches by number, so that a run that is resumed sees what it would have seen."""
    x = torch.randn(BATCH, 8, generator=torch.Generator().manual_seed(1000 * rank + step))
    return x, torch.sin(2 * x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stop-after", type=int, default=STEPS, help="end early, as a crash would")
    arguments = parser.parse_args()
    folder, newest = arguments.folder, arguments.folder / "newest.json"
    accelerator = Accelerator(cpu=True)
    schedule = GrowthSchedule({50: {"sizes": {"0": 24}}, 100: {"sizes": {"0": 48}}}, batch(0, 0)[0][:2], ramp=20)

    done = json.loads(newest.read_text())["step"] if newest.exists() else 0
    training = begun()
    schedule.check(training)
    model, optimizer, scheduler = accelerator.prepare(*schedule.rebuild(done, training))
    if done:
        accelerator.load_state(str(folder / f"step-{done}"))

    for step in range(done + 1, arguments.stop_after + 1):
        x, y = batch(step, accelerator.process_index)
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        accelerator.backward(loss)
        optimizer.step()
        scheduler.step()
        if step in schedule.events:
            bare = Training(
                accelerator.unwrap_model(model, keep_fp32_wrapper=False), optimizer.optimizer, scheduler.scheduler
            )
            accelerator.free_memory()  # else it would save the old network too
            model, optimizer, scheduler = accelerator.prepare(*schedule.after(step, bare))
        else:
            schedule.after(
                step, Training(model, optimizer, scheduler)
            )  # balances replicas of experts, if there are any
        if step % SAVE_EVERY == 0:
            accelerator.save_state(str(folder / f"step-{step}"))
            if accelerator.is_main_process:  # last, and at once: a crash leaves the file before
                newest.with_suffix(".new").write_text(json.dumps({"step": step}))
                os.replace(newest.with_suffix(".new"), newest)
            accelerator.print(
                f"step {step}  loss {loss.item():.4f}  parameters {sum(p.numel() for p in model.parameters())}"
            )
    accelerator.end_training()


if __name__ == "__main__":
    main()
