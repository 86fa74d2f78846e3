"""Text data: cut by position, numbered by the bytes that occur, and windows of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from net2net.errors import OptionError
from net2net.experiments import load_text
from net2net.experiments._text import consecutive, windows
from support import refused

SHARED = Path(__file__).parents[3] / "shared" / "data"


def test_a_file_is_cut_by_position(tmp_path: Path) -> None:
    """The numbers are the bytes in order; what the training part doesn't hold is one number, the last."""
    text = b"ba" * 9_000 + b"c" * 500 + b"ab" * 250 + b"xyza" * 250
    (tmp_path / "own.txt").write_bytes(text)
    data = load_text(tmp_path / "own.txt")
    assert (data.name, data.vocabulary) == ("own.txt", 3)
    read = torch.cat([data.training, data.choice, data.validation])
    assert [len(part) for part in (data.training, data.choice, data.validation)] == [18_000, 1000, 1000]
    assert bytes(b"abc"[number] for number in read.tolist()) == text.translate(bytes.maketrans(b"xyz", b"ccc"))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=4))
def test_any_bytes_of_any_files_come_back(tmp_path: Path, pieces: list[bytes]) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    texts = [piece * (20_000 // len(piece) + 1) for piece in pieces]
    for index, text in enumerate(texts):
        (tmp_path / f"{index}.txt").write_bytes(text)
    (tmp_path / "other.md").write_bytes(b"~" * 50_000)
    data = load_text(str(tmp_path))
    wanted = [
        b"".join(text[len(text) * start // 100 : len(text) * stop // 100] for text in texts)
        for start, stop in ((0, 90), (90, 95), (95, 100))
    ]
    seen = sorted(set(wanted[0]))
    assert data.vocabulary == len(seen) + 1
    for part, text in zip((data.training, data.choice, data.validation), wanted, strict=True):
        assert part.tolist() == [seen.index(byte) if byte in seen else len(seen) for byte in text]


def test_all_byte_values(tmp_path: Path) -> None:
    """257 numbers don't fit a byte."""
    (tmp_path / "a.txt").write_bytes(bytes(range(256)) * 100)
    data = load_text(tmp_path)
    assert data.vocabulary == 257 and data.training.tolist() == (list(range(256)) * 90)
    assert data.training.dtype == torch.int64


def test_names(tmp_path: Path) -> None:
    for folder in ("tinyshakespeare", "letters"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "input.txt").write_bytes(b"to be or not " * 2000)
    assert load_text(tmp_path / "tinyshakespeare").name == "tinyshakespeare"
    assert load_text(tmp_path / "tinyshakespeare" / "input.txt").name == "tinyshakespeare"
    assert load_text(tmp_path / "letters").name == "letters"
    assert load_text(tmp_path / "letters" / "input.txt").name == "input.txt"


def test_what_is_refused(tmp_path: Path) -> None:
    refused(OptionError, lambda: load_text(tmp_path / "nowhere"), "nowhere doesn't exist")
    refused(OptionError, lambda: load_text(tmp_path), "holds no .txt file. Found: nothing")
    (tmp_path / "a.md").write_text("none")
    refused(OptionError, lambda: load_text(tmp_path), "Found: a.md")
    (tmp_path / "a.txt").write_bytes(b"x" * 19_999)
    refused(OptionError, lambda: load_text(tmp_path), "19,999 bytes of text; at least 20,000")
    (tmp_path / "b.txt").mkdir()
    refused(OptionError, lambda: load_text(tmp_path), "can't be read")


def test_the_text_that_comes_with_python() -> None:
    data = load_text(None)
    assert data.name.startswith("the language reference of Python 3.")
    assert len(data.training) > 300_000 and len(data.validation) > 10_000
    # English, and its parts are alike: the most frequent byte of each is the space.
    assert len({int(part.bincount().argmax()) for part in (data.training, data.choice, data.validation)}) == 1


@pytest.mark.parametrize(
    ("name", "size", "vocabulary"),
    [("tinyshakespeare", 1_115_394, 66), ("war-and-peace", 3_293_492, 111), ("wikitext-2", 2_378_130, 136)],
)
def test_real_texts(name: str, size: int, vocabulary: int) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"shared/data/{name} is not there")
    data = load_text(SHARED / name)
    assert (data.name, data.vocabulary) == (name, vocabulary)
    assert len(data.training) + len(data.choice) + len(data.validation) == size


IDS = torch.arange(1000)


def test_windows() -> None:
    """Every window is a piece of the text, its targets are one on, and the first and last places occur."""
    starts = set()
    for inputs, targets in windows(IDS.to(torch.int32), 990, 16, 50, 3):
        assert inputs.shape == targets.shape == (16, 990) and inputs.dtype == targets.dtype == torch.int64
        assert torch.equal(inputs, inputs[:, :1] + torch.arange(990)) and torch.equal(targets, inputs + 1)
        starts |= set(inputs[:, 0].tolist())
    assert starts == set(range(10))


def test_windows_are_fixed_by_the_seed() -> None:
    one, two, other = (torch.cat([x for x, _ in windows(IDS, 8, 4, 5, seed)]) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


@given(st.integers(1, 999), st.integers(1, 40))
def test_consecutive_windows_are_spread_evenly(length: int, count: int) -> None:
    inputs, targets = consecutive(IDS, length, count)
    assert inputs.shape == (count, length) and torch.equal(targets, inputs + 1)
    steps = inputs[:, 0].diff()
    assert int(inputs[0, 0]) == 0 and (count == 1 or int(targets[-1, -1]) == 999)
    assert count < 3 or int(steps.max() - steps.min()) <= 1


def test_windows_longer_than_the_text() -> None:
    refused(OptionError, lambda: consecutive(IDS, 1000, 2), "length=1000: windows of this text have 1 to 999 bytes")
    refused(OptionError, lambda: next(windows(IDS, 0, 1, 1, 0)), "length=0")
    assert consecutive(IDS, 999, 1)[1][0, -1] == 999
