"""Image data: each layout written small and read back exactly, and real sets where they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from image_files import (
    LAYOUTS,
    Sets,
    made,
    refuses,
    same,
    write_cifar10,
    write_cifar100,
    write_jpegs,
    write_npz,
)
from net2net.errors import MissingExtraError
from net2net.experiments import load_images
from net2net.experiments._images import _in_proportion as in_proportion

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_back(tmp_path: Path, layout: str) -> None:
    write, channels, size, name = LAYOUTS[layout]
    sets = made(channels, size)
    write(tmp_path, sets)
    data = load_images(tmp_path)
    same(data, sets)
    assert data.name.endswith(name) and data.classes == (100 if layout == "cifar100" else 10)
    assert (len(data.training), len(data.choice), len(data.validation)) == (36, 4, 20)
    pixels = data.training.images.double() / 255
    assert torch.allclose(data.mean.double(), pixels.mean((0, 2, 3)), rtol=1e-5)
    assert torch.allclose(data.std.double(), pixels.std((0, 2, 3), correction=0), rtol=1e-5)


def test_images_without_an_axis_for_channels(tmp_path: Path) -> None:
    sets = made(1)
    np.savez(
        tmp_path / "grey.npz",
        **{key: value[:, 0] if key.endswith("_x") else value[:, None] for key, value in sets.items()},
    )
    same(load_images(tmp_path), sets)


@pytest.mark.parametrize(
    ("inner", "write"), [("cifar-10-batches-bin", write_cifar10), ("cifar-100-binary", write_cifar100)]
)
def test_the_folder_around_cifar_will_do(tmp_path: Path, inner: str, write: Callable[[Path, Sets], None]) -> None:
    sets = made(3, 32)
    (tmp_path / inner).mkdir()
    write(tmp_path / inner, sets)
    same(load_images(str(tmp_path)), sets)


def test_the_jpeg_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = made(3, 16, training=30)
    smaller = made(3, 16, training=20, test=10)
    decoded = write_jpegs(tmp_path, sets)
    write_npz(tmp_path, smaller, "cifar10_subset_12k.npz")
    before = sorted(tmp_path.iterdir())
    data = load_images(tmp_path)
    assert data.name == "CIFAR-10 (lossy JPEG copy)"
    assert sorted(tmp_path.iterdir()) == before
    same(data, decoded)

    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    data = load_images(tmp_path)
    assert data.name == "CIFAR-10 (lossy JPEG copy, 30 of 60,000 images; the whole set needs Pillow)"
    same(data, smaller)
    (tmp_path / "cifar10_subset_12k.npz").unlink()
    with pytest.raises(MissingExtraError, match=r"cifar10_jpeg_full.npz.*Pillow.*net2net\[demo\]"):
        load_images(tmp_path)


def test_the_digits() -> None:
    """In the demo's order and cuts; the pixels are scikit-learn's, from 0 to 16, spread over a byte."""
    from net2net.demo import _data as demo

    data, digits = load_images(None), demo.load()
    assert (data.name, data.classes) == ("scikit-learn's digits", 10)
    assert [len(part) for part in (data.training, data.choice, data.validation)] == [1000, 300, 497]
    assert torch.equal(data.training.labels, digits.training.digits)
    assert torch.equal(data.choice.labels, digits.validation.digits[:300])
    assert torch.equal(data.validation.labels, digits.test.digits[:497])
    assert torch.equal((data.training.images / 255 * 16).round(), (digits.training.images + 1) * 8)
    assert len(load_images(None, training=64).training) == 64
    refuses("1 to 1,000", load_images, None, training=1001)
    refuses("training=0", load_images, None, training=0)


REAL = [
    ("fashion-mnist", "Fashion-MNIST (byte-identical original)", 60_000, 10_000, [0.2860], [0.3530]),
    ("mnist", "MNIST (byte-identical original)", 60_000, 10_000, [0.1307], [0.3081]),
    ("cifar10", "CIFAR-10 (lossy JPEG copy)", 50_000, 10_000, [0.4914, 0.4822, 0.4465], [0.247, 0.243, 0.262]),
]


@pytest.mark.parametrize(("folder", "name", "training", "test", "mean", "std"), REAL)
def test_real_sets(folder: str, name: str, training: int, test: int, mean: list[float], std: list[float]) -> None:
    if not (SHARED / folder).exists():
        pytest.skip(f"shared/data/{folder} is not there")
    data = load_images(SHARED / folder)
    assert data.name == name
    assert (len(data.training), len(data.choice), len(data.validation)) == (training - 5000, 5000, test)
    # The figures that everybody quotes for the pixels of all training images.
    assert torch.allclose(data.mean, torch.tensor(mean), atol=1e-3)
    assert torch.allclose(data.std, torch.tensor(std), atol=3e-3)
    share = torch.bincount(data.training.labels, minlength=10) / len(data.training)
    assert torch.allclose(torch.bincount(data.choice.labels, minlength=10) / 5000, share, atol=3e-4)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any), st.data())
def test_any_first_part_holds_each_class_in_proportion(sizes: list[int], data: st.DataObject) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    tensor = torch.tensor(labels)
    order = in_proportion(tensor)
    assert sorted(order.tolist()) == list(range(len(labels)))
    first = data.draw(st.integers(0, len(labels)))
    counts, part = torch.bincount(tensor), torch.bincount(tensor[order[:first]], minlength=int(tensor.max()) + 1)
    # With c classes, a first part can be off by the rounding of each of them, no more.
    assert float((part - counts * first / len(labels)).abs().max()) <= len(counts.nonzero())


def test_two_loads_are_the_same(tmp_path: Path) -> None:
    write_npz(tmp_path, made(3))
    one, two = load_images(tmp_path), load_images(tmp_path, training=7)
    assert torch.equal(one.training.images[:7], two.training.images) and torch.equal(
        one.choice.images, two.choice.images
    )
    assert torch.equal(one.validation.labels, two.validation.labels) and len(two.training) == 7
