"""Image data that can't be read is refused by an error that names the file."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_files import (
    LAYOUTS,
    idx,
    made,
    refuses,
    write_cifar10,
    write_idx,
    write_jpegs,
    write_npz,
)
from net2net.errors import GrowthError, OptionError
from net2net.experiments import load_images


def test_folders_with_none_or_several(tmp_path: Path) -> None:
    refuses("nowhere is not a folder", load_images, tmp_path / "nowhere")
    refuses("train-images-idx3-ubyte", load_images, tmp_path)
    (tmp_path / "notes.md").write_text("none")
    refuses("Found: notes.md", load_images, tmp_path)
    write_npz(tmp_path, made(3))
    load_images(tmp_path)
    write_idx(tmp_path, made(1))
    refuses("several data sets: IDX files, own.npz", load_images, tmp_path)


def test_pickles_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02}q\x01.")
    refuses("data_batch_1 is CIFAR's Python version: pickled", load_images, tmp_path)
    (tmp_path / "data_batch_1").unlink()
    (tmp_path / "cifar-10-batches-py").mkdir()
    refuses("binary version", load_images, tmp_path)
    write_npz(tmp_path, made(3))
    assert load_images(tmp_path).name == "own"


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    write_npz(tmp_path, made(3), test_y=np.array([{}] * 20, object))
    refuses("own.npz can't be read: Object arrays cannot be loaded", load_images, tmp_path)


def test_damaged_idx_files(tmp_path: Path) -> None:
    write_idx(tmp_path, made(1))
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    whole = gzip.decompress(path.read_bytes())
    for damaged, words in (
        (whole[:-1], "should hold 720 bytes after its header and holds only 719"),
        (whole + b"x", "holds more"),
        (whole[:10], "magic 0x00000803"),
        (b"", "magic 0x00000803"),
        (idx(np.zeros(20)), "magic 0x00000803"),
        (whole[:4] + b"\0\0\0\x7f" * 3 + whole[16:], "should hold 2,048,383 bytes .* only 720"),
        (whole[:4] + b"\xff" * 12 + whole[16:], "can't be read"),
        (whole[:7] + b"\0" + whole[8:16], "0 images and 20 classes"),
    ):
        path.write_bytes(gzip.compress(damaged))
        refuses(f"{path.name}.*{words}", load_images, tmp_path)
    path.write_bytes(gzip.compress(whole)[:-20])
    refuses(f"{path.name} can't be read", load_images, tmp_path)
    path.write_bytes(whole)
    refuses(f"{path.name} can't be read: Not a gzipped file", load_images, tmp_path)
    path.unlink()
    refuses("no t10k-images-idx3-ubyte or", load_images, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_y": np.arange(39) % 10}, r"own.npz, train_x and train_y: 40 images and 39 classes"),
        ({"test_y": np.full(20, 10)}, r"test_y: classes run from 10 to 10; they should from 0 to 9"),
        ({"test_y": np.full(20, -1)}, r"test_y: classes run from -1"),
        ({"train_y": np.full(40, 2**40)}, r"train_y: a class of 1099511627776 is out of range"),
        ({"train_y": np.full(40, 2**64 - 1, np.uint64)}, r"train_y: a class of"),
        ({"train_y": np.zeros(40)}, r"train_y: classes are float64"),
        ({"train_y": np.zeros((40, 2), int)}, r"train_y: classes are int64 of shape \(40, 2\)"),
        ({"train_x": np.zeros((40, 6, 6, 3))}, r"train_x is float64"),
        ({"train_x": np.zeros((40, 3, 6, 6), np.uint8)}, r"train_x is uint8 of shape \(40, 3, 6, 6\)"),
        ({"test_x": np.zeros((20, 7, 6, 3), np.uint8)}, r"\(3, 6, 6\) and \(3, 7, 6\)"),
        ({"test_x": np.zeros((0, 6, 6, 3), np.uint8), "test_y": np.zeros(0, int)}, "0 images and 0 classes"),
        ({"train_x": np.zeros((9, 6, 6, 3), np.uint8), "train_y": np.zeros(9, int)}, "9 images; at least 10"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write_npz(tmp_path, made(3), **change)
    refuses(words, load_images, tmp_path)


def test_damaged_archives(tmp_path: Path) -> None:
    sets = made(3)
    write_npz(tmp_path, sets)
    whole = (tmp_path / "own.npz").read_bytes()
    (tmp_path / "own.npz").write_bytes(whole[: len(whole) // 2])
    refuses("own.npz can't be read", load_images, tmp_path)
    np.savez(tmp_path / "own.npz", train_x=sets["train_x"])
    refuses("own.npz can't be read.*train_x, train_y", load_images, tmp_path)


def test_damaged_cifar(tmp_path: Path) -> None:
    write_cifar10(tmp_path, made(3, 32))
    path = tmp_path / "data_batch_2.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refuses("data_batch_2.bin holds 61,459 bytes, which are not whole records of 3,073", load_images, tmp_path)
    path.write_bytes(b"")
    refuses("data_batch_2.bin holds 0", load_images, tmp_path)
    path.write_bytes(b"\x0a" + whole[1:])
    refuses(r"data_batch_\*.bin: classes run from 0 to 10; they should from 0 to 9", load_images, tmp_path)
    path.write_bytes(whole)
    (tmp_path / "test_batch.bin").unlink()
    refuses("test_batch.bin can't be read", load_images, tmp_path)


def test_damaged_jpegs(tmp_path: Path) -> None:
    sets = made(3, 16, training=12, test=12)
    write_jpegs(tmp_path, sets, header=np.zeros(600, np.uint8))
    refuses("cifar10_jpeg_full.npz, train_scan: image 0 is not a JPEG image", load_images, tmp_path)
    for bounds in ([0, 5, 3], [1, 2], [0], [[0]], [0.0, 1.0], [0, 10**6], None):
        write_jpegs(tmp_path, sets)
        with np.load(tmp_path / "cifar10_jpeg_full.npz") as pack:  # the right end, but not in order
            bounds = bounds or [0, 900, 800, len(pack["test_scan"])]
        write_jpegs(tmp_path, sets, test_offset=np.array(bounds))
        refuses("test_offset are not the bounds", load_images, tmp_path)
    write_jpegs(tmp_path, sets, test_label=np.zeros(3, np.uint8))
    refuses("test_scan: 12 images and 3 classes", load_images, tmp_path)


@pytest.mark.parametrize("layout", ["idx, not packed", "cifar10", "npz", "jpeg"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_read_or_refused(tmp_path: Path, layout: str, data: st.DataObject) -> None:
    """Whatever byte is changed and wherever a file ends: an OptionError, or a set that is whole; nothing else."""
    write, channels, size = LAYOUTS[layout][:3] if layout in LAYOUTS else (write_jpegs, 3, 16)
    write(tmp_path, made(channels, size, training=12, test=10))
    path = data.draw(st.sampled_from(sorted(tmp_path.iterdir())))
    content = bytearray(path.read_bytes())
    end = data.draw(st.integers(0, len(content)))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: end if data.draw(st.booleans()) else None])
    try:
        read = load_images(tmp_path)
    except GrowthError as error:
        assert isinstance(error, OptionError) and str(tmp_path) in str(error)
    else:
        assert 0 <= int(read.training.labels.min()) <= int(read.training.labels.max()) < read.classes
