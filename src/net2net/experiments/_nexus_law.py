"""A geometric law of growth, L_k = L_inf + c q^k, fitted to losses after k growths; and whether they determine it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from net2net.errors import MissingExtraError

_GRID = np.linspace(0.005, 0.995, 991)
_LEVEL = 0.95


@dataclass(frozen=True)
class GrowthLaw:
    """A fit of L_k = L_inf + c q^k.

    Attributes:
        limit, c, q: the best fit, by least squares.
        limits, qs: from where to where they lie with 95 %: all q whose squared error an F-test doesn't tell from the
            best, and the limits that go with them.
        determined: whether `qs` ends inside of 0 < q < 1; if not, the points are no evidence for such a law.
        points: how many.
    """

    limit: float
    c: float
    q: float
    limits: tuple[float, float]
    qs: tuple[float, float]
    determined: bool
    points: int

    def at(self, k: float) -> float:
        """The loss after k growths."""
        return self.limit + self.c * float(self.q**k)

    def __str__(self) -> str:
        low, high = self.qs
        text = f"L_k = {self.limit:.3f} + {self.c:.3f} * {self.q:.2f}^k over {self.points} points"
        between = f"q from {low:.2f} to {high:.2f}, L_inf from {self.limits[0]:.3f} to {self.limits[1]:.3f}"
        if self.determined:
            return f"{text} (95 %: {between})"
        return f"{text}, but the fit is not determined: {between} or beyond fit as well"


def fit_law(growths: Sequence[int], losses: Sequence[float]) -> GrowthLaw | None:
    """Fit the law for 0 < q < 1.

    Args:
        growths: k of each point, several times the same for several seeds.
        losses: at these.

    Returns:
        The fit, or None with fewer points than 4 or fewer than 3 different k.

    Raises:
        MissingExtraError: scipy is not installed.

    Example:
        >>> ks = [0, 1, 2, 3] * 2
        >>> law = fit_law(ks, [2 + 0.5**k + (0.002 if i < 4 else -0.002) for i, k in enumerate(ks)])
        >>> round(law.limit, 2), round(law.q, 1), law.determined
        (2.0, 0.5, True)
        >>> fit_law(ks, [2 - 0.1 * k for k in ks]).determined  # a line has no limit
        False
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtraError("the growth law needs scipy: install net2net[experiments].") from error
    if len(losses) < 4 or len(set(growths)) < 3 or not np.isfinite(losses).all():
        return None
    k, y = np.asarray(growths, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    found = []
    for q in _GRID:  # for a q the law is linear in the two others
        basis = np.stack([np.ones_like(k), q**k], 1)
        answer = np.linalg.lstsq(basis, y, rcond=None)[0]
        found.append((float(((basis @ answer - y) ** 2).sum()), *map(float, answer)))
    errors = np.array([error for error, _, _ in found])
    best, free = int(errors.argmin()), len(y) - 3
    bound = errors[best] * (1 + float(stats.f.ppf(_LEVEL, 1, free)) / free) + 1e-18
    inside = np.flatnonzero(errors <= bound)
    limits = [found[i][1] for i in inside]
    return GrowthLaw(
        found[best][1],
        found[best][2],
        float(_GRID[best]),
        (min(limits), max(limits)),
        (float(_GRID[inside[0]]), float(_GRID[inside[-1]])),
        bool(inside[0] > 0 and inside[-1] < len(_GRID) - 1),
        len(y),
    )
