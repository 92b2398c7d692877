"""What a search is after: which Ritz pairs are near enough, and which keep it going.

Near enough is a residual of tol · max|λ|, or of twice what rounding makes of it, since no product makes that smaller.
That the k pairs found are the k largest is more than that each is near an eigenvalue: another Ritz value λ' with
residual r' may still grow into their place while λ' + r' > λ_k, and so it keeps the search going, too.

>>> from calclab.numerics.krylov.ritz import ritz
>>> H, B = torch.diag(torch.tensor([1.0, 9.0, 10.0]).double()), torch.tensor([[0.0, 2.0, 0.0]]).double()
>>> Goal(top=1, bottom=0, tol=1e-3, accuracy=None).troubles(ritz(H, B, 1e-12)).tolist()  # 9 ± 2 may yet overtake 10
[False, True, False]
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from calclab.numerics.krylov.ritz import Ritz


@dataclass(frozen=True)
class Goal:
    """The ``top`` largest and ``bottom`` smallest eigenvalues, to residuals of ``tol`` of the largest |λ|, or, if it is
    given, to an estimated error of ``accuracy`` of it."""

    top: int
    bottom: int
    tol: float
    accuracy: float | None

    def close(self, found: Ritz) -> Tensor:
        """Which pairs (m,) are near enough to what they stand for: within ``tol``, or all that rounding allows."""
        near = found.residuals <= torch.maximum(max(self.tol, 2 * found.noise) * found.scale, 2 * found.rough)
        if self.accuracy is not None:
            near = near | (found.estimates() <= self.accuracy * found.scale)
        return near

    def far(self, found: Ritz) -> Tensor:
        """Which Ritz pairs (m,) are wanted and not yet near enough."""
        wanted = torch.zeros_like(found.values, dtype=torch.bool)
        wanted[found.ends(self.top, self.bottom)] = True
        return wanted & ~self.close(found)

    def troubles(self, found: Ritz) -> Tensor:
        """Which Ritz pairs (m,) keep the wanted ones from standing: those far off, and others that may overtake."""
        m, λ, reach = len(found.values), found.values, found.residuals
        slack = max(self.tol, 2 * found.noise) * found.scale
        trouble = self.far(found)
        if 0 < self.top < m:
            trouble[: m - self.top] |= (λ + reach)[: m - self.top] > λ[m - self.top] + slack
        if 0 < self.bottom < m:
            trouble[self.bottom :] |= (λ - reach)[self.bottom :] < λ[self.bottom - 1] - slack
        return trouble

    def missed_at_a_glance(self, H: Tensor, B: Tensor, noise: float) -> bool:
        """Whether some pair wanted is not near enough, rounding of the products aside; False tells nothing.

        A few operations instead of all that `troubles` takes, since it is asked after every product.
        """
        λ, S = torch.linalg.eigh(H)
        residuals: list[float] = torch.linalg.vector_norm(B @ S, dim=0).tolist()
        values: list[float] = λ.tolist()
        m, scale = len(values), max(-values[0], values[-1])
        near = max(self.tol, 2 * noise) * scale
        fine = -1.0 if self.accuracy is None else self.accuracy * scale
        for i in (*range(max(0, m - self.top), m), *range(min(self.bottom, m))):
            if residuals[i] > max(near, fine):
                gap = min(values[i] - values[i - 1] if i else inf, values[i + 1] - values[i] if i + 1 < m else inf)
                if residuals[i] ** 2 > fine * gap:
                    return True
        return False
