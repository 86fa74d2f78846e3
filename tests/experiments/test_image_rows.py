"""Image data sets of torchvision's and Hugging Face's kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from image_files import (
    made,
    refuses,
    same,
)
from net2net.experiments import from_datasets


class Pairs:
    """A data set as torchvision's: rows of (image, class)."""

    def __init__(self, images: list[Any], labels: list[Any]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return self.images[index], self.labels[index]


class Columns(Pairs):
    """A data set as Hugging Face's: rows of named columns."""

    names = ("img", "fine_label")

    def __getitem__(self, index: int) -> Any:
        return {"id": index, self.names[0]: self.images[index], self.names[1]: self.labels[index]}


KINDS: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "Pillow": lambda image: Image.fromarray(image.transpose(1, 2, 0).squeeze()),
    "bytes": lambda image: torch.from_numpy(image),
    "ToTensor": lambda image: torch.from_numpy(image).float() / 255,
    "half": lambda image: torch.from_numpy(image).half() / 255,
    "array": lambda image: image.transpose(1, 2, 0),
    "channels first": lambda image: image,
    "list": lambda image: image.transpose(1, 2, 0).squeeze().tolist(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [Pairs, Columns])
@pytest.mark.parametrize("channels", [1, 3])
def test_data_sets_of_other_libraries(kind: str, rows: type[Pairs], channels: int) -> None:
    sets = made(channels)
    parts = [
        rows([KINDS[kind](image) for image in sets[f"{part}_x"]], list(sets[f"{part}_y"])) for part in ("train", "test")
    ]
    data = from_datasets(*parts, name="theirs")
    same(data, sets)
    assert (data.name, data.classes) == ("theirs", 10)


def test_modes_of_pillow() -> None:
    sets = made(1)
    palette = Pairs([Image.fromarray(image[0]).convert("P") for image in sets["train_x"]], list(sets["train_y"]))
    assert from_datasets(palette, palette, name="x").training.images.shape[1] == 3
    black = Pairs([Image.fromarray(image[0] > 9) for image in sets["train_x"]], list(sets["train_y"]))
    images = from_datasets(black, black, name="x").training.images
    assert set(images.unique().tolist()) == {0, 255} and images.shape[1] == 1


def test_floats_are_rounded() -> None:
    rows = Pairs([torch.full((1, 6, 6), 254.9 / 255)] * 10, [0, 1] * 5)
    assert from_datasets(rows, rows, name="x").training.images.unique().tolist() == [255]


def test_where_the_channels_are_if_both_ends_could_be() -> None:
    """The usual place of each kind: first in a tensor, last in an array."""
    image = np.arange(3 * 7 * 3, dtype=np.uint8).reshape(3, 7, 3)
    for kind, wanted in ((torch.from_numpy(image), image), (image, image.transpose(2, 0, 1))):
        rows = Pairs([kind] * 10, [0, 1] * 5)
        assert np.array_equal(from_datasets(rows, rows, name="x").training.images[0], wanted)


def test_columns_are_found_or_named() -> None:
    sets = made(1)
    rows = Columns(list(sets["train_x"]), [torch.tensor(label) for label in sets["train_y"]])
    rows.names = ("picture", "label")
    refuses(
        "0 of the columns image, img; it has id, picture, label. Name one by image=",
        from_datasets,
        rows,
        rows,
        name="x",
    )
    assert len(from_datasets(rows, rows, name="x", image="picture").validation) == 40
    rows.names = ("image", "kind")
    refuses("0 of the columns label, labels, fine_label.*label=", from_datasets, rows, rows, name="x")
    refuses("0 of the columns nothing;", from_datasets, rows, rows, name="x", label="nothing")
    assert len(from_datasets(rows, rows, name="x", label="kind").validation) == 40


GREY = np.zeros((6, 6), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        ([], [], "training: the data set is empty"),
        ([GREY, np.zeros((6, 7), np.uint8)], [0, 1], r"training\[1\] is 1 x 6 x 7 and training\[0\] is 1 x 6 x 6"),
        ([GREY, np.zeros((6, 6, 3), np.uint8)], [0, 1], r"training\[1\] is 3 x 6 x 6"),
        ([torch.randn(3, 6, 6) * 9], [0], r"training\[0\]: pixels should be.*normalises"),
        ([torch.full((3, 6, 6), torch.nan)], [0], r"training\[0\]: pixels should be"),
        ([np.full((6, 6), 256)], [0], r"pixels should be integers from 0 to 255.*from 256 to 256"),
        ([np.full((6, 6), -1)], [0], "pixels should be"),
        ([GREY], [0.5], r"training\[0\]: not an image and an integer class"),
        ([GREY], ["cat"], r"training\[0\]: not an image and an integer class"),
        ([GREY], [2**70], r"training\[0\]: not an image and an integer class"),
        ([None], [0], r"training\[0\]: an image has height"),
        (["a.png"], [0], r"training\[0\]: an image has height"),
        ([[["a", "b"], ["c", "d"]]], [0], r"training\[0\]"),
        ([[[1, 2], [3]]], [0], r"training\[0\]: not an image"),
        ([np.zeros((6, 6, 5), np.uint8)], [0], r"1, 3 or 4 channels, not \(6, 6, 5\)"),
        ([np.zeros((0, 6), np.uint8)], [0], "an image has height"),
        ([GREY] * 10, [0] * 9 + [-1], "training: classes run from -1"),
        ([GREY] * 5, [0] * 5, "training: 5 images; at least 10"),
    ],
)
def test_rows_that_are_refused(images: list[Any], labels: list[Any], words: str) -> None:
    refuses(words, from_datasets, Pairs(images, labels), Pairs([GREY] * 10, [0, 1] * 5), name="x")


def test_rows_of_another_kind() -> None:
    good = Pairs([GREY] * 10, [0, 1] * 5)
    refuses("validation: generator has no length", from_datasets, good, (row for row in ()), name="x")
    refuses(r"validation\[0\] is int; it should be a pair", from_datasets, good, [1, 2], name="x")
