"""Stable-Baselines3: a trained agent goes on in a changed environment. Loaded when it is first used."""

from net2net.errors import MissingExtraError

try:
    import stable_baselines3 as _sb3  # noqa: F401
except ImportError as error:
    raise MissingExtraError("agents need Stable-Baselines3: pip install 'net2net[rl]'.") from error

from net2net.rl._grow import grow

__all__ = ["grow"]
