"""Unification of axes: what it learns, what it refuses, and why."""

from __future__ import annotations

import pytest

from net2net.axes import UNIT, Atom, Concat, LockKind, Product, Term, atoms, head, lock, resolve, size, unflatten
from net2net.axes._terms import concat, product, split, unify


def locks(*terms: Term) -> list[str | None]:
    return [atom.lock and atom.lock.text for term in terms for atom in atoms(term)]


def test_sizes() -> None:
    assert size(Atom(5)) == 5 and size(UNIT) == 1
    assert size(product([Atom(3), Atom(4)])) == 12
    assert size(concat([Atom(3), product([Atom(2), Atom(4)])])) == 11


def test_normal_form() -> None:
    a, b, c = Atom(2), Atom(3), Atom(4)
    assert product([a]) is a and concat([b]) is b
    assert product([product([a, b]), UNIT, c]) == Product((a, b, c))
    assert concat([concat([a, b]), Atom(0), c]) == Concat((a, b, c))
    assert product([]) == UNIT


def test_unified_atoms_are_one() -> None:
    a, b, c = Atom(6), Atom(6), Atom(6)
    unify(a, b, "add")
    unify(b, c, "add")
    assert head(a) is head(b) is head(c)
    assert locks(a) == [None]


def test_a_lock_reaches_everything_that_is_the_same() -> None:
    a, b, c = Atom(6), Atom(6), Atom(6)
    lock(b, "it reaches the input 'x'", LockKind.INPUT)
    unify(a, b, "add")
    unify(c, a, "mul")
    assert locks(c) == ["it reaches the input 'x'"]
    (atom,) = atoms(c)
    assert atom.lock is not None and atom.lock.kind is LockKind.INPUT


def test_the_first_reason_stays() -> None:
    a = Atom(4)
    lock(a, "first")
    lock(a, "second")
    assert a.lock is not None and a.lock.text == "first"


@pytest.mark.parametrize("bound_first", [True, False])
def test_a_lock_reaches_the_parts_of_a_refined_axis(bound_first: bool) -> None:
    whole = Atom(12)
    if bound_first:
        outer, inner = unflatten(whole, [3, 4], "view")
        lock(whole, "softmax", LockKind.INPUT)
    else:
        lock(whole, "softmax", LockKind.INPUT)
        outer, inner = unflatten(whole, [3, 4], "view")
    assert locks(outer, inner) == ["softmax", "softmax"]
    assert [atom.lock and atom.lock.kind for term in (outer, inner) for atom in atoms(term)] == [LockKind.INPUT] * 2


def test_different_sizes_lock_both_and_say_so() -> None:
    a, b = Atom(6), Atom(8)
    unify(a, b, "aten.add in 'block'")
    assert head(a) is not head(b)
    assert locks(a, b) == ["aten.add in 'block' relates axes of sizes 6 and 8"] * 2


def test_an_axis_is_no_rearrangement_of_itself() -> None:
    """The occurs check: binding an atom to a term that contains it would never end."""
    a = Atom(6)
    outer, inner = unflatten(a, [2, 3], "view")
    unify(product([outer, inner]), a, "add")  # the same arrangement: nothing to refuse
    assert locks(a) == [None, None]
    unify(a, product([inner, outer]), "aten.add")
    assert all(reason is not None for reason in locks(a))
    assert size(resolve(a)) == 6


def test_the_occurs_check_on_an_atom() -> None:
    a = Atom(6)
    unify(a, concat([a, Atom(0)]), "cat")  # with nothing: itself
    assert locks(a) == [None]
    unify(a, product([UNIT, a]), "view")
    assert locks(a) == [None]
    half = Atom(3)
    unify(half, concat([half]), "cat")
    doubled = concat([half, half])
    unify(doubled, a, "aten.cat")  # one atom twice is no loop: the axis is its two halves
    assert resolve(a) == Concat((half, half)) and locks(a) == [None, None]
    whole = Atom(5)
    unify(whole, Product((whole, Atom(1))), "aten.expand")  # not in normal form: a loop if it were bound
    assert size(resolve(whole)) == 5


def test_products_align_factor_by_factor() -> None:
    a, b, c, d = Atom(2), Atom(3), Atom(2), Atom(3)
    unify(product([a, b]), product([c, d]), "add")
    assert head(a) is head(c) and head(b) is head(d)


def test_products_refine_each_other() -> None:
    """4096 = 32 x 128 against 8 x 4 x 128: grouped queries."""
    heads, width = Atom(32), Atom(128)
    groups, repetitions, other = Atom(8), Atom(4), Atom(128)
    unify(product([heads, width]), product([groups, repetitions, other]), "sdpa")
    assert resolve(heads) == Product((head(groups), head(repetitions)))
    assert head(width) is head(other)


def test_products_that_do_not_align_are_locked_with_the_reason() -> None:
    a, b, c, d = Atom(4), Atom(9), Atom(6), Atom(6)
    unify(product([a, b]), product([c, d]), "aten.view in 'net'")
    assert all("aten.view in 'net' relates blocks of 4 to blocks of 6" in str(reason) for reason in locks(a, b, c, d))


def test_concatenations_align_at_every_edge() -> None:
    a, b, c, d = Atom(2), Atom(5), Atom(4), Atom(3)
    unify(concat([a, b]), concat([c, d]), "add")
    parts = resolve(concat([a, b]))
    assert isinstance(parts, Concat) and [size(p) for p in parts.parts] == [2, 2, 3]
    assert resolve(concat([c, d])) == parts
    assert locks(parts) == [None] * 3


def test_a_concatenation_of_equal_rows_is_a_product() -> None:
    """A fused QKV: (q, k, v) laid end to end, seen as (3, heads)."""
    q, k, v = Atom(8), Atom(8), Atom(8)
    outer, inner = unflatten(concat([q, k, v]), [3, 8], "view")
    assert head(q) is head(k) is head(v) is head(inner)
    assert size(outer) == 3 and all("view" in str(reason) for reason in locks(outer))
    assert locks(inner) == [None]


def test_a_concatenation_meets_a_product() -> None:
    a, b, rows, row = Atom(4), Atom(4), Atom(2), Atom(4)
    unify(concat([a, b]), product([rows, row]), "add")
    assert head(a) is head(b) is head(row)
    assert [size(t) for t in getattr(resolve(rows), "parts", ())] == [1, 1]
    assert all("gives each of its 2 parts one place" in str(reason) for reason in locks(rows))


def test_a_view_across_parts_locks_with_the_reason() -> None:
    a, b = Atom(4), Atom(6)
    result = unflatten(concat([a, b]), [2, 5], "aten.view in 'net'")
    assert [size(t) for t in result] == [2, 5]
    assert locks(a, b, *result) == ["aten.view in 'net' cuts across parts of [4, 6]"] * 4


def test_a_view_across_blocks_locks_with_the_reason() -> None:
    a, b = Atom(4), Atom(9)
    result = unflatten(product([a, b]), [6, 6], "aten.view in 'net'")
    assert [size(t) for t in result] == [6, 6]
    assert locks(a, b, *result) == ["aten.view in 'net' cuts across blocks of 4 x 9"] * 4


def test_a_view_refines_a_product_further() -> None:
    a, b = Atom(6), Atom(4)
    first, second, third = unflatten(product([a, b]), [2, 3, 4], "view")
    assert resolve(a) == Product((first, second)) and third is b
    one, other = unflatten(product([a, b]), [2, 12], "view")
    assert resolve(one) is first and resolve(other) == Product((second, b))


def test_a_view_may_put_axes_of_size_one_anywhere() -> None:
    a = Atom(6)
    assert unflatten(a, [1, 6, 1], "view") == [UNIT, a, UNIT]


def test_a_split_of_a_product_takes_whole_blocks() -> None:
    heads, width = Atom(6), Atom(4)
    left, right = split(product([heads, width]), [8, 16], "split")
    assert resolve(heads) == concat([resolve(left).factors[0], resolve(right).factors[0]])  # type: ignore[union-attr]
    assert (size(left), size(right)) == (8, 16) and locks(heads) == [None, None]


def test_a_split_inside_a_block_is_locked() -> None:
    heads, width = Atom(6), Atom(4)
    parts = split(product([heads, width]), [10, 14], "aten.split in 'net'")
    assert [size(p) for p in parts] == [10, 14]
    assert locks(heads, width, *parts) == ["aten.split in 'net' cuts inside blocks of 4"] * 4


def test_a_split_and_its_concatenation_are_the_axis_again() -> None:
    a = Atom(10)
    parts = split(a, [3, 7], "split")
    again = concat(parts)
    unify(again, a, "add")
    assert resolve(again) == resolve(a) and locks(a) == [None, None]


def test_halves_that_change_places_are_locked_or_made_one() -> None:
    """The rotation of RoPE adds (a, b) to (-b, a): both halves must be one axis."""
    a = Atom(8)
    left, right = split(a, [4, 4], "slice")
    unify(concat([right, left]), a, "add")
    assert head(left) is head(right)
    assert size(resolve(a)) == 8


def test_unification_is_symmetric() -> None:
    def shape(flip: bool) -> str:
        pair = product([Atom(2), Atom(6)]), product([Atom(4), Atom(3)])
        unify(*(pair[::-1] if flip else pair), "add")
        return str([[size(f) for f in getattr(resolve(t), "factors", [])] for t in pair])

    assert shape(False) == shape(True)
