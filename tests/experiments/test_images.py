"""Image data: each layout written small and read back exactly, real sets where they are, and damage of every kind."""

from __future__ import annotations

import gzip
import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from net2net import GrowthError
from net2net.errors import MissingExtraError, OptionError
from net2net.experiments._images import Examples, ImageData, batches, from_datasets, load_images, normalised
from net2net.experiments._images import _in_proportion as in_proportion

SHARED = Path(__file__).parents[3] / "shared" / "data"
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


# What can't be read is refused by an error that names the file.


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
    refuses("cifar10_jpeg_full.npz, train_scan: image 0 is no JPEG image", load_images, tmp_path)
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


# Data sets of other libraries


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


# Batches


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_images(None)


def drawn(data: ImageData, seed: int, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = list(batches(data.training, 100, 20, seed, mean=data.mean, std=data.std, **options))
    return torch.cat([images for images, _ in pairs]), torch.cat([labels for _, labels in pairs])


def test_every_image_comes_once_before_any_comes_again(digits: ImageData) -> None:
    images, labels = drawn(digits, 1, shift=0)
    plain = normalised(digits.training, digits.mean, digits.std)
    for epoch in (slice(0, 1000), slice(1000, 2000)):
        rows = [each.flatten(1).tolist() for each in (images[epoch], plain)]
        assert sorted(rows[0]) == sorted(rows[1])
        assert torch.equal(labels[epoch].bincount(), digits.training.labels.bincount())
    assert images.dtype == torch.float32 and not torch.equal(images[:1000], images[1000:])


def test_batches_are_fixed_by_the_seed(digits: ImageData) -> None:
    one, two, other = (drawn(digits, seed, flip=True)[0] for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_a_batch_may_be_larger_than_the_data() -> None:
    examples = Examples(torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1), torch.arange(3))
    ((_, labels),) = batches(examples, 7, 1, 0, mean=torch.zeros(1), std=torch.ones(1))
    assert labels.tolist().count(0) in (2, 3) and len(labels) == 7


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_shifts_and_flips(channels: int, flip: bool) -> None:
    """Every batch image is one of the shifts (and mirrors) of its own image, over black; and all of them occur."""
    image = torch.arange(1, channels * 20 + 1, dtype=torch.uint8).view(1, channels, 4, 5)
    examples = Examples(image, torch.zeros(1, dtype=torch.int64))
    mean, std = torch.full((channels,), 0.25), torch.full((channels,), 0.5)
    ((images, _),) = batches(examples, 2000, 1, 3, mean=mean, std=std, shift=1, flip=flip)
    wanted = set()
    for mirrored in (image, image.flip(3)) if flip else (image,):
        padded = torch.zeros(channels, 6, 7)
        padded[:, 1:-1, 1:-1] = mirrored[0]
        wanted |= {tuple(padded[:, y : y + 4, x : x + 5].flatten().tolist()) for y in range(3) for x in range(3)}
    seen = ((images * 0.5 + 0.25) * 255).round().flatten(1).tolist()
    assert set(map(tuple, seen)) == wanted and len(wanted) == (18 if flip else 9)
    assert max(map(seen.count, map(list, wanted))) < 2 * 2000 / len(wanted)


def test_normalised(digits: ImageData) -> None:
    images = normalised(digits.training, digits.mean, digits.std).double()
    assert abs(float(images.mean())) < 1e-5 and abs(float(images.std(correction=0)) - 1) < 1e-5
    # Nothing but one value: divided by no zero.
    flat = Pairs([GREY] * 10, [0, 1] * 5)
    data = from_datasets(flat, flat, name="flat")
    assert normalised(data.training, data.mean, data.std).abs().max() == 0
