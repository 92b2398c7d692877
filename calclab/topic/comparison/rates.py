"""The learning rates that are tried: one sweep for every optimizer, but for those that have one of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from calclab.errors import UserError


def sweeps(names: Sequence[str], rates: Sequence[Any], own: Mapping[str, Any] | None) -> tuple[tuple[float, ...], ...]:
    """The rates (R) of every optimizer. ``rates`` is the lowest, the highest and R; ``own`` has other ends by name."""
    if len(rates) != 3:
        raise UserError(f"rates={rates}: the lowest, the highest, how many. Type rates='[1e-4,1,25]'")
    low, high, count = rates
    if not whole(count):
        raise UserError(f"rates={rates}: the third says how many, from 1 to 1000. Type rates='[1e-4,1,25]'")
    common = spaced("rates", low, high, int(count))
    theirs = {}
    for name, ends in (own or {}).items():
        if not isinstance(ends, Sequence) or len(ends) != 2:
            raise UserError(f"own.{name}={ends}: the lowest and the highest rate. Type own='{{{name}: [0.1,10]}}'")
        theirs[name] = spaced(f"own.{name}", ends[0], ends[1], int(count))
    return tuple(theirs.get(name, common) for name in names)


def spaced(key: str, low: Any, high: Any, count: int) -> tuple[float, ...]:
    """``count`` numbers, each the same multiple of the one before."""
    ends = [isinstance(end, int | float) and not isinstance(end, bool) and 0 < end < math.inf for end in (low, high)]
    if not all(ends) or low > high or (low == high and count > 1):
        raise UserError(
            f"{key}: from {low} to {high}, and learning rates are above 0 and rise. Type {key}='[1e-4,1...]'"
        )
    steps = [low * (high / low) ** (i / max(count - 1, 1)) for i in range(count)]
    return (*steps[:-1], float(high)) if count > 1 else (float(low),)


def whole(count: Any) -> bool:
    return isinstance(count, int | float) and not isinstance(count, bool) and count == int(count) and 1 <= count <= 1000
