"""Which training rows made a prediction: influence functions, one Newton step without a row, and real retraining.

A network has been trained to a minimum θ of F(θ) = 1/n Σ ℓ_i(θ) + λ/2 ‖θ‖². Without row i (and with the same λ, n) the
minimum moves, and a quantity φ(θ), such as the loss of another row, with it. With g_i = ∇ℓ_i, H = ∇²F:

    influence   Δφ ≈ 1/n ∇φᵀ H⁻¹ g_i                       (Koh and Liang 2017, equation 2): first order in 1/n
    one step    θ_i = θ + (H - G_i/n)⁻¹ g_i/n,  Δφ = φ(θ_i) - φ(θ),   G_i = J_iᵀ (∂²ℓ_i/∂y²) J_i

The second is Newton's step for what is left, with row i's Gauss-Newton matrix taken out of H. For squares of a linear
model it is exact: with h_i = x_iᵀ(XᵀX + c I)⁻¹x_i the residual of the row left out is e_i/(1 - h_i) (Allen 1974;
Hastie, Tibshirani and Friedman 2009, section 7.10), where influence has e_i(1 + h_i). By Woodbury's identity it costs
a solve with an m × m matrix a row. Both take H to be positive definite, as at a strict minimum; assumptions fail
where the way to the minimum matters more than where it is: training that stops early, or other minima.

>>> x, y = torch.tensor([[1.0], [2.0], [3.0]]).double(), torch.tensor([1.0, 1.0, 4.0]).double()
>>> w = (x.T @ y) / (x.T @ x)[0, 0]  # least squares without an intercept, λ = 0
>>> e, h = (x @ w - y), x[:, 0] ** 2 / (x * x).sum()
>>> H = 2 / 3 * (x.T @ x)
>>> moved = one_step(w, H, (2 * e[:, None] * x), x[:, None, :], torch.full((3, 1, 1), 2.0).double())
>>> bool(torch.allclose((x * moved).sum(1) - y, e / (1 - h)))
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from calclab.core.values import wide
from calclab.numerics.operators import Call, dense_hessian, value_and_gradient
from calclab.numerics.spectrum import eigen, symmetric

ITERATIONS = 200  # of Newton's method
SETTLED = 1e-10  # of the gradient, relative to its size at the start or to 1
HALVINGS = 40  # of a step that does not go down


class Minimum(NamedTuple):
    """Where a descent came to rest: θ (n,), the norm of the gradient, and the smallest eigenvalue of the Hessian."""

    θ: Tensor
    gradient_norm: float
    least: float


class Correlation(NamedTuple):
    """Pearson's r with its 95 % interval (Fisher's transformation), and Spearman's of the ranks."""

    r: float
    low: float
    high: float
    rank: float


def settle(call: Call, θ: Tensor, iterations: int = ITERATIONS) -> Minimum:
    """The minimum below θ (n,), by Newton's method on the absolute eigenvalues, with steps halved until they go down
    (Nocedal and Wright 2006, section 3.4). It forms the Hessian: for some thousand parameters at most."""
    value, g = value_and_gradient(call, θ)
    allowed = SETTLED * max(1.0, float(g.norm()))
    least = -math.inf
    for _ in range(iterations):
        λ, V = eigen(symmetric(dense_hessian(call, θ)))
        least = float(λ[0])
        if float(g.norm()) <= allowed and least >= 0:
            break
        size = λ.abs().clamp(min=1e-8 * float(λ.abs().max()))
        step = -V @ ((V.T @ g) / size)
        t = 1.0
        for _ in range(HALVINGS):
            new, new_g = value_and_gradient(call, θ + t * step)
            if bool(new <= value + 1e-4 * t * (g @ step)) or (
                bool(new_g.norm() < 0.9 * g.norm()) and bool((new - value).abs() <= 1e-12 * value.abs().clamp(min=1.0))
            ):
                break
            t /= 2
        else:
            break  # rounding: no step goes down
        θ, value, g = (θ + t * step).detach(), new, new_g
    return Minimum(θ.detach(), float(g.norm()), least)


def influence(H: Tensor, gradients: Tensor, slope: Tensor) -> Tensor:
    """1/n ∇φᵀ H⁻¹ g_i (n,) of each of the rows that was learned from: ``gradients`` (n, p), ``slope`` ∇φ (p,)."""
    return gradients @ torch.linalg.solve(H, slope) / len(gradients)


def one_step(θ: Tensor, H: Tensor, gradients: Tensor, jacobians: Tensor, curvatures: Tensor) -> Tensor:
    """θ_i (n, p) of each row left out; ``jacobians`` ∂y/∂θ (n, m, p), ``curvatures`` ∂²ℓ/∂y² (n, m, m).

    (H - Jᵀ C J/n)⁻¹ g = z + K (n I - C J K)⁻¹ C J z with z = H⁻¹g, K = H⁻¹Jᵀ."""
    n, m, p = jacobians.shape
    z = torch.linalg.solve(H, gradients.T).T
    K = torch.linalg.solve(H, jacobians.reshape(n * m, p).T).T.reshape(n, m, p).mT  # (n, p, m)
    CJ = curvatures @ jacobians
    small = n * torch.eye(m, dtype=H.dtype, device=H.device) - CJ @ K
    more = K @ torch.linalg.solve(small, CJ @ z[..., None])
    return θ + (z + more[..., 0]) / n


def correlation(x: Tensor, y: Tensor) -> Correlation:
    """Of two vectors (n,), n > 3.

    >>> found = correlation(torch.arange(9.0), torch.arange(9.0) ** 3)
    >>> found.low < found.r < found.high, round(found.rank, 6)
    (True, 1.0)
    """
    r = pearson(x, y)
    z, half = math.atanh(min(max(r, -1 + 1e-15), 1 - 1e-15)), 1.959963984540054 / math.sqrt(len(x) - 3)
    ranks = [v.argsort().argsort().to(wide(v.device)) for v in (x, y)]
    return Correlation(r, math.tanh(z - half), math.tanh(z + half), pearson(*ranks))


def pearson(x: Tensor, y: Tensor) -> float:
    a, b = (v.to(wide(v.device)) for v in (x, y))
    a, b = a - a.mean(), b - b.mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size else math.nan


def rows_of(call: Callable[[Tensor], Tensor], θ: Tensor) -> Tensor:
    """The Jacobian (r, p) of a map from θ (p,) to (r,), a backward pass for each of its entries."""
    leaf = θ.detach().requires_grad_()
    with torch.enable_grad():
        y = call(leaf)
        found = [torch.autograd.grad(entry, leaf, retain_graph=True)[0] for entry in y.unbind()]
    return torch.stack(found)
