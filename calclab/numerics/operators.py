"""A derivative is a linear operator (`numerics.linear`), and becomes a matrix only on request.

Products with the Hessian are reverse over reverse on one kept graph: forward over reverse raises for library losses
(pytorch 123996) and a reused ``linearize`` is wrong from its second call on. Many products share one backward pass
under vmap; how many is decided by the bytes that the graph saves, so that a run is the same every time it is run.

    H v = ∇⟨∇f(x), v⟩                    a backward pass through the graph of the gradient (Pearlmutter 1994)
    Jᵀu = ∇⟨f(x), u⟩                     a backward pass
    J v = the backward pass of u ↦ Jᵀu   which is linear in u, so that its pullback at v is J v (Townsend 2017)

Each costs two to three times a call of f, independently of n and m; a graph holds what a forward and a backward pass
save. The program must be deterministic and may not depend on values by more than it does at x; at a kink the operator
is what autograd has there. Raises `NoSecondDerivative` where a backward pass cannot be differentiated.

>>> x = torch.tensor([1.0, 2.0], dtype=torch.float64)
>>> H = hessian(lambda x: x[0] ** 2 * x[1], x)  # [[2 y, 2 x], [2 x, 0]]
>>> (H @ torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist()
[4.0, 2.0]
>>> jacobian(lambda x: torch.stack([x.prod(), x.sum()]), x).dense().tolist()
[[2.0, 1.0], [1.0, 1.0]]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

from calclab.core import Function
from calclab.errors import UserError, error_line, origin
from calclab.numerics.linear import LinearOperator
from calclab.numerics.saved import saved_by

__all__ = [
    "Call",
    "LinearOperator",
    "NoSecondDerivative",
    "dense_hessian",
    "dense_jacobian",
    "hessian",
    "hessian_where_known",
    "jacobian",
    "lanes_for",
    "loss_and_gradient",
    "twice",
    "value_and_gradient",
]

Call = Callable[[Tensor], Tensor]

LANES = 64  # the most columns in one backward pass: more gains nothing on the digits MLP (3,466 parameters)
BYTES = 2**28  # what the saved tensors of all columns of one pass may take together, about


class NoSecondDerivative(UserError):  # noqa: N818  what it says of the program
    """A program of which torch knows the first derivative alone."""


@contextmanager
def twice() -> Iterator[None]:
    """NoSecondDerivative in the place of what torch says where it cannot differentiate a backward pass."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError) or origin(error):
            raise
        raise NoSecondDerivative(
            f"torch has no second derivative of what is called here ({error_line(error)}), and so there is no Hessian. "
            "Ask for what needs the first alone: topic=hessian operator=gauss_newton, topic=jacobian, topic=descent"
        ) from error


def value_and_gradient(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) (), ∇f(x) (n,), both detached; the gradient is zero where the program does not depend on x.

    A call that takes points (B, n) to values (B,), each of its own point, gives their gradients (B, n).
    """
    leaf = x.detach().requires_grad_()
    if torch.is_grad_enabled():
        value = call(leaf)
    else:
        with torch.enable_grad():
            value = call(leaf)
    if not value.requires_grad:
        return value, torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(value.sum() if value.ndim else value, leaf, allow_unused=True)
    return value.detach(), torch.zeros_like(x) if gradient is None else gradient


def loss_and_gradient(function: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    """f (...,) and ∇f (..., n), detached, at a point (n,) or at points (B, n)."""
    lean = function.exact.lean if function.exact is not None else None
    if lean is not None:
        return lean(x)
    if x.ndim == 1:
        return value_and_gradient(function.call, x)
    return value_and_gradient(lambda points: torch.vmap(function.call)(points), x)


def hessian(call: Call, x: Tensor, *, lanes: int | None = None) -> LinearOperator:
    """H_ij = ∂²f/∂x_i∂x_j at x (n,), as an operator (n, n) on a graph that is kept as long as the operator lives.

    ``lanes`` columns go through the graph together; None takes what fits (``lanes_for``).
    """
    n = len(x)
    lanes = lanes_for(call, x) if lanes is None else lanes
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (gradient,) = pullback(call(leaf), leaf, create_graph=True)

    def laned(lanes: int) -> LinearOperator:
        product = twice()(products(gradient, leaf, lanes))
        return LinearOperator((n, n), product, product, True, x.dtype, x.device, lanes=lanes, laned=laned)

    return laned(lanes)


def jacobian(call: Call, x: Tensor, *, lanes: int | None = None) -> LinearOperator:
    """J_ij = ∂f_i/∂x_j at x (n,), as an operator (m, n); outputs of any shape are flattened, a scalar has m = 1.

    Jᵀu is one backward pass. u ↦ Jᵀu is linear, so that J v is its own backward pass (Townsend 2017); where torch
    cannot differentiate that, or forgets how it was computed, J v is taken row by row.
    """
    lanes = lanes_for(call, x) if lanes is None else lanes
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        y = call(leaf).reshape(-1)
        u = torch.zeros_like(y, requires_grad=True)
        (pulled,) = pullback(y, leaf, u, create_graph=True)

    def laned(lanes: int) -> LinearOperator:
        reverse = products(y, leaf, lanes)
        forward = pushed(products(pulled, u, lanes), reverse, by_rows(y, leaf, lanes), y)
        return LinearOperator((len(y), len(x)), forward, reverse, False, x.dtype, x.device, lanes=lanes, laned=laned)

    return laned(lanes)


Product = Callable[[Tensor], Tensor]


def pushed(forward: Product, reverse: Product, rows: Product, like: Tensor) -> Product:
    """V to J V by ``forward``, or by ``rows`` where the first product shows that it does not fit ``reverse``."""
    chosen: list[Product] = []

    def product(V: Tensor) -> Tensor:
        if not chosen and V.shape[1]:
            chosen.append(forward if adjoint(forward, reverse, V[:, :1], like) else rows)
        return chosen[0](V) if chosen else forward(V)

    return product


def adjoint(forward: Product, reverse: Product, v: Tensor, like: Tensor) -> bool:
    """Whether ⟨u, Jv⟩ = ⟨Jᵀu, v⟩ for some u, v (n, 1): a gap is no rounding error, and NaN are no gap.

    A custom backward that was written for one order of differentiation often detaches on the way: its own pullback is
    then zero, without any error from torch.
    """
    if like.is_meta:
        return True
    maker = torch.Generator(device=like.device).manual_seed(0)
    u = torch.randn(len(like), 1, generator=maker, dtype=like.dtype, device=like.device)
    try:
        Jv = forward(v)
    except (RuntimeError, NotImplementedError):
        return False
    pulled = reverse(u)
    gap = (u * Jv).sum() - (pulled * v).sum()
    size = (u * Jv).norm() + (pulled * v).norm()
    return not bool(gap.abs() > torch.finfo(like.dtype).eps ** 0.5 * size)


def by_rows(y: Tensor, leaf: Tensor, lanes: int) -> Product:
    """V (n, p) to J V (m, p), ``lanes`` rows of J at a time."""

    pull = Pullbacks(y, leaf)

    def product(V: Tensor) -> Tensor:
        parts = []
        for first, last in pairwise([*range(0, len(y), lanes), len(y)]):
            basis = y.new_zeros(last - first, len(y))
            basis.diagonal(first).fill_(1)
            parts.append(pull(basis) @ V)
        return torch.cat(parts)

    return product


def dense_hessian(call: Call, x: Tensor) -> Tensor:
    """H (n, n), row i the gradient of ∂f/∂x_i. Not symmetrised: the asymmetry tells of the rounding errors."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (gradient,) = pullback(call(leaf), leaf, create_graph=True)
    with twice():
        return rows(gradient, leaf, lanes_for(call, x))


def hessian_where_known(call: Call, x: Tensor) -> Tensor:
    """H (n, n); NaN where torch has no second derivatives."""
    try:
        return dense_hessian(call, x)
    except NoSecondDerivative:
        return x.new_full((len(x), len(x)), torch.nan)


def dense_jacobian(call: Call, x: Tensor) -> Tensor:
    """J (m, n) by backward passes: m of them, or n through the graph of u ↦ Jᵀu where outputs outnumber inputs.

    A pass of the second kind goes through a graph about twice as long, hence m <= 2 n for the first.
    """
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        y = call(leaf).reshape(-1)
        m, n, lanes = len(y), len(x), lanes_for(call, x)
        if m <= 2 * n:
            return rows(y, leaf, lanes)
        u = torch.zeros_like(y, requires_grad=True)
        (pulled,) = pullback(y, leaf, u, create_graph=True)
    if not adjoint(products(pulled, u, 1), products(y, leaf, 1), torch.ones_like(x)[:, None], y):
        return rows(y, leaf, lanes)
    return rows(pulled, u, lanes).T


def lanes_for(call: Call, x: Tensor) -> int:
    """How many columns share a backward pass: as many as keep ``BYTES``, by what one pass through f saves.

    Sharing pays for small graphs (0.45 of the time of single columns on the digits MLP) and loses on large ones
    (3.7-5 times on a ResNet with 256 images), where this is 1. It depends on shapes alone, not on a stopwatch.
    """
    held = 4 * saved_by(call, x)  # the kept graph of a Hessian holds about 4 passes
    return max(1, min(LANES, BYTES // max(1, held)))


def pullback(y: Tensor, leaf: Tensor, u: Tensor | None = None, *, create_graph: bool = False) -> tuple[Tensor]:
    """(∂y/∂leaf)ᵀ u, and zero where y does not depend on the leaf; the graph is kept."""
    if y.requires_grad:
        (g,) = torch.autograd.grad(y, leaf, u, create_graph=create_graph, retain_graph=True, allow_unused=True)
        if g is not None:
            return (g,)
    return (torch.zeros_like(leaf),)


class Pullbacks:
    """(∂y/∂leaf)ᵀ u for every row u of U (p, m), as rows (p, n): in one pass where every operation can be batched.

    The first time a single pass tells whether the batch is right: torch's rule for the backward of ``cdist`` is not.
    """

    def __init__(self, y: Tensor, leaf: Tensor) -> None:
        self.y, self.leaf = y, leaf
        self.together: bool | None = None  # whether rows can share a pass; None where that is not known yet

    def __call__(self, U: Tensor) -> Tensor:
        if not self.y.requires_grad:
            return self.leaf.new_zeros(len(U), len(self.leaf))
        if len(U) > 1 and self.together is not False:
            try:
                found = batched(self.y, self.leaf, U)
            except RuntimeError:  # an operation without a batching rule, or no memory for so many: one by one
                self.together = False
            else:
                if self.together is None:
                    mixed = torch.linspace(1, 2, len(U), dtype=U.dtype, device=U.device)
                    self.together = close(mixed @ found, pullback(self.y, self.leaf, mixed @ U)[0])
                if self.together:
                    return found
        return torch.stack([pullback(self.y, self.leaf, u)[0] for u in U])


def close(found: Tensor, true: Tensor) -> bool:
    """Whether two ways to a vector differ by no more than rounding, or are not finite at all."""
    return true.is_meta or not bool((found - true).norm() > torch.finfo(true.dtype).eps ** 0.5 * true.norm())


def batched(y: Tensor, leaf: Tensor, U: Tensor) -> Tensor:
    """The same by vmap itself: ``is_grads_batched`` has older rules, which take many matrix products one by one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of operations that vmap takes one by one
        found: Tensor = torch.vmap(lambda u: pullback(y, leaf, u)[0])(U)
    return found


def products(y: Tensor, leaf: Tensor, lanes: int) -> Callable[[Tensor], Tensor]:
    """U (m, p) to (∂y/∂leaf)ᵀ U (n, p), ``lanes`` columns at a time."""

    pull = Pullbacks(y, leaf)

    def product(U: Tensor) -> Tensor:
        if U.shape[1] == 0:
            return leaf.new_zeros(len(leaf), 0)
        return torch.cat([pull(block) for block in torch.split(U.T, lanes)]).T

    return product


def rows(y: Tensor, leaf: Tensor, lanes: int) -> Tensor:
    """∂y/∂leaf (m, n), ``lanes`` rows at a time, without an identity matrix of its size."""
    m, pull = len(y), Pullbacks(y, leaf)
    matrix = leaf.new_zeros(m, len(leaf))
    if not y.requires_grad:
        return matrix
    for first, last in pairwise([*range(0, m, lanes), m]):
        basis = y.new_zeros(last - first, m)
        basis.diagonal(first).fill_(1)
        matrix[first:last] = pull(basis)
    return matrix
