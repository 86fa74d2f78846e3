"""Workers that are killed lose their trial only, and what it tried is tried again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna")
pytest.importorskip("typer")
from typer.testing import CliRunner  # noqa: E402

from net2net.cli._app import app  # noqa: E402

SPACE = str(Path(__file__).parent / "spaces.py")


def started(folder: Path, storage: str, trials: int, **environment: str) -> subprocess.Popen[bytes]:
    """A worker in a process of its own."""
    command = [sys.executable, "-m", "net2net", "explore", SPACE, "--trials", str(trials), "--folder", str(folder)]
    return subprocess.Popen(
        [*command, "--storage", storage, "--baselines", "0"],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **environment,
        },
        stdout=subprocess.DEVNULL,
    )


def killed_in_a_trial(folder: Path, storage: str, trials: int) -> int:
    """Start a worker, kill it in the middle of a trial; the number of the trial."""
    begun = folder / "begun"
    begun.unlink(missing_ok=True)
    worker = started(folder, storage, trials, NET2NET_TEST_BEGUN=str(begun))
    end = time.monotonic() + 300
    while not (begun.exists() and begun.read_text()):
        assert worker.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    return int(begun.read_text())


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["explore", SPACE, "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_command_runs_a_search_with_its_baselines(tmp_path: Path) -> None:
    found = run("--trials", "2", "--folder", str(tmp_path), "--storage", f"journal:{tmp_path / 'log'}")
    assert [t["outcome"] for t in found["trials"]] == ["trained", "trained"]
    assert {b["start"] for b in found["baselines"]} == {"random initialisation", "the teacher, trained on"}
    assert "Who grew from whom" in (tmp_path / "report.html").read_text()
    wrong = CliRunner().invoke(app, ["explore", str(Path(__file__)), "--folder", str(tmp_path)])
    assert wrong.exit_code == 2 and "teacher()" in wrong.output


@pytest.mark.sweep
def test_two_workers_of_the_command_end_with_as_many_trials_as_one(tmp_path: Path) -> None:
    found = run("--trials", "6", "--folder", str(tmp_path), "--workers", "2", "--baselines", "0")
    assert Counter(t["outcome"] for t in found["trials"]) == {"trained": 6}


@pytest.fixture
def postgres() -> Iterator[str]:
    """A server of its own, where Debian's package (postgresql) is installed; and a driver for it."""
    pytest.importorskip("psycopg2")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("there is no PostgreSQL server")
    folder = tempfile.mkdtemp()  # not below that of the test, which other users can't enter
    options: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        options["user"] = "postgres"
    subprocess.run([programs[-1], "-D", folder, "-A", "trust", "-U", "search"], **options)
    control = [programs[-1].with_name("pg_ctl"), "-D", folder, "-w"]
    subprocess.run([*control, "-o", f"-p 54329 -k {folder} -c listen_addresses=localhost", "start"], **options)
    try:
        yield "postgresql+psycopg2://search@localhost:54329/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **options)
        shutil.rmtree(folder)


def kills(folder: Path, storage: str) -> None:
    """One worker works on while another one is killed ten times: no trial is lost."""
    trials = 14
    folder.mkdir()
    other = started(folder, storage, trials, NET2NET_TEST_BEGUN=str(folder / "other"))
    while not (folder / "other").exists():
        time.sleep(0.05)
    lost = [killed_in_a_trial(folder, storage, trials) for _ in range(10)]
    (folder / "hurry").touch()
    other.wait(600)
    found = run("--trials", str(trials), "--folder", str(folder), "--storage", storage, "--baselines", "0")
    by_number = {t["number"]: t for t in found["trials"]}
    outcomes = Counter(t["outcome"] for t in found["trials"])
    assert outcomes["trained"] == trials and outcomes["ended"] == 10 and set(outcomes) == {"trained", "ended"}
    for number in lost:
        again = [t for t in by_number.values() if t["number"] > number]
        assert by_number[number]["outcome"] == "ended"
        assert any(t["architecture"] == by_number[number]["architecture"] for t in again)


@pytest.mark.sweep
def test_ten_kills_on_sqlite(tmp_path: Path) -> None:
    kills(tmp_path / "search", f"sqlite:///{tmp_path / 'study.db'}")


@pytest.mark.sweep
def test_ten_kills_on_postgresql(tmp_path: Path, postgres: str) -> None:
    kills(tmp_path / "search", postgres)
