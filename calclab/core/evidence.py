"""What a number was held against, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from torch import Tensor


class Verdict(Enum):
    """What a check says of a number, from best to worst; the value is the sentence shown to the user."""

    CERTIFIED = "certified: proven to lie within the bound"
    CONSISTENT = "consistent: independent estimates agree"
    INCONCLUSIVE = "inconclusive: the estimates are too rough to tell"
    UNDEFINED = "undefined: no such number exists here (a kink, a jump, a pole, outside the domain), or none is finite"
    SUSPECT = "suspect: floating point loses digits here"
    REFUTED = "refuted: independent evidence contradicts the number"

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Ball:
    """A rigorous enclosure: the true number lies within ``rad`` of ``mid`` (both float64, one shape).

    ``rad`` is infinite where nothing could be proven, and ``mid`` is NaN where the number does not exist. ``beyond``
    holds, by flat index, numbers that are proven and outside the normal range of float64, in decimal: there ``mid``
    is infinite, or has few digits, but its sign.
    """

    mid: Tensor
    rad: Tensor
    beyond: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """One row of verify.csv: a number, what it was held against, and what came of it.

    ``gap`` is |value - reference| (for a tensor: the largest over its entries, and value and reference are those of
    that entry); ``bound`` is how far from the truth the value can be, as far as this method knows; ``tolerance`` is
    the largest gap that passes.
    """

    step: int
    quantity: str
    method: str
    value: float
    reference: float
    gap: float
    bound: float
    tolerance: float
    verdict: Verdict
    note: str = ""
