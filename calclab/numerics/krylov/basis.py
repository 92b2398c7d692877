"""The basis of a search, kept orthonormal by inner products in float64 over vectors of another type; its rows stand in
one array, turned and given up without a second one of its size.

A float32 inner product of 272,000 entries is off by 8e-5 of its size, one of 11 million by 3e-3: more than the
residuals asked for. The vectors may stay in float32, if their products are taken a piece at a time and the pieces are
added up in float64: then no more is lost than float32 loses of a single entry. Pieces stay in the cache, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from calclab.core.values import wide

ENTRIES = 2**17  # of the basis that are taken at once: 1 MB in float64


def width_of(rows: int) -> int:
    """How many columns of so many rows make a piece."""
    return max(64, ENTRIES // max(1, rows))


def norm(w: Tensor) -> Tensor:
    """‖w‖ (), summed in float64."""
    return torch.linalg.vector_norm(w.to(wide(w.device)))


def orthogonalise(basis: Sequence[Tensor], w: Tensor) -> tuple[Tensor, Tensor]:
    """h (m,) and w - Qᵀh (n,), orthogonal to the rows of Q (m, n): Gram-Schmidt, twice (Giraud et al. 2005).

    ``basis`` holds the rows of Q, in one array or several. Both results are in float64. Q is read three times: to
    measure, to take out and measure again, to take out again.
    """
    w = w.to(wide(w.device))
    rows = sum(Q.shape[0] for Q in basis)
    if rows * len(w) <= ENTRIES and all(Q.dtype == w.dtype for Q in basis):
        Q = basis[0] if len(basis) == 1 else torch.cat(list(basis))
        first = Q @ w
        w = torch.addmv(w, Q.T, first, alpha=-1)
        second = Q @ w
        return first + second, torch.addmv(w, Q.T, second, alpha=-1)
    width, rest = width_of(rows), w.clone()
    parts, pieces = torch.split(rest, width), list(zip(*(torch.split(Q, width, 1) for Q in basis), strict=True))
    found = [w.new_zeros(Q.shape[0]) for Q in basis]
    again = [torch.zeros_like(h) for h in found]
    for part, piece in zip(parts, pieces, strict=True):
        measure(piece, part, found)
    for part, piece in zip(parts, pieces, strict=True):
        take_out(piece, part, found)
        measure(piece, part, again)
    for part, piece in zip(parts, pieces, strict=True):
        take_out(piece, part, again)
    return torch.cat(found) + torch.cat(again), rest


def measure(piece: Sequence[Tensor], part: Tensor, h: list[Tensor]) -> None:
    for Q, total in zip(piece, h, strict=True):
        total += Q @ part.to(Q.dtype)


def take_out(piece: Sequence[Tensor], part: Tensor, h: list[Tensor]) -> None:
    for Q, size in zip(piece, h, strict=True):
        part -= size.to(Q.dtype) @ Q


def gaussian(n: int, like: Tensor, seed: int, draw: int) -> Tensor:
    """A standard normal vector (n,), the ``draw``-th of its seed."""
    generator = torch.Generator(like.device).manual_seed(seed * 1_000_003 + draw)
    return torch.randn(n, generator=generator, dtype=like.dtype, device=like.device)


def orthonormal(rows: Tensor) -> Tensor:
    """Orthonormal rows that span the given ones (p, n); those that add nothing are left out."""
    kept = rows[:0]
    for row in rows:
        _, rest = orthogonalise([kept], row)
        size, before = norm(rest), norm(row)
        if bool(size > 10 * torch.finfo(rows.dtype).eps * before):
            kept = torch.cat([kept, (rest / size)[None].to(rows)])
    return kept


def turned(pending: Tensor, coupling: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
    """The same space with its first direction along the first column of ``ahead`` (p, q), the next as near as it goes.

    An orthogonal change of basis within the directions that wait: A Vᵀ = Vᵀ H + Uᵀ B stays.
    """
    Q, _ = torch.linalg.qr(ahead, mode="complete")
    return combined(Q, pending), Q.T @ coupling


def combined(S: Tensor, rows: Tensor, out: Tensor | None = None) -> Tensor:
    """Sᵀ Q (k, n) for S (m, k) and rows Q (m, n), added up in float64 piece by piece; ``out`` may be ``rows``."""
    kind = wide(rows.device)
    out = rows.new_empty(S.shape[1], rows.shape[1]) if out is None else out
    S = S.T.to(rows.device, kind)
    width = width_of(len(rows))
    for before, after in zip(torch.split(rows, width, 1), torch.split(out[: len(S)], width, 1), strict=True):
        after.copy_(S @ before.to(kind))
    return out


def grown(basis: Tensor, used: int, rows: int) -> Tensor:
    """Room for so many rows; those beyond ``used`` are zero."""
    more = basis.new_zeros(rows, basis.shape[1])
    more[:used] = basis[:used]
    return more
