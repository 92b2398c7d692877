"""Minimum-norm least squares of random features: its risk given the rows, on average, and in the limit.

y = Xβ + noise, rows of X (n, p) standard normal, ‖β‖² = r², noise of variance σ². The estimate of least norm β̂ = X⁺y
has the risk E(xᵀβ̂ - xᵀβ)² = ‖β̂ - β‖² for a new x. Given X, on average over the noise and the direction of β,

    bias² = r² (p - rank X)/p,    variance = σ² tr (XᵀX)⁺.

On average over X too, by the mean of an inverse Wishart matrix, E tr (XᵀX)⁻¹ = p/(n - p - 1) (and with n and p changed
over beyond p = n), for every n and p:

    p < n - 1:  bias² = 0,               variance = σ² p/(n - p - 1)
    p > n + 1:  bias² = r² (1 - n/p),    variance = σ² n/(p - n - 1)
    between:    infinite

In the limit n, p → ∞ with p/n → γ this is σ² γ/(1 - γ), and r² (1 - 1/γ) + σ²/(γ - 1) beyond γ = 1 (Hastie,
Montanari, Rosset and Tibshirani, arXiv 1903.08560, proposition 2 and theorem 1).

>>> round(limit_risk(0.5, signal=1.0, noise=1.0), 3), round(limit_risk(2.0, signal=1.0, noise=1.0), 3)
(1.0, 1.5)
>>> round(expected_risk(10**6, 2 * 10**6, signal=1.0, noise=1.0), 3)
1.5
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def given_rows(X: Tensor, *, signal: float, noise: float) -> tuple[Tensor, Tensor]:
    """Bias² and variance (...) for rows X (..., n, p), averaged over the noise and over directions of β of length
    ``signal``. ``noise`` is the standard deviation. σ² are the eigenvalues of the smaller of XXᵀ and XᵀX, each off by
    about eps σ₁²: those below max(n, p) eps σ₁² count as zero."""
    n, p = X.shape[-2:]
    squares = torch.linalg.eigvalsh(X @ X.mT if n < p else X.mT @ X)
    kept = squares > max(n, p) * torch.finfo(X.dtype).eps * squares[..., -1:]
    variance = noise**2 * torch.where(kept, squares.reciprocal(), 0.0).sum(-1)
    return signal**2 * (p - kept.sum(-1)).to(X.dtype) / p, variance


def expected_risk(n: int, p: int, *, signal: float, noise: float) -> float:
    """bias² + variance on average over standard normal rows; infinite where |n - p| <= 1."""
    if abs(n - p) <= 1:
        return math.inf
    if p < n:
        return noise**2 * p / (n - p - 1)
    return signal**2 * (1 - n / p) + noise**2 * n / (p - n - 1)


def limit_risk(γ: float, *, signal: float, noise: float) -> float:
    """bias² + variance for n → ∞ at p/n = γ; infinite at γ = 1."""
    if γ == 1:
        return math.inf
    return noise**2 * γ / (1 - γ) if γ < 1 else signal**2 * (1 - 1 / γ) + noise**2 / (γ - 1)
