"""Several short formulas and their gradients, each as a straight line: a vector function and its Jacobian."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from calclab.subject.formula.adjoint import LINES, Straight, straight
from calclab.subject.formula.unroll import Steps


class Rows:
    """x (..., n) to f (..., m) and J (..., m, n)."""

    def __init__(self, lines: list[Straight]) -> None:
        self.lines = lines

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = zip(*(line(x) for line in self.lines), strict=True)
        return torch.stack(values, -1), torch.stack(gradients, -2)


def straight_rows(steps: Steps) -> Rows | None:
    """The lines of all roots; None where one is long or has a step without an entry in ``SLOPES``."""
    lines: list[Straight] = []
    for root in steps.roots:
        line = straight(replace(steps, roots=(root,)))
        if line is None or sum(len(one.lines) for one in lines) > LINES:
            return None
        lines.append(line)
    return Rows(lines)
