"""Numbers and durations as people read them: six significant digits, no more; what is not finite is said in words of
its own. No torch, so that a page made from a folder alone comes at once."""

from __future__ import annotations

import math


def number(value: float, digits: int = 6) -> str:
    """``3``, ``-33``, ``0.333333``, ``1.5e-09``, ``nan``, ``inf``."""
    if not math.isfinite(value):
        return str(float(value))
    if value == round(value) and abs(value) < 1e15:
        return str(round(value))
    return f"{value:.{digits}g}"


def seconds(value: float) -> str:
    """A duration: ``0.31 s``, ``42.0 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
