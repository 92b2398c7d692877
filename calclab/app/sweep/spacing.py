"""``lr=logspace(1e-4,1,1000)`` and ``lr=linspace(0,1,11)``: sweeps over many numbers, in few letters.

Hydra knows range and choice; these two join the functions of its grammar, so that every sweeper understands them.
"""

# no postponed annotations here: Hydra holds arguments against them
import math
from typing import Any

from hydra._internal.grammar.functions import Functions
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.types import ChoiceSweep

MOST = 1_000_000
hydras_own = overrides_parser.create_functions


def linspace(start: int | float, stop: int | float, count: int) -> ChoiceSweep:
    """``count`` numbers, evenly spaced from ``start`` to ``stop``, both among them."""
    return ChoiceSweep(list=list[Any](map(clean, spaced(start, stop, count))))


def logspace(start: int | float, stop: int | float, count: int) -> ChoiceSweep:
    """``count`` numbers from ``start`` to ``stop`` (not their exponents), each the same multiple of the one before."""
    if start <= 0 or stop <= 0:
        raise ValueError(f"logspace({start}, {stop}, {count}) needs numbers above 0")
    powers = [clean(math.exp(power)) for power in spaced(math.log(start), math.log(stop), count)]
    return ChoiceSweep(list=list[Any]([start, *powers[1:-1], stop][:count]))


def spaced(start: float, stop: float, count: int) -> list[float]:
    if not 1 <= count <= MOST:
        raise ValueError(f"{count} numbers: from 1 to {MOST} may be asked for")
    return [start + (stop - start) * i / max(count - 1, 1) for i in range(count)]


def clean(number: float) -> float:
    """The number to twelve digits: 0.3, where the arithmetic comes to 0.30000000000000004."""
    return float(f"{number:.12g}")


def functions() -> Functions:
    """Hydra's functions and these."""
    known = hydras_own()
    known.register(name="linspace", func=linspace)
    known.register(name="logspace", func=logspace)
    return known


def register() -> None:
    overrides_parser.create_functions = functions
