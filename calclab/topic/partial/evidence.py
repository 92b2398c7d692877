"""Evidence for partial derivatives: proofs or estimates, and the symmetry of the second ones (Schwarz)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from calclab.core import Evidence, Function
from calclab.numerics.agreement import identity
from calclab.numerics.verify import check_gradient, check_hessian, check_value
from calclab.topic.rounding import slack


def check_first(f: Function, value: Tensor, gradient: Tensor, k: int, *, each: bool) -> list[Evidence]:
    """Of f () and ∇f (n,); ``each`` gives every partial derivative of a formula a row of its own."""
    return check_value(f, f.start, value, k) + check_gradient(f, f.start, gradient, k, each=each)


def check_second(f: Function, H: Tensor, k: int) -> list[Evidence]:
    """Of ∂²f/∂x_i∂x_j (n, n)."""
    evidence = [replace(row, quantity="second partials") for row in check_hessian(f, f.start, H, k)]
    if f.exact is not None and bool(H.isfinite().all()):  # of a callable it is among them already
        tolerance = slack(f, f.start, H, 2)
        evidence.append(identity("mixed partials", "symmetry: f_ij = f_ji", H, H.T, k, tolerance=tolerance))
    return evidence
