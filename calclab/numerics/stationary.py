"""Whether a point is a stationary one, by slopes and curvatures that are proven where they can be."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from calclab.core import Ball, Function
from calclab.numerics.measured import MOST
from calclab.numerics.operators import hessian_where_known, value_and_gradient
from calclab.numerics.spectrum import eigen, symmetric
from calclab.numerics.verify import best_known, known

ULPS = 8  # a point this near to a stationary one, in units in the last place of its coordinates, is called stationary


class LocalModel(NamedTuple):
    """The gradient (n,) at a point, the Hessian's eigenvalues (n,), ascending, and eigenvectors (n, n); ``ball`` where
    the eigenvalues are proven."""

    gradient: Tensor
    λ: Tensor
    V: Tensor
    ball: Ball | None


def local_model(function: Function, x: Tensor, gradient: Tensor, H: Tensor | None = None) -> LocalModel:
    """Proven where it can be, and an eigenvalue is zero where zero is within its bound; elsewhere from the float
    program's ``gradient`` and ``H`` (n, n), which is formed where it is not given, and what is measured from both sides
    where it gives no numbers."""
    if function.exact is not None:
        ball, slope = function.exact.eigenvalues(x), function.exact.enclose(x, 1)
        if all(bool((b.mid.isfinite() & b.rad.isfinite()).all()) for b in (ball, slope)):
            V = eigen(symmetric(function.exact.enclose(x, 2).mid))[1]
            return LocalModel(slope.mid, torch.where(ball.mid.abs() <= ball.rad, 0.0, ball.mid), V, ball)
    H = hessian_where_known(function.call, x) if H is None else H
    lost = not bool(H.isfinite().all() & gradient.isfinite().all())
    if function.exact is not None or (lost and len(x) <= MOST):
        gradient = best_known(function, x, 1, gradient, known(function, x, 1, gradient))
        H = best_known(function, x, 2, H, known(function, x, 2, H))
    return LocalModel(gradient, *eigen(symmetric(H)), None)


def stationary(function: Function, x: Tensor, seen: LocalModel) -> bool:
    """Whether a stationary point lies within rounding of x (n,).

    Along each eigenvector v the slope must be one that a move of x by ``ULPS`` units in the last place can undo:
    |g·v| <= ULPS eps |λ| Σ|v_i x_i|. So it depends on no unit, and no steep direction excuses a slope along a flat one.
    An eigenvector is itself only known to eps, which mixes in ``ULPS`` eps ‖g‖. And the gradient must move as H says
    there: units in the last place of a large x may be longer than the waves of f.
    """
    g, λ, V, at = (part.detach().to("cpu", torch.float64) for part in (*seen[:3], x))
    if not bool(g.isfinite().all() & λ.isfinite().all()):
        return False
    if not bool(g.any()):
        return True
    eps = ULPS * torch.finfo(x.dtype).eps
    λ = torch.where(
        λ.abs() < torch.finfo(λ.dtype).tiny, 0.0, λ
    )  # it may be smaller than what is written, by any factor
    size = torch.maximum(g.abs().max(), λ.abs().max())  # norms square: of 1e160 they know nothing
    g, λ = g / size, λ / size
    if bool(((g @ V).abs() > eps * (λ.abs() * (at.abs() @ V.abs()) + g.norm())).any()):
        return False
    there = x * (1 + eps)
    move, H = there.detach().to("cpu", torch.float64) - at, (V * λ) @ V.T
    if seen.ball is not None and function.exact is not None:
        after = function.exact.enclose(there, 1).mid
    else:
        after = value_and_gradient(function.call, there)[1].detach().to("cpu", torch.float64)
    return bool((after / size - g - H @ move).norm() <= (H.abs() @ move.abs()).norm() / 2)
