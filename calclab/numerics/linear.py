"""Linear operators: a shape, products by ``@``, and what can be made of operators without forming a matrix.

A is known by V ↦ A V and U ↦ Aᵀ U alone. What follows from these is exact, and costs no more than its parts:

    A + B, c A, A + c I    (A + c I) V = A V + c V
    A B                    (A B) V = A (B V),  (A B)ᵀ U = Bᵀ (Aᵀ U)
    A[i, j]                rows i of A applied to vectors that are zero outside j
    Aᵀ                     the two products, exchanged

That both products belong to one matrix, ⟨u, A v⟩ = ⟨Aᵀu, v⟩, is for who makes the operator to see to. Shapes, dtypes
and devices are checked when operators meet (ValueError); nothing is computed before somebody multiplies.

>>> M = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=torch.float64)
>>> A = LinearOperator((3, 2), lambda V: M @ V, lambda U: M.T @ U, False, M.dtype, M.device)
>>> (A.T @ A).shift(1.0).dense().tolist()
[[36.0, 44.0], [44.0, 57.0]]
>>> A.sub(torch.tensor([2]), torch.tensor([0])).dense().tolist(), A.products > 0
([[5.0]], True)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from calclab.errors import UserError

Product = Callable[[Tensor], Tensor]
Index = Tensor | slice


@dataclass
class Tally:
    """How many columns an operator has been multiplied by."""

    columns: int = 0


@dataclass(frozen=True)
class LinearOperator:
    """A: R^n -> R^m by its products alone. ``matmat`` takes (n, p) to A V (m, p), ``rmatmat`` (m, p) to Aᵀ U (n, p).

    ``lanes`` is how many columns share a pass, 0 where that means nothing; ``laned`` makes the same operator with
    another number of them. Sums, multiples and the others below multiply by their parts when they are multiplied.
    """

    shape: tuple[int, int]
    matmat: Product
    rmatmat: Product
    symmetric: bool
    dtype: torch.dtype
    device: torch.device
    lanes: int = 0
    laned: Callable[[int], LinearOperator] | None = None
    tally: Tally = field(default_factory=Tally, compare=False, repr=False)

    @property
    def products(self) -> int:
        """Columns multiplied so far, by A or by Aᵀ."""
        return self.tally.columns

    def with_lanes(self, lanes: int) -> LinearOperator:
        """The same operator with ``lanes`` columns in one pass; products are counted together. ValueError below 1.

        Who measures which number is quickest (`lanes.measure_lanes`) goes on with what this gives.
        """
        if lanes < 1:
            raise ValueError(f"lanes={lanes}: at least one column goes through a pass")
        if self.laned is None or lanes == self.lanes:
            return self
        other = self.laned(lanes)
        object.__setattr__(other, "tally", self.tally)
        return other

    def __matmul__(self, other: Any) -> Any:
        """A v (m,) for a vector (n,), A V (m, p) for a matrix (n, p), the operator A B for an operator B."""
        if isinstance(other, LinearOperator):
            return compose(self, other)
        if not isinstance(other, Tensor):
            return NotImplemented
        if other.ndim not in (1, 2) or other.shape[0] != self.shape[1]:
            raise ValueError(f"an operator of shape {self.shape} cannot multiply an array of {tuple(other.shape)}")
        if other.ndim == 1:
            return (self @ other[:, None])[:, 0]
        self.tally.columns += other.shape[1]
        return self.matmat(other)

    @property
    def T(self) -> LinearOperator:  # noqa: N802  as torch names it
        """Aᵀ (n, m); products are counted together with those of A."""
        m, n = self.shape
        laned = self.laned
        turned = None if laned is None else lambda lanes: laned(lanes).T
        return LinearOperator(
            (n, m), self.rmatmat, self.matmat, self.symmetric, self.dtype, self.device, self.lanes, turned, self.tally
        )

    def __add__(self, other: LinearOperator) -> LinearOperator:
        return combine(self, other, 1.0) if isinstance(other, LinearOperator) else NotImplemented

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return combine(self, other, -1.0) if isinstance(other, LinearOperator) else NotImplemented

    def __mul__(self, factor: float | Tensor) -> LinearOperator:
        """c A, c a number."""
        if isinstance(factor, LinearOperator) or (isinstance(factor, Tensor) and factor.ndim):
            return NotImplemented
        return derived(
            (self,),
            self.shape,
            lambda A: lambda V: factor * (A @ V),
            lambda A: lambda U: factor * (A.T @ U),
            self.symmetric,
        )

    __rmul__ = __mul__

    def __truediv__(self, number: float | Tensor) -> LinearOperator:
        """A / c, c a number."""
        return self * (1 / number)

    def __radd__(self, other: object) -> LinearOperator:
        """0 + A, with which ``sum`` begins."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __neg__(self) -> LinearOperator:
        return self * -1.0

    def shift(self, c: float | Tensor) -> LinearOperator:
        """A + c I, of a square A."""
        if self.shape[0] != self.shape[1]:
            raise ValueError(f"an operator of shape {self.shape} has no A + c I: it is not square")
        return derived(
            (self,),
            self.shape,
            lambda A: lambda V: A @ V + c * V,
            lambda A: lambda U: A.T @ U + c * U,
            self.symmetric,
        )

    def sub(self, rows: Index, columns: Index | None = None) -> LinearOperator:
        """The block of these rows and columns, A[rows, columns]; without columns, those of the rows again. Indices are
        integers (k,), truth values or slices, each row and column at most once."""
        m, n = self.shape
        symmetric = self.symmetric and columns is None
        i = indices(rows, m, self.device)
        j = i if columns is None else indices(columns, n, self.device)

        def spread(V: Tensor, at: Tensor, size: int) -> Tensor:
            return V.new_zeros(size, V.shape[1]).index_copy_(0, at, V)

        return derived(
            (self,),
            (len(i), len(j)),
            lambda A: lambda V: (A @ spread(V, j, n))[i],
            lambda A: lambda U: (A.T @ spread(U, i, m))[j],
            symmetric,
        )

    def dense(self) -> Tensor:
        """The matrix (m, n), by the fewer products: columns A e_j, or rows eᵢᵀ A. Not symmetrised, so that what
        rounding makes of a symmetric A can be seen."""
        m, n = self.shape
        identity = torch.eye(min(m, n), dtype=self.dtype, device=self.device)
        return (self.T @ identity).T if m <= n else torch.as_tensor(self @ identity)

    def scipy(self) -> Any:
        """The same as a ``scipy.sparse.linalg.LinearOperator`` on NumPy arrays, for its solvers.

        Products go on in torch, in the operator's dtype and on its device. UserError where SciPy is not installed.
        """
        try:
            from scipy.sparse.linalg import LinearOperator as Scipy  # type: ignore[import-untyped]
        except ImportError as error:
            raise UserError("an operator for SciPy needs SciPy. Type pip install scipy") from error
        kind = torch.zeros((), dtype=self.dtype).numpy().dtype

        def numpy(A: LinearOperator) -> Callable[[Any], Any]:
            return lambda V: (A @ torch.as_tensor(V.copy(), dtype=self.dtype, device=self.device)).cpu().numpy()

        by, back = numpy(self), numpy(self.T)
        return Scipy(shape=self.shape, matvec=by, rmatvec=back, matmat=by, rmatmat=back, dtype=kind)


def indices(chosen: Index, size: int, device: torch.device) -> Tensor:
    """The chosen of 0, ..., size - 1 as int64 (k,); each may be chosen once.

    Twice the same column would have to be added up on the way in and read twice on the way out.
    """
    found = torch.arange(size, device=device)[chosen]
    if bool((torch.bincount(found, minlength=1) > 1).any()):
        raise ValueError("a sub-block takes each row and column at most once")
    return found


Made = Callable[..., Product]


def derived(
    parts: tuple[LinearOperator, ...], shape: tuple[int, int], by: Made, back: Made, symmetric: bool
) -> LinearOperator:
    """An operator whose products ``by(*parts)`` and ``back(*parts)`` are made of those of its parts, lanes and all.

    The parts are looked at again where lanes change, so that a sum of operators shares its passes as its parts do.
    """
    first = parts[0]
    lanes = max(part.lanes for part in parts)
    able = any(part.laned is not None for part in parts)

    def laned(lanes: int) -> LinearOperator:
        return derived(tuple(part.with_lanes(lanes) for part in parts), shape, by, back, symmetric)

    return LinearOperator(
        shape, by(*parts), back(*parts), symmetric, first.dtype, first.device, lanes, laned if able else None
    )


def combine(A: LinearOperator, B: LinearOperator, factor: float) -> LinearOperator:
    """A + factor B."""
    alike(A, B)
    if A.shape != B.shape:
        raise ValueError(f"operators of shapes {A.shape} and {B.shape} cannot be added")
    return derived(
        (A, B),
        A.shape,
        lambda A, B: lambda V: A @ V + factor * (B @ V),
        lambda A, B: lambda U: A.T @ U + factor * (B.T @ U),
        A.symmetric and B.symmetric,
    )


def compose(A: LinearOperator, B: LinearOperator) -> LinearOperator:
    """A B, which is not taken for symmetric: a product of symmetric matrices is only where they commute."""
    alike(A, B)
    if A.shape[1] != B.shape[0]:
        raise ValueError(f"operators of shapes {A.shape} and {B.shape} cannot be multiplied")
    shape = (A.shape[0], B.shape[1])
    return derived(
        (A, B), shape, lambda A, B: lambda V: A @ (B @ V), lambda A, B: lambda U: B.T @ (A.T @ U), symmetric=False
    )


def alike(A: LinearOperator, B: LinearOperator) -> None:
    """ValueError where two operators do not compute in one dtype on one device."""
    if A.dtype != B.dtype or A.device != B.device:
        raise ValueError(f"operators of {A.dtype} on {A.device} and of {B.dtype} on {B.device} do not go together")
