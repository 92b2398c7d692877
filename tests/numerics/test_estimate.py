"""Evidence without a formula: right derivatives pass, wrong ones do not, and traps are called by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from calclab.core import Evidence, Function, Verdict
from calclab.numerics.agreement import worst
from calclab.numerics.operators import dense_hessian, dense_jacobian, value_and_gradient
from calclab.numerics.verify import (
    check_eigenvalues,
    check_gradient,
    check_hessian,
    check_jacobian,
    check_singular_values,
    check_value,
)

Call = Callable[[Tensor], Tensor]
OPEN, UNDEFINED, REFUTED = Verdict.INCONCLUSIVE, Verdict.UNDEFINED, Verdict.REFUTED
CONSISTENT = Verdict.CONSISTENT


def function(call: Call, x: Tensor, outputs: int = 0) -> Function:
    return Function("f", call, x, tuple(f"x{i}" for i in range(len(x))), tuple(f"f{i}" for i in range(outputs)))


def point(*x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def family(rounds: int) -> Iterator[tuple[str, Call, Tensor]]:
    """Smooth callables in 1 to 7 variables, lopsided, shifted and badly scaled."""
    maker = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=maker, dtype=torch.float64)

    for _ in range(rounds):
        n = int(torch.randint(1, 8, (1,), generator=maker))
        A, b, x = draw(n, n), draw(n), draw(n)
        s = 10.0 ** torch.randint(-5, 6, (n,), generator=maker)
        yield "indefinite quadratic", lambda z, A=A, b=b: z @ A @ z + b @ z, x
        yield "linear", lambda z, b=b: b @ z + 3, x
        yield "sines", lambda z, A=A, b=b: (torch.sin(A @ z) * b).sum(), x
        yield "badly scaled", lambda z, A=A, b=b, s=s: (torch.sin(A @ (z / s)) * b).sum(), x * s
        yield "large offset", lambda z, A=A: 1e6 + torch.exp(A @ z / 3).sum(), x
        yield "far away", lambda z, A=A: torch.cos(A @ (z - 1e4)).sum(), x + 1e4
        yield "rosenbrock", lambda z: ((1 - z) ** 2).sum() + 100 * ((z[1:] - z[:-1] ** 2) ** 2).sum(), x
        yield "log-sum-exp", lambda z, A=A: torch.logsumexp(20 * A @ z, 0), x
        yield "rational", lambda z, A=A: 1 / (1 + (A @ z).square().sum()), x
        yield "norm", lambda z: z.norm(), x


def error_of(g: Tensor, x: Tensor, size: float, seed: int) -> Tensor:
    """A random error of relative ``size``, in the scale of each variable."""
    w = x.abs().clamp(min=1)
    e = torch.randn(g.shape, generator=torch.Generator().manual_seed(seed), dtype=g.dtype)
    return e / w * (g * w).norm() / e.norm() * size


@pytest.mark.slow
def test_right_gradients_raise_no_alarm_and_wrong_ones_always_do() -> None:
    cases = list(family(20))
    assert len(cases) == 200
    for seed, (name, call, x) in enumerate(cases):
        _, g = value_and_gradient(call, x)
        f = function(call, x)
        right = check_gradient(f, x, g, 3)
        assert {row.verdict for row in right} == {CONSISTENT}, (name, right)
        assert all(row.step == 3 and row.gap <= row.tolerance for row in right), (name, right)
        for wrong in (g * (1 + 1e-4), g + error_of(g, x, 1e-4, seed)):
            rows = check_gradient(f, x, wrong, 3)
            assert {row.verdict for row in rows} == {REFUTED}, (name, rows)


def test_hessians_of_the_family() -> None:
    for name, call, x in family(1):
        H, f = dense_hessian(call, x), function(call, x)
        rows = check_hessian(f, x, H, 0)
        assert all(row.verdict is CONSISTENT for row in rows), (name, rows)
        if float(H.abs().max()) > 0:
            wrong = check_hessian(f, x, H * (1 + 1e-4), 0)
            assert worst(wrong) is REFUTED, (name, wrong)
    lopsided = torch.tensor([[1.0, 2.0], [2.1, 1.0]], dtype=torch.float64)
    x = point(1, 2)
    assert check_hessian(function(lambda z: z @ z, x), x, lopsided, 0)[0].verdict is REFUTED


def test_jacobians_spectra_and_their_errors() -> None:
    x = point(1, 2)
    call = lambda z: torch.stack([z[0] ** 2 + z[1], z[0] * z[1], torch.sin(z[0]) + torch.cos(z[1])])  # noqa: E731
    f, J = function(call, x, 3), dense_jacobian(call, x)
    σ = torch.linalg.svdvals(J)
    assert worst(check_jacobian(f, x, J, 0) + check_singular_values(f, x, σ, 0)) is CONSISTENT
    for i in range(3):
        for j in range(2):
            wrong = J.clone()
            wrong[i, j] += 1e-4 * float(J.norm())
            rows = check_jacobian(f, x, wrong, 0)
            assert worst(rows) is REFUTED, (i, j, rows)
    assert worst(check_singular_values(f, x, σ * 1.0001, 0)) is REFUTED
    g = function(lambda z: z[0] ** 2 * z[1] - z[1] ** 3, x)
    λ = torch.linalg.eigvalsh(dense_hessian(g.call, x))
    assert worst(check_eigenvalues(g, x, λ, 0)) is CONSISTENT
    assert worst(check_eigenvalues(g, x, λ.abs(), 0)) is REFUTED, "the matrix is indefinite"


# --- traps: kinks, poles, derivatives that torch gets wrong ---------------------------------------------------------

KINKS = {
    "abs": lambda x: x.abs().sum(),
    "relu": lambda x: x.relu().sum(),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)).sum(),
    "clamp": lambda x: x.clamp(min=0).sum(),
    "norm": lambda x: x.norm(),
    "steep": lambda x: (1e6 * x).abs().sum() + x.sum(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KINKS)
def test_kinks_are_called_kinks(name: str, dtype: torch.dtype) -> None:
    x = torch.zeros(1, dtype=dtype)
    rows = check_gradient(function(KINKS[name], x), x, value_and_gradient(KINKS[name], x)[1], 0)
    assert {row.verdict for row in rows} == {UNDEFINED}
    assert all("kink" in row.note for row in rows)


def verdict_of(call: Call, x: Tensor) -> tuple[Verdict, list[Evidence]]:
    rows = check_gradient(function(call, x), x, value_and_gradient(call, x)[1], 0)
    return worst(rows), rows


def test_nan_where_the_function_has_a_slope_is_suspect() -> None:
    verdict, rows = verdict_of(lambda x: torch.where(x == 0, 1, x.sin() / x).sum(), point(0))
    assert verdict is Verdict.SUSPECT
    assert "not finite, and the function has a slope" in rows[0].note


def test_gradient_of_det_at_a_singular_matrix_is_refuted() -> None:
    x = point(1, 2, 2, 4)
    adjugate = point(4, -2, -2, 1)
    call = lambda z: torch.det(z.reshape(2, 2))  # noqa: E731
    assert worst(check_gradient(function(call, x), x, torch.zeros_like(x), 0)) is REFUTED
    assert worst(check_gradient(function(lambda z: z[0] * z[3] - z[1] * z[2], x), x, adjugate, 0)) is CONSISTENT


def test_curvature_that_a_norm_or_a_sinc_hides_is_refuted() -> None:
    """exp(-‖x‖²) through norm at 0 (pytorch 92075): torch says 0 or NaN, the truth is -2I. sinc''(0) is NaN."""
    x, bell = point(0, 0), lambda z: torch.exp(-(z.norm() ** 2))
    own = dense_hessian(bell, x)
    said = worst(check_hessian(function(bell, x), x, own, 0))
    assert said is (REFUTED if bool(own.isfinite().all()) else Verdict.SUSPECT)
    assert worst(check_hessian(function(bell, x), x, torch.zeros(2, 2, dtype=torch.float64), 0)) is REFUTED
    right = -2 * torch.eye(2, dtype=torch.float64)
    assert worst(check_hessian(function(lambda z: torch.exp(-(z @ z)), x), x, right, 0)) is CONSISTENT
    zero = point(0)
    H = dense_hessian(lambda z: torch.sinc(z).sum(), zero)
    assert worst(check_hessian(function(lambda z: torch.sinc(z).sum(), zero), zero, H, 0)) is not CONSISTENT


@pytest.mark.parametrize("call", [lambda x: nn.functional.softplus(x).sum(), lambda x: torch.digamma(x).sum()])
def test_errors_below_what_differences_resolve_are_not_refuted(call: Call) -> None:
    """softplus' is off by 2e-9 beyond 20 and digamma' by 5e-10: only a formula's ball can tell."""
    x = point(25.0) if call(point(25.0)) > 20 else point(1.5)
    assert verdict_of(call, x)[0] in (CONSISTENT, OPEN)


def test_poles_edges_and_stairs() -> None:
    assert verdict_of(lambda x: x.log().sum(), point(0))[0] is UNDEFINED
    assert verdict_of(lambda x: x.sqrt().sum(), point(0))[0] is UNDEFINED
    assert verdict_of(lambda x: (1e16 + x.sum()) - 1e16, point(0.5))[0] is OPEN
    assert verdict_of(lambda x: torch.sin(x * 1e150).sum(), point(1e-150))[0] is OPEN
    assert verdict_of(lambda x: torch.sin(x * 1e-150).sum(), point(1e150))[0] is CONSISTENT


def test_stationary_points_and_constants_are_consistent_with_zero() -> None:
    calls = [lambda x: ((x - 1 / 3) ** 2).sum() + 1, lambda x: 0 * x.sum() + 3, lambda x: ((x - 1 / 3) ** 3).sum()]
    for call in calls:
        verdict, rows = verdict_of(call, point(1 / 3, 1 / 3))
        assert verdict is CONSISTENT, rows
    x = point(1 / 3, 1 / 3)
    rows = check_gradient(function(calls[0], x), x, point(0, 1e-4), 0, scale=1.0)
    assert worst(rows) is REFUTED, rows


def test_a_gradient_that_forgets_a_path_is_refuted() -> None:
    assert verdict_of(lambda x: (x.detach() * x).sum(), point(2, 1))[0] is REFUTED


def test_forward_mode_may_be_missing() -> None:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x**3

        @staticmethod
        def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
            return 3 * ctx.saved_tensors[0] ** 2 * g

    rows = {row.method: row for row in verdict_of(lambda x: Cube.apply(x).sum(), point(2, 1))[1]}
    assert rows["reverse against forward"].verdict is OPEN
    assert "forward mode" in rows["reverse against forward"].note
    assert rows["Taylor order"].verdict is rows["Richardson"].verdict is CONSISTENT


def test_values_are_evaluated_again() -> None:
    x = point(1, 2)
    f = function(lambda z: z.prod(), x)
    assert worst(check_value(f, x, point(2)[0], 0)) is CONSISTENT
    assert worst(check_value(f, x, point(2.001)[0], 0)) is REFUTED
    noisy = function(lambda z: nn.functional.dropout(z, 0.5).sum() + torch.rand(()), x)
    assert worst(check_value(noisy, x, noisy.call(x), 0)) is REFUTED
    pole = function(lambda z: z.log().sum(), point(0))
    assert worst(check_value(pole, point(0), pole.call(point(0)), 0)) is UNDEFINED


# --- networks -------------------------------------------------------------------------------------------------------


def network(act: type[nn.Module], loss: Callable[..., Tensor], dtype: torch.dtype, seed: int) -> tuple[Call, Tensor]:
    maker = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Linear(6, 12), act(), nn.Linear(12, 12), act(), nn.Linear(12, 4)).to(dtype)
    rows = torch.randn(40, 6, generator=maker, dtype=dtype)
    targets = torch.randint(0, 4, (40,), generator=maker)
    if loss is not nn.functional.cross_entropy:
        targets = nn.functional.one_hot(targets, 4).to(dtype)
    shapes = {name: p.shape for name, p in module.named_parameters()}
    start = torch.cat([torch.randn(s.numel(), generator=maker, dtype=dtype) / s[-1] ** 0.5 for s in shapes.values()])

    def call(theta: Tensor) -> Tensor:
        parts = theta.split([s.numel() for s in shapes.values()])
        parameters = {name: p.view(s) for (name, s), p in zip(shapes.items(), parts, strict=True)}
        return loss(torch.func.functional_call(module, parameters, (rows,)), targets)

    return call, start


@pytest.mark.parametrize("act", [nn.Tanh, nn.ReLU, nn.GELU])
@pytest.mark.parametrize("loss", [nn.functional.cross_entropy, nn.functional.mse_loss, nn.functional.huber_loss])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_networks(act: type[nn.Module], loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    double = dtype == torch.float64
    call, θ = network(act, loss, dtype, 0)
    f, (_, g) = function(call, θ), value_and_gradient(call, θ)
    rows = check_gradient(f, θ, g, 0)
    assert {row.verdict for row in rows} <= ({CONSISTENT} if double else {CONSISTENT, OPEN}), rows
    assert rows[1].verdict is CONSISTENT
    wrong = check_gradient(f, θ, g + error_of(g, θ, 1e-4 if double else 0.01, 0), 0)
    assert worst(wrong) is REFUTED, wrong
    if double:
        assert {row.verdict for row in wrong} == {REFUTED}, wrong
        assert worst(check_hessian(f, θ, dense_hessian(call, θ), 0)) is CONSISTENT


def test_evidence_is_the_same_every_time() -> None:
    call, θ = network(nn.Tanh, nn.functional.mse_loss, torch.float64, 3)
    _, g = value_and_gradient(call, θ)
    assert check_gradient(function(call, θ), θ, g, 0) == check_gradient(function(call, θ), θ, g, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("act", [nn.Tanh, nn.ReLU])
def test_losses_smaller_than_their_rounding_refute_nothing(act: type[nn.Module], dtype: torch.dtype) -> None:
    """Cross-entropy of a sample that is sure of its class: logsumexp - y_c cancels, in the loss and in its gradient."""
    maker = torch.Generator().manual_seed(0)
    first, second = torch.randn(16, 8, generator=maker, dtype=dtype), torch.randn(3, 16, generator=maker, dtype=dtype)
    net = nn.Sequential(nn.Linear(8, 16, bias=False), act(), nn.Linear(16, 3, bias=False))
    net = net.to(dtype).requires_grad_(False)
    net[0].weight.copy_(first)
    losses = []
    for k in range(80):
        x = torch.randn(8, generator=maker, dtype=dtype)
        net[2].weight.copy_(second * (1 + k / 8))
        best = net(x).argmax()[None]

        def call(z: Tensor, best: Tensor = best) -> Tensor:
            return nn.functional.cross_entropy(net(z[None]), best)

        value, g = value_and_gradient(call, x)
        losses.append(float(value))
        rows = check_gradient(function(call, x), x, g, 0)
        assert worst(rows) is not REFUTED, (losses[-1], rows)
    assert min(losses) < torch.finfo(dtype).eps < max(losses)


def test_single_precision_is_judged_as_such() -> None:
    maker = torch.Generator().manual_seed(3)
    A, x = torch.randn(4, 6, generator=maker), torch.randn(6, generator=maker)
    f = function(lambda z: torch.tanh(A @ z), x, 4)
    rows = check_jacobian(f, x, dense_jacobian(f.call, x), 0)
    forward = next(row for row in rows if "⟨" in row.method)
    assert forward.tolerance > 1e-5
    assert forward.verdict is CONSISTENT
