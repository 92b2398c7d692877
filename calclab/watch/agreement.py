"""Is the loss that is looked at the one that is trained? Its gradient where a step began, beside the step's own.

Sharpness, noise and stable rates are of the criterion, or loss, that the watch was given, on the batch it was told.
Where these are not those of the loop (a term left out, the next batch, targets of another form) all that is right of
another function. The gradient g that the optimizer took is known; here ĝ is computed again, at the weights before the
step, and the gap ‖g/‖g‖ - ĝ/‖ĝ‖‖ tells whether both point one way. Lengths are left aside: clipping changes them.
Dropout and other draws differ from those of the step, and are allowed the gap between two draws of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor

from calclab.core import Evidence, Verdict
from calclab.watch.moment import Event, Found, Moment
from calclab.watch.norms import brought, real

ALIKE = 1e-3  # a gap that float32 and its order of sums explain
APART = 0.5  # one that clipping of entries, half precision or weight decay in the loss hardly make: an angle of 29°
OTHER = "the loss that is looked at is not the one that was trained"
ASKED = "Is the batch that of the step, and criterion or loss all that it was made of?"
TIMES = 3  # looks at it: a loop seldom changes its loss on the way


class Agreement:
    """The look."""

    name = "agreement"
    cost = 2.0
    batch = step = True

    def take(self, moment: Moment) -> list[Found]:
        taken = moment.taken
        done = moment.memory.setdefault("done", [])
        if len(done) >= TIMES or taken is None or not taken.gradient:
            return []
        names = [name for name in taken.gradient if name in taken.before]
        before = {name: taken.before[name] for name in names}
        one, other = (gradient(moment, before, draw) for draw in (0, len(moment.batches)))
        found, drawn = gaps(taken.gradient, one, other)
        if found != found:  # not finite: said elsewhere
            return []
        done.append(found)
        evidence = judged(moment.step, found, drawn)
        if evidence.verdict is Verdict.SUSPECT and found > APART and len(done) == 1:
            said = f"{OTHER} (a gap of {found:.2f} between the directions of their gradients, of 2 at most). {ASKED}"
            return [evidence, Event(said, "doubtful")]
        return [evidence]


def gradient(moment: Moment, at: Mapping[str, Tensor], draw: int) -> dict[str, Tensor]:
    """The gradient of the loss at some weights."""
    leaves = {name: p.detach().requires_grad_() for name, p in at.items()}
    held = {**moment.parameters, **leaves}
    slopes = torch.autograd.grad(
        moment.loss(held, draw=draw), list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return {name: g if g.layout == torch.strided else g.to_dense() for name, g in zip(leaves, slopes, strict=True)}


def gaps(taken: Mapping[str, Tensor], one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> tuple[float, float]:
    """The gap between the directions of ``taken`` and ``one``, and of ``one`` and ``other``; NaN of what is 0.

    >>> right = {"w": torch.tensor([0.0, 2.0])}
    >>> gap, drawn = gaps({"w": torch.tensor([3.0, 0.0])}, right, right)
    >>> round(gap, 4), drawn  # at right angles: √2
    (1.4142, 0.0)
    """
    pairs = [(taken, taken), (one, one), (other, other), (taken, one), (one, other)]
    parts = [torch.dot(real(a[name]).double(), real(b[name]).double()) for a, b in pairs for name in one]
    found, count = brought(parts), len(one)
    a, b, c, ab, bc = (sum(found[i : i + count]) for i in range(0, len(found), count))
    return apart(ab, a, b), apart(bc, b, c)


def apart(inner: float, one: float, other: float) -> float:
    """The distance of two unit vectors, from their inner products before."""
    lengths = sqrt(one * other) if one >= 0 and other >= 0 else 0.0
    return sqrt(max(0.0, 2 - 2 * inner / lengths)) if lengths > 0 else float("nan")


def judged(step: int, found: float, drawn: float) -> Evidence:
    """What the gap says."""
    allowed = max(ALIKE, 3 * drawn)
    if found <= allowed and drawn > APART:
        verdict, note = Verdict.INCONCLUSIVE, "what the model draws moves the gradient as much"
    elif found <= allowed:
        verdict, note = Verdict.CONSISTENT, ""
    else:
        verdict = Verdict.SUSPECT
        note = "another precision, entries clipped one by one, or a loss that is not all that was trained"
    return Evidence(
        step=step,
        quantity="direction of the gradient",
        method="the gradient of the loss given, computed again where the step began",
        value=found,
        reference=0.0,
        gap=found,
        bound=ALIKE,
        tolerance=allowed,
        verdict=verdict,
        note=note,
    )
