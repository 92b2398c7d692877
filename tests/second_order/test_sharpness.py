"""λmax with a bound that is true, also from a wrong start; preconditioned, and along the gradients of batches."""

from __future__ import annotations

import copy
from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calclab.numerics.lanczos import largest
from calclab.numerics.linear import LinearOperator
from calclab.numerics.operators import NoSecondDerivative
from calclab.second_order.held import Held
from calclab.second_order.sharpness import along, batch_sharpness, scaled, sharpness

N = 60


def operator(H: Tensor) -> LinearOperator:
    return LinearOperator(tuple(H.shape), lambda V: H @ V, lambda V: H @ V, True, H.dtype, H.device)  # type: ignore[arg-type]


def rotated(λ: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A matrix of these eigenvalues, and its eigenvectors (n, n)."""
    maker = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(len(λ), len(λ), dtype=λ.dtype, generator=maker))
    return Q @ torch.diag(λ) @ Q.T, Q


def spectrum(kind: str) -> Tensor:
    small = torch.linspace(-0.3, 0.3, N, dtype=torch.float64)
    if kind == "outliers":
        return torch.cat([small[:-3], small.new_tensor([3.0, 4.0, 5.0])])
    if kind == "double":
        return torch.cat([small[:-2], small.new_tensor([5.0, 5.0])])
    if kind == "nearly double":
        return torch.cat([small[:-2], small.new_tensor([5.0, 5.001])])
    if kind == "no gap":
        return torch.linspace(0, 5, N, dtype=torch.float64)
    if kind == "negative":
        return -1 - torch.linspace(0, 5, N, dtype=torch.float64)
    if kind == "mostly negative":
        return torch.cat([-100 * torch.ones(N - 1, dtype=torch.float64), small.new_tensor([0.01])])
    return torch.zeros(N, dtype=torch.float64)


KINDS = ("outliers", "double", "nearly double", "no gap", "negative", "mostly negative", "zero")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most", [1, 3, 16])
def test_the_bound_is_true_from_any_start(kind: str, most: int) -> None:
    λ = spectrum(kind)
    true, slack = float(λ.max()), 1e-12 * float(λ.abs().max())
    for seed in range(40):
        H, Q = rotated(λ, seed)
        starts = [None, Q[:, int(λ.argsort()[-2])], Q[:, int(λ.argsort()[0])], torch.zeros(N, dtype=λ.dtype)]
        found = sharpness(operator(H), starts[seed % 4], seed=seed, most=most)
        assert float(found.value) <= true + found.noise + slack
        assert true <= float(found.value) + found.bound + slack
        assert found.products <= most


@pytest.mark.parametrize("kind", ["outliers", "double", "nearly double", "mostly negative", "zero"])
def test_a_look_is_within_one_per_cent_and_knows_it(kind: str) -> None:
    λ = spectrum(kind)
    for seed in range(10):
        H, Q = rotated(λ, seed)
        found = sharpness(operator(H), Q[:, int(λ.argsort()[-2])], seed=seed, most=40)
        assert found.bound <= 0.01 * abs(float(λ.max())) + 1e-9 * float(λ.abs().max())


def test_without_a_random_part_nothing_is_said_of_what_was_missed() -> None:
    H, Q = rotated(spectrum("outliers"), 0)
    wrong = largest(operator(H), Q[:, -2])  # the eigenvector of 4: the residual is nothing, and 5 is missed
    assert float(wrong.value) == pytest.approx(4)
    assert wrong.bound == inf


def test_noise_in_the_products_is_in_the_bound() -> None:
    H, _ = rotated(spectrum("outliers"), 1)
    maker = torch.Generator().manual_seed(2)

    def noisy(V: Tensor) -> Tensor:
        W = H @ V
        return W + 0.02 * W.norm() * torch.randn(W.shape, dtype=W.dtype, generator=maker) / N**0.5

    for seed in range(20):
        A = LinearOperator((N, N), noisy, noisy, True, H.dtype, H.device)
        found = sharpness(A, seed=seed, eps=0.02)
        assert abs(float(found.value) - 5) <= found.bound


def test_a_loss_that_is_not_finite_has_no_sharpness() -> None:
    found = sharpness(operator(torch.full((N, N), torch.nan, dtype=torch.float64)))
    assert found.bound == inf
    assert not found.value.isfinite()


def test_scaled_is_what_it_says() -> None:
    H, _ = rotated(spectrum("no gap"), 3)
    c, d = torch.linspace(0, 2, N, dtype=H.dtype), torch.linspace(1, 3, N, dtype=H.dtype)
    made = scaled(operator(H), c, d, -1.0).dense()
    assert torch.allclose(made, -torch.diag(c) @ H @ torch.diag(c) + torch.diag(d))


def test_batch_sharpness_is_a_mean_with_its_error() -> None:
    found = batch_sharpness([1.0, 2.0, 6.0, float("nan")])
    assert (found.value, found.batches) == (3.0, 3)
    assert found.error == pytest.approx(torch.tensor([1.0, 2.0, 6.0]).std().item() / 3**0.5)
    assert batch_sharpness([2.0]).error == inf
    assert batch_sharpness([]).batches == 0
    H, _ = rotated(spectrum("outliers"), 3)
    assert bool(along(operator(H), torch.zeros(N, dtype=H.dtype)).isnan())


# --- of a loss that a program has computed ---


def network(*parts: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), *parts, nn.Linear(6, 2)).double()


def dense(model: nn.Module, leaves: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The Hessian by torch.func on a copy of the module."""
    held = {name: p.detach() for name, p in model.named_parameters()}
    sizes, shapes = [p.numel() for p in held.values()], [p.shape for p in held.values()]

    def loss(θ: Tensor) -> Tensor:
        pieces = [part.view(shape) for part, shape in zip(θ.split_with_sizes(sizes), shapes, strict=True)]
        twin = copy.deepcopy(model)
        return ((torch.func.functional_call(twin, dict(zip(held, pieces, strict=True)), (x,)) - y) ** 2).mean()

    return torch.autograd.functional.hessian(loss, torch.cat([p.flatten() for p in held.values()]))  # type: ignore[no-any-return]


@pytest.mark.parametrize("parts", [(nn.Tanh(),), (nn.ReLU(),), (nn.BatchNorm1d(6), nn.Tanh())], ids=str)
def test_products_are_those_of_the_hessian(parts: tuple[nn.Module, ...]) -> None:
    model = network(*parts)
    leaves = list(model.parameters())
    x, y = torch.randn(9, 4).double(), torch.randn(9, 2).double()
    about = Held(((model(x) - y) ** 2).mean(), leaves)
    H = dense(model, leaves, x, y)
    assert torch.allclose(about.hessian.dense(), H, atol=1e-10)
    assert all(p.grad is None for p in leaves)
    found = sharpness(about.hessian, most=60)
    assert abs(float(found.value) - float(torch.linalg.eigvalsh(H)[-1])) <= found.bound + 1e-9


def test_a_mask_is_the_same_in_every_product() -> None:
    model = network(nn.Tanh(), nn.Dropout(0.5))
    about = Held((model(torch.randn(9, 4).double()) ** 2).mean(), list(model.parameters()))
    H = about.hessian.dense()
    assert torch.allclose(H, H.T, atol=1e-12)
    assert torch.equal(H, about.hessian.dense())


def test_a_tied_weight_is_one_leaf() -> None:
    w = torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)
    about = Held((w * w * 3.0).sum(), [w])  # 3 w²
    assert about.hessian.dense().item() == pytest.approx(6.0)


def test_a_leaf_that_the_loss_does_not_know_has_zeros() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)
    about = Held((a**2).sum(), [a, b])
    assert about.hessian.dense().tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 0]]
    assert about.gradient.tolist() == [2, 2, 0]


def test_a_straight_loss_does_not_curve() -> None:
    a = torch.ones(2, requires_grad=True)
    found = sharpness(Held(a.sum(), [a]).hessian)
    assert (float(found.value), found.bound) == (0.0, 0.0)


def test_half_precision_is_in_the_bound() -> None:
    torch.manual_seed(0)
    exact = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))
    half = copy.deepcopy(exact).bfloat16()
    exact.load_state_dict(half.state_dict())
    x, y = torch.randn(32, 5).bfloat16(), torch.randn(32, 3)
    rough = Held(((half(x).float() - y) ** 2).mean(), list(half.parameters()))
    fine = Held(((exact(x.float()) - y) ** 2).mean(), list(exact.parameters()))
    found, true = sharpness(rough.hessian, eps=rough.eps), sharpness(fine.hessian, most=60)
    assert abs(float(found.value) - float(true.value)) <= found.bound
    assert found.bound < 0.5 * float(true.value)


def test_what_has_no_second_derivative_says_so() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
            return 2 * ctx.saved_tensors[0] * g

    a = torch.ones(2, requires_grad=True)
    with pytest.raises(NoSecondDerivative, match="once_differentiable"):  # torch gives None here, which is no 0
        sharpness(Held((Once.apply(a) ** 2).sum(), [a]).hessian)
