"""Data sets of torchvision's and Hugging Face's kind, row by row. Neither library is imported."""

from __future__ import annotations

import operator
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from net2net.errors import OptionError
from net2net.experiments._readers import Array, Part

IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "labels", "fine_label")
CHANNELS = (1, 3, 4)


class MapDataset(Protocol):
    """A length and numbered rows."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def read_rows(rows: MapDataset, part: str, image: str | None, label: str | None) -> Part:
    """All rows of one part ("training" or "validation").

    Raises:
        OptionError: rows, images or classes are of another kind, or images differ in size.
    """
    if not (hasattr(rows, "__len__") and hasattr(rows, "__getitem__")):
        raise OptionError(
            f"{part}: {type(rows).__name__} has no length or no numbered rows (a map-style data set has)."
        )
    count = len(rows)
    if count == 0:
        raise OptionError(f"{part}: the data set is empty.")
    images: Array | None = None
    labels = np.empty(count, np.int64)
    keys: tuple[Any, Any] | None = None
    for index in range(count):
        where = f"{part}[{index}]"
        row = rows[index]
        keys = keys or _keys(row, where, image, label)
        try:
            pixels, labels[index] = _pixels(row[keys[0]], where), operator.index(row[keys[1]])
        except (TypeError, KeyError, IndexError, OverflowError) as error:
            raise OptionError(f"{where}: not an image and an integer class: {error}") from error
        if images is None:
            images = np.empty((count, *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            raise OptionError(
                f"{where} is {_size(pixels.shape)} and {part}[0] is {_size(images.shape[1:])}. "
                "Bring all to one size and one number of channels first, by a transform."
            )
        images[index] = pixels
    assert images is not None
    return Part(images, labels, part)


def _keys(row: Any, where: str, image: str | None, label: str | None) -> tuple[Any, Any]:
    """What the image and the class of a row are found under: column names, or places in a pair."""
    if isinstance(row, dict):
        return _column(row, image, IMAGE_COLUMNS, where, "image"), _column(row, label, LABEL_COLUMNS, where, "label")
    if isinstance(row, tuple | list) and len(row) == 2:
        return 0, 1
    raise OptionError(f"{where} is {type(row).__name__}; it should be a pair (image, class) or a dict of columns.")


def _column(row: dict[str, Any], asked: str | None, usual: tuple[str, ...], where: str, option: str) -> str:
    names = usual if asked is None else (asked,)
    found = [name for name in names if name in row]
    if len(found) == 1:
        return found[0]
    raise OptionError(
        f"{where} has {len(found)} of the columns {', '.join(names)}; it has {', '.join(map(str, row))}. "
        f"Name one by {option}=."
    )


def _pixels(image: Any, where: str) -> Array:
    """One image as channels x height x width, uint8."""
    if hasattr(image, "convert") and hasattr(image, "mode"):  # an image of Pillow
        image = image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
    first = isinstance(image, Tensor)
    try:
        array = np.asarray(image.detach().cpu() if isinstance(image, Tensor) else image)
    except (ValueError, TypeError) as error:
        raise OptionError(f"{where}: not an image: {error}") from error
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3:
        # Tensors have their channels first, arrays last; the other way where only that gives a number of channels.
        axes = [axis for axis in ((0, 2) if first else (2, 0)) if array.shape[axis] in CHANNELS]
        array = np.moveaxis(array, axes[0], 0) if axes else array[:0]
    if array.ndim != 3 or not array.size:
        raise OptionError(f"{where}: an image has height, width and 1, 3 or 4 channels, not {np.shape(image)}.")
    floats = array.dtype.kind == "f"
    if array.dtype.kind not in "iuf" or not (array.min() >= 0 and array.max() <= (1 if floats else 255)):
        raise OptionError(
            f"{where}: pixels should be integers from 0 to 255 or floats from 0 to 1 (leave out a transform that "
            f"normalises); they are {array.dtype} from {array.min()} to {array.max()}."
        )
    return np.rint(array * 255).astype(np.uint8) if floats else array.astype(np.uint8)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
