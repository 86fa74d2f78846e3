"""What every test relies on: one thread, so that results and timings don't depend on the machine's load."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Every test starts from the same random state, whichever tests ran before it."""
    torch.manual_seed(0)
