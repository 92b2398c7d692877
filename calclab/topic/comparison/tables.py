"""What a comparison has found, as matrices: the table of the optimizers, and quartiles over the starts that report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from calclab.topic.comparison import tuning
from calclab.topic.comparison.tuning import Tuned

COLUMNS = ("lr", "loss_25", "loss", "loss_75", "evaluations", "diverged", "boundary", "theory")
QUARTILES = ("_25", "", "_75")  # what their names end in


def table(tuned: Tuned, diverged: Tensor, sweeps: Sequence[Sequence[float]], limits: Sequence[float]) -> Tensor:
    """One row an optimizer, in the order given: COLUMNS. ``diverged`` is (O, R), ``limits`` what theory says (O)."""
    low, middle, high = tuning.quantiles(tuned.best)
    rows = []
    for i, sweep in enumerate(sweeps):
        rate = int(tuned.rate[i])
        loss = (low[i], middle[i], high[i], tuning.median(tuned.settled[i].to(low)))
        known = (sweep[rate], *map(float, loss), float(diverged[i, rate]))
        rows.append((*known, boundary(sweep, diverged[i]), limits[i]))
    return low.new_tensor(rows)


def boundary(sweep: Sequence[float], diverged: Tensor) -> float:
    """The largest rate up to which no walk diverged; NaN where at the smallest one did."""
    count = tuning.boundary(diverged)
    return sweep[count - 1] if count else math.nan


def spreads(tuned: Tuned, best: Tensor, found: Tensor, history: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """Quartiles over the starts that report: course and above (O, M), sensitivity (O, R).

    ``best`` (O, R, S) and ``history`` (M, O, R, S) hold the lowest losses, infinite of walks that have diverged,
    ``found`` (O, R, S) those of the points that they passed before, ``noise`` (S,) what is rounding.
    """
    each = torch.arange(len(best), device=best.device)
    reports = tuning.split(best.shape[-1])[1]
    lowest = found.flatten(0, 1).min(0).values
    course = history[:, each, tuned.rate].movedim(0, 1)  # (O, M, S)
    losses = {
        "course": course[..., reports],
        "above": (course - lowest)[..., reports].maximum(noise[reports]),
        "sensitivity": best[..., reports],
    }
    return {
        f"{name}{end}": part
        for name, over in losses.items()
        for end, part in zip(QUARTILES, tuning.quantiles(over), strict=True)
    }
