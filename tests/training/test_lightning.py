"""Lightning's Trainer through a growth, and again from its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from net2net.training import GrowthSchedule, lightning_callback

pl: Any = pytest.importorskip("pytorch_lightning")

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(1))
Y = torch.tanh(X @ torch.randn(6, 3, generator=torch.Generator().manual_seed(2)))
STEPS = 12


class Learner(pl.LightningModule):  # type: ignore[misc]
    """A network inside a LightningModule, with AdamW and a schedule of its rate."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Sequential(nn.Linear(6, 11), nn.BatchNorm1d(11), nn.ReLU(), nn.Linear(11, 9), nn.ReLU())
        self.net.append(nn.Linear(9, 3))

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        return (self.net(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def fitted(folder: Path, resume: Path | None = None, events: Any = None, rows: int = 96, **more: Any) -> nn.Module:
    events = events or {4: {"sizes": {"0": 23}}, 8: {"where": {"3": 1}}}
    growth = lightning_callback(GrowthSchedule(events, X[:4], ramp=3), "net")
    saving = pl.callbacks.ModelCheckpoint(folder, "{step}", every_n_train_steps=2, save_top_k=-1)
    trainer = pl.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        callbacks=[saving, growth],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **more,
    )
    learner = Learner()
    # Lightning begins an epoch anew after a crash in its middle, so that here an epoch is one batch.
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=rows)
    trainer.fit(learner, data, ckpt_path=None if resume is None else str(resume), weights_only=True)
    return learner.net


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, fitted(folder)


@pytest.mark.thin(3)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("step", [2, 4, 6, 8, 10])
def test_a_run_that_is_resumed_ends_with_the_same_weights(
    whole: tuple[Path, nn.Module], tmp_path: Path, step: int
) -> None:
    folder, net = whole
    assert net[0].out_features == 23 and len(net) == 8  # both have happened
    ours, theirs = fitted(tmp_path, folder / f"step={step}.ckpt").state_dict(), net.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.filterwarnings("ignore")
def test_accumulated_batches_grow_once(tmp_path: Path) -> None:
    net = fitted(tmp_path, events={4: {"sizes": {"0": "2x"}}}, rows=8, accumulate_grad_batches=3)
    assert net[0].out_features == 22


@pytest.mark.filterwarnings("ignore")
def test_what_cant_be_met_is_found_before_training(tmp_path: Path) -> None:
    with pytest.raises(net2net.GrowthError, match="after step 900"):
        fitted(tmp_path, events={900: {"sizes": {"nothing": 5}}})
    with pytest.raises(net2net.GrowthError, match="rates='boost'"):
        lightning_callback(GrowthSchedule({4: {"where": {"0": 1}}}, X[:4], rates="boost"), "net")
