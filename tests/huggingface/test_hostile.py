"""Damaged and hostile folders: a clear error, nothing written, no code run."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import net2net
from support import refused

SIZES = {"hidden_size": "2x"}


@pytest.fixture
def folder(llama_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(llama_folder, tmp_path / "teacher"))


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def check(folder: Path, *parts: str, error: type[net2net.GrowthError] = net2net.CheckpointError) -> None:
    """Growing the folder is refused with these words, and nothing is left behind."""
    target = folder.parent / "target"
    refused(error, lambda: net2net.grow_checkpoint(folder, target, SIZES), *parts)
    assert not target.exists() and not list(folder.parent.glob(".*"))


def edit_index(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def test_no_folder(tmp_path: Path) -> None:
    check(tmp_path / "nothing", "config.json")


def test_truncated(folder: Path) -> None:
    file = shards(folder)[1]
    file.write_bytes(file.read_bytes()[:-9])
    check(folder, file.name)


def test_a_header_that_claims_more_than_there_is(folder: Path) -> None:
    file = shards(folder)[0]
    file.write_bytes((2**40).to_bytes(8, "little") + file.read_bytes()[8:])
    check(folder, file.name)


def test_a_header_with_other_shapes(folder: Path) -> None:
    file = shards(folder)[0]
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = next(n for n in header if n != "__metadata__")
    header[name]["shape"] = [n * 2 for n in header[name]["shape"]]
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    check(folder, file.name)


@pytest.mark.parametrize("path", ["../secret.safetensors", "/etc/passwd", "sub/model.safetensors", "model.bin"])
def test_an_index_that_points_elsewhere(folder: Path, path: str) -> None:
    (folder.parent / "secret.safetensors").write_bytes(shards(folder)[0].read_bytes())
    edit_index(folder, lambda files: files.update({next(iter(files)): path}))
    check(folder, path)


def test_an_index_that_promises_a_tensor(folder: Path) -> None:
    edit_index(folder, lambda files: files.update({"model.extra.weight": next(iter(files.values()))}))
    check(folder, "model.extra.weight")


def test_a_damaged_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": [1, 2')
    check(folder, "index")


def test_a_pickle_is_never_loaded(folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("model*"):
        file.unlink()

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "exploded",)

    torch.save({"w": Bomb()}, folder / "pytorch_model.bin")
    check(folder, "pickle", "safetensors")
    assert not (tmp_path / "exploded").exists()


def test_a_config_that_does_not_match(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "intermediate_size": 38}))
    check(folder, "37", "38")


def test_a_config_of_no_known_class(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "architectures": ["NoSuchModel"]}))
    check(folder, "NoSuchModel")


def test_an_unknown_tensor(folder: Path) -> None:
    file = shards(folder)[0]
    save_file({**load_file(file), "model.spy.weight": torch.zeros(3)}, file, metadata={"format": "pt"})
    name = "model.spy.weight"
    edit_index(folder, lambda files: files.update({name: file.name}))
    check(folder, name)


def test_a_missing_tensor(folder: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    file = folder / json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"][name]
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    edit_index(folder, lambda files: files.pop(name))
    check(folder, name)


def test_weights_that_are_no_numbers(folder: Path) -> None:
    for file in shards(folder):
        tensors = load_file(file)
        save_file({n: torch.full_like(t, torch.nan) for n, t in tensors.items()}, file, metadata={"format": "pt"})
    check(folder, "NaN")


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bits_in_a_header(folder: Path, seed: int) -> None:
    """Any damage to a header is an error, or leaves the header saying the same."""
    draw = random.Random(seed)
    file = draw.choice(shards(folder))
    data = bytearray(file.read_bytes())
    length = int.from_bytes(data[:8], "little")
    place = draw.randrange(8 + length)
    data[place] ^= 1 << draw.randrange(8)
    file.write_bytes(bytes(data))
    target = folder.parent / "target"
    try:
        net2net.grow_checkpoint(folder, target, {"num_hidden_layers": 4})
    except net2net.GrowthError:
        assert not target.exists()


def test_requests_that_make_no_sense(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    for sizes, error, part in (
        ({"hidden": 48}, net2net.UnknownNameError, "hidden_size"),
        ({"hidden_size": 12}, net2net.SizeError, "smaller"),
        ({"hidden_size": "wide"}, net2net.SizeError, "wide"),
        ({"num_attention_heads": 5}, net2net.GrowthError, ""),
    ):
        refused(error, lambda sizes=sizes: net2net.grow_checkpoint(folder, target, sizes), part)
    target.mkdir()
    refused(net2net.CheckpointError, lambda: net2net.grow_checkpoint(folder, target, SIZES), "exists")
    assert not list(target.iterdir())


def test_a_full_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from net2net.huggingface import _grow

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(_grow.shutil, "disk_usage", lambda path: usage)
    check(folder, "GB are free")
