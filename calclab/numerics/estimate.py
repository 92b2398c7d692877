"""Evidence for callables that are no formula: networks, Python functions. It refutes or supports, and never proves.

Every check goes along a few seeded directions, never the full basis: networks have up to 10^6 parameters. A matrix
is looked at through weights u on its rows: φ = u·f has the gradient Jᵀu, and φ = u·∇f has Hu.

Three witnesses, as independent as they can be: values of f alone (the Taylor remainder must fall like h²; Richardson's
difference quotients have an error of their own), the other mode of differentiation, and identities of matrices
(Σλ = tr H). A number is refuted by one that resolves it and finds it elsewhere, supported by one that resolves it and
agrees; a witness that cannot tell says so. With p directions an error in a single one of n entries is seen through its
component along them, about √(p/n) of its size at worst: what is said is said of these directions.

>>> import calclab
>>> f = calclab.function(lambda x: (x**3).sum(), at=[1.0, 2.0])
>>> {row.verdict.word for row in gradient(f, f.start, 3 * f.start**2, 0)}
{'consistent'}
>>> gradient(f, f.start, 3.01 * f.start**2, 0)[0].verdict.word  # off by a third of a per cent
'refuted'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from math import inf, isfinite

import torch
from torch import Tensor

from calclab.core import Evidence, Function, Verdict
from calclab.numerics import batched, operators, taylor
from calclab.numerics.agreement import compare, forward_row
from calclab.numerics.slopes import richardson_row, taylor_row
from calclab.numerics.taylor import Phi, Samples, dot
from calclab.numerics.tolerance import tolerance_of

DIRECTIONS = 3
SEED = 20_160
SMALL = 256  # eigenvalues of larger matrices are not computed a second time


def value(function: Function, x: Tensor, number: Tensor, step: int) -> list[Evidence]:
    """The program evaluated again: dropout left on, or state that changes, shows here."""
    with torch.no_grad():
        again = function.call(x)
    a, b = (t.detach().cpu().double().reshape(-1) for t in (number, again))
    gaps = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs()).nan_to_num(nan=inf)
    i = int(gaps.argmax())
    gap, tolerance = float(gaps[i]), tolerance_of(x.dtype).identity * float(b.abs().max())
    verdict, note = (Verdict.CONSISTENT, "") if gap <= tolerance else (Verdict.REFUTED, "another value each time")
    if gap == 0 and not bool(a.isfinite().all()):
        i, verdict, note = int((~a.isfinite()).double().argmax()), Verdict.UNDEFINED, "the function is not finite here"
    return [Evidence(step, "value", "evaluated again", float(a[i]), float(b[i]), gap, gap, tolerance, verdict, note)]


def gradient(function: Function, x: Tensor, g: Tensor, step: int, *, scale: float = 0.0) -> list[Evidence]:
    """Taylor order, reverse against forward mode, and Richardson, for ∇f (n,): a row each, of the worst direction."""
    return gradients(function, x[None], g[None], step, [scale])[0]


def gradients(function: Function, x: Tensor, gs: Tensor, step: int, scales: Sequence[float]) -> list[list[Evidence]]:
    """``gradient`` at each of the points x (p, n): from values in shared passes where the function allows it; what
    these do not support is looked at again, value by value."""
    if not len(x):
        return []
    ds = torch.stack([moving(function, taylor.directions(point, DIRECTIONS, SEED)) for point in x])  # (p, few, n)

    def rows(i: int, seen: Sequence[Samples], push: Callable[[], list[Tensor]]) -> list[Evidence]:
        g, size = gs[i], max(size_of(gs[i], x[i]), scales[i])
        slopes = [dot(g, d) for d in ds[i]]
        lost = [s.rounding(float(slope)) for s, slope in zip(seen, slopes, strict=True)]
        return at_kink(
            taylor_row("gradient", seen, [g] * len(seen), step, size),
            forward_row("gradient", "reverse against forward", slopes, push, step, size, lost),
            richardson_row("gradient", seen, slopes, step, size),
        )

    def alone(i: int) -> list[Evidence]:
        points = x[i].expand_as(ds[i])
        seen = taylor.samples(points, ds[i], partial(batched.one_by_one, function, points, ds[i]))
        return rows(i, seen, pushes(function.call, x[i], ds[i]))

    if not batched.shared(function):
        return [alone(i) for i in range(len(x))]
    few, every, points = ds.shape[1], ds.flatten(0, 1), x.repeat_interleave(ds.shape[1], 0)
    seen = taylor.samples(points, every, partial(batched.along, function, points, every))
    pushed = cache(lambda: list(batched.slopes(function, points, every)))

    def together(i: int) -> list[Evidence]:
        cut = slice(i * few, (i + 1) * few)
        return rows(i, seen[cut], lambda: pushed()[cut])

    found = [together(i) for i in range(len(x))]
    sure = [all(row.verdict is Verdict.CONSISTENT for row in own) for own in found]
    return [own if sure[i] else alone(i) for i, own in enumerate(found)]


def jacobian(function: Function, x: Tensor, J: Tensor, step: int) -> list[Evidence]:
    """u·J d in seeded directions: Taylor, reverse mode and the matrix, reverse against forward, Richardson."""

    def call(p: Tensor) -> Tensor:
        return function.call(p).reshape(-1)

    us, ds = pairs(J, x)
    size, gammas = size_of(J.norm(dim=0), x), [J.T @ u for u in us]
    slopes = [dot(gamma, d) for gamma, d in zip(gammas, ds, strict=True)]
    seen = [taylor.sample(weighted(call, u), x, d) for u, d in zip(us, ds, strict=True)]
    lost = [s.rounding(float(slope)) for s, slope in zip(seen, slopes, strict=True)]
    pulled = [dot(gamma, d) for gamma, d in zip(pulls(call, x, us), ds, strict=True)]
    return at_kink(
        taylor_row("jacobian", seen, gammas, step, size),
        compare("jacobian", "matrix = reverse mode", slopes, pulled, x.dtype, step, size),
        forward_row("jacobian", "⟨u, Jd⟩ = ⟨Jᵀu, d⟩", pulled, pushes(call, x, ds, us), step, size, lost),
        richardson_row("jacobian", seen, slopes, step, size),
    )


def hessian(function: Function, x: Tensor, H: Tensor, step: int) -> list[Evidence]:
    """u·H d in seeded directions: the gradient's own Taylor order and Richardson.

    The gradient stands for φ here and is taken at its word; that it is the gradient of f is what `gradient` looks at.
    """

    def slope(p: Tensor) -> Tensor:
        return operators.value_and_gradient(function.call, p)[1]

    us, ds = pairs(H, x)
    ds = moving(function, ds)
    size, gammas = size_of(H.norm(dim=0), x), [H.T @ u for u in us]
    slopes = [dot(gamma, d) for gamma, d in zip(gammas, ds, strict=True)]
    seen = [taylor.sample(weighted(slope, u), x, d) for u, d in zip(us, ds, strict=True)]
    return at_kink(taylor_row("hessian", seen, gammas, step, size), richardson_row("hessian", seen, slopes, step, size))


def at_kink(taylor_: Evidence, *others: Evidence) -> list[Evidence]:
    """At a kink no slope is right or wrong: nothing else is held against the number there.

    Near one, where the remainder still falls at steps too small for them, differences settle on a slope beyond it.
    """
    if taylor_.verdict is Verdict.CONSISTENT:
        *rest, last = others
        if last.method == "Richardson" and last.verdict is Verdict.REFUTED:
            note = "the difference quotients settle elsewhere, at steps too large: the Taylor test sees smaller ones"
            last = replace(last, verdict=Verdict.INCONCLUSIVE, note=note)
        return [taylor_, *rest, last]
    if taylor_.verdict is not Verdict.UNDEFINED:
        return [taylor_, *others]
    undefined = [replace(row, verdict=Verdict.UNDEFINED, note=taylor_.note) for row in others]
    return [taylor_, *undefined]


def eigenvalues(function: Function, x: Tensor, λ: Tensor, step: int) -> list[Evidence]:
    """Σλ = tr H and Σλ² = ‖H‖², for matrices small enough to form a second time; no rows for others.

    H is formed anew, so that the eigenvalues are held against the program and not against themselves.
    """
    if len(λ) > SMALL or not bool(λ.isfinite().all()):
        return []
    H = operators.dense_hessian(function.call, x)
    squares = λ.square().sum()
    return [
        total("eigenvalues", "Σλ = tr H", λ.sum(), H.trace(), λ.abs().sum(), step),
        total("eigenvalues", "Σλ² = ‖H‖²", squares, H.square().sum(), squares, step),
    ]


def singular_values(function: Function, x: Tensor, σ: Tensor, step: int) -> list[Evidence]:
    """Σσ² = ‖J‖², for matrices small enough to form a second time."""
    if len(σ) > SMALL or not bool(σ.isfinite().all()):
        return []
    J = operators.dense_jacobian(function.call, x)
    squares = σ.square().sum()
    return [total("singular values", "Σσ² = ‖J‖²", squares, J.square().sum(), squares, step)]


def total(quantity: str, method: str, left: Tensor, right: Tensor, size: Tensor, step: int) -> Evidence:
    return compare(quantity, method, [left], [right], left.dtype, step, float(size))


def pairs(matrix: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Seeded weights u on the rows and directions d of the columns of a matrix (m, n): (p, m) and (p, n).

    Every u meets every d where there are few, so that no entry of a small matrix hides; otherwise they go in pairs.
    """
    us = taylor.frame(matrix.shape[0], DIRECTIONS, SEED + 1, matrix)
    ds = taylor.directions(x, DIRECTIONS, SEED)
    if len(us) == len(ds) == DIRECTIONS:
        return us, ds
    return us.repeat_interleave(len(ds), 0), ds.repeat(len(us), 1)


def moving(function: Function, ds: Tensor) -> Tensor:
    """Directions (p, n) without the variables by which autograd gives no derivative on purpose."""
    return ds if function.held is None else ds.masked_fill(function.held.to(ds.device), 0)


def weighted(call: Phi, u: Tensor) -> Phi:
    """x to u·call(x)."""
    return lambda p: (u * call(p)).sum()


def pushes(call: Phi, x: Tensor, ds: Tensor, us: Tensor | None = None) -> Callable[[], list[Tensor]]:
    """The forward mode's derivatives along the directions, weighted by u where call gives a vector."""

    def push() -> list[Tensor]:
        found = [torch.func.jvp(call, (x,), (d,))[1] for d in ds]
        weighed = found if us is None else [dot(u, y) for u, y in zip(us, found, strict=True)]
        return [slope.to(x.dtype) for slope in weighed]  # judged by what x's dtype can do

    return push


def pulls(call: Phi, x: Tensor, us: Tensor) -> list[Tensor]:
    """Jᵀu by reverse mode, for programs that torch.func does not know as well."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        y = call(leaf)
        return [operators.pullback(y, leaf, u.to(y.dtype))[0] for u in us]


def size_of(gradient: Tensor, x: Tensor) -> float:
    """The root mean square of γ·d over the directions of ``taylor.directions``."""
    size = float((gradient * x.abs().clamp(min=1)).norm())
    return size if isfinite(size) else 0.0
