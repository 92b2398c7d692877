"""The question: a function, what is known of it, and rows of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from calclab.core.evidence import Ball
from calclab.core.layout import Layout
from calclab.errors import UserError

Found = TypeVar("Found")


class Exact(Protocol):
    """What is known of a function beyond its float program. Points are (n,) tensors, taken as exact numbers."""

    @property
    def latex(self) -> str:
        """The formula to typeset."""
        ...

    @property
    def lean(self) -> Callable[[Tensor], tuple[Tensor, Tensor]] | None:
        """x (..., n) to f (...,) and ∇f (..., n), of a vector function f (..., m) and J (..., m, n): no autograd."""
        ...

    @property
    def degree(self) -> float:
        """The degree as a polynomial, at most; infinite where it is none. A quadratic has 2."""
        ...

    def derivative_latex(self, order: int) -> list[str]:
        """Closed forms to typeset, one equation a string (order 1 or 2); one line that says so where they would be too
        long to read.
        """
        ...

    def enclose(self, x: Tensor, order: int) -> Ball:
        """The derivative tensor of ``order`` 0, 1, 2: (), (n,), (n, n); with m outputs (m,), (m, n), (m, n, n)."""
        ...

    def rounding(self, x: Tensor, order: int) -> Tensor:
        """How far rounding every step once, in the dtype of x, can move the derivative tensor; inf: not known."""
        ...

    def one_sided(self, x: Tensor, order: int = 1) -> tuple[Tensor, Tensor]:
        """The derivative tensor of ``order`` 1 or 2 by its last variable from the left and from the right: limits of
        difference quotients, infinite where they grow, NaN where they do not settle."""
        ...

    def eigenvalues(self, x: Tensor) -> Ball:
        """Eigenvalues of the Hessian of a scalar function, ascending, (n,)."""
        ...

    def singular_values(self, x: Tensor) -> Ball:
        """Singular values of the Jacobian of a vector function, descending, (min(m, n),)."""
        ...

    def orientation(self, x: Tensor) -> float | None:
        """The sign of det J of a vector function with as many outputs as variables; None where it cannot be proven."""
        ...


@dataclass(frozen=True, eq=False)
class Function:
    """A differentiable map and what is known of it.

    ``call`` takes (n,) to () or to (m,) and works under ``torch.func`` transforms; ``start`` is (n,) and fixes dtype
    and device; ``variables`` names the n inputs, ``outputs`` the m outputs (empty for a scalar function); ``domain``
    is (n, 2); ``minima`` is (p, n). ``links`` are the parts of a composition, innermost first, where it was given as
    one: each takes the outputs of the one before. ``split`` is (inner, outer) of a scalar f = outer ∘ inner, inner from
    (n,) to (m,), outer convex: what the Gauss-Newton matrix is made of. ``held`` (n,) says of which variables autograd
    gives no derivative on purpose, though ``call`` depends on them; ``inside`` is a smaller type than that of ``start``
    which the program computes in.
    """

    name: str
    call: Callable[[Tensor], Tensor]
    start: Tensor
    variables: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    domain: Tensor | None = None
    minima: Tensor | None = None
    source: str = ""
    exact: Exact | None = None
    links: tuple[Function, ...] = ()
    split: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None = None
    held: Tensor | None = None
    inside: torch.dtype | None = None
    known: dict[str, Any] = field(default_factory=dict, init=False, repr=False)  # see `once`

    def once(self, what: str, find: Callable[[Function], Found]) -> Found:
        """What ``find`` finds of it, kept with the function under the name ``what``: all runs on it share that."""
        if what not in self.known:
            self.known[what] = find(self)
        found: Found = self.known[what]
        return found

    @property
    def scalar(self) -> bool:
        return not self.outputs

    def objective(self) -> Function:
        """The scalar function that descent and curvature look at: this one."""
        if not self.scalar:
            raise UserError(
                f"{self.name} has {len(self.outputs)} outputs, and this topic needs a scalar function. "
                "Type one formula (function.expr='x0**2 + x1'), or ask for topic=jacobian."
            )
        return self

    def response(self) -> Function:
        """The map whose Jacobian is asked for: this one."""
        return self


@dataclass(frozen=True)
class Units:
    """What standardising did: a number of the user's is ``shift`` + ``scale`` times the number here, entry by entry."""

    shift: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Data:
    """Rows to learn from. ``inputs`` is (B, *shape) in the dtype of the run, `Rows` where they do not fit in memory;
    ``targets`` is (B,) of class numbers (int64) for classification, (B, m) for regression. ``features`` names the
    inputs, flattened; ``classes`` the classes or outputs. ``notes`` are sentences for the user: missing values, columns
    dropped. ``columns`` names for each input the column of a table that it was made of, where they differ: a column of
    texts becomes several inputs. ``units`` and ``target_units``, (d,) and (m,), lead back to the user's own numbers
    where they were standardised. ``places`` (B,) says which row of the user's table each one is, from 0, where some
    were dropped, drawn or held out. ``codes`` numbers the inputs, flattened, that the network looks something up by: of
    these there is no derivative. ``layout`` says which inputs of the model lie side by side in a row, where it has
    several or takes them by name.
    """

    name: str
    inputs: Tensor
    targets: Tensor
    features: tuple[str, ...]
    classes: tuple[str, ...]
    classification: bool
    notes: tuple[str, ...] = ()
    held_out: Data | None = None  # rows kept back, to see how what was learned does on others
    columns: tuple[str, ...] = ()
    units: Units | None = None
    target_units: Units | None = None
    places: Tensor | None = None
    codes: tuple[int, ...] = ()
    layout: Layout | None = None

    def take(self, rows: Tensor) -> Data:
        """The rows numbered ``rows`` (b,) alone, and nothing held out."""
        places, at = rows.cpu(), rows.to(self.inputs.device)
        places = places if self.places is None else self.places[places]
        return replace(self, inputs=self.inputs[at], targets=self.targets[at], places=places, held_out=None)

    def some(self, count: int) -> Data:
        """No more than ``count`` of the rows, spread evenly over all, the first and the last among them."""
        few, last = min(len(self.inputs), count), len(self.inputs) - 1
        return self.take(torch.tensor([round(i * last / max(1, few - 1)) for i in range(few)], dtype=torch.int64))
