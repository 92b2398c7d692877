"""The basis of a search: rows of one array, turned and given up without a second array of its size.

For n in the millions the basis is the memory of a search. A change of basis Sᵀ Q is therefore written over Q, a piece
of columns at a time, and added up in float64 whatever Q is held in.

>>> Q = orthonormal(torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 1.0]], dtype=torch.float64))  # the second adds nothing
>>> Q.shape[0], torch.allclose(Q @ Q.T, torch.eye(2, dtype=torch.float64))
(2, True)
"""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.numerics.krylov.inner import norm, orthogonalise, wide, width_of


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
