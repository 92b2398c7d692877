"""The curvature of a loss that a program has just computed, by the tensors that it holds: a module in a training loop.

Nothing is copied and no function is made of the program: the loss is there, on the graph of its ``leaves``, and the
graph is kept for as many products as are asked for. So the function is the program as it ran, once: batch statistics
are those of its batch, a mask that was drawn stays the same in every product, a tied weight is one leaf. Neither
``.grad`` nor any value is touched. θ (n,) is the leaves one after the other; products are in the leaves' type, added up
in float32 at least.

>>> line = torch.nn.Linear(2, 1).double()
>>> rows = torch.tensor([[1.0, 0.0], [1.0, 2.0]]).double()
>>> about = Held((line(rows) ** 2).sum() / 2, [line.weight, line.bias])  # Σ (x, 1)ᵀ(x, 1)
>>> (about.hessian @ torch.eye(3).double()).tolist()
[[2.0, 2.0, 2.0], [2.0, 4.0, 2.0], [2.0, 2.0, 2.0]]
>>> line.weight.grad is None
True
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from calclab.numerics.linear import LinearOperator
from calclab.numerics.operators import NoSecondDerivative, twice
from calclab.second_order.graph import filled, pull

HALF = (torch.float16, torch.bfloat16)


class Held:
    """``loss`` () on the graph of ``leaves``, and what can be had of it without computing it again.

    Raises `NoSecondDerivative`, for the Hessian or a product with it, where torch cannot differentiate a backward pass.
    """

    def __init__(self, loss: Tensor, leaves: Sequence[Tensor]) -> None:
        self.loss, self.leaves = loss, list(leaves)
        self.sizes = [leaf.numel() for leaf in self.leaves]

    @property
    def dtype(self) -> torch.dtype:
        """Of vectors: the leaves' own, float32 of half precision."""
        kinds = {torch.float32 if leaf.dtype in HALF else leaf.dtype for leaf in self.leaves}
        return max(kinds, key=lambda kind: torch.finfo(kind).bits)

    @property
    def eps(self) -> float:
        """The rounding of the coarsest type among the leaves, which products have."""
        return max(torch.finfo(leaf.dtype).eps for leaf in self.leaves)

    @cached_property
    def parts(self) -> list[Tensor | None]:
        """∇L by each leaf, on a graph; None where the loss does not depend on it."""
        return pull([self.loss], self.leaves, None, create=True)

    @cached_property
    def gradient(self) -> Tensor:
        """∇L (n,)."""
        return self.flat(filled(self.parts, self.leaves, self.leaves, False))

    @cached_property
    def hessian(self) -> LinearOperator:
        """H (n, n), a backward pass through the graph of the gradient a product (Pearlmutter 1994)."""
        n = sum(self.sizes)
        if barred(self.parts):
            raise NoSecondDerivative(
                "a custom backward of what is called here is marked once_differentiable: torch has no second "
                "derivative of it, and so there is no Hessian. Only the gradient can be looked at"
            )

        def product(V: Tensor) -> Tensor:
            with twice():
                return torch.stack([self.flat(self.times(v)) for v in V.T], 1)

        return LinearOperator((n, n), product, product, True, self.dtype, self.leaves[0].device)

    def times(self, v: Tensor) -> list[Tensor]:
        """H v by leaf, of v (n,)."""
        changes = self.split(v)
        return filled(pull(self.parts, self.leaves, changes), self.leaves, changes, False)

    def flat(self, parts: Sequence[Tensor]) -> Tensor:
        """θ-like (n,) of tensors of the leaves' shapes."""
        return torch.cat([part.detach().reshape(-1).to(self.dtype) for part in parts])

    def split(self, v: Tensor) -> list[Tensor]:
        """A change of each leaf, in its type, of v (n,)."""
        pieces = v.split_with_sizes(self.sizes)
        return [piece.to(leaf.dtype).view_as(leaf) for piece, leaf in zip(pieces, self.leaves, strict=True)]


def barred(parts: Sequence[Tensor | None]) -> bool:
    """Whether torch's mark of a backward that may be differentiated no more is on the graph of a gradient: it raises
    only for who comes by, and nobody does where it has no way back to a leaf, so that 0 would be taken for H v."""
    waiting = [part.grad_fn for part in parts if part is not None and part.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if node.name() in ("Error", "torch::autograd::Error"):
            return True
        ahead = {after for after, _ in node.next_functions if after is not None} - seen
        seen |= ahead
        waiting += ahead
    return False
