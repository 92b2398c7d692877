"""Curvature at a point: by the matrix where it is small, by products with it where it is not."""

from __future__ import annotations

from calclab.topic.hessian.hessian import Hessian
from calclab.topic.hessian.senses import condition_bounds, condition_values

__all__ = ["Hessian", "condition_bounds", "condition_values"]
