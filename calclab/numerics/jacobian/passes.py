"""One backward pass for several directions."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

FEW = 4  # directions that the older batching rules (``is_grads_batched``) take more quickly than those of vmap


def directions_back(y: Tensor, leaf: Tensor, U: Tensor, older: bool) -> Tensor | None:
    """(∂y/∂leaf)ᵀ u for each u of U (p, *y.shape), (p, *leaf.shape); None where y does not depend on the leaf.

    ``older`` batching rules take what they do not know one by one, which for convolutions of one image is quicker.
    """

    def one(u: Tensor) -> Tensor | None:
        return torch.autograd.grad(y, leaf, u, retain_graph=True, allow_unused=True)[0]

    try:
        if older:
            batched: Tensor | None
            (batched,) = torch.autograd.grad(y, leaf, U, retain_graph=True, allow_unused=True, is_grads_batched=True)
            return batched
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of operations that vmap takes one by one
            found: Tensor | None = torch.vmap(one)(U)
            return found
    except (RuntimeError, ValueError):  # an operation without a batching rule, or no dependence: one by one
        rows = [one(u) for u in U]
        return None if rows[0] is None else torch.stack([row for row in rows if row is not None])
