"""The examples run, and go on after a stop as if there had been none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(example: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / example), *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_accelerate(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from safetensors.torch import load_file

    text = run("accelerate_growth.py", str(tmp_path / "whole"))
    for stop in ("57", "150"):
        run("accelerate_growth.py", str(tmp_path / "broken"), "--stop-after", stop)
    ours, theirs = (load_file(tmp_path / name / "step-150" / "model.safetensors") for name in ("whole", "broken"))
    assert ours["0.weight"].shape == (48, 8)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
    losses = [float(line.split()[3]) for line in text.splitlines() if line.startswith("step")]
    assert losses[-1] < 0.9 * losses[0]
