"""Damaged and hostile folders: a clear error, nothing written, no code run."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import net2net
from support import refused

SIZES = {"hidden_size": "2x"}
INDEX = "model.safetensors.index.json"
TOKENS = torch.arange(4, 18).reshape(2, 7)


@pytest.fixture(autouse=True)
def _nothing_explodes(tmp_path: Path) -> Iterator[None]:
    """Hostile code would leave a file; no test may find it."""
    yield
    assert not (tmp_path / "exploded").exists()


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


def edit_index(folder: Path, change: Callable[[dict[str, str]], object]) -> None:
    path = folder / INDEX
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def edit_header(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the header of a file, or replace it by the bytes that `change` returns, and leave the data."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = change(header)
    text = text if isinstance(text, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def edit_config(folder: Path, **words: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **words}))


def edit_weights(folder: Path, change: Callable[[str, torch.Tensor], Any]) -> None:
    for file in shards(folder):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            change(name, tensor)
        save_file(tensors, file, metadata={"format": "pt"})


def logits(folder: Path) -> torch.Tensor:
    transformers = pytest.importorskip("transformers")
    with torch.no_grad():
        found: torch.Tensor = transformers.LlamaForCausalLM.from_pretrained(folder).eval()(input_ids=TOKENS).logits
    return found


def same_or_refused(folder: Path) -> None:
    """What can be read in two ways may be refused; else what is grown is what `from_pretrained` loads."""
    target = folder.parent / "target"
    try:
        net2net.grow_checkpoint(folder, target, {"num_hidden_layers": 4})
    except net2net.GrowthError:
        assert not target.exists() and not list(folder.parent.glob(".*"))
    else:
        torch.testing.assert_close(logits(target), logits(folder), rtol=1e-4, atol=1e-4, equal_nan=True)


@contextmanager
def at_most(seconds: int, megabytes: int) -> Iterator[None]:
    """Fails if something takes longer, or more memory."""

    class Late(BaseException):
        """Not an Exception: the code under test mustn't catch it."""

    def late(*_: object) -> None:
        raise Late

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    except Late:
        pytest.fail(f"took more than {seconds} s")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < megabytes * 1024


def test_no_folder(tmp_path: Path) -> None:
    check(tmp_path / "nothing", "doesn't exist")


@pytest.mark.parametrize("left", [0, 1, 7, 8, 9, 100, -1, -9])
def test_truncated(folder: Path, left: int) -> None:
    file = shards(folder)[1]
    file.write_bytes(file.read_bytes()[:left])
    check(folder, file.name)


def test_more_bytes_than_the_header_accounts_for(folder: Path) -> None:
    file = shards(folder)[1]
    file.write_bytes(file.read_bytes() + bytes(64))
    check(folder, file.name)


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**40, 2**62, 2**63, 2**64 - 1])
def test_a_header_of_another_length(folder: Path, length: int) -> None:
    file = shards(folder)[0]
    file.write_bytes(length.to_bytes(8, "little") + file.read_bytes()[8:])
    check(folder, file.name)


LIES: list[dict[str, Any]] = [
    *({"shape": s} for s in ([122, 48], [2**40, 2**40], [2**63, 2], [-61, -24], [61.0, 24], ["61", 24], [], None)),
    *({"data_offsets": o} for o in ([0, 2**63], [-8, 8], [8, 0], [0], [0, 1, 2], None, [0.0, 5856.0], [2**64, 2**65])),
    *({"dtype": d} for d in ("F64", "BF16", "C64", "U32", "F8_E4M3", "F99", "f32", "", None, 3)),
]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_header_that_lies(folder: Path, lie: dict[str, Any]) -> None:
    file = shards(folder)[0]
    edit_header(file, lambda header: header["model.embed_tokens.weight"].update(lie))
    check(folder, file.name)


def test_a_header_with_two_tensors_in_one_place(folder: Path) -> None:
    def overlap(header: dict[str, Any]) -> None:
        first, second, *_ = (name for name in header if name != "__metadata__")
        header[second] = dict(header[first])

    edit_header(shards(folder)[0], overlap)
    check(folder, shards(folder)[0].name)


def test_a_header_with_a_name_twice(folder: Path) -> None:
    def twice(header: dict[str, Any]) -> bytes:
        first, second, *_ = (name for name in header if name != "__metadata__")
        return (json.dumps(header)[:-1] + f", {json.dumps(first)}: {json.dumps(header[second])}}}").encode()

    edit_header(shards(folder)[0], twice)
    check(folder, shards(folder)[0].name)


HEADERS = [b"", b"{}", b"[]", b"null", b"3", b"[" * 5000, b'{"a":' * 5000, b"\xff\xfe" * 20]


@pytest.mark.parametrize("text", HEADERS, ids=lambda text: repr(text[:6]))
def test_a_header_that_is_none(folder: Path, text: bytes) -> None:
    edit_header(shards(folder)[0], lambda header: text)
    check(folder, shards(folder)[0].name)


PATHS = [
    "../secret.safetensors", "/etc/passwd", "sub/model.safetensors", "model.bin", "", ".", "..", "./",
    "~/x.safetensors", "file:///x.safetensors", "x.safetensors\0", "..\\secret.safetensors",
    "x" * 5000 + ".safetensors",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: repr(path[:24]))
def test_an_index_that_points_elsewhere(folder: Path, path: str) -> None:
    (folder.parent / "secret.safetensors").write_bytes(shards(folder)[0].read_bytes())
    edit_index(folder, lambda files: files.update({next(iter(files)): path}))
    check(folder, "index")


def test_an_index_with_an_absolute_path(folder: Path) -> None:
    """Also where it leads to the right file: a folder must stay whole when it is moved."""
    edit_index(folder, lambda files: files.update({next(iter(files)): str(shards(folder)[0].absolute())}))
    check(folder, "index")


@pytest.mark.parametrize("place", ["/etc/passwd", "/dev/zero", "/", "nowhere", "itself"])
def test_a_shard_that_is_a_link(folder: Path, place: str) -> None:
    file = shards(folder)[0]
    file.unlink()
    file.symlink_to(file.name if place == "itself" else place)
    check(folder, file.name)


def test_a_shard_that_is_a_pipe(folder: Path) -> None:
    file = shards(folder)[0]
    file.unlink()
    os.mkfifo(file)
    with at_most(10, 500):
        check(folder, file.name)


def test_a_cache_of_the_hub(folder: Path, tmp_path: Path) -> None:
    """There every file is a link to `blobs`, two folders up: these are good links."""
    (folder / "tokenizer.json").write_text("{}")
    snapshot, blobs = tmp_path / "cache" / "snapshots" / "1", tmp_path / "cache" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, file in enumerate(folder.iterdir()):
        shutil.copy(file, blobs / str(i))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(i))
    net2net.grow_checkpoint(snapshot, tmp_path / "grown", {"num_hidden_layers": 4})
    torch.testing.assert_close(logits(tmp_path / "grown"), logits(folder))
    assert (tmp_path / "grown" / "tokenizer.json").read_text() == "{}"
    assert not any(file.is_symlink() for file in (tmp_path / "grown").iterdir())


def test_a_tokenizer_that_is_a_link_to_a_private_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("secret")
    (folder / "tokenizer.json").symlink_to(tmp_path / "private")
    try:
        net2net.grow_checkpoint(folder, tmp_path / "target", {"num_hidden_layers": 4})
    except net2net.CheckpointError:
        return
    assert not any(b"secret" in file.read_bytes() for file in (tmp_path / "target").iterdir())


def test_an_index_that_promises_a_tensor(folder: Path) -> None:
    edit_index(folder, lambda files: files.update({"model.extra.weight": next(iter(files.values()))}))
    check(folder, "model.extra.weight")


INDICES = [
    b"", b"{", b"[1, 2]", b'"x"', b"3", b"null", b"{}", b"\xff\xfe", bytes(100), b'{"weight_map": [1, 2',
    b'{"weight_map": null}', b'{"weight_map": [1]}', b'{"weight_map": "x"}',
    b'{"weight_map": {"a": null}}', b'{"weight_map": {"a": 3}}', b'{"weight_map": {"a": ["b"]}}',
    b'{"weight_map": {"a": {"b": "c"}}}',
    b'{"weight_map": {}}',
    b"[" * 100_000,
    b'{"weight_map":' * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("text", INDICES, ids=lambda text: repr(text[:32]))
def test_a_damaged_index(folder: Path, text: bytes) -> None:
    (folder / INDEX).write_bytes(text)
    check(folder)


def test_weights_in_two_ways(folder: Path) -> None:
    """An index and a single file: `from_pretrained` reads one of them, and so must we."""
    tensors = {name: tensor * 2 for file in shards(folder) for name, tensor in load_file(file).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    same_or_refused(folder)


def test_a_tensor_in_two_files(folder: Path) -> None:
    first, second, *_ = shards(folder)
    name, tensor = next(iter(load_file(first).items()))
    save_file({**load_file(second), name: tensor * 3}, second, metadata={"format": "pt"})
    same_or_refused(folder)


class Bomb:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.folder / "exploded",)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "shard", "index of bin", "index to bin"])
@pytest.mark.parametrize("how", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_a_pickle_is_never_loaded(folder: Path, tmp_path: Path, name: str, how: Callable[[Any, Path], None]) -> None:
    first = shards(folder)[0]
    for file in folder.glob("model*"):
        if file != first or name != "shard":
            file.unlink()
    content = json.dumps({"metadata": {}, "weight_map": {"w": "x.bin"}})
    if name.startswith("index"):
        (folder / ("pytorch_model.bin.index.json" if name == "index of bin" else INDEX)).write_text(content)
    path = folder / {"shard": first.name, "index of bin": "x.bin", "index to bin": "x.bin"}.get(name, name)
    how({"w": Bomb(tmp_path)}, path)
    check(folder, "safetensors")


@pytest.mark.parametrize("known_type", [True, False])
def test_code_beside_the_weights_is_never_run(folder: Path, tmp_path: Path, known_type: bool) -> None:
    source = f"open({str(tmp_path / 'exploded')!r}, 'w')\nclass Config: pass\nclass Model: pass\n"
    (folder / "evil.py").write_text(source)
    edit_config(folder, auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    edit_config(folder, trust_remote_code=True)
    if known_type:
        same_or_refused(folder)
    else:
        edit_config(folder, model_type="evil", architectures=["Model"])
        check(folder, "config.json")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_code_of_the_hub_is_never_run(folder: Path, key: str) -> None:
    """Transformers downloads and runs an attention that is named as a repository."""
    edit_config(folder, **{key: "somebody/kernel"})
    check(folder, key, "never run")
    edit_config(folder, **{key: None}, text_config={key: "somebody/kernel"})
    check(folder, key, "never run")


def test_quantised_weights(folder: Path) -> None:
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    check(folder, "quantised")


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool])
def test_weights_that_are_whole_numbers(folder: Path, dtype: torch.dtype) -> None:
    for file in shards(folder):
        save_file({n: t.to(dtype) for n, t in load_file(file).items()}, file, metadata={"format": "pt"})
    check(folder, "floating-point")


MISMATCHES: list[Any] = [
    {"hidden_size": 48}, {"intermediate_size": 38}, {"vocab_size": 60}, {"vocab_size": 62}, {"num_hidden_layers": 2},
    {"num_hidden_layers": 4}, {"num_hidden_layers": 0}, {"num_hidden_layers": -1}, {"num_attention_heads": 2},
    {"num_attention_heads": 0}, {"num_key_value_heads": 1}, {"num_key_value_heads": 4}, {"head_dim": 12},
    {"head_dim": 0}, {"hidden_size": "24"}, {"hidden_size": None}, {"hidden_act": "evil"}, {"pad_token_id": 10**12},
    {"rms_norm_eps": "x"}, {"tie_word_embeddings": False}, {"dtype": "evil"}, {"model_type": None},
    {"model_type": "gpt2"},
    {"architectures": ["LlamaConfig"]}, {"architectures": ["LlamaTokenizer"]},
    {"architectures": ["AutoModelForCausalLM"]}, {"architectures": ["PreTrainedModel"]}, {"architectures": ["os"]},
    {"architectures": ["GPT2LMHeadModel"]}, {"architectures": ["__doc__"]},
    {"architectures": {"a": 1}},
    {"architectures": [["x"]]}, {"architectures": "x"}, {"architectures": []},
]  # fmt: skip


@pytest.mark.parametrize("words", MISMATCHES, ids=str)
def test_a_config_that_does_not_match(folder: Path, words: dict[str, Any]) -> None:
    edit_config(folder, **words)
    check(folder)


HUGE: list[Any] = [
    {"hidden_size": 10**12}, {"hidden_size": 10**10}, {"hidden_size": 2**70}, {"intermediate_size": 10**12},
    {"vocab_size": 10**12}, {"head_dim": 10**12}, {"num_attention_heads": 10**12}, {"num_key_value_heads": 10**9},
    {"num_hidden_layers": 10**12},
    {"num_hidden_layers": 10**6},
]  # fmt: skip


@pytest.mark.parametrize("words", HUGE, ids=str)
def test_huge_numbers_in_a_config_cost_nothing(folder: Path, words: dict[str, Any]) -> None:
    edit_config(folder, **words)
    with at_most(5, 300):
        check(folder)


@pytest.mark.parametrize("words", HUGE, ids=str)
def test_huge_requests_cost_nothing(folder: Path, words: dict[str, Any]) -> None:
    with at_most(5, 300):
        refused(net2net.GrowthError, lambda: net2net.grow_checkpoint(folder, folder.parent / "target", words))
    assert not (folder.parent / "target").exists() and not list(folder.parent.glob(".*"))


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"3", b"null", b"\xff", b"[" * 100_000], ids=lambda t: repr(t[:6]))
def test_a_damaged_config(folder: Path, text: bytes) -> None:
    (folder / "config.json").write_bytes(text)
    check(folder, "config.json")


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
    edit_weights(folder, lambda name, tensor: tensor.fill_(torch.nan))
    check(folder, "NaN")


PLACES = [
    *(
        (place, value)
        for place in ("layers.1.mlp.up_proj", "model.norm")
        for value in (torch.nan, torch.inf, -torch.inf)
    ),
    *(("layers.0.self_attn.k_proj", value) for value in (torch.inf, -torch.inf)),
    ("layers.0.self_attn.k_proj", torch.nan),
    *(("embed_tokens", value) for value in (torch.nan, torch.inf, -torch.inf)),
]


@pytest.mark.thin(4)
@pytest.mark.parametrize(("where", "value"), PLACES)
def test_one_weight_that_is_no_number(folder: Path, where: str, value: float) -> None:
    """Wherever it is: in the table of tokens it may be in a row that no example looks up."""

    def poison(name: str, tensor: torch.Tensor) -> None:
        if where in name:
            tensor.view(-1)[0] = value

    edit_weights(folder, poison)
    check(folder)


def test_weights_at_the_end_of_the_range(folder: Path) -> None:
    def enlarge(name: str, tensor: torch.Tensor) -> None:
        if "k_proj" in name:
            tensor.fill_(3e38)

    edit_weights(folder, enlarge)
    same_or_refused(folder)


def flip(path: Path, draw: random.Random, end: int) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        data[draw.randrange(end)] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(s, marks=pytest.mark.sweep) for s in range(12, 500))])
def test_random_damage(folder: Path, seed: int) -> None:
    """Any damage to a header, an index or a config is an error, or leaves a folder that grows to what it loads as."""
    draw = random.Random(seed)
    file = draw.choice(shards(folder))
    size, header = file.stat().st_size, 8 + int.from_bytes(file.read_bytes()[:8], "little")
    kind = draw.choice(("header", "header", "length", "cut", "swap", "index", "config"))
    if kind == "header":
        flip(file, draw, header)
    elif kind == "length":
        flip(file, draw, 8)
    elif kind == "cut":
        os.truncate(file, draw.choice((draw.randrange(size), draw.randrange(header))))
    elif kind == "swap":
        shutil.copy(draw.choice(shards(folder)), folder / "copy")
        (folder / "copy").rename(file)
    else:
        text = folder / {"index": INDEX, "config": "config.json"}[kind]
        flip(text, draw, text.stat().st_size)
    same_or_refused(folder)


REQUESTS = [
    ({"hidden": 48}, net2net.UnknownNameError, "hidden_size"),
    ({"rms_norm_eps": "2x"}, net2net.UnknownNameError, "rms_norm_eps"),
    ({"__class__": 2}, net2net.UnknownNameError, "__class__"),
    ({"hidden_size.x": 2}, net2net.UnknownNameError, "hidden_size.x"),
    ({"hidden_size": 12}, net2net.SizeError, "smaller"),
    ({"hidden_size": -1}, net2net.SizeError, "smaller"),
    ({"hidden_size": "wide"}, net2net.SizeError, "wide"),
    ({"hidden_size": "nanx"}, net2net.SizeError, "nan"),
    ({"hidden_size": [48]}, net2net.SizeError, "48"),
    ({"num_attention_heads": 5}, net2net.GrowthError, ""),
    ({"num_key_value_heads": 3}, net2net.SizeError, "Sizes that work: 4"),
    ({"vocab_size": "2x"}, net2net.GrowthError, "looked up"),
    ({3: 2}, net2net.UnknownNameError, "3"),
    ({"hidden_size": 25}, net2net.GrowthError, ""),
    ({"eos_token_id": 5}, net2net.UnknownNameError, ""),
    ({}, net2net.SizeError, "changes nothing"),
    ({"hidden_size": 24}, net2net.SizeError, "changes nothing"),
]


@pytest.mark.parametrize(("sizes", "error", "part"), REQUESTS)
def test_requests_that_make_no_sense(
    folder: Path, tmp_path: Path, sizes: Any, error: type[net2net.GrowthError], part: str
) -> None:
    refused(error, lambda: net2net.grow_checkpoint(folder, tmp_path / "target", sizes), part)
    assert not (tmp_path / "target").exists() and not list(tmp_path.glob(".*"))


def test_a_target_that_exists(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    refused(net2net.CheckpointError, lambda: net2net.grow_checkpoint(folder, target, SIZES), "exists")
    assert not list(target.iterdir())


def in_the_way(path: Path, what: str) -> None:
    if what == "link":
        path.symlink_to("nowhere")
    elif what == "file":
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "mine").write_text("mine")


@pytest.mark.parametrize("what", ["link", "file", "folder"])
@pytest.mark.parametrize("name", ["target", ".target.partial"])
def test_something_in_the_way(folder: Path, tmp_path: Path, name: str, what: str) -> None:
    """It stays there, whatever it is."""
    in_the_way(tmp_path / name, what)
    refused(net2net.CheckpointError, lambda: net2net.grow_checkpoint(folder, tmp_path / "target", SIZES), name)
    assert (os.path.lexists(tmp_path / name) and what != "folder") or (tmp_path / name / "mine").exists()


@pytest.mark.parametrize("place", ["teacher/target", "teacher/config.json/target", "teacher/new/target"])
def test_a_target_in_the_source(folder: Path, tmp_path: Path, place: str) -> None:
    before = sorted(folder.rglob("*"))
    refused(net2net.CheckpointError, lambda: net2net.grow_checkpoint(folder, tmp_path / place, SIZES), "only read")
    assert sorted(folder.rglob("*")) == before


def test_a_target_below_a_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(
        net2net.CheckpointError,
        lambda: net2net.grow_checkpoint(folder, tmp_path / "file" / "target", SIZES),
        "nothing can be written",
    )


@pytest.mark.parametrize("text", ["", "{", "null", '{"seed": 0}'])
def test_a_request_that_was_cut_off(folder: Path, tmp_path: Path, text: str) -> None:
    """What an earlier run left is no reason to fail, and none to be trusted."""
    (tmp_path / ".target.partial").mkdir()
    (tmp_path / ".target.partial" / "request.json").write_text(text)
    (tmp_path / ".target.partial" / "mine").write_text("old")
    (tmp_path / ".target.partial" / "folder").mkdir()
    net2net.grow_checkpoint(folder, tmp_path / "target", {"num_hidden_layers": 4})
    assert not (tmp_path / "target" / "mine").exists()
    torch.testing.assert_close(logits(tmp_path / "target"), logits(folder))


def test_a_full_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from net2net.huggingface import _grow

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(_grow.shutil, "disk_usage", lambda path: usage)
    check(folder, "are free")
