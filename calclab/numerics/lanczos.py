"""The largest eigenvalue of a symmetric operator by Lanczos' method, with a bound on its error.

For a Ritz pair (λ, v), ‖v‖ = 1, some eigenvalue lies within the residual ‖Av - λv‖ of λ (Parlett 1998, theorem 4.5.1).
The basis is orthogonalised in full, twice, so that no eigenvalue is found again as a ghost. A start near the wanted
eigenvector, such as the one found before, makes few products do.

T = V A Vᵀ is formed from inner products rather than from Lanczos' recurrence, so that it is what it says even where
orthogonality is lost. Assumed: A is symmetric. Cost: a product a step and 4 k n operations, k the steps so far.

>>> from calclab.numerics.operators import hessian
>>> d = torch.arange(1.0, 9, dtype=torch.float64)
>>> A = hessian(lambda x: (d * x * x).sum() / 2, torch.zeros(8, dtype=torch.float64))
>>> found = largest(A, torch.ones(8, dtype=torch.float64), tol=1e-10)
>>> round(float(found.value), 9), found.products <= 8
(8.0, True)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.numerics.operators import LinearOperator

PRODUCTS = 60


@dataclass(frozen=True)
class Ritz:
    """An eigenvalue (), its unit vector (n,), the residual (), and the products A v spent."""

    value: Tensor
    vector: Tensor
    residual: Tensor
    products: int


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
