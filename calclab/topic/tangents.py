"""The slopes that pictures of curves show: from below and from above, as far as they are known."""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.core import Function
from calclab.numerics.operators import value_and_gradient
from calclab.numerics.verify import best_known, known


def slopes(function: Function, network: bool = False) -> Tensor:
    """Those at the start along each variable, (2, n): equal where there is a derivative, NaN where nothing is known.

    Of a ``network`` they are what autograd says.

    >>> import calclab
    >>> slopes(calclab.formula("abs(x) + y", at=[0, 1])).tolist()
    [[-1.0, 1.0], [1.0, 1.0]]
    """
    x, g = function.start, value_and_gradient(function.call, function.start)[1]
    if network:  # nothing is asked
        return g.detach().cpu().double().expand(2, -1)
    gaps = known(function, x, 1, g)
    both = best_known(function, x, 1, g, gaps).cpu().expand(2, -1)
    if gaps and function.exact is not None:
        sides = torch.stack(function.exact.one_sided(x)).cpu().to(both)
        both = torch.where(both.isnan(), sides, both)
    return torch.where(both.isfinite(), both, torch.nan)
