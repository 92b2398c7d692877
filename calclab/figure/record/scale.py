"""What an axis can show, and whether it is a logarithmic one. Plain numbers, without torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

HUGE = 1e150  # beyond this, float64 arithmetic on axes overflows
TINY = 1e-290  # ... and below this, that of logarithmic ones


def loggable(values: Sequence[float]) -> bool:
    """A logarithmic axis shows these: none is negative, and the positive ones span a decade."""
    finite = [v for v in values if math.isfinite(v)]
    above = [v for v in finite if v > 0]
    return bool(above) and min(finite) >= 0 and max(above) / 10 >= min(above)


def geometric(values: Sequence[float]) -> bool:
    """Whether numbers are spaced as on a logarithmic axis: over more than a decade, and their middle nearer to the
    geometric mean of the ends than to the arithmetic one.

    >>> geometric([0.001, 0.01, 0.1]), geometric([0.1, 0.2, 0.3, 0.4]), geometric([0.0, 1.0, 10.0])
    (True, False, False)
    """
    found = set(values) or {0.0}
    low, high, middle = min(found), max(found), statistics.median(found)
    nearer = abs(middle - math.sqrt(low * high)) < abs(middle - (low + high) / 2) if low > 0 else False
    return 0 < low <= high / 10 and (nearer or len(found) == 2)
