"""Curvature of a network's loss: matrices as operators, layer by layer, and what can be had exactly at little cost.

For the loss L(θ) = 1/B Σ_b ℓ(y_b(θ)) over rows b, the chain rule splits the Hessian in two:

    ∇²L = G + R,    G = 1/B Σ_b J_bᵀ H_b J_b,    R = 1/B Σ_b Σ_i ∂ℓ/∂y_i ∇²y_i

with J_b = ∂y_b/∂θ and H_b = ∂²ℓ/∂y_b². G is positive semidefinite for losses that are convex in the outputs; R vanishes
where the outputs are linear in θ, and where every row is fitted. Nothing here forms ∇²L of many parameters: a product
costs a few gradients (Pearlmutter 1994; Schraudolph 2002), and diag G follows layer by layer (Dangel et al. 2020).

>>> import calclab, torch
>>> line = torch.nn.Linear(1, 1).double()
>>> rows = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [3.0]])
>>> H = curvature(calclab.loss(line, "half_mse", rows))  # 1/B Σ (x, 1)ᵀ(x, 1), for ℓ = ½(y - t)²
>>> (H @ torch.eye(2, dtype=torch.float64)).tolist()
[[2.5, 1.5], [1.5, 1.0]]
"""

from calclab.second_order.diagonal import curves_only_through_the_loss, diagonal_gauss_newton, trace_gauss_newton
from calclab.second_order.gradient import gradient_cost, value_and_gradient
from calclab.second_order.operators import KINDS, curvature
from calclab.second_order.subset import choose, layers, positions

__all__ = [
    "KINDS",
    "choose",
    "curvature",
    "curves_only_through_the_loss",
    "diagonal_gauss_newton",
    "gradient_cost",
    "layers",
    "positions",
    "trace_gauss_newton",
    "value_and_gradient",
]
