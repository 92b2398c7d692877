"""Any module, by autograd: the same calls as a ``Chain``, with the inputs themselves for the lifted space."""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.attribution.model import Model
from calclab.attribution.target import Target, Which, owners


class Whole:
    """Points (..., b, d) to t and ∂t/∂x. ``numbers`` is what one point takes on its way, about."""

    def __init__(self, model: Model, numbers: int, bent: tuple[str, ...]) -> None:
        self.model, self.numbers, self.bent = model, numbers, bent
        self.width = sum(model.sizes)

    def lift(self, points: Tensor) -> Tensor:
        return points

    def push(self, change: Tensor) -> Tensor:
        return change

    def pull(self, g: Tensor) -> Tensor:
        return g

    def effects(self, change: Tensor, features: slice, onto: Tensor | None = None) -> Tensor:
        """A change (b, d), feature by feature: (f, b, d), zero but in its own feature; with x where it is given."""
        one = torch.eye(change.shape[1], dtype=change.dtype, device=change.device)[features, None]
        return change * one if onto is None else torch.addcmul(onto, change, one)

    def outputs(self, z: Tensor, which: Which) -> Tensor:
        """(..., b, d) to (..., b, m)."""
        with torch.no_grad():
            y = self._forward(z, which)
        return y.view(*z.shape[:-1], -1)

    def values(self, z: Tensor, which: Which, target: Target) -> Tensor:
        """t (..., b)."""
        return target.values(self.outputs(z, which), which)

    def gradients(self, z: Tensor, which: Which, target: Target) -> Tensor:
        """∂t/∂x, (..., b, d)."""
        with torch.enable_grad():
            leaf = z.detach().reshape(-1, z.shape[-1]).requires_grad_()
            y = self._forward(leaf.view(z.shape), which)
        if not y.requires_grad:
            return torch.zeros_like(z)
        outputs = y.detach().view(*z.shape[:-1], -1)
        seed = target.seed(outputs, which).expand_as(outputs).reshape(y.shape)
        (g,) = torch.autograd.grad(y, leaf, seed, allow_unused=True, materialize_grads=True)
        return g.view(z.shape)

    def _forward(self, z: Tensor, which: Which) -> Tensor:
        owner = owners(z, which) if self.model.needs_owner else None
        return self.model.outputs(z.reshape(-1, z.shape[-1]), owner)
