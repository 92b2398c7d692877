"""Curvature at a point: the Hessian or a relative of it, its eigenvalues, what they say, and the condition number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from calclab import schema
from calclab.core import Function
from calclab.errors import UserError
from calclab.subject.network import Network
from calclab.topic.base import Choice
from calclab.topic.hessian.dense import Dense
from calclab.topic.hessian.free import MatrixFree
from calclab.topic.hessian.looked import Looked, look


@dataclass(frozen=True, kw_only=True)
class Hessian(schema.topic.Hessian, Choice):
    """A at the start: H_ij = ∂²f/∂x_i∂x_j, (n, n), or what ``operator`` names.

    Of a network f is the mean loss over its rows, as a function of its trainable parameters. Small matrices are formed
    (`Dense`); larger ones are known by their products (`MatrixFree`), a scan that takes one product after the other.
    """

    subject: Function | Network
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.looked.n
        if self.matrix == "always" and n > self.limit:
            raise UserError(
                f"limit={self.limit}: {self.subject.name} has {n:,} variables, and the matrix would have {n * n:,} "
                f"entries. Type limit={n} to form it all the same, or matrix=never to go by products"
            )
        if self.layers and not isinstance(self.subject, Network):
            raise UserError(f"layers=true: {self.subject.name} is a function and has no layers. Leave layers out")
        if self.against is not None and (not isinstance(self.subject, Network) or self.against == self.operator):
            raise UserError(f"against={self.against}: another operator of a network. Type for example "
                            "operator=hessian against=gauss_newton")  # fmt: skip

    @cached_property
    def looked(self) -> Looked:
        knobs = (self.operator, self.parameters, self.rows, self.held_out, self.memory, self.lanes)
        return look(self.subject, *knobs, self.seed)

    @property
    def function(self) -> Function:
        return self.looked.function

    @cached_property
    def scan(self) -> Dense | MatrixFree:
        """With the matrix, or without."""
        names = self.looked.layers() if self.layers else ()
        dense = self.matrix == "always" or (self.matrix == "auto" and self.looked.n <= self.limit)
        return (Dense if dense else MatrixFree)(self.looked, self, names, self.seed)
