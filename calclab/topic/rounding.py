"""How much rounding an identity between two float programs must forgive."""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.core import Function
from calclab.numerics.tolerance import ROUNDINGS, tolerance_of


def slack(function: Function, x: Tensor, derivative: Tensor, order: int, size: float | None = None) -> float | None:
    """The tolerance for an identity on a derivative of a formula; None, the usual one, where there is no proof.

    Two programs for one derivative differ by their rounding errors, and on an ill-conditioned formula these can be of
    any size. There the error is known, since the proven value is: four times it comes on top of the usual tolerance,
    which is relative to ``size``, by default the largest entry; and what rounding every step can do, since one program
    may be right by luck. That digits are lost is said by the proof's own row. Infinite: rounding may do anything.
    """
    if function.exact is None:
        return None
    numbers = derivative.detach().to("cpu", torch.float64)
    truth = function.exact.enclose(x, order).mid
    error_of = numbers - truth.reshape(numbers.shape)
    largest, error = (float(part.abs().nan_to_num(0, 0).max()) for part in (numbers, error_of))
    rounding = float(function.exact.rounding(x, order).masked_fill(truth.isnan(), 0.0).max())
    usual = tolerance_of(derivative.dtype).identity * (largest if size is None else size)
    return usual + (4 * error + ROUNDINGS * rounding) * numbers.numel() ** 0.5
