"""Small sets of images, written as each layout of files has them."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from net2net.errors import OptionError
from net2net.experiments import ImageData

Sets = dict[str, np.ndarray[Any, np.dtype[Any]]]


def refuses(words: str, call: Callable[..., object], *arguments: object, **options: object) -> None:
    with pytest.raises(OptionError, match=words):
        call(*arguments, **options)


def made(channels: int, size: int = 6, classes: int = 10, training: int = 40, test: int = 20) -> Sets:
    """A small set of random images."""
    random = np.random.default_rng(0)
    result = {}
    for part, count in (("train", training), ("test", test)):
        result[f"{part}_x"] = random.integers(0, 256, (count, channels, size, size), np.uint8)
        result[f"{part}_y"] = np.arange(count) % classes
    return result


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, sets: Sets, *, packed: bool = True) -> None:
    for prefix, part in (("train", "train"), ("t10k", "test")):
        for name, array in (
            (f"{prefix}-images-idx3", sets[f"{part}_x"][:, 0]),
            (f"{prefix}-labels-idx1", sets[f"{part}_y"]),
        ):
            data = idx(array)
            (folder / f"{name}-ubyte{'.gz' * packed}").write_bytes(gzip.compress(data) if packed else data)


def records(images: np.ndarray[Any, Any], *labels: np.ndarray[Any, Any]) -> bytes:
    flat = images.reshape(len(images), -1)
    return np.concatenate([*(each.astype(np.uint8)[:, None] for each in labels), flat], 1).tobytes()


def write_cifar10(folder: Path, sets: Sets) -> None:
    half = len(sets["train_x"]) // 2
    for number, part in ((1, slice(None, half)), (2, slice(half, None))):
        (folder / f"data_batch_{number}.bin").write_bytes(records(sets["train_x"][part], sets["train_y"][part]))
    (folder / "test_batch.bin").write_bytes(records(sets["test_x"], sets["test_y"]))


def write_cifar100(folder: Path, sets: Sets) -> None:
    for part in ("train", "test"):
        fine = sets[f"{part}_y"]
        (folder / f"{part}.bin").write_bytes(records(sets[f"{part}_x"], fine // 5, fine))


def write_npz(folder: Path, sets: Sets, name: str = "own.npz", **other: Any) -> None:
    arrays = {key: value.transpose(0, 2, 3, 1) if key.endswith("_x") else value for key, value in sets.items()}
    np.savez(folder / name, **{**arrays, **other})


def write_jpegs(folder: Path, sets: Sets, **other: Any) -> Sets:
    """The JPEG pack; returns what a decoder makes of it."""
    arrays, decoded, header = {}, dict(sets), b""
    for part in ("train", "test"):
        scans = []
        for index, image in enumerate(sets[f"{part}_x"]):
            file = io.BytesIO()
            Image.fromarray(image.transpose(1, 2, 0)).save(file, "JPEG", quality=75)
            decoded[f"{part}_x"][index] = np.asarray(Image.open(file)).transpose(2, 0, 1)
            header = file.getvalue()[: file.getvalue().index(b"\xff\xda")]
            scans.append(file.getvalue()[len(header) :])
        arrays[f"{part}_scan"] = np.frombuffer(b"".join(scans), np.uint8)
        arrays[f"{part}_offset"] = np.cumsum([0, *map(len, scans)]).astype(np.int32)
        arrays[f"{part}_label"] = sets[f"{part}_y"].astype(np.uint8)
    np.savez(folder / "cifar10_jpeg_full.npz", **{"header": np.frombuffer(header, np.uint8), **arrays, **other})
    return decoded


def same(data: ImageData, sets: Sets) -> None:
    """Exactly these images with exactly these labels, each once, in the part where they belong."""
    learned = (data.training, data.choice)
    for part, examples in (("train", learned), ("test", (data.validation,))):
        read = [pair for each in examples for pair in zip(each.images.tolist(), each.labels.tolist(), strict=True)]
        wanted = zip(sets[f"{part}_x"].tolist(), sets[f"{part}_y"].tolist(), strict=True)
        assert sorted(read) == sorted(wanted)
        assert all(each.images.dtype == torch.uint8 and each.labels.dtype == torch.int64 for each in examples)


LAYOUTS: dict[str, tuple[Callable[[Path, Sets], None], int, int, str]] = {
    "idx": (write_idx, 1, 6, "(IDX files)"),
    "idx, not packed": (lambda folder, sets: write_idx(folder, sets, packed=False), 1, 6, "(IDX files)"),
    "cifar10": (write_cifar10, 3, 32, "CIFAR-10 (binary version)"),
    "cifar100": (write_cifar100, 3, 32, "CIFAR-100 (binary version)"),
    "npz": (write_npz, 3, 6, "own"),
    "npz, grey": (write_npz, 1, 6, "own"),
}
