"""One block of those that repeat."""

from __future__ import annotations

from dataclasses import dataclass, field

from net2net.capture import Value


@dataclass(frozen=True, eq=False)
class Block:
    """One of the modules that repeat: its path, and the stream that it takes and hands on."""

    path: str
    stream_in: Value = field(repr=False)
    stream_out: Value = field(repr=False)

    def holds(self, path: str) -> bool:
        """Whether a module is the block or inside it."""
        return path == self.path or path.startswith(self.path + ".")
