"""Image data sets as they lie in folders: IDX files, CIFAR's binary layout, npz archives. No pickle is ever loaded."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from net2net.errors import MissingExtraError, OptionError

Array = NDArray[Any]

UNREADABLE = (OSError, EOFError, ValueError, KeyError, MemoryError, OverflowError, zlib.error, BadZipFile)
LAYOUTS = """IDX files (train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz] and the same with t10k),
CIFAR's binary layout (data_batch_*.bin and test_batch.bin, or train.bin and test.bin),
*.npz with train_x, train_y, test_x and test_y, or the JPEG pack cifar10_jpeg_full.npz"""

# SHA-256 of the pixels and labels of a set, training before test: which set it is, to the byte.
ORIGINALS = {
    "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f": "Fashion-MNIST",
    "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16": "MNIST",
}
JPEG_PACK, JPEG_SUBSET = "cifar10_jpeg_full.npz", "cifar10_subset_12k.npz"
PARTS = ("train", "test")
IDX_PREFIXES, IDX_KINDS = ("train", "t10k"), ("images-idx3", "labels-idx1")


@dataclass(frozen=True)
class Part:
    """Images (n x channels x height x width, uint8), their labels (n), and what they were read from."""

    images: Array
    labels: Array
    source: str


@dataclass(frozen=True)
class ImageSet:
    """The training and test images of a set; `classes` is None where the layout doesn't say how many there are."""

    name: str
    training: Part
    test: Part
    classes: int | None = None


def read_folder(folder: Path) -> ImageSet:
    """The one image data set of a folder.

    Raises:
        OptionError: the folder holds none or several, or a file that is damaged.
    """
    if not folder.is_dir():
        raise OptionError(f"{folder} is not a folder.")
    found = dict(_sets(folder))
    if {JPEG_PACK, JPEG_SUBSET} <= found.keys():
        del found[JPEG_SUBSET if _has_pillow() else JPEG_PACK]
        if JPEG_SUBSET in found:
            found[JPEG_SUBSET] = partial(_read_npz, folder / JPEG_SUBSET, "; the whole set needs Pillow")
    if len(found) == 1:
        return next(iter(found.values()))()
    if found:
        raise OptionError(f"{folder} holds several data sets: {', '.join(found)}. Give a folder that holds one.")
    _refuse_pickles(folder)
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
    raise OptionError(f"{folder} holds no image data set. Looked for {LAYOUTS}. Found: {there}.")


def _sets(folder: Path) -> Iterator[tuple[str, Callable[[], ImageSet]]]:
    """Every data set in the folder: how it is called in a message, and what reads it."""
    if any(any(folder.glob(f"{prefix}-{kind}-ubyte*")) for prefix in IDX_PREFIXES for kind in IDX_KINDS):
        yield "IDX files", partial(_read_idx_set, folder)
    for place in (folder, folder / "cifar-10-batches-bin"):
        if any(place.glob("data_batch_*.bin")):
            yield _below("data_batch_*.bin", place, folder), partial(_read_cifar10, place)
    for place in (folder, folder / "cifar-100-binary"):
        if (place / "train.bin").exists():
            yield _below("train.bin", place, folder), partial(_read_cifar100, place)
    for path in sorted(folder.glob("*.npz")):
        names = _archive(path)
        if "train_scan" in names:
            yield path.name, partial(_read_jpeg_pack, path)
        elif "train_x" in names:
            yield path.name, partial(_read_npz, path)


def _below(name: str, place: Path, folder: Path) -> str:
    return (place / name).relative_to(folder).as_posix()


def _refuse_pickles(folder: Path) -> None:
    for pattern in ("data_batch_?", "cifar-10-batches-py", "cifar-100-python", "batches.meta"):
        for path in folder.glob(pattern):
            raise OptionError(
                f"{path} is CIFAR's Python version: pickled files, which can run any code when they are loaded, so "
                "they are not read. Take the binary version (cifar-10-binary.tar.gz, cifar-100-binary.tar.gz)."
            )


# IDX: a magic number, the sizes as big-endian 32-bit numbers, then the bytes.


def _read_idx_set(folder: Path) -> ImageSet:
    parts = []
    for prefix in IDX_PREFIXES:
        images, labels = (_idx_path(folder, f"{prefix}-{kind}-ubyte") for kind in IDX_KINDS)
        parts.append(Part(_read_idx(images, 3)[:, None], _read_idx(labels, 1), f"{images} and {labels}"))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.images.tobytes())
        digest.update(part.labels.tobytes())
    original = ORIGINALS.get(digest.hexdigest())
    name = f"{original} (byte-identical original)" if original else f"{folder.resolve().name} (IDX files)"
    return ImageSet(name, parts[0], parts[1])


def _idx_path(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise OptionError(f"{folder} holds no {name} or {name}.gz, which belongs to its other IDX files.")


def _read_idx(path: Path, rank: int) -> Array:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _idx_array(file, rank, path)
    except UNREADABLE as error:
        raise OptionError(f"{path} can't be read: {error}") from error


def _idx_array(file: BinaryIO | gzip.GzipFile, rank: int, path: Path) -> Array:
    layout = f">{1 + rank}I"
    header = file.read(struct.calcsize(layout))
    magic, *shape = struct.unpack(layout, header) if len(header) == struct.calcsize(layout) else (0,)
    if magic != 0x800 + rank:
        raise OptionError(
            f"{path} doesn't start like an IDX file of bytes with {rank} axes (magic {0x800 + rank:#010x})."
        )
    wanted = math.prod(shape)
    data = file.read(wanted + 1)
    if len(data) != wanted:
        kind = "more" if len(data) > wanted else f"only {len(data):,}"
        raise OptionError(f"{path} should hold {wanted:,} bytes after its header and holds {kind}.")
    return np.frombuffer(data, np.uint8).reshape(shape)


# CIFAR's binary layout: records of one or two labels and 3 x 32 x 32 pixels.


def _read_cifar10(folder: Path) -> ImageSet:
    batches = sorted(folder.glob("data_batch_*.bin"))
    training = _records(batches, labels=1, source=f"{folder}/data_batch_*.bin")
    test = _records([folder / "test_batch.bin"], labels=1, source=f"{folder}/test_batch.bin")
    return ImageSet("CIFAR-10 (binary version)", training, test, classes=10)


def _read_cifar100(folder: Path) -> ImageSet:
    training, test = (_records([folder / f"{part}.bin"], 2, f"{folder}/{part}.bin") for part in PARTS)
    return ImageSet("CIFAR-100 (binary version)", training, test, classes=100)


def _records(paths: list[Path], labels: int, source: str) -> Part:
    """The records of these files; the last label is the fine one."""
    size = labels + 3 * 32 * 32
    read = []
    for path in paths:
        try:
            data = np.frombuffer(path.read_bytes(), np.uint8)
        except UNREADABLE as error:
            raise OptionError(f"{path} can't be read: {error}") from error
        if len(data) == 0 or len(data) % size:
            raise OptionError(f"{path} holds {len(data):,} bytes, which are not whole records of {size:,}.")
        read.append(data.reshape(-1, size))
    records = np.concatenate(read)
    return Part(records[:, labels:].reshape(-1, 3, 32, 32), records[:, labels - 1], source)


# npz archives


def _archive(path: Path) -> list[str]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return list(archive.files)
    except UNREADABLE as error:
        raise OptionError(f"{path} can't be read: {error}") from error


def _arrays(path: Path, names: list[str]) -> list[Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except UNREADABLE as error:
        raise OptionError(f"{path} can't be read: {error} It needs the arrays {', '.join(names)}.") from error


def _read_npz(path: Path, note: str = "") -> ImageSet:
    parts = []
    for part in PARTS:
        images, labels = _arrays(path, [f"{part}_x", f"{part}_y"])
        if images.ndim == 3:
            images = images[..., None]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3, 4):
            raise OptionError(
                f"{path}: {part}_x is {images.dtype} of shape {images.shape}; it should be uint8 and "
                "n x height x width, or n x height x width x channels with 1, 3 or 4 channels."
            )
        parts.append(Part(images.transpose(0, 3, 1, 2), labels, f"{path}, {part}_x and {part}_y"))
    count = len(parts[0].images) + len(parts[1].images)
    subset = f"CIFAR-10 (lossy JPEG copy, {count:,} of 60,000 images{note})"
    return ImageSet(subset if path.name == JPEG_SUBSET else path.stem, parts[0], parts[1])


# The JPEG pack: the header that all images share, the rest of each one, end to end, and where each begins and ends.


def _read_jpeg_pack(path: Path) -> ImageSet:
    if not _has_pillow():
        raise MissingExtraError(f"{path} holds JPEG images and needs Pillow, which comes with net2net[demo].")
    parts = []
    for part in PARTS:
        header, scan, bounds, labels = _arrays(
            path, ["header", *(f"{part}_{name}" for name in ("scan", "offset", "label"))]
        )
        source = f"{path}, {part}_scan"
        if (
            bounds.ndim != 1
            or bounds.dtype.kind not in "iu"
            or len(bounds) < 2
            or bounds[0] != 0
            or bounds[-1] != scan.nbytes
            or (np.diff(bounds.astype(np.int64)) < 0).any()
        ):
            raise OptionError(f"{path}: {part}_offset are not the bounds of images in {part}_scan.")
        parts.append(Part(_decoded(header.tobytes(), scan.tobytes(), bounds.tolist(), source), labels, source))
    return ImageSet("CIFAR-10 (lossy JPEG copy)", parts[0], parts[1])


def _decoded(header: bytes, scan: bytes, bounds: list[int], source: str) -> Array:
    from PIL import Image

    images: Array | None = None
    for index, (start, stop) in enumerate(itertools.pairwise(bounds)):
        try:
            with Image.open(io.BytesIO(header + scan[start:stop]), formats=["JPEG"]) as opened:
                image = np.asarray(opened.convert("RGB"))
        except Exception as error:  # decoders raise anything on damaged images
            raise OptionError(f"{source}: image {index} is not a JPEG image: {error}") from error
        if images is None:
            images = np.empty((len(bounds) - 1, 3, *image.shape[:2]), np.uint8)
        if image.shape[:2] != images.shape[2:]:
            raise OptionError(f"{source}: image {index} is {image.shape[:2]} and image 0 is {images.shape[2:]}.")
        images[index] = image.transpose(2, 0, 1)
    assert images is not None
    return images


def _has_pillow() -> bool:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True
