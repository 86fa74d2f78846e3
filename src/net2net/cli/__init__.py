"""The command line: `net2net analyze | grow | verify | demo`. It needs the extra net2net[cli]."""

from __future__ import annotations

import importlib.util
import sys


def main() -> None:
    """Run the command line, or say what is missing for it."""
    if any(importlib.util.find_spec(name) is None for name in ("typer", "rich")):
        print("install net2net[cli]", file=sys.stderr)
        raise SystemExit(2)
    from net2net.cli._app import app

    app()
