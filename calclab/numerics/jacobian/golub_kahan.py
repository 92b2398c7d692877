"""The largest singular values of many operators at once, by products alone: Golub-Kahan-Lanczos bidiagonalisation.

    A v_j = α_j u_j + β_{j-1} u_{j-1},   Aᵀ u_j = α_j v_j + β_j v_{j+1}

(Golub and Kahan 1965; Golub and Van Loan 2013, section 10.4.1.) The singular values of the projection UᵀAV = T approach
the largest ones of A from below, fastest where they stand apart. All B operators step together, so that one product is
one matrix product. Both bases are orthogonalised against all of themselves, twice, since rounding would otherwise find
one value again and again; T is kept whole, so that a restart with the best vectors (Baglama and Reichel 2005, augmented
by singular vectors) needs no bookkeeping.

‖Av - σu‖ and ‖Aᵀu - σv‖ of what is returned are measured. With r the larger of the two a singular value of A lies
within r of σ: (u, v) / √2 and σ are an eigenpair, up to r, of the symmetric [[0, A], [Aᵀ, 0]], whose eigenvalues are ±
those of A (Parlett 1998, theorem 4.5.1). And σ never exceeds the largest one by more than rounding.

>>> A = torch.diag_embed(torch.tensor([[3.0, 2.0, 1.0], [5.0, 5.0, 0.0]], dtype=torch.float64))
>>> found = golub_kahan(
...     lambda V: (A @ V[..., None])[..., 0], lambda U: (A.mT @ U[..., None])[..., 0], torch.ones(2, 3).double(), 3
... )
>>> found.values.round(decimals=6)[:, 0].tolist(), bool(found.converged.all())
([3.0, 5.0], True)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
# exponents of 2 beyond which an operator is scaled: sums of squares of what is left have room
EXTREME = {torch.float64: 300, torch.float32: 30, torch.float16: 4, torch.bfloat16: 30}


@dataclass(frozen=True)
class Triplets:
    """σ ``values`` (B, k) descending, u ``left`` (B, m, k), v ``right`` (B, n, k), ``residuals`` (B, k) absolute;
    ``products`` with A and with Aᵀ, each, for all B together; ``converged`` (B, k)."""

    values: Tensor
    left: Tensor
    right: Tensor
    residuals: Tensor
    products: int
    converged: Tensor


def golub_kahan(
    push: Product,
    pull: Product,
    start: Tensor,
    outputs: int,
    *,
    top: int = 1,
    tol: float = 1e-6,
    most: int = 300,
    basis: int = 60,
    every: int = 8,
) -> Triplets:
    """The ``top`` largest of each A_b: R^n -> R^m, from ``start`` (B, n), to residuals of ``tol`` σ_1.

    ``push`` takes V (B, n) to A V (B, m), ``pull`` U (B, m) to Aᵀ U (B, n). At most ``most`` products with each, and
    ``basis`` vectors kept; convergence is looked at after ``every`` further ones, and less often as they become many.
    The smaller of both sides is the one that is spanned: where it is no more than ``basis``, every singular value is
    found.
    """
    n = start.shape[1]
    if outputs < n:  # the smaller side is the one whose basis can span all of it
        swapped = golub_kahan(pull, push, push(start), n, top=top, tol=tol, most=most, basis=basis, every=every)
        return replace(swapped, left=swapped.right, right=swapped.left)
    start = start / magnitude(start)
    start = unit(start, start.norm(dim=1), torch.zeros_like(start[:, 0]))
    first = push(start)
    c = magnitude(first)
    found = bidiagonal(
        lambda V: push(V) / c,
        lambda U: pull(U) / c,
        start,
        first / c,
        top=top,
        tol=tol,
        most=most,
        basis=basis,
        every=every,
    )
    return replace(found, values=found.values * c, residuals=found.residuals * c)


def magnitude(w: Tensor) -> Tensor:
    """A power of two near the largest entry of each w (B, d), (B, 1), where squares of it would leave the range of the
    dtype; else 1. To scale by a power of two changes no digit."""
    largest = w.abs().amax(dim=1, keepdim=True)
    exponent = largest.log2().floor()
    extreme = largest.isfinite() & (largest > 0) & (exponent.abs() > EXTREME[w.dtype])
    return torch.where(extreme, exponent.exp2(), 1)


def bidiagonal(
    push: Product,
    pull: Product,
    start: Tensor,
    first: Tensor,
    *,
    top: int,
    tol: float,
    most: int,
    basis: int,
    every: int,
) -> Triplets:
    """The same for operators of moderate size with m >= n, from ``start`` of length 1, and A ``start`` = ``first``.

    An operator whose products are not finite has NaN for all of its numbers.
    """
    count, n = start.shape
    outputs = first.shape[1]
    size = min(basis, n)
    top = min(top, size)
    V, U = start.new_zeros(count, size + 1, n), start.new_zeros(count, size, outputs)
    T = torch.zeros(
        count, size, size, dtype=torch.float64 if start.device.type != "mps" else start.dtype, device=start.device
    )
    V[:, 0] = start
    used, j, look, fresh = 0, 0, 2 * every, 0
    while True:
        T, β = extend(push, pull, V, U, T, j, again=top > 1, near=j > fresh, known=first if used == 0 else None)
        used, j = used + 1, j + 1
        full, spent = j == size, used >= most
        if full or spent or j >= look:
            part, broken = finite(T[:, :j, :j])
            squares, P = torch.linalg.eigh(part @ part.mT)  # for a look: half the price of an SVD
            estimate = β[:, None].to(T.dtype) * P[:, -1, -top:].abs()
            largest = squares[:, -1:].clamp(min=0).sqrt()
            done = (estimate <= max(tol, 4 * torch.finfo(start.dtype).eps) * largest) & (j >= top) | broken[:, None]
            whole = full and size == n  # the basis spans the space: nothing is left to find
            if spent or whole or bool(done.all()):
                return triplets(push, pull, V[:, :j], U[:, :j], T[:, :j, :j], top, used, tol)
            if full:
                j = restart(V, U, T, min(size - 2, top + size // 3) if size > 2 else 1)
                fresh = j
            look = j + max(every, j // 3)  # the look has a price of its own


def extend(
    push: Product,
    pull: Product,
    V: Tensor,
    U: Tensor,
    T: Tensor,
    j: int,
    *,
    again: bool,
    near: bool,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Column j of T and row j of U, then row j + 1 of V: T, and how much of Aᵀ u_j lies outside of V, (B,).

    Where nothing lies outside, the space is exhausted, and what is left in it is zero; ``again`` goes on with another
    direction, without which a singular value that occurs twice is found once. ``known``: A v_j, computed before.
    """
    w = push(V[:, j]) if known is None else known
    size = w.norm(dim=1)
    w, c = orthogonal(w, U[:, :j], near)
    α = w.norm(dim=1)
    U[:, j] = unit(w, α, size, U[:, :j] if again else None)
    T[:, :j, j] = c.to(T.dtype)
    T[:, j, j] = torch.where(α <= tiny(size), 0, α).to(T.dtype)
    z = pull(U[:, j])
    size = z.norm(dim=1)
    z, _ = orthogonal(z, V[:, : j + 1], near)
    β = z.norm(dim=1)
    V[:, j + 1] = unit(z, β, size, V[:, : j + 1] if again else None)
    return T, torch.where(β <= tiny(size), 0, β)


def tiny(size: Tensor) -> Tensor:
    """What of a vector of this ``size`` is rounding."""
    return 16 * torch.finfo(size.dtype).eps * size


def unit(w: Tensor, norm: Tensor, size: Tensor, basis: Tensor | None = None) -> Tensor:
    """w / ‖w‖. Where nothing but rounding of a vector of ``size`` is left: zero, or of ``basis`` a fresh direction."""
    left = ~(norm <= tiny(size))  # NaN stays NaN
    whole = torch.where(left[:, None], w / torch.where(left, norm, 1)[:, None], 0)
    if basis is None or basis.shape[1] >= basis.shape[2]:
        return whole
    seeded = torch.Generator(device=w.device).manual_seed(basis.shape[1])
    fresh = torch.randn(w.shape, generator=seeded, dtype=w.dtype, device=w.device)
    fresh, _ = orthogonal(fresh, basis)
    return torch.where(left[:, None], whole, fresh / fresh.norm(dim=1, keepdim=True))


def orthogonal(w: Tensor, basis: Tensor, near: bool = False) -> tuple[Tensor, Tensor]:
    """w (B, d) without its parts along the rows of ``basis`` (B, k, d), and those parts (B, k); twice is enough.

    ``near``: all but rounding lies along the last row, as the recurrence has it: the first time takes that only.
    """
    total = w.new_zeros(len(w), basis.shape[1])
    if near:
        last = basis[:, -1]
        part = (last * w).sum(1)
        w = w - part[:, None] * last
        total[:, -1] = part
    for _ in range(1 if near else 2):
        parts = torch.bmm(w.unsqueeze(1), basis.mT)  # rows times matrices: eight times quicker than columns
        w = torch.baddbmm(w.unsqueeze(1), parts, basis, alpha=-1)[:, 0]
        total = total + parts[:, 0]
    return w, total


def finite(T: Tensor) -> tuple[Tensor, Tensor]:
    """T (B, k, k) with zeros in place of those that are not finite, which LAPACK would refuse; and which ones (B,)."""
    broken = ~T.isfinite().all(-1).all(-1)
    return torch.where(broken[:, None, None], 0, T), broken


def restart(V: Tensor, U: Tensor, T: Tensor, keep: int) -> int:
    """Keep the best ``keep`` triplets and the next direction; ``extend`` finds their couplings by itself."""
    size = U.shape[1]
    P, σ, Qt = torch.linalg.svd(finite(T)[0])
    V[:, :keep], V[:, keep] = Qt[:, :keep].to(V.dtype) @ V[:, :size], V[:, size].clone()
    U[:, :keep] = P[:, :, :keep].mT.to(U.dtype) @ U
    T.zero_()
    T[:, :keep, :keep] = torch.diag_embed(σ[:, :keep])
    return keep


def triplets(
    push: Product, pull: Product, V: Tensor, U: Tensor, T: Tensor, top: int, used: int, tol: float
) -> Triplets:
    """The best of the bases, with measured residuals."""
    part, broken = finite(T)
    P, σ, Qt = torch.linalg.svd(part)
    σ = torch.where(broken[:, None], torch.nan, σ)
    right = (Qt[:, :top].to(V.dtype) @ V).mT
    left = (P[:, :, :top].mT.to(U.dtype) @ U).mT
    values, residuals = σ[:, :top].to(V.dtype), []
    for k in range(top):
        u, v, s = left[:, :, k], right[:, :, k], values[:, k, None]
        residuals.append(torch.maximum((push(v) - s * u).norm(dim=1), (pull(u) - s * v).norm(dim=1)))
    found = torch.stack(residuals, 1)
    values = torch.where(found.isfinite(), values, torch.nan)
    floor = 64 * torch.finfo(V.dtype).eps
    return Triplets(values, left, right, found, used + top, found <= max(2 * tol, floor) * values[:, :1])
