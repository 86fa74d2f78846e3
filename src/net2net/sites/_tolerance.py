"""What sizes a dimension can take, and why."""

from __future__ import annotations

from typing import Literal

from net2net.axes import Atom
from net2net.sites._sites import Sites
from net2net.sites._trace import NotPossible


def tolerance(sites: Sites, atom: Atom) -> tuple[Literal["any", "multiple", "fixed"], str]:
    """("any" | "multiple" | "fixed", the reason in words)."""
    if atom.lock is not None:
        return "fixed", atom.lock.text
    averaged = sites.averaged(atom)
    over = f"averaged over ({averaged[0].node.where})" if averaged else ""
    fresh_reason = ""
    for inward in (False, True):
        try:
            sites.fresh_needs(atom, inward=inward)
            return "any", f"{over}: copies in whole multiples, new units at any size" if over else ""
        except NotPossible as reason:
            fresh_reason = fresh_reason or str(reason)
    try:
        sites.split_needs(atom)
    except NotPossible as reason:
        return "fixed", f"new units: {fresh_reason}; copies: {reason}"
    return ("multiple", f"{over}; {fresh_reason}") if averaged else ("any", f"copies only: {fresh_reason}")
