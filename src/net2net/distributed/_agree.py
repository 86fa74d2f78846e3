"""What all ranks do together, or none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch.distributed as dist

from net2net.errors import GrowthError

_FAILED = "net2net.distributed/failed"


def ranks() -> int:
    """How many processes there are; 1 where torch.distributed isn't begun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gathered(value: Any) -> list[Any]:
    """The values of all ranks, in their order."""
    if ranks() == 1:
        return [value]
    found: list[Any] = [None] * ranks()
    dist.all_gather_object(found, value)
    return found


class Reason:
    """The first thing that went wrong on this rank; the others learn of it at the end of the stage.

    A rank whose own work fails goes on taking part in what all do together, so that no other waits for it.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what is raised inside."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error


@contextlib.contextmanager
def together(what: str) -> Iterator[Reason]:
    """A stage that is finished on all ranks or on none.

    Raises:
        GrowthError: it failed on some rank; on all ranks, with that rank's reason. Where a rank is gone or waits in
            vain, as soon as the process group's timeout has passed.
    """
    reason = Reason()
    try:
        yield reason
    except Exception as error:
        reason.error = reason.error or error
        _tell(f"rank {_rank()}: {type(error).__name__}: {error}")
        if _is_lost(error):
            raise GrowthError(f"{what} stopped: {_told() or error}") from error
    mine = reason.error
    try:
        errors = gathered(None if mine is None else f"{type(mine).__name__}: {mine}")
    except Exception as error:
        raise GrowthError(f"{what} stopped: {_told() or error}") from (mine or error)
    if mine is not None and isinstance(mine, GrowthError):
        raise mine
    for rank, text in enumerate(errors):
        if text is not None:
            raise GrowthError(f"{what} failed on rank {rank}, and stops on all: {text}") from mine


def _is_lost(error: Exception) -> bool:
    """Whether another rank is gone or late: nothing more can be done together."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()


def _tell(text: str) -> None:
    """Leave the reason where ranks that wait in vain find it."""
    with contextlib.suppress(Exception):
        store = _store()
        if not store.check([_FAILED]):
            store.set(_FAILED, text)


def _told() -> str | None:
    with contextlib.suppress(Exception):
        return str(_store().get(_FAILED).decode()) if _store().check([_FAILED]) else None
    return None
