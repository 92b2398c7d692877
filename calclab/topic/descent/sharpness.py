"""The sharpness λmax(∇²f(x)) along the walk: beyond 2/lr gradient descent cannot stay (Cohen et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.core import Function
from calclab.numerics.lanczos import PRODUCTS, Ritz, largest
from calclab.numerics.operators import dense_hessian, hessian
from calclab.numerics.spectrum import eigen, symmetric

DENSE = 32  # variables up to which the matrix is formed
TOLERANCE = 1e-3  # of the residual, relative to λmax
ASIDE = 0.1  # how much of a random direction joins the last eigenvector


def sharpness(function: Function, x: Tensor, start: Tensor, seed: int, most: int = PRODUCTS) -> Ritz:
    """λmax at x, from ``start`` (n,), the eigenvector found before.

    Something of a random direction, seeded by ``seed``, is added to it: another eigenvalue may have overtaken. Of many
    variables ``most`` products are spent, and what they find is never above λmax.
    """
    if len(x) > DENSE:
        near = start + ASIDE * random_direction(x, seed)
        return largest(hessian(function.call, x, lanes=1), near, TOLERANCE, most)
    H = symmetric(dense_hessian(function.call, x))
    λ, V = eigen(H)
    return Ritz(λ[-1], V[:, -1], (H @ V[:, -1] - λ[-1] * V[:, -1]).norm(), len(x))


def random_direction(x: Tensor, seed: int) -> Tensor:
    """A unit vector (n,), seeded on the device of x."""
    generator = torch.Generator(x.device).manual_seed(seed)
    direction = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    return direction / direction.norm()
