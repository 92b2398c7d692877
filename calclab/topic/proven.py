"""Numbers as an answer says them: of a formula the proven one, with what the float program gives where that differs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from math import inf, isinf

import torch
from torch import Tensor

from calclab.core import Ball, Function, Line
from calclab.numerics.certify import input_rounding
from calclab.numerics.tolerance import tolerance_of
from calclab.topic import words

KNOWN = 1e-6  # the radius of a ball, beside it or beside the number computed, from which on it decides what is said
SHAKY = 1e-3  # the share of a number that the rounding of the inputs moves, from which on that is said


class Proven:
    """``numbers`` as computed, of any shape, and ``best`` (float64, the same shape): proven where a proof is known,
    NaN where no number exists, zero where the proof does not tell it from zero."""

    def __init__(self, numbers: Tensor, ball: Ball | None) -> None:
        self.dtype = numbers.dtype
        self.numbers = numbers.detach().to("cpu", torch.float64) + 0.0  # no zero is negative here
        self.beyond = {} if ball is None else ball.beyond
        if ball is None:
            self.best, self.rad = self.numbers, torch.zeros_like(self.numbers)
            return
        mid, self.rad = (part.reshape(self.numbers.shape) for part in (ball.mid, ball.rad))
        settled = self.rad <= KNOWN * self.numbers.abs().nan_to_num(0, 0).maximum(mid.abs())
        settled |= ~self.numbers.isfinite() & self.rad.isfinite()
        best = torch.where(settled & mid.isfinite(), mid.masked_fill(mid.abs() <= self.rad, 0.0), self.numbers)
        self.best = best.masked_fill(mid.isnan(), torch.nan)
        for i in ball.beyond:
            self.best.view(-1)[i] = mid.reshape(-1)[i]

    def at(self, i: int) -> Proven:
        """Entry i of a vector alone."""
        one = copy.copy(self)
        one.numbers, one.best, one.rad = self.numbers[i], self.best[i], self.rad[i]
        one.beyond = {0: self.beyond[i]} if i in self.beyond else {}
        return one

    def sign(self, i: int = 0) -> int | None:
        """Which side of zero entry i of the flat tensor lies; None where it is no number, or the proof cannot tell."""
        best, rad = float(self.best.reshape(-1)[i]), float(self.rad.reshape(-1)[i])
        if best != best or i in self.beyond:
            return None if best != best else (best > 0) - (best < 0)
        return None if isinf(best) or (abs(best) <= rad < inf and rad > 0) else (best > 0) - (best < 0)

    def text(self, i: int = 0) -> str:
        """Entry i of the flat tensor in words."""
        number, best = float(self.numbers.reshape(-1)[i]), float(self.best.reshape(-1)[i])
        given = f"{str(self.dtype).removeprefix('torch.')} gives {words.number(number) if number == number else 'nan'}"
        if i in self.beyond:
            return f"{self.beyond[i]} (proven: outside the normal range of float64; {given})"
        rad = float(self.rad.reshape(-1)[i])
        within = f" to within {rad:.1g}" if best == 0 < rad < inf else ""
        if words.number(best) == words.number(number) or best != best:
            return words.number(best) + within
        return f"{words.number(best)}{within} (proven; {given})"

    def values(self, name: str) -> dict[str, Tensor | str]:
        """The proven numbers as a value of an answer, where some number computed is not right."""
        right = (self.numbers - self.best).abs() <= tolerance_of(self.dtype).certified * self.best.abs()
        if not self.beyond and bool((right | self.best.isnan() | (self.numbers == self.best)).all()):
            return {}
        return {f"proven {name}": self.beyond[0] if self.beyond and self.best.ndim == 0 else self.best}


def proven(function: Function, x: Tensor, numbers: Tensor, order: int) -> Proven:
    """The derivative ``numbers`` of ``order`` 0, 1 or 2 at x (n,)."""
    return Proven(numbers, None if function.exact is None else function.exact.enclose(x, order))


def shaky(function: Function, x: Tensor, looks: Sequence[tuple[str, Proven, int, int]]) -> list[Line]:
    """What the rounding of the inputs does where it is much, as a line: of each (name, numbers, their order 0 or 1,
    entry)."""
    if function.exact is None:
        return []
    moved = {order: input_rounding(function.exact, x, order) for order in {look[2] for look in looks}}
    said = [
        f"{name} by up to {moved[order][i]:.2g}"
        for name, shown, order, i in looks
        if moved[order][i] > SHAKY * abs(float(shown.best.reshape(-1)[i])) and i not in shown.beyond
    ]
    kind = str(x.dtype).removeprefix("torch.")
    text = f"rounding {words.listing(function.variables)} to {kind} alone moves {words.listing(said)}"
    return [Line("rounding", text, kind="doubtful")] if said else []
