"""The central flow of gradient descent: the path that its steps oscillate about at the edge of stability.

Beyond λmax = 2/η a step of gradient descent overshoots along the sharpest direction. The oscillation w + δ that begins
there has a mean of its own: with E δ = 0 and E δδᵀ = Σ the gradient is on average ∇f(w) + ½ ∇⟨H(w), Σ⟩, whose second
part points to where f is less sharp. So the mean obeys (Cohen et al. 2024, arXiv 2410.24206, section 3; for one
eigenvalue Damian et al. 2022, arXiv 2209.15594)

    dw/dt = -η (∇f(w) + ½ ∇⟨H(w), Σ⟩),    0 ⪯ Σ ⊥ 2/η - H(w) ⪰ 0,

time counted in steps: Σ is the only covariance, of directions at the edge, that keeps all sharpness at most 2/η. On
average the loss is f(w) + ½⟨H, Σ⟩ = f(w) + tr Σ / η. Below the edge Σ = 0: gradient flow.

How it is computed. With U (n, k) the eigenvectors near the edge, Λ their eigenvalues, Σ = U X Uᵀ and T_ij =
∇(u_iᵀ H u_j) (n,), a substep d = x - w + h dw/dt from w moves UᵀHU by ⟨T, d⟩, so that at its end the margin is

    2/η - Λ - ⟨T, d⟩ = A + B[X],    A = 2/η - Λ - ⟨T, x - w⟩ + h η ⟨T, ∇f⟩,    B = ½ h η ⟨T, T⟩ ⪰ 0,

and X is the solution of a complementarity problem (`numerics.complementarity`). X is one for the substep, so that it
is its mean there, also where the edge is reached on the way. The substep is the midpoint rule: half of it with the
gradient at x and the push ½ ∇⟨H, Σ⟩ of the substep before, then all of it with the derivatives at the middle, w, and
the X that the margin at the end asks for. Its error is of order h².

Assumed: f is three times differentiable, and below the edge at the start. Cost of a substep near the edge: two
gradients, the eigenpairs near the edge, k(k+1)/2 third derivatives of two to three gradients each.

>>> f = lambda x: x[1] * x[0] ** 2 / 2 - x[1]  # along x₀ as sharp as x₁ is large, and x₁ grows
>>> near = look(f, torch.tensor([0.0, 20.0], dtype=torch.float64), 0.1)
>>> near.values.tolist(), held(near, 0.1, 0.25).X.tolist()  # Σ = 2 stops it: ½ ∇⟨H, Σ⟩ = (0, 1)
([20.0], [[2.0]])
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from calclab.numerics.complementarity import Complement, solve
from calclab.numerics.krylov.extremes import Extremes
from calclab.numerics.operators import Call, dense_hessian, hessian, pullback, twice, value_and_gradient
from calclab.numerics.spectrum import eigen, symmetric

DENSE = 100  # variables up to which the Hessian is formed
NEAR = 0.9  # of 2/η: eigenvalues beyond it take part
FAR = 0.75  # of 2/η: below it an iteration goes by as one of gradient flow
MOST = 6  # eigenvalues that are held
TOLERANCE = 1e-4  # of the residuals of eigenpairs found by products: eigenvalues are off by about its square
CHECK = 8  # products, at most, that look for eigenvalues missed; in the first substep of an iteration


class Look(NamedTuple):
    """At a point: ∇f (n,), λmax (), the eigenvalues (k,) near the edge with their vectors (n, k), ∇(u_iᵀ H u_j)
    (k, k, n), and the vectors (n, p) to start the next search from."""

    gradient: Tensor
    top: Tensor
    values: Tensor
    vectors: Tensor
    third: Tensor
    basis: Tensor


class Moved(NamedTuple):
    """Where an iteration has led: the point ``x`` (n,). Of its last substep the ``push`` ½ ∇⟨H, Σ⟩ (n,), λmax () in the
    ``top``, and eigenvectors ``basis`` (n, p); of all of them tr Σ on average (), the ``highest`` λmax (), and the
    largest ``residual`` of the complementarity problems, 0 where there were none."""

    x: Tensor
    push: Tensor
    top: Tensor
    basis: Tensor
    variance: Tensor
    highest: Tensor
    residual: float


def begin(call: Call, x: Tensor, lr: float) -> Moved:
    """Before the first iteration, at x (n,)."""
    λ, V = spectrum(call, x, lr)
    return Moved(x, torch.zeros_like(x), λ[-1], V, x.new_zeros(()), λ[-1], 0.0)


def iterate(call: Call, lr: float, substeps: int, before: Moved) -> Moved:
    """One unit of time, which is one step of gradient descent with rate ``lr``, in so many substeps from ``before``."""
    h, (x, push, top, basis, *_) = 1 / substeps, before
    if not bool(top >= FAR * 2 / lr):  # also where it is no number
        λ, basis = spectrum(call, x, lr, basis)
        top = λ[-1]
    at_edge, variance, residual, highest = bool(top >= FAR * 2 / lr), x.new_zeros(()), 0.0, top
    for i in range(substeps):
        middle = x - h / 2 * lr * (value_and_gradient(call, x)[1] + push)
        if not at_edge:
            push = torch.zeros_like(x)
            x = x - h * lr * value_and_gradient(call, middle)[1]
            continue
        there = look(call, middle, lr, basis, check=CHECK if i == 0 else 0)
        found = held(there, lr, h, x - middle)
        push = torch.einsum("ij,ijn->n", found.X, there.third) / 2
        x = x - h * lr * (there.gradient + push)
        variance = variance + h * found.X.trace()
        highest, residual = torch.fmax(highest, there.top), max(residual, found.residual)
        top, basis = there.top, there.basis
    return Moved(x, push, top, basis, variance, highest, residual)


def look(call: Call, x: Tensor, lr: float, basis: Tensor | None = None, *, check: int = CHECK) -> Look:
    """All that a substep asks at x (n,)."""
    λ, V = spectrum(call, x, lr, basis, check=check)
    near = (λ >= NEAR * 2 / lr).nonzero()[-MOST:, 0]
    U = V[:, near]
    g, third = third_derivatives(call, x, U)
    return Look(g, λ[-1], λ[near], U, third, V)


def held(at: Look, lr: float, h: float, behind: Tensor | float = 0.0) -> Complement:
    """X (k, k), held over a substep of h that begins ``behind`` (n,) of the point looked at."""
    T = at.third
    margin = torch.diag(2 / lr - at.values) + h * lr * (T @ at.gradient)
    if isinstance(behind, Tensor):
        margin = margin - T @ behind
    return solve(margin, h * lr / 2 * torch.einsum("ijn,pqn->ijpq", T, T))


def spectrum(
    call: Call, x: Tensor, lr: float, basis: Tensor | None = None, *, check: int = CHECK
) -> tuple[Tensor, Tensor]:
    """Eigenvalues of the Hessian at x, ascending, and vectors: all, or of many variables those at the edge and one
    more, from vectors ``basis`` (n, p) found before; ``check`` products look for some that were missed."""
    if len(x) <= DENSE:
        return eigen(symmetric(dense_hessian(call, x)))
    H, wanted = hessian(call, x, lanes=1), 2 if basis is None else basis.shape[1]
    while True:
        found = Extremes(H, top=wanted, tol=TOLERANCE, check=check).run(basis)
        at_edge = int((found.values >= NEAR * 2 / lr).sum())
        if at_edge < wanted or wanted > MOST:
            kept = found.values.argsort()[-max(2, at_edge + 1) :]
            return found.values[kept].to(x), found.vectors[:, kept].to(x)
        wanted, basis = at_edge + 2, found.vectors


def third_derivatives(call: Call, x: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
    """∇f(x) (n,), and T_ij = ∇(u_iᵀ H(x) u_j) (k, k, n) of the columns of U (n, k): backward passes through those of
    the products."""
    k = U.shape[1]
    T = x.new_zeros(k, k, len(x))
    with torch.enable_grad(), twice():
        leaf = x.detach().requires_grad_()
        (g,) = pullback(call(leaf), leaf, create_graph=True)
        for j in range(k):
            (product,) = pullback(g, leaf, U[:, j], create_graph=True)
            for i in range(j + 1):
                T[i, j] = T[j, i] = pullback(product, leaf, U[:, i])[0]
    return g.detach(), T
