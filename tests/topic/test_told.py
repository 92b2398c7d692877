"""What topics make of numbers: measures of matrices, words for gradients and losses, signs in any unit."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from calclab.core import Function, Point, Verdict
from calclab.numerics.krylov import Probes
from calclab.numerics.operators import LinearOperator
from calclab.optimizer.lbfgs import LBFGS
from calclab.optimizer.rules import GradientDescent
from calclab.subject.network import Network
from calclab.topic.comparison.batched import batched as side_by_side
from calclab.topic.descent import Descent
from calclab.topic.descent.iteration import Iteration
from calclab.topic.descent.walk import Walk
from calclab.topic.hessian.answer import norm, spread
from calclab.topic.hessian.evidence import along as curvature_along
from calclab.topic.hessian.sampling import Against
from calclab.topic.hessian.slices import along, aside, model, plane, reach
from calclab.topic.importance.features import Columns
from calclab.topic.jacobian.answer import of_points, verdict
from calclab.topic.jacobian.measures import LEVELS, conditions, of_matrices, orientation, quantiles
from calclab.topic.jacobian.point_scan import ENTRIES, PointScan
from calclab.topic.tape import FAR, trend


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def symmetric(n: int, seed: int = 0) -> Tensor:
    M = normal(n, n, seed=seed)
    return M + M.T


@pytest.mark.parametrize("shape", [(3, 3), (1, 1), (2, 4), (5, 2)])
def test_measures_of_matrices_are_numpys(shape: tuple[int, int]) -> None:
    J = normal(6, *shape)
    J[1, 0] = 0  # a row of zeros
    J[2] = torch.outer(normal(shape[0], seed=1), normal(shape[1], seed=2))
    J[3, 0, 0] = torch.nan
    J[4, -1, -1] = torch.inf
    found = of_matrices(J)
    for k, M in enumerate(J.numpy()):
        if k in (3, 4):
            assert bool(found["singular_values"][k].isnan().all())
            assert bool(found["rank"][k].isnan())
            assert "orientation" not in found or bool(found["orientation"][k].isnan() & found["log_abs_det"][k].isnan())
            continue
        np.testing.assert_allclose(found["singular_values"][k], np.linalg.svd(M, compute_uv=False), atol=1e-14)
        assert float(found["rank"][k]) == np.linalg.matrix_rank(M)
        assert float(found["frobenius_norm"][k]) == pytest.approx(np.linalg.norm(M))
        assert float(found["spectral_norm"][k]) == pytest.approx(np.linalg.norm(M, 2))
        if shape[0] == shape[1]:
            sign, log = np.linalg.slogdet(M)
            whole = np.linalg.matrix_rank(M) == shape[0]
            assert float(found["orientation"][k]) == (sign if whole else 0)
            assert not whole or float(found["log_abs_det"][k]) == pytest.approx(log)
            assert not whole or float(found["condition"][k]) == pytest.approx(np.linalg.cond(M))
    assert ("orientation" in found) == (shape[0] == shape[1])


def test_quantiles_are_numbers_that_occurred() -> None:
    values = normal(11, 2)
    values[3, 0] = values[7, 0] = torch.nan
    values[:, 1] = torch.nan
    found = quantiles(values)
    known = np.sort(values[:, 0][~values[:, 0].isnan()])
    expected = [known[round(level * (len(known) - 1))] for level in LEVELS]
    assert found[:, 0].tolist() == expected
    assert bool(found[:, 1].isnan().all())
    κ, rank = torch.tensor([2.0, 1e17, 5.0]), torch.tensor([3.0, 2.0, 3.0])
    assert conditions(κ, rank, 3)[0] == 2
    assert conditions(κ, rank, 3)[-1] == 5
    assert bool(conditions(κ, torch.zeros(3), 3).isinf().all())
    words = [orientation(sign) for sign in (1.0, -1.0, 0.0, torch.tensor(torch.nan))]
    assert words == ["preserved", "reversed", "lost: singular to working precision", "undefined"]


@pytest.mark.parametrize(
    ("factor", "layers", "word"),
    [
        (1.0, 5, "steady"),
        (2.1, 3, "steady"),  # 4.4 in all
        (2.1, 5, "exploding"),  # 19 in all
        (2.5, 4, "exploding"),  # 16 in all
        (1.9, 9, "steady"),  # below 2 a layer, 169 in all
        (1.9, 13, "exploding"),  # 2213 in all
        (3.0, 3, "steady"),  # 9 in all
        (1.1 * FAR, 2, "exploding"),
        (0.9 * FAR, 2, "exploding"),
    ],
)
def test_a_gradient_explodes_and_vanishes_by_the_same_rule(factor: float, layers: int, word: str) -> None:
    """By 1000 in all, or by 2 a layer and 10 in all; seen the other way round it vanishes."""
    tails = factor ** torch.arange(layers - 1, -1, -1, dtype=torch.float64)
    weighted = list(range(layers))
    found, told = trend(weighted, 3 * tails)
    assert found == word
    assert float(told) == pytest.approx(factor)
    other, told = trend(weighted, 3 / tails)
    assert other == {"exploding": "vanishing"}.get(word, word)
    assert float(told) == pytest.approx(1 / factor)


def test_a_gradient_of_one_layer_or_none_has_no_word() -> None:
    assert trend([2], torch.ones(3)) == ("that of one layer: nothing to compare", None)
    assert trend([0, 2], torch.tensor([1.0, 1.0, 0.0])) == ("zero or not finite at the last layer", None)
    assert trend([1, 2], torch.tensor([9.0, 1.0, 4.0]))[1] == pytest.approx(0.25)  # layers without weights left out


@pytest.mark.parametrize("threshold", [10.0, 1e3])
def test_the_verdict_on_a_condition_number(threshold: float) -> None:
    σ = torch.ones(1, 4, dtype=torch.float64)
    eps = torch.finfo(torch.float64).eps
    assert verdict(threshold, threshold, σ) == "well-conditioned"
    assert verdict(threshold * 1.001, threshold, σ) == "ill-conditioned"
    assert verdict(0.98 / (4 * eps), threshold, σ) == "ill-conditioned"
    assert verdict(1 / (4 * eps), threshold, σ) == "singular to working precision"


@pytest.mark.parametrize(("start", "end", "verb"), [(2.0, 1.0, "fell"), (1.0, 2.0, "rose"), (1.5, 1.5, "stayed")])
def test_the_way_of_a_loss(start: float, end: float, verb: str) -> None:
    at = SimpleNamespace(start=(start, 1.0), loss=torch.tensor(end))
    assert Walk.fell.fget(at) == f"the loss {verb} from {start:g} to {end:g}"


@pytest.mark.parametrize("unit", [1e-20, 1.0, 1e20])
def test_signs_of_a_density_do_not_depend_on_the_unit(unit: float) -> None:
    """Ten eigenvalues, all found by the quadrature: the shares of those beyond the resolution and within it."""
    λ = unit * torch.tensor([-3.0, -2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    Q, _ = torch.linalg.qr(normal(10, 10))
    H = (Q * λ) @ Q.T
    A = LinearOperator((10, 10), lambda V: H @ V, lambda V: H @ V, True, H.dtype, H.device)
    probes = Probes(A, probes=60, depth=10)
    state = probes.run()
    density = probes.density(state)
    found = spread(SimpleNamespace(density=lambda _: density), {}, float(λ.abs().max()))
    resolution = float(density.resolution)
    assert float(found["zero_up_to"]) == pytest.approx(max(resolution, 1e-9 * 5 * unit), rel=1e-6)
    inside = [float((λ < -resolution).sum()) / 10, float((λ.abs() <= resolution).sum()) / 10]
    expected = {"negative": inside[0], "zero": inside[1], "positive": 1 - sum(inside)}
    for name, share in expected.items():
        error = float(found[f"fraction_{name}_error"])
        assert abs(float(found[f"fraction_{name}"]) - share) <= 4 * error + 1e-9, name
    assert bool((found["inertia_low"] <= 10 * torch.tensor(list(expected.values())) + 1e-9).all())
    assert bool((found["inertia_high"] >= 10 * torch.tensor(list(expected.values())) - 1e-9).all())


def test_the_norm_of_a_square_has_half_its_relative_error() -> None:
    square = SimpleNamespace(value=torch.tensor(16.0), error=torch.tensor(1.6), half=torch.tensor(3.2))
    found = norm(square)
    assert float(found["frobenius"]) == 4
    assert float(found["frobenius_error"]) == pytest.approx(0.2)  # 5 % of 4 for 10 % of 16
    assert float(found["frobenius_within"]) == pytest.approx(0.4)


def test_the_model_over_a_plane_is_the_function_where_it_is_quadratic() -> None:
    """f(x + a v₁ + b v₂) of a quadratic, by its value, slopes and curvatures at x alone."""
    H, c, x = symmetric(6), normal(6, seed=3), normal(6, seed=4)
    f = Function("f", lambda z: z @ H @ z / 2 + c @ z - 3, x, tuple("abcdef"))
    λ, V = torch.linalg.eigh(H)
    v, κ = V[:, [0, 5]], λ[[0, 5]]
    g, value = H @ x + c, f.call(x)
    a, b = torch.linspace(-2, 1, 4, dtype=torch.float64), torch.linspace(-1, 3, 5, dtype=torch.float64)
    expected = torch.stack([along(f, v[:, 0], a, t * v[:, 1]) for t in b])
    torch.testing.assert_close(plane(value, g @ v, κ, a, b), expected)
    found = model(value, g @ v, κ, a)
    torch.testing.assert_close(found, torch.stack([along(f, v[:, k], a) for k in range(2)]))


def test_slices_reach_as_far_as_the_curvature_matters() -> None:
    """½ t² |λ| = |f| at their end, if x is that long; of f = 0, as far as x is long."""
    κ, value = torch.tensor([8.0, -2.0, 1e-30, 0.0], dtype=torch.float64), torch.tensor(-4.0, dtype=torch.float64)
    x = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert reach(κ, value, x).tolist() == pytest.approx([1.0, 2.0, 5.0, 5.0])
    assert reach(κ, 0 * value, x).tolist() == [5.0] * 4
    assert reach(κ[:2], 100 * value, 0.01 * x).tolist() == [1.0, 1.0]
    assert reach(κ[:2], value, x * torch.inf).tolist() == [1.0, 1.0]


def test_a_direction_aside_is_a_unit_vector_and_orthogonal() -> None:
    V, _ = torch.linalg.qr(normal(7, 3))
    v = aside(V, seed=2)
    assert float(v.norm()) == pytest.approx(1)
    assert float((V.T @ v).abs().max()) < 1e-15
    assert torch.equal(v, aside(V, seed=2))
    assert not torch.equal(v, aside(V, seed=3))


def test_the_distance_of_two_operators_costs_products_with_both() -> None:
    H, G = symmetric(5), symmetric(5, seed=1)
    A, B = (LinearOperator((5, 5), lambda V, M=M: M @ V, None, True, M.dtype, M.device) for M in (H, G))
    D = LinearOperator((5, 5), lambda V: A @ V - B @ V, None, True, H.dtype, H.device)
    stage = Against(lambda: D, count=40, seed=0)
    state = stage.begin({})
    while not bool(state["done"]):
        state = stage.step(state, {})
    assert int(state["products"]) == A.products + B.products == 80
    square = stage.finish(state, {})["square"]
    assert abs(float(square["value"]) - float((H - G).square().sum())) <= 4 * float(square["error"])


@pytest.mark.parametrize(
    ("m", "n"), [(1, 1), (20, 50), (1000, 1), (1, 1000), (40, 1000), (1000, 40), (10**6, 1), (1, 10**6)]
)
def test_a_jacobian_is_small_by_all_of_its_entries(m: int, n: int) -> None:
    for forms in (True, False):
        assert PointScan.small.fget(SimpleNamespace(shape=(m, n), forms=forms)) == (forms and m * n <= ENTRIES)


@pytest.mark.parametrize(
    ("start", "end", "rise"), [(2.0, 5.0, 1.5), (-2.0, -1.0, 0.5), (4.0, 1.0, -0.75), (0.0, 1.0, 2.0**26)]
)
def test_a_rise_is_in_terms_of_the_start(start: float, end: float, rise: float) -> None:
    at = SimpleNamespace(start=(start, 1.0), loss=torch.tensor(end), x=torch.zeros(1, dtype=torch.float64))
    assert Walk.rise.fget(at) == pytest.approx(rise)


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize(("off", "verdict_"), [(0.0, "CONSISTENT"), (1e-3, "REFUTED"), (-1e-3, "REFUTED")])
def test_a_curvature_along_a_vector_is_held_against_its_own_size(unit: float, off: float, verdict_: str) -> None:
    H = symmetric(5)
    λ, V = torch.linalg.eigh(H)
    f = Function("f", lambda z: unit * (z @ H @ z / 2 + (z**3).sum() / 60), normal(5, seed=2), tuple("abcde"))
    true = λ[-1] + (V[:, -1] ** 2 * f.start).sum() / 10  # vᵀHv where the cubes bend
    row = curvature_along(f, unit * true * (1 + off), V[:, -1], torch.tensor(0.0), "v", 3)
    assert row.verdict is Verdict[verdict_]
    within = curvature_along(f, unit * true * (1 + off), V[:, -1], 2e-3 * unit * true, "v", 3)
    assert within.verdict is Verdict.CONSISTENT  # the residual bounds more than that


def test_over_many_points_the_least_and_the_largest_are_told() -> None:
    f = SimpleNamespace(exact=None, name="f at row 10")
    problem = SimpleNamespace(count=21, first=10, function=lambda k: f, shape=(2, 3))
    norms = torch.randperm(21, generator=torch.Generator().manual_seed(0)).double() + 1
    κ, rank = torch.arange(2.0, 23.0, dtype=torch.float64), torch.full((21,), 2.0, dtype=torch.float64)
    κ[4], rank[4] = 1e20, 1.0
    state = {
        "all.spectral_norm": norms,
        "all.condition": κ,
        "all.rank": rank,
        "all.singular_values": torch.stack([norms, norms / 2], 1),
    }
    text = of_points(problem, state, "reverse", 10.0, None).sentence
    at = int(norms.argmax()) + 10
    assert text.startswith("21 Jacobians, each 2 × 3: they stretch by up to 21")
    assert f"spectral norm = 1 to 21, median 11, the largest at row {at}" in text
    assert "condition = 2 to 22, median" in text
    assert ", 12 above 10" in text
    assert "1 of less than full rank 2" in text


def test_a_slope_in_the_users_units_is_divided_by_what_it_was_scaled_with() -> None:
    network = object.__new__(Network)
    units = SimpleNamespace(scale=torch.tensor([2.0, 0.0, 0.5], dtype=torch.float64))
    object.__setattr__(network, "data", SimpleNamespace(units=units))
    columns = SimpleNamespace(subject=network, groups=None, joint=(), names=("a", "b", "c"))
    values = torch.tensor([[4.0, 4.0, 4.0]], dtype=torch.float64)
    found = Columns.per_unit(columns, "gradient", values)
    assert found[0, 0] == 2
    assert bool(found[0, 1].isnan())
    assert found[0, 2] == 8
    assert torch.equal(Columns.per_unit(columns, "shapley", values), values)
    columns.groups = torch.tensor([0, 1, 1])  # b and c are one category
    columns.names, columns.joint = ("a", "b"), ((1, None, None),)
    found = Columns.per_unit(columns, "gradient", values[:, :2])
    assert found.tolist() == [[2.0, 4.0]]


@pytest.mark.parametrize("stride", [0, 1, 3])
def test_a_long_walk_is_kept_at_every_so_many_steps(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Iteration, "stride", stride)
    start = normal(150)
    f = Function("f", lambda z: z @ z, start, tuple(f"x{i}" for i in range(150)))
    topic = Descent(
        subject=f,
        optimizer=GradientDescent(),
        lr=0.1,
        steps=7,
        tol=0.0,
        batch=None,
        epochs=None,
        sharpness={"every": 0},
        watch=None,
        animation=False,
        evidence="full",
        flow=None,
    )
    state, kept = topic.init(), []
    for k in range(8):
        state, values = topic.step(state, k)
        kept += [k] if "x" in values else []
    assert kept == ([] if stride == 0 else list(range(0, 8, stride)))


def test_walks_of_one_variable_side_by_side_are_those_of_each_alone() -> None:
    """L-BFGS keeps pairs for each walk, of however few variables."""
    rule = LBFGS(history=4)
    many = side_by_side(rule)
    assert many is not None
    f = Function("f", lambda z: torch.cosh(z).sum(-1), torch.zeros(1).double(), ("x",))
    x, lr = torch.tensor([[0.5], [-1.5], [2.0]], dtype=torch.float64), torch.full((3, 1), 0.7, dtype=torch.float64)
    alone = [(row, rule.init(row)) for row in x]
    state = many.init(x)
    for _ in range(5):
        move, state = many.update(Point(x, f.call(x), torch.sinh(x), f), state, lr)
        x = x + move
        for i, (row, own) in enumerate(alone):
            step, own = rule.update(Point(row, f.call(row), torch.sinh(row), f), own, 0.7)
            alone[i] = row + step, own
        torch.testing.assert_close(x, torch.stack([row for row, _ in alone]), rtol=1e-12, atol=1e-14)
