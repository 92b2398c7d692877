"""Krylov methods: eigenvalues at the ends of a spectrum, and averages over the whole, by products A v alone.

>>> import torch
>>> from calclab.numerics.operators import hessian
>>> d = torch.arange(1.0, 101, dtype=torch.float64)
>>> A = hessian(lambda x: (d * x * x).sum() / 2, torch.zeros(100, dtype=torch.float64))  # eigenvalues 1, ..., 100
>>> found = Extremes(A, top=2, bottom=1, tol=1e-6).run()
>>> (found.values - torch.tensor([100.0, 99.0, 1.0])).abs() <= found.residuals
tensor([True, True, True])
"""

from __future__ import annotations

from calclab.numerics.krylov.density import Density
from calclab.numerics.krylov.extremes import Extremes
from calclab.numerics.krylov.probes import Control, Probes
from calclab.numerics.krylov.ritz import Pairs
from calclab.numerics.krylov.student import Mean

__all__ = ["Control", "Density", "Extremes", "Mean", "Pairs", "Probes"]
