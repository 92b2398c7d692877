"""How much rounding an identity between two float programs must forgive."""

from __future__ import annotations

from torch import Tensor

from calclab.core import Function
from calclab.numerics import certify
from calclab.numerics.tolerance import tolerance_of


def slack(function: Function, x: Tensor, derivative: Tensor, order: int, size: float | None = None) -> float | None:
    """The tolerance for an identity on a derivative of a formula; None, the usual one, where there is no proof.

    Two programs for one derivative differ by their rounding errors, and on an ill-conditioned formula these can be of
    any size. There the error is known, since the proven value is: four times it comes on top of the usual tolerance,
    which is relative to ``size``, by default the largest entry; and 16 times what half an ulp of the inputs changes,
    since one program may be right by luck. That digits are lost is said by the proof's own row.
    """
    size = float(derivative.abs().max()) if size is None else size
    usual = tolerance_of(derivative.dtype).identity * size
    if function.exact is None:
        return None
    truth = function.exact.enclose(x, order).mid.reshape(derivative.shape)
    error = (derivative.detach().to("cpu", truth.dtype) - truth).abs().max()
    if not bool(error.isfinite()):
        return None
    blur = certify.sensitivity_of(function.exact, x, order, function.exact.enclose(x, order)).max()
    return usual + (4 * float(error) + 16 * float(blur)) * derivative.numel() ** 0.5
