"""Export without what is thrown away: where in the source each operation was called, and Python code for each draft."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch.fx import _lazy_graph_module as lazy
from torch.fx import config


@contextlib.contextmanager
def lean_tracing() -> Iterator[None]:
    """Let `torch.export` make the graph only.

    Its passes write Python code for every graph module some twenty times, and it looks up the source lines of every
    operation: two fifths of its work, for nothing that is read from the graph.
    """
    before = getattr(config, "do_not_emit_stack_traces", None)  # None: a torch without this option
    try:
        if before is not None:
            config.do_not_emit_stack_traces = True
        with lazy._use_lazy_graph_module(True):
            yield
    finally:
        if before is not None:
            config.do_not_emit_stack_traces = before
