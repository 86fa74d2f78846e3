"""Distillation: what it compares, what it leaves alone, and its callbacks."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from net2net.chain import Link
from net2net.chain._distiller import Distiller

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def network(width: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(width, width),
        nn.Linear(width, 3),
    )


def distiller(teacher: nn.Module, student: nn.Module, **options: Any) -> Distiller:
    return Distiller(teacher, student, net2net.FeatureDistillation(**options), X, steps=10)


def test_the_term_is_the_distance_of_directions() -> None:
    teacher, student = network(8), network(8, 1)
    found = distiller(teacher, student, features="4", weight=3.0)
    student(X)
    term = found.term(X)
    with torch.no_grad():
        inside = student.eval()[:5]  # the term is of the pass in train mode: compare in eval mode
        student.eval()(X)
        ours, theirs = inside(X), teacher.eval()[:5](X)
    expected = 3 * (ours / ours.norm(dim=1, keepdim=True) - theirs / theirs.norm(dim=1, keepdim=True)).square().sum(1)
    assert torch.allclose(found.term(X), expected.mean(), atol=1e-6)
    assert term.requires_grad


def test_the_teacher_and_the_random_state_stay_as_they_are() -> None:
    teacher, student = network(8).train(), network(16, 1)
    teacher[3].eval()
    before, modes = copy.deepcopy(teacher.state_dict()), [m.training for m in teacher.modules()]
    found = distiller(teacher, student, features="1")
    student(X)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    (found.term(X) + student(X).sum() * 0).backward()
    drawn = torch.rand(3)
    torch.manual_seed(7)
    student(X)  # only its dropout draws
    assert torch.equal(drawn, torch.rand(3))
    torch.set_rng_state(state)
    found.term(X)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert modes == [m.training for m in teacher.modules()]
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())


class Noisy(nn.Linear):
    """Draws in eval mode too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.rand(())


def test_a_teacher_that_draws_in_eval_mode_has_a_random_state_of_its_own() -> None:
    student = nn.Linear(4, 3)
    found = distiller(Noisy(4, 3), student)
    student(X)
    state = torch.get_rng_state()
    found.term(X)
    assert torch.equal(state, torch.get_rng_state())


def test_a_projection_learns_and_is_thrown_away() -> None:
    teacher, student = network(8), network(16, 1)
    names, parameters = set(student.state_dict()), list(student.parameters())
    found = distiller(teacher, student, features="0")
    (projection,) = found.projections
    assert projection.weight.shape == (8, 16)
    before = projection.weight.detach().clone()
    for _ in range(3):
        student(X)
        found.term(X).backward()
    assert not torch.equal(before, projection.weight)
    found.close()
    assert set(student.state_dict()) == names and list(map(id, student.parameters())) == list(map(id, parameters))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.modules())


def test_weight_falls_and_cap_holds() -> None:
    teacher, student = network(8).eval(), network(8, 1).eval()
    found = distiller(teacher, student, features="4", weight=100.0, cap=0.5, anneal=0.5)
    task = torch.tensor(0.2)
    student(X)
    assert math.isclose(float(found.term(X, task)), 0.1, rel_tol=1e-5)
    free = distiller(teacher, student, features="4", weight=90.0)  # one of ten steps is done, of five
    student(X)
    assert math.isclose(float(found.term(X, torch.tensor(1e6))), float(free.term(X)) * 80 / 90, rel_tol=1e-5)
    with pytest.raises(net2net.OptionError, match="task_loss"):
        found.term(X)
    for _ in range(7):
        student(X)
        last = found.term(X, task)
    assert float(last) == 0.0 and found.done == 10


def test_channels_of_images_are_on_axis_1() -> None:
    def images(width: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2, 3, padding=1))

    x = torch.randn(2, 1, 5, 6)
    student = images(8)
    made = Distiller(images(4), student, net2net.FeatureDistillation("0", axis=1, normalize=False), x)
    student(x)
    assert made.term(x).shape == () and made.projections[0].weight.shape == (4, 8)  # type: ignore[union-attr]
    with pytest.raises(net2net.OptionError, match="only the channels"):
        Distiller(images(4), images(8), net2net.FeatureDistillation("0"), x)


def test_logits_agree_with_torch() -> None:
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    expected = nn.functional.kl_div((a / 3).log_softmax(-1), (b / 3).softmax(-1), reduction="batchmean") * 9
    assert torch.allclose(net2net.LogitsDistillation(temperature=3.0).distance(a, b), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": "nowhere.1"}, "has no module 'nowhere.1'"),
        ({"features": ""}, "names none"),
        ({"weight": -1.0}, "weight=-1.0"),
        ({"anneal": 2.0}, "anneal=2.0"),
        ({"cap": 0.0}, "cap=0.0"),
        ({"features": "output.mean"}, "gives no tensor 'mean'"),
    ],
)
def test_what_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(net2net.GrowthError, match=words):
        distiller(network(8), network(8), **options)


def llama(width: int) -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=31, hidden_size=width, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2, head_dim=8
    )
    return transformers.LlamaForCausalLM(config)


@pytest.mark.thin(2)
@pytest.mark.parametrize("accumulate", [2, 1])
def test_the_trainers_loss_gets_the_term(tmp_path: Path, accumulate: int) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    ids = torch.randint(3, 31, (8, 9), generator=torch.Generator().manual_seed(0))
    teacher, model = llama(16), llama(24)
    expected = copy.deepcopy(model)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=4, gradient_accumulation_steps=accumulate,
        learning_rate=1e-2, optim="sgd", save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
        max_grad_norm=0.0, lr_scheduler_type="constant",
    )  # fmt: skip
    data = [{"input_ids": row, "labels": row} for row in ids]
    example = {"input_ids": ids[:2]}
    distillation = net2net.FeatureDistillation("model.norm", weight=5.0)
    callback = net2net.chain.trainer_callback(teacher, distillation, example)
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[callback])
    order = list(trainer.get_train_dataloader())[:accumulate]
    trainer.train()
    # The same step by hand.
    by_hand = Distiller(teacher, expected, distillation, example)
    optimizer = torch.optim.SGD(expected.parameters(), lr=1e-2)
    for batch in order:
        found = expected(input_ids=batch["input_ids"], labels=batch["labels"])
        ((found.loss + by_hand.term({"input_ids": batch["input_ids"]})) / accumulate).backward()
    optimizer.step()
    for (name, a), b in zip(model.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name
    assert not model._forward_hooks


@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's, of how the loader and the modes are set
def test_lightnings_loss_gets_the_term(tmp_path: Path) -> None:
    lightning = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = network(16, 1).eval()

        def training_step(self, batch: Any, index: int) -> Any:
            return self.net.eval()(batch[0]).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.net.parameters(), lr=0.1)

    teacher, module = network(8), Module()
    expected = copy.deepcopy(module.net)
    distillation = net2net.FeatureDistillation("4", weight=5.0)
    callback = net2net.chain.lightning_callback(teacher, distillation, X, "net")
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=6)
    lightning.Trainer(
        max_steps=1, callbacks=[callback], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", default_root_dir=tmp_path,
    ).fit(module, data)  # fmt: skip
    by_hand = Distiller(teacher, expected, distillation, X)
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.1)
    (expected(X).square().mean() + by_hand.term(X)).backward()
    optimizer.step()
    for a, b in zip(module.net.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert "training_step" not in vars(module)


def test_a_link_without_distillation_has_no_callback(tmp_path: Path) -> None:
    link = Link("1", 0, 3, 0, tmp_path, network(8), None, None, None)
    assert float(link.distill(X)) == 0.0
    with pytest.raises(net2net.OptionError, match="needs no callback"):
        link.trainer_callback()
