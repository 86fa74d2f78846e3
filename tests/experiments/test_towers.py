"""Two towers of images and captions: the captions, the contrastive loss, exact growth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import net2net
from net2net.experiments._images import load_images
from net2net.experiments._language import LanguageShape
from net2net.experiments._towers import TowersTask, TwoTowers, captions

pytest.importorskip("sklearn")


class Told(nn.Module):
    """Vectors that are given."""

    def forward(self, images: torch.Tensor, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images, words


def test_captions_differ_in_the_word_of_the_class_alone() -> None:
    labels = torch.arange(10)
    for sentence in range(5):
        rows = captions(labels, torch.full_like(labels, sentence))
        assert ((rows != rows[0]).sum(1) == torch.tensor([0] + [1] * 9)).all()


def test_the_loss_is_that_of_a_hand_count() -> None:
    task = TowersTask(load_images(None, training=64), 4)
    image, text = torch.randn(3, 5), torch.randn(3, 5)
    found = task.loss(Told(), (image, text), torch.tensor([0, 1, 0]))
    likeness, total = (image @ text.T).tolist(), 0.0
    positives = {0: [0, 2], 1: [1], 2: [0, 2]}
    for rows in (likeness, list(map(list, zip(*likeness, strict=True)))):
        for i, row in enumerate(rows):
            norm = math.log(sum(map(math.exp, row)))
            total += sum(norm - row[j] for j in positives[i]) / len(positives[i]) / 3 / 2
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_a_larger_pair_of_towers_begins_as_the_smaller_one() -> None:
    task = TowersTask(load_images(None, training=64), 4)
    torch.manual_seed(0)
    small, large = (task.build(LanguageShape(width, 1, 8)).double() for width in (16, 32))
    (images, words), _ = next(iter(task.batches(1, 3)))
    growth = net2net.transfer(small, large, (images.double(), words))
    assert isinstance(growth.student, TwoTowers) and growth.verification.passed
    other = (torch.randn(7, 1, 8, 8).double(), torch.randint(0, 20, (7, 5)))
    with torch.no_grad():
        for a, b in zip(small(*other), growth.student(*other), strict=True):
            assert (a - b).abs().max() <= 1e-10 * a.abs().max()


def test_the_score_is_the_loss_of_telling_classes() -> None:
    task = TowersTask(load_images(None, training=64), 4)
    model = task.build(LanguageShape(16, 1, 8)).eval()
    with torch.no_grad():
        score = task.measured(model, "choice", "cpu")
        model.get_submodule("text.project").weight.zero_()  # type: ignore[operator]  # a tensor
        assert task.measured(model, "choice", "cpu") == pytest.approx(math.log(10), rel=1e-5) != score
