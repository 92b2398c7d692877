"""Jacobians of one point or of many: what is known of the map, a plan, and the ways to carry it out.

    f = of_module(network, x)            # or of_function, or a Map made by hand
    made = plan(f, points=len(X))        # which way and why
    J = jacobians(f, X, made)            # (B, m, n), point by point

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
