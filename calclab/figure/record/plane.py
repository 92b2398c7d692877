"""The plane through the last point of a path that lies closest to its positions.

Li et al. 2018, section 7.2 (also Lorch 2016): with displacements from the end d_k = x_k - x_end, the plane is spanned
by the two right singular vectors of the matrix of rows d_k with the largest singular values σ; the share of direction
i is σ_i² / Σ σ². Nothing is centred: of all planes through the end this one has the least sum of squared distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """``origin`` (n,), orthonormal ``directions`` (n, 2), and the ``shares`` of the path's variance that they hold."""

    origin: Tensor
    directions: Tensor
    shares: tuple[float, float]

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (p, 2) in the plane and distances (p,) from it, of points (p, n)."""
        away = points - self.origin
        inside = away @ self.directions
        return inside, (away - inside @ self.directions.T).norm(dim=1)

    def place(self, inside: Tensor) -> Tensor:
        """The points (p, n) with coordinates (p, 2)."""
        return self.origin + inside @ self.directions.T


def principal_plane(path: Tensor) -> Plane:
    """Of a finite path (p, n), p >= 1, n >= 2. Where positions lie on a line, or on a point, axes fill the plane up."""
    origin, n = path[-1], path.shape[1]
    away = path - origin
    size = away.abs().max()
    away = away / torch.where(size > 0, size, 1.0)
    _, U = torch.linalg.eigh(away @ away.T)  # (p, p) is small where n is large
    found = [away.T @ U[:, -1]] + ([away.T @ U[:, -2]] if len(path) > 1 else [])
    directions: list[Tensor] = []
    for v in [*found, *torch.eye(n, min(n, 3), dtype=path.dtype).T]:
        for u in 2 * directions:  # twice is enough (Kahan; Parlett 1980, section 6.9)
            v = v - (u @ v) * u
        if len(directions) < 2 and v.norm() > 1e-7:
            v = v / v.norm()
            directions.append(v * torch.sign(v[v.abs().argmax()]))  # the sign that does not depend on the library
    Q = torch.stack(directions, 1)
    whole = away.square().sum()
    first, second = ((away @ Q).square().sum(0) / torch.where(whole > 0, whole, 1.0)).tolist()
    return Plane(origin, Q, (first, second))
