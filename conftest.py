"""What every test relies on: one thread, so that results and timings don't depend on the machine's load."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Every test starts from the same random state, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to the sweep all but every n-th case of a test that is marked `thin(n)`, the first one among those kept."""
    cases: dict[tuple[str, str], int] = {}
    for item in items:
        thin = item.get_closest_marker("thin")
        if thin is not None:
            test = item.nodeid.partition("[")[0], item.location[2].partition("[")[0]
            cases[test] = cases.get(test, -1) + 1
            if cases[test] % thin.args[0]:
                item.add_marker(pytest.mark.sweep)
