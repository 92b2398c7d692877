"""Curvature of a network's loss: matrices as operators, layer by layer, and what can be had exactly at little cost."""

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
