"""Matrices known by their products, and what can be asked of one: sums, blocks, eigenvalues, trace, diagonal.

An `Operator` is a matrix known by its products: A v costs about two gradients of the loss and no (n, n) memory. Every
number drawn from one has its bound beside it: of an eigenvalue the residual ‖Av - λv‖, within which some eigenvalue
lies (Parlett 1998, theorem 4.5.1); of a trace or diagonal from random vectors the 95 % interval (Hutchinson 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.numerics.krylov import Extremes, Mean, Probes
from calclab.numerics.linear import LinearOperator
from calclab.report.numbers import number
from calclab.topic.hessian.stages import Edges, unpacked
from calclab.topic.hessian.stages import block as lanes_of

Shapes = Mapping[str, tuple[int, ...]]  # the parts of a vector by name, in their order

MEMORY = 2.0  # GB that a dense matrix may take where nobody says how many
EXACT = 512  # products that an exact diagonal may take: of more variables it is estimated
ROUNDINGS = 16.0  # of a product, relative to the largest number in it


@dataclass(frozen=True, eq=False)
class Estimate:
    """``value``, and ``bound``, how far it can be from the truth, entry by entry; ``by`` says how that is known."""

    value: Tensor
    bound: Tensor
    by: str

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        if self.value.ndim:
            return f"{tuple(self.value.shape)} numbers, each within {number(float(self.bound.max()), 2)} ({self.by})"
        return f"{number(float(self.value))} ± {float(self.bound):.2g} ({self.by})"


@dataclass(frozen=True, eq=False)
class Eigenvalues:
    """``values`` (k,), the largest first and falling, then the smallest, rising; ``bounds`` (k,): an eigenvalue lies
    within so much of each; unit ``vectors`` (n, k); ``top`` of them are the largest. ``settled``: all as near as asked.
    """

    values: Tensor
    bounds: Tensor
    vectors: Tensor
    top: int
    settled: bool

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        names = [f"largest {i + 1}" for i in range(self.top)]
        names += [f"smallest {i + 1}" for i in range(len(self) - self.top)]
        lines = [
            f"{name:<11} {number(value)} ± {bound:.2g}"
            for name, value, bound in zip(names, self.values.tolist(), self.bounds.tolist(), strict=True)
        ]
        return "\n".join(lines if self.settled else [*lines, "not all as near as asked: give more products"])


@dataclass(frozen=True, eq=False)
class Operator:
    """A matrix (m, n) by its products.

    ``A @ v`` takes a vector (n,), a block of them (n, k), or a dict of tensors by parameter name, and gives the same of
    A v: in the dtype of what it was given, tensors for tensors, arrays for arrays. Sums, differences, multiples and
    products of operators are operators; ``A + 0.1 * A.identity`` is damped. ``into`` and ``out`` are the parts of a
    vector on either side by name, with their shapes.
    """

    title: str
    make: Callable[[], LinearOperator]
    into: Shapes
    out: Shapes
    rounding: float  # eps of the type that products are computed in
    restricted: Callable[[tuple[str, ...]], Operator] | None = None  # a quicker way to the diagonal block of some parts
    known_diagonal: Callable[[], Tensor] | None = None  # a quicker way to the exact diagonal than n products

    __array_ufunc__ = None  # numpy leaves 2.0 * A and a @ A to us

    # --- what it is ---

    @cached_property
    def linear(self) -> LinearOperator:
        """The products themselves; made when they are first wanted."""
        with gradients():
            return self.make()

    @property
    def shape(self) -> tuple[int, int]:
        return count(self.out), count(self.into)

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers that it makes of itself; products are in the dtype of what is multiplied."""
        return self.linear.dtype

    @property
    def device(self) -> torch.device:
        return self.linear.device

    @property
    def symmetric(self) -> bool:
        return self.linear.symmetric

    @property
    def products(self) -> int:
        """Columns multiplied so far."""
        return self.linear.products

    def __repr__(self) -> str:
        m, n = self.shape
        return f"{self.title}, {m:,} × {n:,}"

    # --- products ---

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, Operator):
            return self.composed(other)
        if isinstance(other, Mapping):
            return split(self @ flat(self, other), self.out)
        if isinstance(other, np.ndarray):
            return (self @ torch.as_tensor(other)).numpy()
        if not isinstance(other, Tensor):
            return NotImplemented
        m, n = self.shape
        if other.ndim not in (1, 2) or len(other) != n:
            raise UserError(
                f"{self.title} is {m} × {n}, and multiplies a vector of shape ({n},), a block ({n}, k), or a dict of "
                f"tensors by name, not one of shape {tuple(other.shape)}"
            )
        if other.device != self.device:
            raise UserError(f"{self.title} is on {self.device}, the vector on {other.device}. Type v.to(A.device)")
        kind = other.dtype if other.is_floating_point() else self.dtype
        with gradients():
            image: Tensor = self.linear @ other.detach().to(self.dtype)
        return image.detach().to(kind)

    def __rmatmul__(self, other: Any) -> Any:
        """uᵀ A (n,) of u (m,), or of rows (k, m) their images (k, n)."""
        if not isinstance(other, Tensor | np.ndarray):
            return NotImplemented
        return self.T @ other if other.ndim == 1 else (self.T @ other.T).T

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """v @ A and c * A with a tensor on the left, which torch asks for here."""
        name = getattr(func, "__name__", "")
        if len(args) == 2 and isinstance(args[1], Operator):
            if name in ("matmul", "__matmul__"):
                return args[1].__rmatmul__(args[0])
            if name in ("mul", "__mul__"):
                return args[1] * args[0]
        return NotImplemented

    @cached_property
    def T(self) -> Operator:  # noqa: N802  as torch names it
        if self.shape[0] == self.shape[1] and self.linear.symmetric:
            return self
        return Operator(f"{self.title}, transposed", lambda: self.linear.T, self.out, self.into, self.rounding)

    @property
    def adjoint(self) -> Operator:
        return self.T

    @property
    def identity(self) -> Operator:
        """I on the vectors that A takes: ``A + 0.1 * A.identity``."""
        n = self.shape[1]

        def made() -> LinearOperator:
            return LinearOperator((n, n), torch.clone, torch.clone, True, self.dtype, self.device)

        return Operator("identity", made, self.into, self.into, 0.0)

    # --- sums, multiples, products ---

    def __add__(self, other: Any) -> Operator:
        return self.summed(other, "+")

    def __sub__(self, other: Any) -> Operator:
        return self.summed(other, "-")

    def summed(self, other: Any, sign: Literal["+", "-"]) -> Operator:
        """A + B or A - B."""
        if isinstance(other, int | float) or (isinstance(other, Tensor) and not other.ndim):
            raise UserError(f"{self.title} {sign} a number: type A {sign} {float(other):g} * A.identity")
        if not isinstance(other, Operator):
            return NotImplemented
        if self.into != other.into or self.out != other.out:
            raise UserError(f"{self!r} and {other!r} are not of the same vectors, and have no sum")

        def made() -> LinearOperator:
            A, B = self.linear, other.linear
            return A + B if sign == "+" else A - B

        rounding = max(self.rounding, other.rounding)
        return Operator(f"{self.title} {sign} {other.title}", made, self.into, self.out, rounding)

    def __mul__(self, factor: Any) -> Operator:
        if not isinstance(factor, int | float | np.number | Tensor) or (isinstance(factor, Tensor) and factor.ndim):
            return NotImplemented
        c = float(factor)
        return Operator(f"{c:g} {self.title}", lambda: c * self.linear, self.into, self.out, self.rounding)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Operator:
        return self * (1 / divisor)

    def __neg__(self) -> Operator:
        return self * -1.0

    def composed(self, other: Operator) -> Operator:
        """A B; AᵀA and A Aᵀ are symmetric."""
        if self.shape[1] != other.shape[0]:
            raise UserError(f"{self!r} and {other!r} have no product: {self.shape[1]} is not {other.shape[0]}")

        def made() -> LinearOperator:
            A, B = self.linear, other.linear
            found = A @ B
            if A.matmat == B.rmatmat and A.rmatmat == B.matmat:
                object.__setattr__(found, "symmetric", True)
            return found

        rounding = max(self.rounding, other.rounding)
        return Operator(f"({self.title})({other.title})", made, other.into, self.out, rounding)

    # --- parts ---

    def block(self, name: str, other: str | None = None) -> Operator:
        """The rows of a layer or parameter ``name``, and its columns, or those of ``other``."""
        own, across = within(self, self.out, name), within(self, self.into, name if other is None else other)
        if own == across and self.restricted is not None:
            return self.restricted(tuple(own))

        def made() -> LinearOperator:
            rows, columns = places(self.out, own, self.device), places(self.into, across, self.device)
            return self.linear.sub(rows, None if own == across else columns)

        title = f"{self.title}, {name}" + ("" if other is None else f" by {other}")
        return Operator(title, made, across, own, self.rounding)

    @property
    def blocks(self) -> dict[str, Operator]:
        """The diagonal block of every layer by name; of a function, of every variable."""
        names = dict.fromkeys(name.rpartition(".")[0] or name for name in self.into)
        return {name: self.block(name) for name in names}

    def dense(self, memory: float = MEMORY) -> Tensor:
        """The matrix (m, n), by min(m, n) products; refused where it takes more than ``memory`` gigabytes."""
        m, n = self.shape
        size = m * n * self.linear.dtype.itemsize / 1e9
        if size > memory:
            raise UserError(
                f"{self!r}: the matrix takes {size:.3g} GB, more than memory={memory:g}. Go by products (A @ v, "
                f"A.eigenvalues(top=5), A.trace()), take A.block(name), or type A.dense(memory={size:.3g})"
            )
        with gradients():
            return self.linear.dense()

    def scipy(self) -> Any:
        """The same as a ``scipy.sparse.linalg.LinearOperator`` on float64 arrays, for eigsh, cg, lsqr, ..."""
        return self.linear.scipy()

    # --- numbers ---

    def eigenvalues(
        self, top: int = 1, bottom: int = 0, *, tol: float = 1e-3, products: int = 200, seed: int = 0
    ) -> Eigenvalues:
        """The ``top`` largest and ``bottom`` smallest eigenvalues of a symmetric operator, by Lanczos' method, until
        the residuals are at most ``tol`` of the largest, or ``products`` are spent.

        >>> import calclab
        >>> calclab.curvature(calclab.formula("x**2 - 3*y**2", at=[1, 2])).eigenvalues(top=1, bottom=1).values
        tensor([ 2.0000, -6.0000], dtype=torch.float64)
        """
        n = self.shape[1]
        if not self.symmetric:
            raise UserError(f"{self!r} is not symmetric. For its singular values type (A.T @ A).eigenvalues()")
        if top < 0 or bottom < 0 or top + bottom == 0:
            raise UserError(f"top={top}, bottom={bottom}: at least one eigenvalue. Type top=5")
        top = min(top, n)
        search = Extremes(self.linear, top=top, bottom=min(bottom, n - top), tol=tol, seed=seed)
        stage = Edges(search, products, 0, self.rounding)
        with gradients():
            state = stage.begin({})
            while not bool(state["done"]):
                state = stage.step(state, {})
            found = stage.finish(state, {})
        pairs = unpacked(found["pairs"])
        return Eigenvalues(pairs.values, pairs.residuals, pairs.vectors, pairs.top, bool(found["settled"]))

    def trace(self, *, tol: float = 0.05, products: int = 200, seed: int = 0) -> Estimate:
        """tr A (), exactly where that is cheap, else within ``tol`` of itself at 95 %, or by at most ``products``."""
        exact = self.exact_diagonal()
        if exact is not None:
            return Estimate(exact.sum(), self.rounded(exact) * len(exact) ** 0.5, "exact, but for rounding")
        with gradients():
            probes = self.probes(tol, products, seed)
            mean = probes.trace(probes.run())
        return Estimate(mean.value, mean.half, interval(mean))

    def diagonal(self, *, tol: float = 0.05, products: int = 200, seed: int = 0) -> Estimate:
        """diag A (n,), exactly where that is cheap, else from the random vectors of `trace`."""
        exact = self.exact_diagonal()
        if exact is not None:
            return Estimate(exact, self.rounded(exact).expand_as(exact), "exact, but for rounding")
        with gradients():
            probes = self.probes(tol, products, seed, diagonal=True)
            mean = probes.estimate_diagonal(probes.run())
        return Estimate(mean.value, mean.half, interval(mean))

    def probes(self, tol: float, products: int, seed: int, diagonal: bool = False) -> Probes:
        """The random vectors that an estimate is made of."""
        most, width = max(2, products), lanes_of(self.linear)
        return Probes(self.linear, tol=tol, most=most, block=width, diagonal=diagonal, seed=seed)

    def exact_diagonal(self) -> Tensor | None:
        """diag A (n,) where the gradients of the rows give it, or n products; else None."""
        m, n = self.shape
        if m != n:
            raise UserError(f"{self!r} is not square, and has no diagonal")
        if self.known_diagonal is not None:
            with gradients():
                return self.known_diagonal()
        return self.dense().diagonal().clone() if n <= EXACT else None

    def rounded(self, numbers: Tensor) -> Tensor:
        """What rounding may have done to the largest of them, about."""
        eps = max(self.rounding, torch.finfo(self.dtype).eps)
        return ROUNDINGS * eps * numbers.abs().max()


@contextmanager
def gradients() -> Iterator[None]:
    """Where a user's program has turned them off, they are wanted here."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


# --- vectors in parts ---


def count(shapes: Shapes) -> int:
    return sum(prod(shape) for shape in shapes.values())


def flat(A: Operator, parts: Mapping[str, Tensor]) -> Tensor:
    """Parts by name as a vector (n,)."""
    if parts.keys() != A.into.keys():
        missing, other = [n for n in A.into if n not in parts], [n for n in parts if n not in A.into]
        said = [f"{word} {', '.join(names[:5])}" for word, names in (("lacks", missing), ("has", other)) if names]
        raise UserError(f"{A!r} takes a dict with the names of A.into; this one {' and '.join(said)}")
    for name, shape in A.into.items():
        if tuple(parts[name].shape) != tuple(shape):
            raise UserError(f"{name} is of shape {tuple(shape)}, not {tuple(parts[name].shape)}")
    return torch.cat([parts[name].reshape(-1) for name in A.into])


def split(v: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    """A vector (n,) as parts by name."""
    pieces = v.split_with_sizes([prod(shape) for shape in shapes.values()])
    return {name: piece.reshape(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}


def within(A: Operator, shapes: Shapes, name: str) -> Shapes:
    """The parts that ``name`` holds: one of them, or those of a layer."""
    found = {part: shape for part, shape in shapes.items() if part == name or part.startswith(f"{name}.")}
    if not found:
        layers = dict.fromkeys(part.rpartition(".")[0] or part for part in shapes)
        raise UserError(f"block {name!r}: {A.title} has {', '.join(list(layers)[:12])}")
    return found


def places(shapes: Shapes, part: Shapes, device: torch.device) -> Tensor:
    """Where the entries of some parts stand in the whole vector."""
    at, first = [], 0
    for name, shape in shapes.items():
        size = prod(shape)
        if name in part:
            at.append(torch.arange(first, first + size, device=device))
        first += size
    return torch.cat(at)


def interval(mean: Mean) -> str:
    return f"95 % interval from {mean.samples} random vectors"


__all__ = ["Eigenvalues", "Estimate", "Operator"]
