"""Text to learn from, byte by byte; and windows of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from net2net.errors import OptionError

LEAST = 20_000
KNOWN = ("war-and-peace", "tinyshakespeare", "wikitext-2")


@dataclass(frozen=True)
class TextData:
    """A text as numbers, one for each byte, in three parts.

    Attributes:
        name: in words.
        vocabulary: how many numbers there are: the byte values of the training part, and the last one for all others.
        training: to learn from (1-d, uint8 or int64).
        choice: learning rates are chosen on it.
        validation: results are reported on it.
    """

    name: str
    vocabulary: int
    training: Tensor
    choice: Tensor
    validation: Tensor


def load_text(source: Path | str | None) -> TextData:
    """A text file, the .txt files of a folder, or a text that comes with Python.

    Each file is cut by position: 90 % to learn from, then 5 % to choose on, then 5 % to report on. So every part holds
    some of every file.

    Args:
        source: the file or folder, in UTF-8 or any bytes; None for the reference of the Python language.

    Raises:
        OptionError: there is no text, or less than 20 kB of it.

    Example:
        >>> data = load_text(None)
        >>> len(data.training) > 300_000, data.vocabulary < 257
        (True, True)
    """
    name, texts = _embedded() if source is None else _read(Path(source))
    size = sum(map(len, texts))
    if size < LEAST:
        raise OptionError(f"{name}: {size:,} bytes of text; at least {LEAST:,} are needed to learn from and report on.")
    cuts = [np.split(text, [len(text) * 90 // 100, len(text) * 95 // 100]) for text in texts]
    training, choice, validation = (np.concatenate(part) for part in zip(*cuts, strict=True))
    seen = np.unique(training)
    dtype = np.uint8 if len(seen) < 256 else np.int64
    numbers = np.full(256, len(seen), dtype)
    numbers[seen] = np.arange(len(seen))
    parts = [torch.from_numpy(numbers[part]) for part in (training, choice, validation)]
    return TextData(name, len(seen) + 1, *parts)


def windows(ids: Tensor, length: int, size: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of random windows and of what follows each of their bytes; fixed by the seed.

    Returns:
        Pairs of int64 tensors (size x length): the bytes, and for each the byte after it.
    """
    most = _last_start(ids, length)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        yield _cut(ids, torch.randint(0, most + 1, (size,), generator=generator), length)


def consecutive(ids: Tensor, length: int, count: int) -> tuple[Tensor, Tensor]:
    """The same number of windows at every call, spread evenly over the text; they overlap where it is short.

    Returns:
        Two int64 tensors (count x length): the bytes, and for each the byte after it.
    """
    most = _last_start(ids, length)
    return _cut(ids, torch.arange(count) * most // max(count - 1, 1), length)


def _last_start(ids: Tensor, length: int) -> int:
    if not 1 <= length < len(ids):
        raise OptionError(f"length={length}: windows of this text have 1 to {len(ids) - 1} bytes.")
    return len(ids) - length - 1


def _cut(ids: Tensor, starts: Tensor, length: int) -> tuple[Tensor, Tensor]:
    pieces = ids[starts[:, None] + torch.arange(length + 1)].to(torch.int64)
    return pieces[:, :-1].contiguous(), pieces[:, 1:].contiguous()


def _embedded() -> tuple[str, list[np.ndarray[tuple[int], np.dtype[np.uint8]]]]:
    from platform import python_version
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics))
    return f"the language reference of Python {python_version()}", [np.frombuffer(text.encode(), np.uint8)]


def _read(source: Path) -> tuple[str, list[np.ndarray[tuple[int], np.dtype[np.uint8]]]]:
    """What the text is called, and the bytes of each of its files."""
    if not source.exists():
        raise OptionError(f"{source} doesn't exist. Give a text file or a folder with .txt files.")
    paths = sorted(source.glob("*.txt")) if source.is_dir() else [source]
    if not paths:
        there = ", ".join(sorted(path.name for path in source.iterdir())[:20]) or "nothing"
        raise OptionError(f"{source} holds no .txt file. Found: {there}.")
    try:
        texts = [np.frombuffer(path.read_bytes(), np.uint8) for path in paths]
    except OSError as error:
        raise OptionError(f"{source} can't be read: {error}") from error
    folder = source.resolve() if source.is_dir() else source.resolve().parent
    return folder.name if folder.name in KNOWN else source.resolve().name, texts
