"""Jacobians of one point or of many: what is known of the map, a plan, and the ways to carry it out.

    J_ij = ∂f_i/∂x_j,    f: R^n -> R^m,    J (B, m, n) at B points

Forward mode has J a column at a time (n passes), reverse mode a row at a time (m passes); a sequence of layers is a
product of matrices, a sparse J a few products with sums of columns, and a spectrum needs no J at all. A ``Map`` tells
what is known of f, ``plan`` chooses by sizes and memory alone, and says why:

>>> import torch
>>> from calclab.numerics.jacobian import jacobians, of_module, plan
>>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
>>> X = torch.randn(5, 3, dtype=torch.float64)
>>> f = of_module(net, X[0])  # or of_function, or a Map made by hand
>>> made = plan(f, points=len(X))
>>> made.text()  # doctest: +ELLIPSIS
'as a product of layer Jacobians: a plain sequence of linear layers and activations, 48 ...'
>>> J = jacobians(f, X, made)
>>> J.shape, bool((J[0] - torch.func.jacrev(net)(X[0])).abs().max() < 1e-14)
(torch.Size([5, 2, 3]), True)

`products` and `golub_kahan` find the largest singular values without the matrix.
"""

from __future__ import annotations

from calclab.numerics.jacobian.coloured import Compressed
from calclab.numerics.jacobian.golub_kahan import Triplets, golub_kahan
from calclab.numerics.jacobian.layers import Layer, sequence
from calclab.numerics.jacobian.maps import Map, of_function, of_module
from calclab.numerics.jacobian.pattern import Pattern, Structure, pattern
from calclab.numerics.jacobian.planner import WAYS, Plan, compressed, jacobians, plan
from calclab.numerics.jacobian.products import Products, products
from calclab.numerics.jacobian.steps import Step, traced
from calclab.numerics.jacobian.windows import Window, window

__all__ = [
    "WAYS",
    "Compressed",
    "Layer",
    "Map",
    "Pattern",
    "Plan",
    "Products",
    "Step",
    "Structure",
    "Triplets",
    "Window",
    "compressed",
    "golub_kahan",
    "jacobians",
    "of_function",
    "of_module",
    "pattern",
    "plan",
    "products",
    "sequence",
    "traced",
    "window",
]
