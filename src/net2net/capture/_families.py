"""Families of operations that many rules ask for: a new cast or copy is added here, once."""

from __future__ import annotations

# They hand every entry on as it is.
COPIES = (
    "aten.clone", "aten.contiguous", "aten.detach", "aten.alias", "aten.alias_copy", "aten.lift_fresh",
    "aten.lift_fresh_copy", "aten.positive", "aten.resolve_conj", "aten.resolve_neg",
)  # fmt: skip
# They hand every entry on in another number format.
CASTS = ("aten.to", "aten._to_copy", "aten.type_as")
# They hand every entry on where randomness is off; `aten.native_dropout` gives a mask too.
DROPOUTS = ("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout", "aten.feature_alpha_dropout")
# They see the same entries, in the same order, under another shape.
VIEWS = ("aten.view", "aten.reshape", "aten._unsafe_view", "aten.flatten", "aten.unflatten")
# They hand all entries on, under another shape or in another order of the axes.
MOVES = (
    *VIEWS, "aten.squeeze", "aten.unsqueeze", "aten.permute", "aten.transpose", "aten.swapaxes", "aten.swapdims",
    "aten.movedim", "aten.moveaxis", "aten.t", "aten.mT", "aten.numpy_T",
)  # fmt: skip
# They hand on a stretch of an axis; what lies beside it stays as it is.
STRETCHES = ("aten.slice", "aten.narrow", "aten.narrow_copy")
