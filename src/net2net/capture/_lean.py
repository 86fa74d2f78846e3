"""Export without what is thrown away: where in the source each operation was called, and Python code for each draft."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import fx

try:
    from torch.fx._lazy_graph_module import _use_lazy_graph_module as _code_on_demand
except ImportError:  # a private name: without it export only takes longer
    from contextlib import nullcontext as _code_on_demand  # type: ignore[assignment]  # called alike


@contextlib.contextmanager
def lean_tracing() -> Iterator[None]:
    """Let `torch.export` make the graph only. Its passes write Python code for every graph module many times, and
    look up the source lines of every operation: 45 percent of its time, for nothing that is read from the graph."""
    before = getattr(fx.config, "do_not_emit_stack_traces", None)
    if before is None:  # an older torch
        with _code_on_demand(True):
            yield
        return
    fx.config.do_not_emit_stack_traces = True
    try:
        with _code_on_demand(True):
            yield
    finally:
        fx.config.do_not_emit_stack_traces = before
