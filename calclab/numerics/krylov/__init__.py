"""Krylov methods: eigenvalues at the ends of a spectrum, and averages over the whole, by products A v alone."""

from __future__ import annotations

from calclab.numerics.krylov.density import Density
from calclab.numerics.krylov.extremes import Extremes
from calclab.numerics.krylov.probes import Control, Probes
from calclab.numerics.krylov.ritz import Pairs
from calclab.numerics.krylov.student import Mean

__all__ = ["Control", "Density", "Extremes", "Mean", "Pairs", "Probes"]
