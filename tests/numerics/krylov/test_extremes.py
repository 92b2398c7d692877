"""Eigenvalues at both ends, within their residuals, on spectra where others go wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from calclab.numerics.krylov import Extremes
from calclab.numerics.krylov.basis import orthogonalise
from calclab.numerics.operators import LinearOperator


def operator(H: Tensor) -> LinearOperator:
    return LinearOperator(tuple(H.shape), lambda V: H @ V, lambda V: H @ V, True, H.dtype, H.device)


def symmetric(λ: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(len(λ), len(λ), dtype=torch.float64, generator=generator))
    return (Q * λ) @ Q.T


def bulk(n: int, *outliers: float) -> Tensor:
    return torch.cat([torch.linspace(-0.3, 0.4, n - len(outliers)), torch.tensor(outliers)]).double()


SPECTRA = {
    "outliers": bulk(200, 9, 7, 4, 2, 1.5),
    "close": bulk(200, 9, 8.99, 8.98, 3),
    "double": bulk(200, 5, 5, 3, -2, -2),
    "tenfold": bulk(200, *[5.0] * 10),
    "saddle": bulk(200, 4, -4, 2, -2),
    "signs": torch.cat([torch.full((60,), 3.0), torch.full((60,), -3.0)]).double(),
    "zero": torch.zeros(50).double(),
    "identity": torch.ones(50).double(),
    "negative": -torch.linspace(1, 2, 80).double(),
    "uniform": torch.linspace(-3, 5, 120).double(),
    "decaying": 0.8 ** torch.arange(100).double(),
    "rank one": torch.cat([torch.zeros(99), torch.tensor([2.5])]).double(),
    "tiny": 1e-150 * bulk(60, 9, 7),
    "huge": 1e100 * bulk(60, 9, 7),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SPECTRA)
def test_the_ends_of_a_spectrum(name: str, seed: int) -> None:
    λ = SPECTRA[name].sort().values
    found = Extremes(operator(symmetric(λ, seed)), top=4, bottom=3, tol=1e-6, seed=seed).run()
    truth = torch.cat([λ.flip(0)[:4], λ[:3]])
    assert found.converged.all()
    assert ((found.values[:, None] - λ).abs().min(1).values <= found.residuals).all()
    slack = 1e-5 * λ.abs().max()
    assert ((found.values - truth).abs() <= slack).all()
    assert found.upper >= λ.flip(0)[4] - slack
    assert found.lower <= λ[3] + slack


@pytest.mark.parametrize("name", ["outliers", "double", "saddle", "uniform"])
def test_residuals_are_those_of_the_vectors(name: str) -> None:
    H = symmetric(SPECTRA[name])
    search = Extremes(operator(H), top=3, bottom=2, tol=1e-3, most_basis=24)
    found = search.run()
    measured = (H @ found.vectors - found.vectors * found.values).norm(dim=0)
    rounding = 1e-12 * H.abs().max()
    assert ((measured - found.residuals).abs() <= rounding).all()
    assert torch.allclose(found.vectors.T @ found.vectors, torch.eye(5).double(), atol=1e-12)


def test_no_ghosts() -> None:
    """Twelve eigenvalues, one of them far out: without reorthogonalisation it is found twelve times."""
    λ = bulk(300, 1e4, *range(20, 31)).sort().values
    found = Extremes(operator(symmetric(λ).float()), top=12, tol=1e-6).run()
    assert torch.allclose(found.values, λ.flip(0)[:12], atol=0.05)


@pytest.mark.parametrize("λ", [3.0, -3.0, 0.0])
def test_one_variable(λ: float) -> None:
    found = Extremes(operator(torch.tensor([[λ]]).double()), top=5, bottom=5).run()
    assert found.values.tolist() == pytest.approx([λ, λ])
    assert int(found.products) == 1
    assert found.upper == -torch.inf  # there is no other


def test_as_many_as_there_are() -> None:
    λ = torch.tensor([-2.0, -1.0, 0.0, 0.0, 1.0, 1.0]).double()
    found = Extremes(operator(symmetric(λ)), top=6, bottom=6, tol=1e-12).run()
    assert torch.allclose(found.values, torch.cat([λ.flip(0), λ]), atol=1e-12)


@pytest.mark.parametrize("n", [20, 30, 31, 40])
def test_a_basis_of_the_whole_space(n: int) -> None:
    """The last direction is what rounding leaves, and still orthogonal to the others."""
    d = torch.arange(1, n + 1).double()
    for seed in range(10):
        found = Extremes(operator(torch.diag(d)), top=2, bottom=1, tol=1e-8, seed=seed).run()
        assert found.converged.all()
        assert torch.allclose(found.values, torch.tensor([n, n - 1, 1]).double(), rtol=0, atol=1e-7 * n)
        assert (found.residuals <= 1e-7 * n).all()


def test_a_full_basis_is_restarted() -> None:
    λ = torch.linspace(-1, 1, 400).double() ** 3
    H = symmetric(λ)
    for most in (20, 400):
        search = Extremes(operator(H), top=3, bottom=1, tol=1e-8, most_basis=most)
        state = search.init()
        while not bool(state["done"]) and int(state["products"]) < 1000:
            state = search.step(state)
            assert len(state["basis"]) <= search.capacity
        found = search.pairs(state)
        assert found.converged.all()
        assert ((found.values - torch.cat([λ.flip(0)[:3], λ[:1]])).abs() <= found.residuals).all()
        assert (int(state["restarts"]) > 0) == (most == 20)


def test_what_is_known_is_not_computed_again() -> None:
    H = symmetric(bulk(300, 9, 7, 4, 2))
    search = Extremes(operator(H), top=4, tol=1e-5, check=0)
    cold = search.run()
    nearby = Extremes(operator(H + 1e-4 * symmetric(bulk(300), seed=1)), top=4, tol=1e-3, check=0)
    assert int(nearby.run(cold.vectors).products) == 4
    assert int(nearby.run().products) > 6
    one = Extremes(operator(H), top=1, tol=1e-3, check=0).run(cold.vectors[:, 0])
    assert int(one.products) == 1


def test_dependent_starts() -> None:
    H = symmetric(bulk(50, 3, 2))
    start = torch.ones(50, 3).double()
    found = Extremes(operator(H), top=2, tol=1e-8).run(start)
    assert torch.allclose(found.values, torch.tensor([3.0, 2.0]).double())


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("name", ["double", "uniform"])
def test_goes_on_bit_for_bit(name: str, block: int, tmp_path: object) -> None:
    H = symmetric(SPECTRA[name])
    search = Extremes(operator(H), top=3, bottom=2, tol=1e-8, block=block, most_basis=30)
    whole = search.run()
    state = search.init()
    file = f"{tmp_path}/state.pt"
    while not bool(state["done"]):
        torch.save(dict(search.step(state)), file)
        state = torch.load(file, weights_only=True)
    again = search.pairs(state)
    assert torch.equal(again.values, whole.values)
    assert torch.equal(again.vectors, whole.vectors)
    assert again.products == whole.products


def test_a_step_taken_twice_is_the_same() -> None:
    search = Extremes(operator(symmetric(SPECTRA["double"])), top=3, tol=1e-8, most_basis=20)
    state = search.init()
    while not bool(state["done"]):
        first = search.step(state)
        search.step(first)
        again = search.step(state)
        m = len(first["table"])
        assert torch.equal(first["basis"][:m], again["basis"][:m])
        assert all(torch.equal(first[name], again[name]) for name in first if name != "basis")
        state = again


def test_the_look_finds_what_one_start_cannot() -> None:
    H = symmetric(bulk(200, 5, 5, 3))
    assert Extremes(operator(H), top=2, tol=1e-8, check=0).run().values.tolist() == pytest.approx([5, 3])
    found = Extremes(operator(H), top=2, tol=1e-8).run()
    assert found.values.tolist() == pytest.approx([5, 5])
    assert 3 <= float(found.upper) < 5


def test_the_estimate_is_near_the_error_where_the_residual_is_far() -> None:
    λ = bulk(300, 9, 7, 4, 2)
    found = Extremes(operator(symmetric(λ)), top=3, tol=1e-3, check=0).run()
    errors = (found.values - torch.tensor([9.0, 7.0, 4.0]).double()).abs()
    assert (found.estimates <= found.residuals).all()
    assert (errors <= found.estimates + 1e-13).all()
    loose = Extremes(operator(symmetric(λ)), top=3, tol=1e-9, accuracy=1e-6, check=0).run()
    strict = Extremes(operator(symmetric(λ)), top=3, tol=1e-9, check=0).run()
    assert loose.products < strict.products
    assert ((loose.values - torch.tensor([9.0, 7.0, 4.0]).double()).abs() <= 9e-6).all()


def test_one_direction_says_nothing_of_a_gap() -> None:
    search = Extremes(operator(symmetric(bulk(50, 3, 2))), top=1, tol=1e-9, accuracy=1e-2)
    state = search.step(search.init())
    assert not bool(state["done"])
    assert torch.equal(search.pairs(state).estimates, search.pairs(state).residuals)


def test_a_product_that_is_not_finite_ends_it() -> None:
    found = Extremes(operator(torch.full((5, 5), torch.nan).double()), top=2).run()
    assert found.values.isnan().all()
    assert int(found.products) == 1


def test_float32_keeps_its_vectors_in_float32() -> None:
    λ = bulk(500, 9, 7, 4).sort().values
    H = symmetric(λ)
    found = Extremes(operator(H.float()), top=3, tol=1e-5).run()
    assert found.vectors.dtype == torch.float32
    exact = torch.linalg.eigvalsh(H.float().double()).flip(0)[:3]
    assert ((found.values - exact).abs() <= found.residuals).all()
    gram = found.vectors.double().T @ found.vectors.double()
    assert torch.allclose(gram, torch.eye(3).double(), atol=2e-6)


def rough(H: Tensor, by: float) -> LinearOperator:
    """H, but that every product is rounded."""

    def product(V: Tensor) -> Tensor:
        W = H @ V
        draw = torch.Generator().manual_seed(int(1e6 * V.abs().sum()) % 2**31)
        return W + by * W.norm() / len(H) ** 0.5 * torch.randn(W.shape, generator=draw, dtype=W.dtype)

    return LinearOperator(tuple(H.shape), product, product, True, H.dtype, H.device)


def test_products_that_are_rounded_end_where_rounding_does() -> None:
    λ = bulk(300, 9, 7, 4).sort().values
    found = Extremes(rough(symmetric(λ), 1e-5), top=3, tol=1e-9, check=0).run()
    assert int(found.products) < 100
    assert found.converged.all()
    assert ((found.values - λ.flip(0)[:3]).abs() <= found.residuals + 9e-5).all()
    assert found.residuals.max() > 9e-9


@pytest.mark.parametrize("most", [20, 64])
def test_vectors_kept_in_float32_of_an_operator_in_float64(most: int) -> None:
    λ = torch.cat([torch.linspace(-1, 1, 600) ** 3, torch.tensor([9.0, 7.0, 4.0, 4.0])]).double().sort().values
    H = symmetric(λ)
    kinds = set()

    def product(V: Tensor) -> Tensor:
        kinds.add(V.dtype)
        return H @ V

    A = LinearOperator(tuple(H.shape), product, product, True, H.dtype, H.device)
    search = Extremes(A, top=4, bottom=2, tol=1e-5, most_basis=most, kept=torch.float32)
    found = search.run()
    assert kinds == {torch.float64}
    assert found.vectors.dtype == torch.float32
    assert found.converged.all()
    V = found.vectors.double()
    V = V / V.norm(dim=0)
    assert ((H @ V - V * found.values).norm(dim=0) <= found.residuals).all()  # the bound is true of what is returned
    assert ((found.values - torch.cat([λ.flip(0)[:4], λ[:2]])).abs() <= found.residuals).all()
    assert torch.allclose(V.T @ V, torch.eye(6).double(), atol=1e-6)


def test_a_restart_in_place_is_the_same_restart() -> None:
    H = symmetric(torch.linspace(-1, 1, 400).double() ** 3)
    for kept in (torch.float64, torch.float32):
        search = Extremes(operator(H), top=3, bottom=1, tol=1e-5, most_basis=20, kept=kept)
        state = search.init()
        while not bool(state["done"]):
            state = search.step(state)
        assert int(state["restarts"]) > 0
        slow, quick = search.pairs(state), search.run()
        assert torch.equal(slow.values, quick.values)
        assert torch.equal(slow.vectors, quick.vectors)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_inner_products_do_not_worsen_with_length(kind: torch.dtype) -> None:
    """Gram-Schmidt over rows in two arrays, and more entries than are taken at once."""
    draw = torch.Generator().manual_seed(0)
    Q, _ = torch.linalg.qr(torch.randn(400_000, 7, generator=draw, dtype=torch.float64))
    rows = Q.T.to(kind).contiguous()
    w = torch.randn(400_000, generator=draw, dtype=torch.float64)
    h, rest = orthogonalise([rows[:4], rows[4:]], w)
    wide, eps = rows.double(), torch.finfo(kind).eps
    exact = torch.linalg.lstsq(wide.T, w).solution
    assert (h - exact).norm() <= eps * w.norm()
    assert (w - h @ wide - rest).norm() <= 2 * eps * w.norm()
    assert (wide @ rest).abs().max() <= eps * w.norm()


@pytest.mark.slow
def test_a_hundred_runs_within_their_bounds() -> None:
    """Every value within its residual of an eigenvalue, 100 of 100; none missed beyond the bounds, but for the risk."""
    held = 0
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        outliers = 1 + 4 * torch.rand(8, generator=generator, dtype=torch.float64)
        λ = torch.cat([0.3 * torch.randn(292, generator=generator, dtype=torch.float64), outliers, outliers[:2]])
        λ = λ.sort().values
        found = Extremes(operator(symmetric(λ, seed)), top=5, bottom=2, seed=seed).run()
        near = (found.values[:, None] - λ).abs().min(1).values
        assert (near <= found.residuals).all()
        right = ((found.values[:5] - λ.flip(0)[:5]).abs() <= found.residuals[:5]).all()
        held += bool(right & (λ[-6] <= found.upper) & (λ[2] >= found.lower))
    assert held >= 97


@pytest.mark.parametrize("side", ["top", "bottom"])
@pytest.mark.parametrize("check", [0, 12])
def test_a_look_finds_what_the_start_could_not_see_at_either_end(side: str, check: int) -> None:
    """A start without any of the outermost eigenvector: without a look the next one is taken for it."""
    λ = torch.cat([torch.linspace(-1, 1, 40), torch.tensor([5.0, 3.0, -3.0, -5.0])]).double()
    H = torch.diag(λ)
    start = torch.ones(44, dtype=torch.float64)
    start[40 if side == "top" else 43] = 0
    search = Extremes(operator(H), **{"top": 0, "bottom": 0, side: 1}, tol=1e-6, check=check)
    found = search.run(start)
    sign = 1 if side == "top" else -1
    assert found.values.tolist() == pytest.approx([sign * (5.0 if check else 3.0)], abs=1e-6)


@pytest.mark.parametrize("name", ["outliers", "saddle", "uniform"])
def test_of_minus_the_matrix_the_ends_change_places(name: str) -> None:
    λ = SPECTRA[name]
    found = Extremes(operator(symmetric(λ)), top=3, bottom=2, tol=1e-8).run()
    other = Extremes(operator(-symmetric(λ)), top=2, bottom=3, tol=1e-8).run()
    assert torch.allclose(found.values, -torch.cat([other.values[2:], other.values[:2]]), atol=1e-7)
    assert torch.allclose(found.upper, -other.lower, atol=0.1 * λ.abs().max())
    assert torch.allclose(found.lower, -other.upper, atol=0.1 * λ.abs().max())
