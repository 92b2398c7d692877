"""Stated errors from both sides: they hold as often as they say, and are no wider than they need to be."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from calclab.core import Ball
from calclab.numerics.differences import richardson
from calclab.numerics.krylov import Extremes, Probes
from calclab.numerics.krylov.student import mean, needed, quantile
from calclab.numerics.krylov.undetected_eigenvalues import beyond, logarithm_of_kernel
from calclab.numerics.operators import LinearOperator
from calclab.numerics.spectrum import condition_of_eigenvalues, inertia, rank

EPS = torch.finfo(torch.float64).eps


def likely(held: int, of: int, share: float) -> bool:
    """Whether so many of independent trials hold with this share, but for one chance in 10,000."""
    low, high = stats.binom.interval(0.9999, of, share)
    return bool(low <= held <= high)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def symmetric(λ: Tensor, seed: int = 0) -> Tensor:
    Q, _ = torch.linalg.qr(normal(len(λ), len(λ), seed=seed))
    return (Q * λ) @ Q.T


def operator(H: Tensor) -> LinearOperator:
    return LinearOperator(tuple(H.shape), lambda V: H @ V, lambda V: H @ V, True, H.dtype, H.device)


# --- means of samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "pilot"), [(5, 5), (24, 24), (60, 6)])
@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_intervals_hold_exactly_as_often_as_they_say(count: int, pilot: int, confidence: float) -> None:
    """Of normal samples Student's interval is exact, whatever the pilot whose spread it takes."""
    found = mean(3 + 2 * normal(count, 4000), pilot, confidence)
    assert likely(int(((found.value - 3).abs() <= found.half).sum()), 4000, confidence)
    assert torch.allclose(found.half, quantile(pilot - 1, confidence) * found.error)
    expected = 2 / count**0.5
    assert float(found.error.square().mean().sqrt()) == pytest.approx(expected, rel=0.05)


def test_as_many_samples_as_the_width_takes_and_no_more() -> None:
    samples = normal(12)
    spread = float(samples.std())
    for half in (0.5, 0.1, 0.02):
        count = needed(samples, 12, half)
        assert count == pytest.approx((stats.t.ppf(0.975, 11) * spread / half) ** 2, rel=1e-9)
    assert needed(samples, 12, 100.0) == 12


# --- random probes ----------------------------------------------------------------------------------------------------


def test_errors_of_traces_norms_and_diagonals_are_as_large_as_what_they_speak_of() -> None:
    """(estimate - truth)/error has the mean square (p - 1)/(p - 3) of Student's t for p normal samples."""
    H = symmetric(torch.linspace(-1, 2, 40).double())
    truth = {"trace": H.trace(), "square": H.square().sum(), "diagonal": H.diagonal()}
    ratios: dict[str, list[Tensor]] = {name: [] for name in truth}
    for seed in range(120):
        probes = Probes(operator(H), probes=16, block=16, diagonal=True, seed=seed)
        state = probes.run()
        found = {
            "trace": probes.trace(state),
            "square": probes.square(state),
            "diagonal": probes.estimate_diagonal(state),
        }
        for name, value in found.items():
            ratios[name].append(((value.value - truth[name]) / value.error).square())
            assert torch.allclose(value.half, stats.t.ppf(0.975, 15) * value.error)
    for name, seen in ratios.items():
        assert 0.7 < float(torch.stack(seen).mean()) < 1.8, name


def test_the_error_of_a_broadened_density_is_that_of_its_probes() -> None:
    """With as many products as dimensions the quadrature is exact, and chance alone is left."""
    λ = torch.tensor([-1.0, -0.9, 0.0, 0.3, 0.5, 1.0, 1.1, 2.0, 2.5, 3.0]).double()
    H, grid = symmetric(λ), torch.linspace(-1, 3, 9).double()
    bumps = torch.exp(-(((grid[:, None] - λ) / 0.5) ** 2) / 2) / (0.5 * (2 * torch.pi) ** 0.5)
    ratios = []
    for seed in range(60):
        probes = Probes(operator(H), probes=16, depth=10, block=16, seed=seed)
        found = probes.density(probes.run()).on(grid, 0.5)
        ratios.append(((found.value - bumps.mean(1)) / found.error).square())
    assert 0.7 < float(torch.stack(ratios).mean()) < 1.8


def test_inertia_is_known_to_the_quadrature_and_the_probes() -> None:
    """As many products as dimensions: each bound leaves open the one node next to the threshold, and the probes."""
    λ = torch.cat([torch.linspace(-2, -1, 8), torch.linspace(1, 3, 12)]).double()
    H, wide, hits = symmetric(λ), [], 0
    for seed in range(60):
        probes = Probes(operator(H), probes=12, depth=20, block=12, seed=seed)
        density = probes.density(probes.run())
        found = density.inertia()
        nodes = density.nodes
        next_below = torch.where(nodes < 0, nodes, -torch.inf).argmax(1, keepdim=True)
        next_above = torch.where(nodes > 0, nodes, torch.inf).argmin(1, keepdim=True)
        open_ = float((density.weights.gather(1, next_below) + density.weights.gather(1, next_above)).mean())
        wide.append(float(found.high[0] - found.low[0]) - open_ - 2 * float(found.negative.half))
        hits += bool(found.low[0] <= 0.4 <= found.high[0])
    assert max(wide) < 0.12  # the halves of both ends are those of sums with one node less or more
    assert sum(wide) / len(wide) < 0.02
    assert hits >= 55


# --- Lanczos' method --------------------------------------------------------------------------------------------------


def test_the_kernel_is_that_of_the_orthonormal_polynomials() -> None:
    """p_k(x) = det(x - T_k) / (β_1 ... β_k), and the bound is where Σ p_k² reaches ‖z‖²/t."""
    α, β = [0.3, -0.2, 0.5, 0.1], [0.7, 0.4, 0.9, 0.2]
    T = np.diag(α) + np.diag(β[:-1], 1) + np.diag(β[:-1], -1)
    for x in (-1.7, 0.05, 1.4, 40.0):
        p = [np.linalg.det(x * np.eye(k) - T[:k, :k]) / np.prod(β[:k]) for k in range(5)]
        assert logarithm_of_kernel(α, β, x) == pytest.approx(log(sum(v * v for v in p)), abs=1e-12)
    big = logarithm_of_kernel(α * 30, β * 30, 40.0)  # far beyond what a float holds
    step = logarithm_of_kernel(α * 29, β * 29, 40.0)
    assert 600 < step < big
    for risk in (0.5, 0.01):
        μ = beyond(torch.tensor(α, dtype=torch.float64), torch.tensor(β, dtype=torch.float64), 20.0, risk)
        t = stats.norm.ppf((1 + risk) / 2) ** 2
        assert logarithm_of_kernel(α, β, μ) == pytest.approx(log(20.0 / t), abs=1e-5)


@pytest.mark.parametrize("risk", [0.01, 0.5])
def test_what_a_look_can_have_missed_is_bounded_as_often_as_said_and_nearly(risk: float) -> None:
    """One far eigenvalue whose vector the start hardly sees; the bound errs no more often, and lies near the bulk."""
    λ = torch.cat([torch.linspace(0, 1, 59), torch.tensor([3.0])]).double()
    held, excess = 0, []
    for seed in range(200):
        z = normal(60, seed=seed)
        q, before, b, α, β = z / z.norm(), torch.zeros(60).double(), 0.0, [], []
        for _ in range(4):
            w = λ * q - b * before
            α.append(float(q @ w))
            w = w - α[-1] * q
            b = float(w.norm())
            β.append(b)
            before, q = q, w / b
        μ = beyond(z.new_tensor(α), z.new_tensor(β), float(z.square().sum()), risk)
        held += μ >= 3.0
        excess.append(μ - 3.0)
    assert held >= stats.binom.ppf(1e-4, 200, 1 - risk)
    assert float(np.median(excess)) < (2.0 if risk == 0.01 else 0.5)


def test_bounds_on_the_other_eigenvalues_are_near_them() -> None:
    """Beyond the four wanted the spectrum ends at 1.5: the bound lies above it, by less than a fifth of its width."""
    λ = torch.cat([torch.linspace(-0.3, 0.4, 195), torch.tensor([9.0, 7.0, 4.0, 2.0, 1.5])]).double()
    for seed in range(4):
        found = Extremes(operator(symmetric(λ, seed)), top=4, bottom=2, tol=1e-6, seed=seed).run()
        assert 1.5 - 1e-9 <= float(found.upper) <= 2.0 + 9e-6
        assert -0.3 - 0.2 * 9.3 <= float(found.lower) <= -0.28


# --- rounding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("κ", [1.0, 30.0, 1e6, 1e12])
def test_the_condition_is_known_as_well_as_the_eigenvalues_are(κ: float) -> None:
    """Eigenvalues off by δ = n ε λmax: κ is off by δ (1 + κ) relative, to first order, and no more is stated."""
    λ = torch.tensor([1.0, -κ, κ**0.5, 1.0], dtype=torch.float64)
    found = condition_of_eigenvalues(λ)
    assert found.value == κ
    assert found.low <= κ <= found.high
    assert (found.high - found.low) / 2 / κ == pytest.approx(4 * EPS * (1 + κ), rel=0.02, abs=2 * EPS)
    proven = condition_of_eigenvalues(λ, Ball(λ, torch.full((4,), 1e-3, dtype=torch.float64)))
    assert proven.high == pytest.approx((κ + 1e-3) / (1 - 1e-3))
    assert proven.low == pytest.approx(max(1.0, (κ - 1e-3) / (1 + 1e-3)), rel=1e-2)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_zero_is_what_the_error_of_the_eigenvalues_does_not_reach(scale: float) -> None:
    n = 6
    for factor, signs in ((0.9, (0, 2, 4)), (1.1, (1, 0, 5))):
        δ = factor * n * EPS * 5
        found = inertia(scale * torch.tensor([-δ, δ, 1.0, 2.0, 3.0, 5.0], dtype=torch.float64))
        assert (found.negative, found.zero, found.positive) == signs
        assert rank(scale * torch.tensor([5.0, 1.0, factor * 7 * EPS * 5], dtype=torch.float64), (3, 7)) == (
            2 if factor < 1 else 3
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_richardson_is_not_far_more_careful_than_it_is_wrong(dtype: torch.dtype) -> None:
    """Over smooth functions: within ten times its estimate, always; the estimate within 100 times of the error or of
    the last digits, for most, and within 10,000 times always."""
    calls = {
        "exp": (torch.exp, torch.exp),
        "sin": (torch.sin, torch.cos),
        "log": (torch.log, lambda x: 1 / x),
        "root": (torch.sqrt, lambda x: 0.5 / x.sqrt()),
        "tanh": (torch.tanh, lambda x: 1 - torch.tanh(x) ** 2),
        "bell": (lambda x: torch.exp(-x * x), lambda x: -2 * x * torch.exp(-x * x)),
        "ratio": (lambda x: x / (1 + x * x), lambda x: (1 - x * x) / (1 + x * x) ** 2),
        "steep": (lambda x: torch.sin(20 * x), lambda x: 20 * torch.cos(20 * x)),
    }
    x = torch.linspace(1.2, 4.0, 23, dtype=dtype)
    eps, ratios = torch.finfo(dtype).eps, []
    for name, (call, slope) in calls.items():
        found, error = richardson(
            lambda t, call=call: call(x + t), torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)
        )
        truth = slope(x.double())
        gap = (found.double() - truth).abs()
        assert bool((gap <= 10 * error.double() + eps * truth.abs()).all()), name
        floor = eps * (truth.abs() + call(x).double().abs())
        ratios.append(error.double() / torch.maximum(gap, floor))
    ratio = torch.cat(ratios)
    assert float(ratio.median()) < 100
    assert float(ratio.max()) < 1e4
