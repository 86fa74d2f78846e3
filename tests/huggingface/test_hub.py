"""A model by its name on the hub: taken from the hub's cache, which holds links into a folder of blobs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import net2net
from net2net.cli._app import app
from net2net.huggingface import local_folder

pytest.importorskip("transformers")
constants = pytest.importorskip("huggingface_hub.constants")
NAME = "somebody/small-llama"


@pytest.fixture
def cached(llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small Llama in a hub's cache, without a network; gives the snapshot."""
    home = tmp_path / "hub" / "models--somebody--small-llama"
    snapshot = home / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    (home / "blobs").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(snapshot.name)
    shutil.copytree(llama_folder, snapshot)
    (snapshot / "additional_chat_templates").mkdir()
    (snapshot / "additional_chat_templates" / "tools.jinja").write_text("{{ messages }}")
    for number, file in enumerate(sorted(snapshot.rglob("*.*"))):
        if file.is_file():
            file.rename(home / "blobs" / str(number))
            file.symlink_to(home / "blobs" / str(number))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_grow_by_name(cached: Path, llama_folder: Path, tmp_path: Path) -> None:
    growth = net2net.grow_checkpoint(NAME, tmp_path / "grown", {"intermediate_size": 50})
    assert growth.verification is not None and growth.verification.passed
    template = tmp_path / "grown" / "additional_chat_templates" / "tools.jinja"
    assert template.read_text() == "{{ messages }}" and not template.is_symlink()
    runner = CliRunner()
    assert runner.invoke(app, ["verify", NAME, str(tmp_path / "grown")]).exit_code == 0
    assert "mlp" in runner.invoke(app, ["analyze", NAME]).stdout
    wide = runner.invoke(app, ["grow", NAME, str(tmp_path / "cli"), "--set", "hidden_size=2x", "--dry-run"])
    assert wide.exit_code == 0, wide.output


def test_a_folder_is_meant_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebody" / "small-llama").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local_folder(NAME) == Path(NAME)
    assert local_folder("models/net.py:build") == Path("models/net.py:build")
    assert local_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"


def test_a_name_that_is_nothing(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(net2net.CheckpointError, match="no folder nobody/nothing, and the hub"):
        net2net.grow_checkpoint("nobody/nothing", tmp_path / "grown", {"hidden_size": "2x"})
    assert not list(tmp_path.glob("*grown*"))
