"""Operators against closed forms, and the derivatives that torch gets wrong or refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from calclab.numerics import operators
from calclab.numerics.operators import dense_hessian, dense_jacobian, hessian, jacobian, lanes_for, value_and_gradient


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def indefinite(x: Tensor) -> Tensor:
    A = draw(5, 5, seed=1)
    return x @ (A + A.T) @ x / 2 + torch.sin(x).sum()


def vector(x: Tensor) -> Tensor:
    return torch.tanh(draw(3, 5, seed=2) @ x) * x[:3]


def test_gradient_and_hessian_have_their_closed_forms() -> None:
    x, A = draw(5, seed=3), draw(5, 5, seed=1)
    _, g = value_and_gradient(indefinite, x)
    torch.testing.assert_close(g, (A + A.T) @ x + torch.cos(x))
    H = (A + A.T) - torch.diag(torch.sin(x))
    torch.testing.assert_close(dense_hessian(indefinite, x), H)
    assert torch.linalg.eigvalsh(H).sign().unique().numel() == 2, "the matrix must be indefinite for this to test much"


def test_operators_multiply_like_their_matrices() -> None:
    x, V, u = draw(5, seed=4), draw(5, 3, seed=5), draw(3, seed=6)
    H, J = hessian(indefinite, x), jacobian(vector, x)
    torch.testing.assert_close(H @ V, dense_hessian(indefinite, x) @ V)
    torch.testing.assert_close(H.dense(), dense_hessian(indefinite, x))
    torch.testing.assert_close(J.dense(), dense_jacobian(vector, x))
    torch.testing.assert_close(J.T.dense(), dense_jacobian(vector, x).T)
    v = V[:, 0]
    torch.testing.assert_close(u @ (J @ v), (J.T @ u) @ v)
    assert J.shape == (3, 5)
    assert J.T.shape == (5, 3)
    with pytest.raises(ValueError, match="shape"):
        J @ u


def test_tall_jacobians_take_the_other_way_to_the_same_matrix() -> None:
    W, x = draw(20, 2, seed=7), draw(2, seed=8)
    expected = (1 - torch.tanh(W @ x) ** 2)[:, None] * W
    torch.testing.assert_close(dense_jacobian(lambda z: torch.tanh(W @ z), x), expected)


@pytest.mark.parametrize("lanes", [1, 2, 64])
def test_columns_do_not_depend_on_how_many_go_together(lanes: int) -> None:
    x, V = draw(5, seed=9), draw(5, 5, seed=10)
    torch.testing.assert_close(hessian(indefinite, x, lanes=lanes) @ V, dense_hessian(indefinite, x) @ V)
    torch.testing.assert_close(jacobian(vector, x, lanes=lanes) @ V, dense_jacobian(vector, x) @ V)


FLAT = {
    "constant": lambda x: torch.tensor(3.0, dtype=x.dtype),
    "linear": lambda x: 2 * x[0] - x[1],
    "other leaf": lambda x: nn.Parameter(torch.ones(2, dtype=x.dtype)).sum(),
    "times zero": lambda x: 0 * x[0] + 2,
}


@pytest.mark.parametrize("name", FLAT)
def test_functions_without_curvature_have_zero_hessians(name: str) -> None:
    f, x = FLAT[name], draw(2)
    assert torch.equal(dense_hessian(f, x), torch.zeros(2, 2, dtype=x.dtype))
    assert torch.equal(hessian(f, x) @ x, torch.zeros_like(x))
    expected = torch.tensor([[2.0, -1.0]] if name == "linear" else [[0.0, 0.0]], dtype=x.dtype)
    assert torch.equal(dense_jacobian(f, x), expected)
    assert torch.equal(value_and_gradient(f, x)[1], expected[0])
    assert torch.equal(jacobian(f, x).dense(), expected)


def test_works_where_no_graph_is_wanted_and_leaves_the_point_alone() -> None:
    x = draw(5)
    with torch.no_grad():
        value, g = value_and_gradient(indefinite, x)
        H = dense_hessian(indefinite, x)
    assert not any(t.requires_grad for t in (value, g, H, x))
    assert g.abs().min() > 0
    assert H.abs().max() > 0


class Cube(torch.autograd.Function):
    """x³ by a NumPy backward, which no vmap can batch."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        (x,) = ctx.saved_tensors
        float(g.detach().numpy()[0])
        return 3 * x**2 * g


def test_one_by_one_where_an_operation_cannot_be_batched() -> None:
    x = draw(3)
    torch.testing.assert_close(dense_jacobian(Cube.apply, x), torch.diag(3 * x**2))
    torch.testing.assert_close(dense_hessian(lambda z: Cube.apply(z).sum(), x), torch.diag(6 * x))


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.HuberLoss(delta=50.0)])
def test_library_losses_for_which_forward_over_reverse_raises(loss: nn.Module) -> None:
    """½(x² - t)² averaged: pytorch issue 123996 is why Hessian-vector products are reverse over reverse."""
    x, t = torch.tensor([1.0, 3.0], dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64)
    factor = 2 if isinstance(loss, nn.MSELoss) else 1
    expected = torch.diag(factor * (3 * x**2 - t))
    torch.testing.assert_close(dense_hessian(lambda z: loss(z**2, t), x), expected)
    torch.testing.assert_close(hessian(lambda z: loss(z**2, t), x) @ x, expected @ x)


def test_hessian_of_det() -> None:
    """``torch.func.hessian`` of det is NaN (pytorch 149694); reverse over reverse is not: d² det / da dd = 1."""
    x = torch.tensor([1.0, 2.0, 3.0, 5.0], dtype=torch.float64)
    expected = torch.tensor([[0, 0, 0, 1], [0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(dense_hessian(lambda z: torch.det(z.reshape(2, 2)), x), expected, atol=1e-12, rtol=0)


def test_large_graphs_take_fewer_columns_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(8)
    assert lanes_for(indefinite, draw(5)) == operators.LANES
    monkeypatch.setattr(operators, "BYTES", 10_000)
    small, large = (lanes_for(lambda z, k=k: torch.sin(z.expand(k, 8)).sum(), x) for k in (1, 1000))
    assert large == 1 < small


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_point(dtype: torch.dtype) -> None:
    x = torch.ones(3, dtype=dtype)
    for out in (*value_and_gradient(lambda z: z.exp().sum(), x), dense_hessian(lambda z: z.exp().sum(), x)):
        assert out.dtype == dtype


def distances(x):
    return torch.cdist(x.reshape(2, 3), torch.linspace(-1, 1, 12, dtype=x.dtype).reshape(4, 3))


class Forgets(torch.autograd.Function):
    """x², whose backward loses the graph without a word."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = 2 * x.detach().numpy()
        return x.square()

    @staticmethod
    def backward(ctx, g):
        return g * torch.from_numpy(ctx.slope)


def test_rows_that_torch_batches_wrongly_are_found_out():
    """The batching rule of cdist's backward is wrong: rows by one pass each are right."""
    x = torch.linspace(-0.7, 1.1, 6, dtype=torch.float64)
    points = torch.linspace(-1, 1, 12, dtype=x.dtype).reshape(4, 3)
    true = torch.func.jacfwd(lambda x: (x.reshape(2, 1, 3) - points).norm(dim=2))(x).reshape(8, 6)
    assert torch.allclose(operators.dense_jacobian(distances, x), true, atol=1e-12)
    J = operators.jacobian(distances, x)
    V, U = torch.eye(6, dtype=x.dtype), torch.eye(8, dtype=x.dtype)
    assert torch.allclose(J.matmat(V), true, atol=1e-12)
    assert torch.allclose(J.rmatmat(U), true.T, atol=1e-12)


@pytest.mark.parametrize("outputs", [2, 40])
def test_products_are_right_where_a_backward_pass_forgets_its_graph(outputs):
    W = torch.linspace(-1, 1, 3 * outputs, dtype=torch.float64).reshape(outputs, 3)
    x = torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64)
    true = W * 2 * x
    assert torch.allclose(operators.dense_jacobian(lambda x: W @ Forgets.apply(x), x), true)
    J = operators.jacobian(lambda x: W @ Forgets.apply(x), x)
    assert torch.allclose(J @ torch.ones(3, dtype=x.dtype), true.sum(1))


@pytest.mark.parametrize("form", [operators.dense_hessian, lambda f, x: operators.hessian(f, x) @ torch.ones_like(x)])
def test_a_hessian_that_torch_does_not_have_is_refused_in_a_sentence(form):
    x = torch.linspace(-0.7, 1.1, 6, dtype=torch.float64)
    with pytest.raises(operators.NoSecondDerivative, match=r"no second derivative.*_cdist_backward"):
        form(lambda x: distances(x).sum(), x)
    assert operators.hessian_where_known(lambda x: distances(x).sum(), x).isnan().all()
