"""Evidence for numbers that a topic reports: proofs where the function is a formula, estimates where it is not.

A formula is held against its Arb ball (``certify.py``); any other callable against Taylor's
theorem, forward mode and Richardson differences (``estimate.py``), which can refute and support but never prove.

    formula     certified, or suspect, refuted, inconclusive, undefined beside a proof (``judge.py``)
    callable    consistent at best; a derivative that is not finite is measured from both sides (``measured.py``)

A topic calls ``check_...`` for what it reports and ``agreement.worst`` for the verdict of all. Cost: for a formula, one
enclosure; for a callable, about 140 values of it and a pass of the forward mode, in three directions.

>>> import calclab, torch
>>> from calclab.numerics.agreement import worst
>>> f = calclab.formula("x**2 + 3*x*y", at=[1, 2])
>>> worst(check_gradient(f, f.start, torch.tensor([8.0, 3.0], dtype=torch.float64), 0)).word
'certified'
>>> g = calclab.function(lambda x: x[0] ** 2 + 3 * x[0] * x[1], at=[1.0, 2.0])
>>> worst(check_gradient(g, g.start, torch.tensor([8.0, 3.0], dtype=torch.float64), 0)).word
'consistent'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from calclab.core import Evidence, Function, Verdict
from calclab.numerics import certify, estimate, kinks, measured
from calclab.numerics.agreement import identity
from calclab.numerics.kinks import Gap
from calclab.numerics.tolerance import tolerance_of

QUOTIENTS = ("Taylor order", "Richardson", "differences of gradients along v")  # these measure the noise they meet


def check_value(function: Function, x: Tensor, value: Tensor, step: int, *, scale: float = 0.0) -> list[Evidence]:
    """Evidence for f(x), () or (m,); gaps are relative to a formula's own value, or to a stated ``scale`` if larger."""
    if function.exact is not None:
        return certify.derivative(function, x, value, step, order=0, scale=scale)
    return rounded(function, estimate.value(function, x, value, step))


def check_gradient(
    function: Function,
    x: Tensor,
    gradient: Tensor,
    step: int,
    *,
    scale: float = 0.0,
    each: bool = False,
) -> list[Evidence]:
    """Evidence for ∇f(x) (n,). Gaps are relative to each proven entry of a formula; where a ``scale`` is stated, the
    gradient's size at the start of a descent, to it or to the largest entry, whichever is larger. ``each`` gives every
    partial derivative of a formula a row of its own.
    """
    if function.exact is not None:
        return certify.derivative(function, x, gradient, step, order=1, scale=scale, each=each)
    rows = both_sides(function, x, 1, gradient, estimate.gradient(function, x, gradient, step, scale=scale))
    return rounded(function, rows)


def check_gradients(
    function: Function, x: Tensor, gradients: Tensor, step: int, scales: Sequence[float]
) -> list[list[Evidence]]:
    """Evidence for ∇f at each of the points x (p, n), each with its scale."""
    if function.exact is not None:
        return certify.gradients(function, x, gradients, step, scales)
    found = zip(x, gradients, estimate.gradients(function, x, gradients, step, scales), strict=True)
    return [rounded(function, both_sides(function, point, 1, g, rows)) for point, g, rows in found]


def check_hessian(function: Function, x: Tensor, H: Tensor, step: int) -> list[Evidence]:
    """Evidence for ∇²f(x) (n, n)."""
    if function.exact is not None:
        return certify.derivative(function, x, H, step, order=2)
    symmetry = [identity("hessian", "symmetry: H = Hᵀ", H, H.T, step)] if bool(H.isfinite().all()) else []
    return rounded(function, symmetry + both_sides(function, x, 2, H, estimate.hessian(function, x, H, step)))


def check_jacobian(function: Function, x: Tensor, J: Tensor, step: int) -> list[Evidence]:
    """Evidence for J (m, n) of a vector function."""
    if function.exact is not None:
        return certify.derivative(function, x, J, step, order=1)
    return rounded(function, estimate.jacobian(function, x, J, step))


def check_eigenvalues(function: Function, x: Tensor, eigenvalues: Tensor, step: int) -> list[Evidence]:
    """Evidence for the eigenvalues (n,) of the Hessian, ascending."""
    if function.exact is not None:
        return certify.spectrum(function, "eigenvalues", eigenvalues, function.exact.eigenvalues(x), step)
    return rounded(function, estimate.eigenvalues(function, x, eigenvalues, step))


def check_singular_values(function: Function, x: Tensor, singular_values: Tensor, step: int) -> list[Evidence]:
    """Evidence for the singular values (min(m, n),) of the Jacobian, descending."""
    if function.exact is not None:
        return certify.spectrum(function, "singular values", singular_values, function.exact.singular_values(x), step)
    return rounded(function, estimate.singular_values(function, x, singular_values, step))


def rounded(function: Function, rows: Sequence[Evidence]) -> list[Evidence]:
    """Rows about a function that computes in a smaller type inside: what that type's rounding explains is suspect.

    An identity holds to 2^13 of its roundings, a difference quotient to what its own kind can tell (`tolerance`).
    """
    own, inside = function.start.dtype, function.inside
    if inside is None:
        return list(rows)
    kind, ratio = str(inside).removeprefix("torch."), tolerance_of(inside).eps / tolerance_of(own).eps
    reason = f"the network computes in {kind} inside: its rounding explains this"
    found = []
    for row in rows:
        size = max(abs(row.value), abs(row.reference))
        explained = tolerance_of(inside).refute * size if row.method in QUOTIENTS else row.tolerance * ratio
        doubted = row.verdict in (Verdict.SUSPECT, Verdict.REFUTED) and row.gap <= explained
        found.append(replace(row, verdict=Verdict.SUSPECT, note=reason) if doubted else row)
    return found


def both_sides(function: Function, x: Tensor, order: int, number: Tensor, rows: list[Evidence]) -> list[Evidence]:
    """Of a callable's derivative that is not finite: undefined only where the two sides are measured to differ, else
    inconclusive with what was measured."""
    lost = any(row.verdict is Verdict.UNDEFINED for row in rows) and not bool(number.isfinite().all())
    if not lost or len(x) > measured.MOST or not bool(function.call(x).isfinite().all()):
        return rows
    gaps = measured.gaps(function.call, x, order, number, function.variables)
    if not gaps or any(gap.exists is False for gap in gaps.values()):
        return rows
    note = next(iter(gaps.values())).note
    return [
        replace(row, verdict=Verdict.INCONCLUSIVE, note=f"autograd gives no finite number; {note}")
        if row.verdict is Verdict.UNDEFINED
        else row
        for row in rows
    ]


def known(function: Function, x: Tensor, order: int, number: Tensor) -> dict[int, Gap]:
    """What is known, from both sides, of the entries (by flat index) of the derivative ``number`` of ``order`` 1 or 2
    that are not proven, or of which a callable's autograd gives no number or hides a kink.
    """
    if function.exact is not None:
        return kinks.gaps(function.exact, x, order, function.variables)
    return measured.gaps(function.call, x, order, number, function.variables)


def best_known(function: Function, x: Tensor, order: int, number: Tensor, gaps: dict[int, Gap]) -> Tensor:
    """A derivative of ``order`` 1 or 2 (float64, of the shape of ``number``): proven where it can be, else as
    ``number`` has it; measured, or NaN, where ``gaps`` says so."""
    exact = function.exact
    base = number.double() if exact is None else exact.enclose(x, order).mid.reshape(number.shape)
    return kinks.filled(base, gaps)
