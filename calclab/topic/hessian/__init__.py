"""Curvature at a point (`scan`), of what is asked for (`problem`): by the matrix where it is small (`dense`), by
products with it where it is not (`matrix_free`: `stages`, `sampling`, `layers`, `slices`). What eigenvalues say is in
`condition` and `spectrum`; `answer`, `evidence`, `pictures`."""

from __future__ import annotations

from calclab.topic.hessian.condition import condition_bounds, condition_values
from calclab.topic.hessian.scan import hessian

__all__ = ["condition_bounds", "condition_values", "hessian"]
