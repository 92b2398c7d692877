"""Derivatives that somebody claims: autograd by reverse mode, forward mode and double backward, or a user by numbers or
a function of the arguments. Each with the map that it is the derivative of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from calclab.checks import slopes
from calclab.checks.program import Part, Program, flat
from calclab.checks.search import EACH
from calclab.errors import UserError, error_line

SEED = 20_163
ROWS = 64  # outputs of which each has a row of the Jacobian; of more, weighted sums are looked at
WEIGHTS = 4
NONE = ("once_differentiable", "not implemented", "does not require grad", "is not differentiable twice")
DIFFERENCES, GRADIENTS = "differences of values", "differences of the gradient"


@dataclass
class Claim:
    """A derivative that somebody gives: ``values`` of the map by points, ``dense`` its matrix at a point, or
    ``product`` the direction it is taken along; ``rows`` and ``columns`` name its sides."""

    quantity: str
    method: str
    values: slopes.Values
    dense: Callable[[Tensor], Tensor] | None
    product: Callable[[Tensor, Tensor], Tensor] | None
    rows: Sequence[Part]
    columns: Sequence[Part]
    order: int = 1
    varies: bool = True  # whether the claim can be asked elsewhere
    weights: Tensor | None = None  # of the outputs that the map's are sums of
    whole: Callable[[Tensor, Tensor], Tensor] | None = None  # of second derivatives: H v


# --- what autograd says ---


def autograd(program: Program) -> Claim:
    """The first derivative by reverse mode."""
    name = "gradient" if program.scalar else "jacobian"
    if program.m <= ROWS:
        return Claim(name, DIFFERENCES, program.values, jacobian_of(program), None, program.outputs, program.labels)
    U = weights(program, WEIGHTS)
    sums = (Part("weighted sum of outputs", (WEIGHTS,), torch.float64, 0, WEIGHTS),)
    return Claim(
        name, DIFFERENCES, lambda points: program.values(points) @ U.T, lambda x: program.pulled(x, U), None, sums,
        program.labels,
    )  # fmt: skip


def jacobian_of(program: Program) -> Callable[[Tensor], Tensor]:
    return lambda x: program.pulled(x, torch.eye(program.m, dtype=x.dtype, device=x.device))


def weights(program: Program, count: int) -> Tensor:
    """Weights of the outputs (count, m)."""
    return signs(program.x.new_empty(program.m), count)


def signs(like: Tensor, count: int) -> Tensor:
    """Rows (count, len(like)) of seeded numbers of either sign, none small."""
    maker = torch.Generator().manual_seed(SEED)
    drawn = 0.5 + torch.rand(count, len(like), generator=maker, dtype=torch.float64)
    return (drawn * (torch.randint(0, 2, drawn.shape, generator=maker) * 2 - 1)).to(like)


def forward_mode(program: Program) -> Claim:
    """The first derivative by forward mode."""
    U = None if program.m <= ROWS else weights(program, WEIGHTS)
    rows = program.outputs if U is None else (Part("weighted sum of outputs", (WEIGHTS,), torch.float64, 0, WEIGHTS),)

    def values(points: Tensor) -> Tensor:
        found = program.values(points)
        return found if U is None else found @ U.T

    def product(x: Tensor, d: Tensor) -> Tensor:
        found = program.pushed(x, d)
        return found if U is None else U @ found

    return Claim("forward mode", DIFFERENCES, values, None, product, rows, program.labels)


class Twice:
    """The gradient of L(f(x)), L(y) = u·y + ½ c·y², as a map of its own, and its derivative by double backward. With
    c = 0 it is the plain second derivative; with c the derivative passes through the gradient of the outputs too."""

    def __init__(self, program: Program, *, squared: bool) -> None:
        self.program = program
        self.few = program.n <= EACH
        self.sums = signs(program.x, WEIGHTS)
        self.u = torch.ones_like(program.x[:1]) if program.scalar else weights(program, 1)[0]
        self.c = self.u.flip(0) / program.value(program.x).abs().clamp(min=1) if squared else torch.zeros_like(self.u)

    def gradient(self, x: Tensor) -> Tensor:
        leaf, y = self.program.graph(x)
        if not y.requires_grad:
            return torch.zeros_like(x)
        found = torch.autograd.grad(y, leaf, self.u + self.c * y.detach(), allow_unused=True)[0]
        return torch.zeros_like(x) if found is None else found.detach()

    def values(self, points: Tensor) -> Tensor:
        found = torch.stack([self.gradient(point) for point in points])
        return found if self.few else found @ self.sums.T

    def _kept(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        leaf, y = self.program.graph(x)
        with torch.enable_grad():
            scalar = (self.u * y + self.c * y * y / 2).sum()
            found = torch.autograd.grad(scalar, leaf, create_graph=True, allow_unused=True)[0]
        return None if found is None or not found.requires_grad else (leaf, found)

    def dense(self, x: Tensor) -> Tensor:
        """Rows ∇(∇L)_i, (n, n)."""
        kept = self._kept(x)
        if kept is None:
            return x.new_zeros(len(x), len(x))
        leaf, g = kept
        rows = [torch.autograd.grad(g[i], leaf, retain_graph=True, allow_unused=True)[0] for i in range(len(x))]
        return torch.stack([torch.zeros_like(x) if row is None else row.detach() for row in rows])

    def product(self, x: Tensor, d: Tensor) -> Tensor:
        kept = self._kept(x)
        if kept is None:
            return torch.zeros_like(x)
        leaf, g = kept
        found = torch.autograd.grad(g, leaf, d, allow_unused=True)[0]
        found = torch.zeros_like(x) if found is None else found.detach()
        return found if self.few else self.sums @ found

    def claim(self, quantity: str) -> Claim:
        parts = self.program.labels
        return Claim(
            quantity, GRADIENTS, self.values, self.dense if self.few else None, None if self.few else self.product,
            parts if self.few else (), parts, order=2,
        )  # fmt: skip


def second_order(program: Program) -> tuple[list[Claim], list[str]]:
    """The second derivatives that autograd gives, and notes where it says that it has none. What raises anything else
    is a claim all the same: that it raises is told in its row."""
    claims: list[Claim] = []
    notes: list[str] = []
    for squared, quantity in ((False, "second derivative"), (True, "second derivative of a squared output")):
        twice = Twice(program, squared=squared)
        try:
            twice.product(program.x, torch.ones_like(program.x))
        except Exception as error:
            if any(words in str(error) for words in NONE):
                notes.append(f"{quantity}: not looked at, autograd gives none ({error_line(error)})")
                continue
        claims.append(twice.claim(quantity))
    return claims, notes


# --- what is given ---


def called(program: Program, given: Callable[..., Any], x: Tensor, what: str, *more: Any) -> Any:
    """A user's function of the arguments, at x; with ``more`` behind them."""
    leaves = program.inputs(x)
    if program.numpy:
        leaves = [leaf.numpy() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        more = tuple(leaf.numpy() if isinstance(leaf, Tensor) else leaf for leaf in more)
    try:
        with torch.enable_grad():
            return given(*pytree.tree_unflatten(leaves, program.spec), *more)
    except Exception as error:
        raise UserError(f"the {what} given raised {error_line(error)}") from error


def gradient_given(program: Program, gradient: Any) -> Claim:
    """A gradient, or Jacobian, as a value or a function of the arguments."""

    def dense(x: Tensor) -> Tensor:
        found = called(program, gradient, x, "gradient") if callable(gradient) else gradient
        return numbers(found, program.m, program.n, program, "gradient")

    name = "gradient" if program.scalar else "jacobian"
    return Claim(
        f"the {name} given", DIFFERENCES, program.values, dense, None, program.outputs, program.labels,
        varies=callable(gradient),
    )  # fmt: skip


def gradient_map(program: Program, gradient: Claim | None) -> slopes.Values:
    """∇f by points: as claimed where that has been found right, else measured from values alone."""

    def alone(points: Tensor) -> Tensor:
        rows = []
        for point in points:
            s = slopes.scales(point)
            rows.append(slopes.measured(program.values, point, torch.diag(s)).slope[:, 0] / s)
        return torch.stack(rows)

    if gradient is None or gradient.dense is None:
        return alone
    dense = gradient.dense
    return lambda points: torch.stack([dense(point)[0] for point in points])


def hessian_given(program: Program, hessian: Any, gradients: slopes.Values) -> Claim:
    """A Hessian as a matrix, a function of the arguments, or an operator known by its products."""
    if (
        not callable(hessian)
        and not isinstance(hessian, Tensor)
        and hasattr(hessian, "__matmul__")
        and not program.numpy
    ):
        return product_given(program, hessian, gradients, "hessian")

    def dense(x: Tensor) -> Tensor:
        found = called(program, hessian, x, "hessian") if callable(hessian) else hessian
        return numbers(found, program.n, program.n, program, "hessian")

    return second_given(program, "the hessian given", gradients, dense, lambda x, v: dense(x) @ v, callable(hessian))


def product_given(program: Program, product: Any, gradients: slopes.Values, what: str = "product") -> Claim:
    """Products with the Hessian: a function of v, or of the arguments and v; or an operator. v is (n,), or of the shape
    of a single argument."""
    shape = program.parts[0].shape if len(program.parts) == 1 and not program.parts[0].complex else (program.n,)
    own = "" if callable(product) and takes(product) == 1 else "arguments"

    def whole(x: Tensor, v: Tensor) -> Tensor:
        v = v.reshape(shape)
        if not callable(product):
            found = product @ v
        elif own:
            found = called(program, product, x, what, v)
        else:
            try:
                found = product(v.numpy() if program.numpy else v)
            except Exception as error:
                raise UserError(f"the {what} given raised {error_line(error)}") from error
        return numbers(found, 1, program.n, program, what)[0]

    return second_given(program, f"the {what} given", gradients, None, whole, bool(own) and callable(product))


def takes(function: Callable[..., Any]) -> int:
    """How many arguments a function takes by place."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 2
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty for p in found)


def second_given(
    program: Program,
    quantity: str,
    gradients: slopes.Values,
    dense: Callable[[Tensor], Tensor] | None,
    whole: Callable[[Tensor, Tensor], Tensor],
    varies: bool,
) -> Claim:
    """The claim of a second derivative; of many variables weighted sums of its rows are looked at."""
    if not program.scalar:
        raise UserError(
            f"a Hessian is of a function with one number, and this gives {program.m}. Give gradient= instead"
        )
    if program.n <= EACH:
        parts = program.labels
        product = None if dense is not None else whole
        return Claim(
            quantity, GRADIENTS, gradients, dense, product, parts, parts, order=2, varies=varies, whole=whole
        )  # fmt: skip
    U = signs(program.x, WEIGHTS)
    return Claim(
        quantity, GRADIENTS, lambda points: gradients(points) @ U.T, None, lambda x, v: U @ whole(x, v), (),
        program.labels, order=2, varies=varies, weights=U, whole=whole,
    )  # fmt: skip


def numbers(found: Any, m: int, n: int, program: Program, what: str) -> Tensor:
    """What was given as a matrix (m, n) of the type of x."""
    leaves = [leaf for leaf in pytree.tree_leaves(found) if leaf is not None]
    try:
        tensors = [leaf.detach() if isinstance(leaf, Tensor) else torch.as_tensor(leaf) for leaf in leaves]
    except Exception as error:
        raise UserError(
            f"the {what} given is a {type(found).__name__}, and no numbers ({error_line(error)})"
        ) from error
    several = len(tensors) == len(program.parts) > 1 and m > 1
    if several:  # a Jacobian for each input
        blocks = [flat([t], program.x.dtype).reshape(m, -1) for t in tensors]
        count = sum(block.shape[1] for block in blocks)
        if count == n:
            return torch.cat(blocks, 1).to(program.x.device)
    row = flat(tensors, program.x.dtype).to(program.x.device) if tensors else program.x.new_zeros(0)
    if row.numel() != m * n:
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors) or "nothing"
        wanted = f"({n},)" if m == 1 else f"({m}, {n})"
        raise UserError(
            f"the {what} given has the shape {shapes}; a derivative of this function has {m * n} numbers, {wanted}"
        )
    return row.reshape(m, n)
