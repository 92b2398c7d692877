"""The density of a spectrum, as Lanczos quadrature sees it.

Of a random unit vector v, j products give the j nodes and weights of the Gauss quadrature of its measure
Σ (vᵀxᵢ)² δ(λ - λᵢ); the mean over v is the density Σ δ(λ - λᵢ)/n (Ubaru, Chen and Saad 2017; Ghorbani, Krishnan and
Xiao 2019). Nodes are no eigenvalues: inside the spectrum nothing finer than about π (b - a)/(2j) is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi, sqrt

import torch
from torch import Tensor

from calclab.numerics.krylov.student import Mean, mean


@dataclass(frozen=True)
class Inertia:
    """Fractions of eigenvalues below, around and above zero, over probes, and where each lies.

    ``low`` and ``high`` (3,) take in what quadrature of this depth leaves open for the probes drawn (the inequalities
    of Chebyshev, Markov and Stieltjes), and beyond it what other probes would change, at 95 %.
    """

    negative: Mean
    zero: Mean
    positive: Mean
    low: Tensor
    high: Tensor


@dataclass(frozen=True)
class Density:
    """``nodes``, ``weights`` (probes, j), each row summing to 1; ``known`` (k,) eigenvalues; ``share`` = (n - k)/n.

    The density is share · mean over probes Σ weights δ(λ - nodes) + Σ δ(λ - known)/n. Every eigenvalue lies within
    ``least`` and ``most``, those that are not known between ``low`` and ``high``: broadening leads nothing beyond.
    """

    nodes: Tensor
    weights: Tensor
    known: Tensor
    share: float
    n: int
    pilot: int
    least: float = -inf
    most: float = inf
    low: float = -inf
    high: float = inf

    @property
    def resolution(self) -> Tensor:
        """The width () below which structure inside the spectrum of what is not known is not seen; finer at its ends.

        Polynomials of degree 2j - 1 on an interval of length L tell apart π L/(2j), as the Chebyshev nodes of degree
        2j are spaced in the middle.
        """
        seen = self.weights > 0
        low = torch.where(seen, self.nodes, torch.inf).min()
        high = torch.where(seen, self.nodes, -torch.inf).max()
        return pi * (high - low) / (2 * self.nodes.shape[1])

    def flat(self) -> tuple[Tensor, Tensor]:
        """All nodes and weights side by side, rising, the weights summing to 1."""
        nodes = torch.cat([self.nodes.reshape(-1), self.known])
        drawn = self.weights.reshape(-1) * (self.share / max(1, len(self.nodes)))
        weights = torch.cat([drawn, self.known.new_full(self.known.shape, 1 / self.n)])
        order = nodes.argsort()
        return nodes[order], weights[order]

    def size(self) -> Mean:
        """Σ |λ| (): what the trace would be if no eigenvalue were negative."""
        drawn = (self.nodes.abs() * self.weights).sum(1)
        return mean(self.n * self.share * drawn + self.known.abs().sum(), self.pilot)

    def on(self, grid: Tensor, width: float | Tensor | None = None) -> Mean:
        """The density (g,) at ``grid`` (g,), broadened by normal curves of standard deviation ``width`` that are cut
        off at the bounds, each as heavy as before.

        Without a width it is the resolution, and no less than the grid's finest spacing.
        """
        if width is None:
            width = torch.maximum(self.resolution, (grid[1:] - grid[:-1]).min())
        σ = torch.as_tensor(width, dtype=grid.dtype)

        def bump(x: Tensor, a: float, b: float) -> Tensor:
            x = x.clamp(a, b)
            normal = torch.exp(-(((grid[:, None] - x) / σ) ** 2) / 2) / (σ * sqrt(2 * pi))
            inside = ((grid >= a) & (grid <= b))[:, None]
            return torch.where(inside, normal / share_between(x, σ, a, b), 0.0)

        fixed = bump(self.known, self.least, self.most).sum(1) / self.n
        rows = [bump(x, self.low, self.high) @ w for x, w in zip(self.nodes, self.weights, strict=True)]
        return mean(self.share * torch.stack(rows) + fixed, self.pilot)

    def inertia(self, threshold: float = 0.0) -> Inertia:
        """Fractions of eigenvalues < -threshold, within it, and > threshold."""
        order = self.nodes.argsort(1)
        x, w = self.nodes.gather(1, order), self.weights.gather(1, order)
        zeros = w.new_zeros(len(w), 1)
        upto = torch.cat([zeros, w.cumsum(1)], 1)  # upto[:, i]: weight of the first i nodes

        def mass_below(edge: float, slack: int, *, closed: bool) -> Tensor:
            count = ((x <= edge) if closed else (x < edge)).sum(1, keepdim=True) + slack
            return upto.gather(1, count.clamp(0, x.shape[1]))[:, 0]

        def fractions(below: Tensor, upto_edge: Tensor) -> Tensor:
            drawn = torch.stack([below, upto_edge - below, 1 - upto_edge]).clamp(0, 1)
            k = self.known
            fixed = torch.stack([(k < -threshold).sum(), (k.abs() <= threshold).sum(), (k > threshold).sum()])
            return self.share * drawn + fixed[:, None] / self.n

        ends = (-threshold, threshold)
        middle = fractions(mass_below(ends[0], 0, closed=False), mass_below(ends[1], 0, closed=True))
        inner = fractions(mass_below(ends[0], -1, closed=False), mass_below(ends[1], 1, closed=True))
        outer = fractions(mass_below(ends[0], 1, closed=False), mass_below(ends[1], -1, closed=True))
        least = [mean(row, self.pilot) for row in (inner[0], outer[1], inner[2])]
        most = [mean(row, self.pilot) for row in (outer[0], inner[1], outer[2])]
        low = torch.stack([m.value - m.half for m in least]).clamp(min=0)
        high = torch.stack([m.value + m.half for m in most]).clamp(max=1)
        negative, zero, positive = (mean(row, self.pilot) for row in middle)
        return Inertia(negative, zero, positive, low, high)


def share_between(x: Tensor, σ: Tensor, a: float, b: float) -> Tensor:
    """How much of normal curves around x (m,), a <= x <= b, of standard deviation ``σ`` () lies between a and b."""
    ends = [torch.special.ndtr((end - x) / σ) for end in (a, b)]
    return (ends[1] - ends[0]).clamp(min=torch.finfo(x.dtype).tiny)


def quadrature(α: Tensor, β: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights (p, j) of tridiagonals with diagonals α (j, p), and β (j, p) below (Golub and Welsch 1969)."""
    T = torch.diag_embed(α.T) + torch.diag_embed(β[:-1].T, 1) + torch.diag_embed(β[:-1].T, -1)
    finite = T.isfinite().all()
    nodes, S = torch.linalg.eigh(torch.where(finite, T, torch.zeros_like(T)))
    return torch.where(finite, nodes, torch.nan), torch.where(finite, S[:, 0] ** 2, torch.nan)
