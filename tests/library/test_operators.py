"""Operators of subjects beside plain torch in float64: products, parts, sums, and every number within its bound."""

from __future__ import annotations

import copy
import doctest
import importlib

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import cg, eigsh
from torch import Tensor, nn

import calclab

KINDS = ("hessian", "gauss_newton", "empirical_fisher", "gradient_covariance")


def net(dtype: torch.dtype = torch.float64, width: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3)).to(dtype)


def rows(count: int = 23) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(count, 4, generator=g, dtype=torch.float64), torch.randint(0, 3, (count,), generator=g)


def loss(dtype: torch.dtype = torch.float64, width: int = 5) -> calclab.subject.network.Network:
    X, y = rows()
    return calclab.loss(net(dtype, width), nn.CrossEntropyLoss(), (X.to(dtype), y))


def by_torch(kind: str, width: int = 5) -> Tensor:
    """The matrix by plain torch: derivatives of the loss of each row, and of the outputs."""
    model, (X, y) = copy.deepcopy(net(width=width)), rows()
    named = {name: p.detach() for name, p in model.named_parameters()}
    θ = torch.cat([p.reshape(-1) for p in named.values()])

    def outputs(θ: Tensor) -> Tensor:
        parts = dict(zip(named, θ.split([p.numel() for p in named.values()]), strict=True))
        return torch.func.functional_call(model, {n: p.reshape(named[n].shape) for n, p in parts.items()}, X)

    def losses(θ: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs(θ), y, reduction="none")

    if kind == "hessian":
        return torch.autograd.functional.hessian(lambda θ: losses(θ).mean(), θ)
    if kind == "gauss_newton":
        J, p = torch.autograd.functional.jacobian(outputs, θ), outputs(θ).softmax(1)
        middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        return torch.einsum("bmi,bmk,bkj->ij", J, middle, J) / len(X)
    g = torch.autograd.functional.jacobian(losses, θ)
    g = g - g.mean(0) if kind == "gradient_covariance" else g
    return g.T @ g / len(X)


def close(found: Tensor, true: Tensor, slack: float = 1e-12) -> bool:
    return bool((found - true).abs().max() <= slack * true.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_an_operator_is_the_matrix(kind: str) -> None:
    A, true = calclab.curvature(loss(), kind), by_torch(kind)
    n = len(true)
    V = torch.randn(n, 3, dtype=torch.float64)
    assert (A.shape, A.dtype, A.device) == ((n, n), torch.float64, torch.device("cpu"))
    assert close(A.dense(), true)
    assert close(A @ V, true @ V)
    assert close(A @ V[:, 0], true @ V[:, 0])
    assert close(V[:, 0] @ A, true @ V[:, 0])
    assert close(A.T @ V, true @ V)
    assert close(torch.as_tensor(A @ V.numpy()), true @ V)
    assert (A @ V.float()).dtype == torch.float32
    trace, diagonal = A.trace(), A.diagonal()
    assert abs(float(trace) - float(true.trace())) <= float(trace.bound)
    assert bool(((diagonal.value - true.diagonal()).abs() <= diagonal.bound).all())
    λ = torch.linalg.eigvalsh(true)
    found = A.eigenvalues(top=3, bottom=2, tol=1e-6)
    assert found.settled
    wanted = torch.cat([λ.flip(0)[:3], λ[:2]])
    assert bool(((found.values - wanted).abs() <= found.bounds + 1e-14).all())
    assert bool((found.bounds <= 1e-5 * λ.abs().max()).all())
    left = (true @ found.vectors - found.vectors * found.values).norm(dim=0)
    assert bool((left <= found.bounds + 1e-14).all())


def test_numbers_of_a_float32_network_are_within_their_bounds() -> None:
    A, true = calclab.curvature(loss(torch.float32)), by_torch("hessian")
    λ, found = torch.linalg.eigvalsh(true), A.eigenvalues(top=2, bottom=1, tol=1e-7)
    wanted = torch.stack([λ[-1], λ[-2], λ[0]])
    assert bool(((found.values - wanted).abs() <= found.bounds).all())
    assert abs(float(A.trace()) - float(true.trace())) <= float(A.trace().bound)
    assert bool(((A.diagonal().value - true.diagonal()).abs() <= A.diagonal().bound).all())


def test_it_is_the_question_s_own_operator() -> None:
    about = loss()
    found = calclab.curvature(about).eigenvalues(top=4, bottom=1)
    asked = calclab.hessian(about, matrix="never", top=4, bottom=1, probes=0, trace_tol=None, slices=0)
    assert torch.equal(found.values, asked.eigenvalues)
    assert torch.equal(found.bounds, asked.residuals)


def test_vectors_go_by_name() -> None:
    A, model = calclab.curvature(loss()), net()
    given = dict(model.named_parameters())
    found, whole = A @ given, A @ nn.utils.parameters_to_vector(model.parameters())
    assert {name: part.shape for name, part in found.items()} == {name: p.shape for name, p in given.items()}
    assert torch.equal(nn.utils.parameters_to_vector(found.values()), whole)
    f = calclab.formula("x**2*y + y**3", at=[1, 2])
    found = calclab.curvature(f) @ {"x": torch.tensor(1.0), "y": torch.tensor(0.0)}
    assert {name: float(part) for name, part in found.items()} == {"x": 4.0, "y": 2.0}


def test_sums_multiples_and_products_are_operators() -> None:
    about = loss()
    H, G = calclab.curvature(about), calclab.curvature(about, "gauss_newton")
    h, g, one = H.dense(), G.dense(), torch.eye(len(H.dense()), dtype=torch.float64)
    for found, true in [
        (H + G, h + g),
        (H - G, h - g),
        (2 * H, 2 * h),
        (H * torch.tensor(2.0), 2 * h),
        (np.float64(2) * H, 2 * h),
        (torch.tensor(2.0) * H, 2 * h),
        (H / 4, h / 4),
        (-H, -h),
        (H + 0.1 * H.identity, h + 0.1 * one),
        (H @ G, h @ g),
    ]:
        assert close(found.dense(), true), found
        assert close(found.T.dense(), true.T), found
    assert (H + 0.1 * H.identity).symmetric
    λ = torch.linalg.eigvalsh(h)
    assert close((H + 0.1 * H.identity).eigenvalues(tol=1e-8).values, λ[-1:] + 0.1, 1e-6)


def test_blocks_are_those_of_the_matrix() -> None:
    H = calclab.curvature(loss())
    h, first = H.dense(), 25  # entries of the first layer
    assert list(H.blocks) == ["0", "2"]
    assert close(H.blocks["0"].dense(), h[:first, :first])
    assert close(H.block("2").dense(), h[first:, first:])
    assert close(H.block("2.bias").dense(), h[-3:, -3:])
    assert close(H.block("0", "2").dense(), h[:first, first:])
    assert close(H.block("0", "2").T.dense(), h[first:, :first])
    B = H.block("0").block("0.bias")
    assert close(B.dense(), h[20:25, 20:25])
    f = calclab.curvature(calclab.formula("x**2*y + y**3", at=[1, 2]))
    assert f.block("y").dense().tolist() == [[12.0]]
    assert f.block("x", "y").dense().tolist() == [[2.0]]


def test_scipy_s_solvers_take_it() -> None:
    G = calclab.curvature(loss(), "gauss_newton")
    damped, g = G + 0.1 * G.identity, by_torch("gauss_newton")
    assert np.allclose(np.sort(eigsh(G.scipy(), k=3)[0]), torch.linalg.eigvalsh(g)[-3:], rtol=1e-9)
    b = np.ones(len(g))
    x, failed = cg(damped.scipy(), b, rtol=1e-12)
    assert not failed
    assert np.allclose(g.numpy() @ x + 0.1 * x, b, atol=1e-9)


def test_of_many_variables_numbers_are_estimated_within_their_interval() -> None:
    A, true = calclab.curvature(loss(width=80)), by_torch("hessian", width=80)
    assert len(true) > 512
    trace, diagonal = A.trace(products=1000), A.diagonal()
    assert "95 %" in trace.by
    assert 0 < float(trace.bound) <= 0.06 * abs(float(trace))
    assert abs(float(trace) - float(true.trace())) <= 2 * float(trace.bound)
    outside = (diagonal.value - true.diagonal()).abs() > diagonal.bound
    assert float(outside.double().mean()) < 0.15  # one in twenty, and entries hang together
    exact = calclab.curvature(loss(width=80), "gauss_newton")
    assert abs(float(exact.trace()) - float(by_torch("gauss_newton", width=80).trace())) <= float(exact.trace().bound)
    assert exact.products == 0


def test_a_jacobian_pushes_and_pulls() -> None:
    model, (X, _) = net(), rows()
    params = dict(model.named_parameters())
    J = calclab.jacobian_operator(loss(), by="parameters")
    true = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, X))(params)
    matrix = torch.cat([part.reshape(len(X) * 3, -1) for part in true.values()], 1).detach()
    u, v = torch.randn(len(X) * 3, dtype=torch.float64), torch.randn(J.shape[1], dtype=torch.float64)
    assert close(J @ v, matrix @ v)
    assert close(J.T @ u, matrix.T @ u)
    assert close(J.adjoint.T @ v, matrix @ v)
    σ = torch.linalg.svdvals(matrix)
    found = (J.T @ J).eigenvalues(tol=1e-8).values
    assert close(found.sqrt(), σ[:1], 1e-8)
    some = calclab.jacobian_operator(loss(), by="parameters", row=2, rows=4)
    assert close(some.dense(), matrix[6:18])
    by_input = calclab.jacobian_operator(loss(), row=3)
    assert close(by_input.dense(), torch.autograd.functional.jacobian(lambda x: model(x[None])[0], X[3]))


def test_a_callable_s_curvature() -> None:
    f = calclab.function(lambda x: (x**4).sum() + x[0] * x[1], at=[1.0, 2.0])
    assert calclab.curvature(f).dense().tolist() == [[12.0, 1.0], [1.0, 48.0]]


def test_it_works_where_gradients_are_off() -> None:
    about, true = loss(), by_torch("hessian").sum(1)
    with torch.inference_mode():
        H = calclab.curvature(about)
        assert close(H @ torch.ones(H.shape[1], dtype=torch.float64), true)
        assert H.block("0").trace().value.isfinite()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda A: A @ torch.ones(3), r"shape \(43,\)"),
        (lambda A: A @ {"0.weight": torch.ones(5, 4)}, "lacks 0.bias"),
        (lambda A: A @ {**dict(net().named_parameters()), "2.bias": torch.ones(4)}, "2.bias is of shape"),
        (lambda A: A + 0.1, "identity"),
        (lambda A: A.block("3"), "0, 2"),
        (lambda A: A.dense(memory=1e-6), "memory"),
        (lambda A: A.eigenvalues(top=0), "top=5"),
        (lambda A: A.block("0", "2").eigenvalues(), "singular"),
        (lambda A: A.block("0", "2").trace(), "square"),
        (lambda A: A + A.block("0"), "no sum"),
        (lambda A: A @ A.block("0"), "no product"),
        (lambda A: calclab.curvature(loss(), "hesian"), "gauss_newton"),
        (lambda A: calclab.curvature(net()), "calclab.loss"),
        (lambda A: calclab.curvature(loss(), parameters=["7"]), "layers are"),
        (lambda A: calclab.jacobian_operator(loss(), by="layers"), "parameters"),
        (lambda A: calclab.jacobian_operator(loss(), by="parameters", row=30), "rows"),
    ],
)
def test_mistakes_are_answered_by_what_to_type(ask: object, words: str) -> None:
    with pytest.raises(calclab.UserError, match=words):
        ask(calclab.curvature(loss()))


def test_what_it_shows_of_itself() -> None:
    H = calclab.curvature(loss())
    assert repr(H) == "Hessian of cross_entropy of Sequential on data, 43 × 43"
    assert [line.split()[0] for line in repr(H.eigenvalues(2, 1)).splitlines()] == ["largest", "largest", "smallest"]
    assert "±" in repr(H.trace())


@pytest.mark.parametrize("module", ["calclab.library.operator", "calclab.library.curvature"])
def test_examples_of_docstrings_run(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted > 0
    assert found.failed == 0
