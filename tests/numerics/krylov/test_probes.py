"""Stochastic quadrature: moments that are exact, intervals that hold as often as they say, and what is deflated."""

from __future__ import annotations

from math import erf, sqrt

import pytest
import torch
from torch import Tensor

from calclab.numerics.krylov import Control, Extremes, Probes
from calclab.numerics.krylov.student import mean, quantile, within
from calclab.numerics.krylov.undetected_eigenvalues import share
from calclab.numerics.operators import LinearOperator


def operator(H: Tensor) -> LinearOperator:
    return LinearOperator(tuple(H.shape), lambda V: H @ V, lambda V: H @ V, True, H.dtype, H.device)


def symmetric(λ: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(len(λ), len(λ), dtype=torch.float64, generator=generator))
    return (Q * λ) @ Q.T


SPECTRUM = torch.cat([torch.linspace(-0.3, 0.5, 195), torch.tensor([9.0, 7.0, 4.0, 2.0, -1.0])]).double()


def test_a_diagonal_is_measured_without_error() -> None:
    """zᵀDz = tr D and z ⊙ Dz = diag D for every vector of signs."""
    d = torch.arange(-3.0, 12).double()
    probes = Probes(operator(torch.diag(d)), probes=3, diagonal=True)
    state = probes.run()
    assert torch.allclose(probes.trace(state).value, d.sum())
    assert float(probes.trace(state).error) == pytest.approx(0, abs=1e-12)
    assert torch.allclose(probes.estimate_diagonal(state).value, d)
    assert torch.allclose(probes.square(state).value, (d**2).sum())


@pytest.mark.parametrize("orthogonal", [True, False])
def test_nodes_and_weights_carry_the_moments(orthogonal: bool) -> None:
    """Σ w θ^i = vᵀAⁱv for i < 2j, and no longer at 2j (Golub and Welsch)."""
    H = symmetric(SPECTRUM)
    probes = Probes(operator(H), probes=2, depth=4, orthogonal=orthogonal)
    state = probes.run()
    z = probes.signs(0, 1)[:, 0] / sqrt(200)
    v = z
    for i in range(9):
        moment, seen = z @ v, (state["weights"][0] * state["nodes"][0] ** i).sum()
        assert bool((moment - seen).abs() <= 1e-10 * moment.abs()) == (i < 8)
        v = H @ v


@pytest.mark.parametrize("k", [0, 5])
def test_what_is_found_is_taken_out(k: int) -> None:
    H = symmetric(SPECTRUM)
    A = operator(H)
    search = Extremes(A, top=4, bottom=1, tol=1e-10)
    pairs = search.run() if k else None
    probes = Probes(A, probes=10, depth=40, deflate=pairs, diagonal=True)
    state = probes.run()
    density = probes.density(state)
    _, weights = density.flat()
    assert float(weights.sum()) == pytest.approx(1)
    assert len(density.known) == k
    grid = torch.linspace(-4, 12, 4001).double()
    assert float(torch.trapezoid(density.on(grid, 0.05).value, grid)) == pytest.approx(1, abs=1e-6)
    trace = probes.trace(state)
    assert abs(trace.value - SPECTRUM.sum()) <= 2 * trace.half
    gap = (probes.estimate_diagonal(state).value - H.diagonal()).abs() / probes.estimate_diagonal(state).error
    assert float(gap.square().mean()) < 2
    if k:  # what remains has the norm 3.5 instead of 12
        loose = Probes(A, probes=10)
        assert trace.half < loose.trace(loose.run()).half / 2


def test_trace_and_norm_of_ritz_pairs_that_have_not_converged() -> None:
    """tr A = Σ Λ + tr PAP and ‖A‖² = Σ (Λ² + R²) + E ‖APz‖²: exact over all signs in four dimensions."""
    H = symmetric(torch.tensor([3.0, 1.0, -2.0, 0.5]).double())
    search = Extremes(operator(H), top=1, tol=1e-12, check=0)
    pairs = search.subspace(search.step(search.step(search.init())))
    assert pairs.residuals.max() > 0.1
    P = torch.eye(4).double() - pairs.vectors @ pairs.vectors.T
    assert torch.allclose(pairs.values.sum() + (P @ H @ P).trace(), H.trace())
    assert torch.allclose((pairs.values**2 + pairs.residuals**2).sum() + (H @ P).square().sum(), H.square().sum())
    probes = Probes(operator(H), probes=400, deflate=pairs, diagonal=True)
    state = probes.run()
    for found, truth in (
        (probes.trace(state), H.trace()),
        (probes.square(state), H.square().sum()),
        (probes.estimate_diagonal(state), H.diagonal()),
    ):
        assert ((found.value - truth).abs() <= 5 * found.error + 1e-12).all()


class AllSigns(Probes):
    """Every vector of signs once, in place of random ones: means over them are expectations."""

    def signs(self, first: int, width: int) -> Tensor:
        numbers = torch.arange(first, first + width)
        return (2 * (numbers >> torch.arange(self.n)[:, None] & 1) - 1).to(self.A.dtype)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_over_all_signs_nothing_is_left_to_chance(steps: int) -> None:
    H = symmetric(torch.tensor([3.0, 1.0, -2.0, 0.5, 4.0]).double())
    search = Extremes(operator(H), top=1, tol=1e-14, check=0)
    state = search.init()
    for _ in range(steps):
        state = search.step(state)
    pairs = search.subspace(state) if steps else None
    probes = AllSigns(operator(H), probes=32, deflate=pairs, diagonal=True)
    found = probes.run()
    assert torch.allclose(probes.trace(found).value, H.trace())
    assert torch.allclose(probes.square(found).value, H.square().sum())
    assert torch.allclose(probes.estimate_diagonal(found).value, H.diagonal())
    C = H + symmetric(torch.linspace(-1, 1, 5).double(), seed=1)
    control = Control(operator(C), C.trace(), C.diagonal())
    probes = AllSigns(operator(H), probes=32, control=control, diagonal=True)
    found = probes.run()
    assert torch.allclose(probes.trace(found).value, H.trace())
    assert torch.allclose(probes.estimate_diagonal(found).value, H.diagonal())


def test_a_control_variate() -> None:
    H = symmetric(SPECTRUM)
    C = H + 1e-3 * symmetric(SPECTRUM, seed=1)
    control = Control(operator(C), C.trace(), C.diagonal())
    probes = Probes(operator(H), control=control, diagonal=True)
    state = probes.run()
    assert abs(probes.trace(state).value - H.trace()) < 0.1
    assert torch.allclose(probes.estimate_diagonal(state).value, H.diagonal(), atol=0.01)
    assert int(state["products"]) == 48
    with pytest.raises(ValueError, match="depth 1"):
        Probes(operator(H), control=control, depth=2)


def test_the_whole_spectrum_of_a_small_matrix() -> None:
    λ = torch.tensor([-2.0, -1.0, 0.0, 1.0, 5.0]).double()
    probes = Probes(operator(symmetric(λ)), probes=6, depth=50)
    state = probes.run()
    assert state["nodes"].shape == (6, 5)
    assert torch.allclose(state["nodes"], λ.expand(6, 5), atol=1e-10)
    inertia = probes.density(state).inertia(1e-6)
    assert abs(inertia.negative.value - 0.4) <= 4 * inertia.negative.error


@pytest.mark.parametrize("n", [1, 4])
def test_the_zero_operator(n: int) -> None:
    probes = Probes(operator(torch.zeros(n, n).double()), probes=3, depth=5, tol=0.01)
    state = probes.run()
    assert float(probes.trace(state).value) == 0
    assert float(probes.density(state).inertia().zero.value) == pytest.approx(1)


def test_all_deflated() -> None:
    H = symmetric(torch.tensor([3.0, 1.0, -2.0]).double())
    search = Extremes(operator(H), top=3)
    probes = Probes(operator(H), probes=3, depth=5, deflate=search.run(), diagonal=True)
    state = probes.run()
    assert torch.allclose(probes.trace(state).value, H.trace())
    assert torch.allclose(probes.estimate_diagonal(state).value, H.diagonal())
    inertia = probes.density(state).inertia()
    assert [float(part.value) for part in (inertia.negative, inertia.positive)] == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.parametrize("depth", [5, 20, 60])
def test_inertia_lies_where_it_is_said_to(depth: int) -> None:
    """In 95 of 100 runs at least, since what the quadrature leaves open comes on top."""
    λ = torch.cat([torch.linspace(-1, 3, 150), torch.zeros(50)]).double()
    H = operator(symmetric(λ))
    truth = torch.stack([(λ < -1e-3).sum(), (λ.abs() <= 1e-3).sum(), (λ > 1e-3).sum()]) / len(λ)
    inside = torch.zeros(3)
    for seed in range(60):
        probes = Probes(H, probes=8, depth=depth, seed=seed)
        inertia = probes.density(probes.run()).inertia(1e-3)
        assert (inertia.low <= inertia.high).all()
        inside += (inertia.low <= truth) & (truth <= inertia.high)
    assert (inside >= 53).all(), inside  # of 60 at 95 %, fewer than 53 once in a hundred


def test_the_sizes_of_all_eigenvalues() -> None:
    λ = torch.cat([torch.linspace(-2, -1, 60), torch.linspace(0.5, 3, 140)]).double()
    A = operator(symmetric(λ))
    for known in (None, Extremes(A, top=3, bottom=2, tol=1e-8).run()):
        probes = Probes(A, probes=30, depth=30, deflate=known)
        size = probes.density(probes.run()).size()
        assert abs(size.value - λ.abs().sum()) <= 4 * size.error + 1e-3


def test_a_tolerance_is_held_against_the_least_size() -> None:
    H = symmetric(torch.cat([torch.linspace(-1, 1, 100)]).double())
    asked = {"probes": 12, "tol": 0.05, "most": 4000}
    strict, loose = (Probes(operator(H), **asked, least=least) for least in (0.0, 40.0))
    assert len(strict.run()["trace"]) == 4000
    found = loose.trace(loose.run())
    assert found.samples < 400
    assert float(found.half) <= 0.05 * 40 * 1.001


def test_goes_on_bit_for_bit(tmp_path: object) -> None:
    A = operator(symmetric(SPECTRUM))
    pairs = Extremes(A, top=2).run()
    for orthogonal in (True, False):
        probes = Probes(A, probes=6, depth=7, tol=0.2, block=4, deflate=pairs, diagonal=True, orthogonal=orthogonal)
        whole, state = probes.run(), probes.init()
        while not bool(state["done"]):
            torch.save(dict(probes.step(state)), f"{tmp_path}/state.pt")
            state = torch.load(f"{tmp_path}/state.pt", weights_only=True)
        assert all(torch.equal(whole[name], state[name]) for name in whole)


def test_student() -> None:
    """Tables: t(1) = 12.706, t(9) = 2.262, t(30) = 2.042, and the normal curve at the end."""
    for freedom, t in ((1, 12.7062), (2, 4.3027), (9, 2.2622), (30, 2.0423)):
        assert quantile(freedom, 0.95) == pytest.approx(t, abs=1e-4)
    assert within(1.7, 4000) == pytest.approx(erf(1.7 / sqrt(2)), abs=1e-3)
    for risk in (0.95, 0.5, 0.05, 0.01, 1e-4):
        assert erf(sqrt(share(risk) / 2)) == pytest.approx(risk)


def test_the_spread_is_that_of_the_first() -> None:
    samples = torch.tensor([1.0, 3.0, 100.0, -100.0]).double()
    found = mean(samples, 2)
    assert float(found.value) == 1
    assert float(found.error) == pytest.approx(sqrt(2) / 2)


def coverage(runs: int, tol: float) -> tuple[int, int]:
    """How many of the runs hold, and how many keep the tolerance."""
    held = kept = 0
    for seed in range(runs):
        generator = torch.Generator().manual_seed(seed)
        λ = 2 + torch.randn(60, generator=generator, dtype=torch.float64) * 2
        H = symmetric(λ, seed)
        probes = Probes(operator(H), probes=8, tol=tol, seed=seed)
        found = probes.trace(probes.run())
        gap = float((found.value - H.trace()).abs())
        held += gap <= float(found.half)
        kept += gap <= tol * float(H.trace().abs())
    return held, kept


@pytest.mark.slow
def test_an_interval_of_95_percent_holds_in_95_of_100() -> None:
    held, kept = coverage(400, 0.03)
    assert 360 <= held <= 396
    assert kept >= 360
