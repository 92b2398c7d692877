"""The largest eigenvalue of a symmetric operator by Lanczos' method, with a bound on its error.

For a Ritz pair (λ, v), ‖v‖ = 1, some eigenvalue lies within the residual ‖Av - λv‖ of λ (Parlett 1998, theorem 4.5.1).
The basis is orthogonalised in full, twice, so that no eigenvalue is found again as a ghost. A start near the wanted
eigenvector, such as the one found before, makes few products do.

T = V A Vᵀ is formed from inner products rather than from Lanczos' recurrence, so that it is what it says even where
orthogonality is lost. Assumed: A is symmetric. Cost: a product a step and 4 k n operations, k the steps so far.

A residual does not tell whether a larger eigenvalue was missed: a start from the eigenvector found before may have no
share of the one that has overtaken it. Where the start is a vector plus σ g, g standard normal, every eigenvector has a
share beyond σ √t of it but for a probability P(g² < t), whatever that vector is: a normal number is never more likely
to be near 0 than where it is centred there (Anderson 1955). So the bound of `undetected_eigenvalues` holds for the same
products, and needs no search of its own: ``upper``.

>>> from calclab.numerics.operators import hessian
>>> d = torch.arange(1.0, 9, dtype=torch.float64)
>>> A = hessian(lambda x: (d * x * x).sum() / 2, torch.zeros(8, dtype=torch.float64))
>>> found = largest(A, torch.ones(8, dtype=torch.float64), tol=1e-10)
>>> round(float(found.value), 9), found.products <= 8
(8.0, True)

Beside the eigenvector of 7 with a little of a random direction, 8 is not yet seen, and the bound does not hide it:

>>> from calclab.numerics.krylov.basis import gaussian
>>> near = torch.eye(8, dtype=torch.float64)[6] + 0.01 * gaussian(8, d, 0, 0)
>>> short, long = (bounded(A, near, 0.01, most=most, within=1e-6) for most in (2, 8))
>>> float(short.value) < 7.01 < 8 < short.upper, bool((long.value - 8).abs() < 1e-8), round(long.bound, 6)
(True, True, 0.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan

import torch
from torch import Tensor

from calclab.numerics.krylov.undetected_eigenvalues import beyond
from calclab.numerics.operators import LinearOperator

PRODUCTS = 60
RISK = 0.01  # that a larger eigenvalue was missed all the same
CANCELLED = 0.1  # of a vector, below which what orthogonalising has left of it is orthogonalised again
ROUNDINGS = 4.0  # of the type that products are computed in, times the largest |λ| and √k, in a Ritz value


@dataclass(frozen=True)
class Ritz:
    """An eigenvalue (), its unit vector (n,), the residual (), and the products A v spent.

    ``upper``: no eigenvalue is larger, but for a risk of `RISK`; infinite where nothing is known of it. ``noise`` is
    what rounding may have made of the value: as A's products showed by not being symmetric, and as their type has it.
    """

    value: Tensor
    vector: Tensor
    residual: Tensor
    products: int
    upper: float = inf
    noise: float = 0.0

    @property
    def bound(self) -> float:
        """How far λmax may be from the value. It is never below, but for rounding."""
        above = self.upper - float(self.value)
        return inf if isnan(above) else max(above, 0.0) + self.noise


def largest(A: LinearOperator, start: Tensor, tol: float = 1e-3, most: int = PRODUCTS) -> Ritz:
    """The algebraically largest eigenvalue, until residual <= ``tol`` |λ| or ``most`` products are spent."""
    n = len(start)
    basis = start.new_zeros(min(most, n), n)
    images = torch.zeros_like(basis)
    v = start / start.norm()
    for k in range(len(basis)):
        basis[k] = v
        images[k] = w = A @ v
        T = basis[: k + 1] @ images[: k + 1].T
        if not bool(T.isfinite().all()):  # LAPACK would refuse
            return Ritz(T.new_tensor(torch.nan), start, T.new_tensor(torch.nan), k + 1)
        λ, S = torch.linalg.eigh((T + T.T) / 2)
        y = S[:, -1] @ basis[: k + 1]
        residual = (S[:, -1] @ images[: k + 1] - λ[-1] * y).norm()
        for _ in range(2):
            w = w - (basis[: k + 1] @ w) @ basis[: k + 1]
        rest = w.norm()
        if bool((residual <= tol * λ[-1].abs()) | (rest <= torch.finfo(w.dtype).eps * n * images[k].norm())):
            break
        v = w / rest
    return Ritz(λ[-1], y / y.norm(), residual, k + 1)


def bounded(
    A: LinearOperator,
    start: Tensor,
    share: float,
    *,
    tol: float = 0.03,
    within: float = 0.005,
    most: int = PRODUCTS,
    eps: float | None = None,
) -> Ritz:
    """The same from a ``start`` of which a part is ``share`` times a standard normal vector, with its `Ritz.bound`.

    Goes on until the residual is at most ``tol`` |λ| and nothing more than ``within`` |λ| above λ can have been missed.
    ``eps`` is of the type that A computes in, None its own. T stands in Hessenberg form, what it lacks of symmetry is
    what products have rounded; the basis is read twice or four times a product, and nothing else of its size is kept.
    """
    n, kind = len(start), start.dtype
    square = (float(start.norm()) / share) ** 2
    rounding = ROUNDINGS * (torch.finfo(kind).eps if eps is None else eps) + n**0.5 * torch.finfo(kind).eps
    basis = start.new_empty(min(most, n), n)
    H = torch.zeros(len(basis) + 1, len(basis), dtype=torch.float64)
    v = start / start.norm()
    for k in range(len(basis)):
        basis[k] = v
        w, Q = A @ v, basis[: k + 1]
        h = Q @ w
        w = torch.addmv(w, Q.T, h, alpha=-1)
        H[: k + 2, k] = torch.cat([h, w.norm()[None]]).cpu().double()
        if not H[k + 1, k] > CANCELLED * H[: k + 1, k].norm():  # digits went with what was taken out: once more
            again = Q @ w
            w = torch.addmv(w, Q.T, again, alpha=-1)
            H[: k + 2, k] = torch.cat([h + again, w.norm()[None]]).cpu().double()
        if not bool(H[: k + 2, k].isfinite().all()):
            nothing = H.new_tensor(torch.nan)
            return Ritz(nothing, start, nothing, k + 1)
        T, rest = H[: k + 1, : k + 1], float(H[k + 1, k])
        λ, S = torch.linalg.eigh((T + T.T) / 2)
        top, scale = float(λ[-1]), float(λ.abs().max())
        noise = float(torch.linalg.matrix_norm(T - T.T, 2) / 2) + rounding * (k + 1) ** 0.5 * scale
        residual = rest * abs(float(S[-1, -1])) + noise
        upper = inf
        ended = rest <= torch.finfo(kind).eps * n * float(H[: k + 2, k].norm())
        if ended or residual <= tol * abs(top):
            upper = above(T, 0.0 if ended else rest, square)
            if ended or upper - top <= within * abs(top) + rounding * scale:
                break
        v = w / rest
    upper = min(upper, above(T, 0.0 if ended else rest, square))
    y = S[:, -1].to(basis) @ basis[: k + 1]
    return Ritz(λ[-1], y / y.norm(), λ.new_tensor(residual), k + 1, upper, noise)


def above(T: Tensor, rest: float, square: float) -> float:
    """What no eigenvalue is larger than, but for a risk of `RISK`.

    From T (k, k) of k products, of which ``rest`` was left over; ``square`` is that of the start over σ².
    """
    return beyond(T.diagonal(), torch.cat([T.diagonal(-1).abs(), T.new_tensor([rest])]), square, RISK)
