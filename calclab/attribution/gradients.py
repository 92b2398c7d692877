"""Methods made of plain gradients: |∂t/∂x| (Simonyan et al. 2013, section 3), x·∂t/∂x, and SmoothGrad (Smilkov et al.
2017, section 3).

    gradient           |∂t/∂x_j|
    gradient_x_input   x_j ∂t/∂x_j
    smoothgrad         mean over ε of |∂t/∂x_j (x + ε)|, ε ~ N(0, σ_j²)

A slope tells how t moves with x_j at the row and nowhere else: of a ReLU that is off it is 0, and in a saturated
network it is nearly 0 for the features that decided (the sensitivity that integrated gradients keep, Sundararajan et
al. 2017, section 2.1). Slopes are per unit of the input: compare them only of inputs in like units. x·∂t/∂x is their
share for a piecewise linear network without biases, F(x) = x·∇F(x) (Euler), and nothing in particular else. A gradient
costs about as much as two to three forward passes, whatever d is (the cheap gradient principle, Griewank and Walther
2008).

>>> from calclab.attribution import attribute
>>> net = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.ReLU())
>>> _ = net[0].load_state_dict({"weight": torch.tensor([[2.0, -1.0]])})
>>> rows = torch.tensor([[1.0, 1.0], [1.0, 3.0]])  # in the second one the ReLU is off
>>> attribute(net, "gradient", rows).values
tensor([[2., 1.],
        [0., 0.]])
>>> x = attribute(net, "gradient_x_input", rows)
>>> torch.equal(x.values.sum(1), x.score)
True
"""

from __future__ import annotations

import torch
from torch import Tensor

from calclab.attribution.chain import Chain
from calclab.attribution.question import Found, Question
from calclab.errors import UserError


def gradient(q: Question, *, absolute: bool = True) -> Found:
    """|∂t/∂x|, or with its sign."""
    g = at_rows(q)
    return Found(g.abs_() if absolute else g, error_kind="rounding")


def gradient_x_input(q: Question) -> Found:
    """x·∂t/∂x. Its sum is t for a network without biases that is piecewise linear, and nothing in particular else."""
    return Found(at_rows(q).mul_(q.rows), error_kind="rounding")


def at_rows(q: Question) -> Tensor:
    """∂t/∂x (B, d) at the rows: back from the first pass, where that held all of them; else in lots that keep the
    memory."""
    recording, engine = q.recording, q.engine
    if not recording.whole:
        return torch.cat([engine.pull(q.gradients(engine.lift(q.rows[lot]), lot)) for lot in q.lots()])
    q.gradients_taken += q.rows.shape[0]
    if recording.passed is not None and isinstance(engine, Chain):
        return engine.pull(engine.back(recording.passed, slice(0, q.rows.shape[0]), q.target))
    x, y = recording.recorded
    seed = q.target.seed(recording.outputs, slice(0, len(q.rows)))
    if not y.requires_grad:
        return torch.zeros_like(q.rows)
    (g,) = torch.autograd.grad(y, x, seed.expand_as(y), allow_unused=True, materialize_grads=True)
    return g


def smoothgrad(
    q: Question, *, samples: int = 50, noise: float = 0.15, sigma: float | None = None, of: str = "absolute"
) -> Found:
    """The mean gradient at ``samples`` points around the row, normal with standard deviation ``noise`` times the range
    of each feature over the reference (Smilkov et al. 2017, section 3), or ``sigma`` for all features.

    Samples come in pairs, x + ε and x - ε, so that their number is even: what is odd in ε cancels. ``of`` is absolute
    (the mean |∂t/∂x|), signed, or squared. The error (B, d) is the standard error of the mean over the pairs.
    ``samples`` gradients a row. UserError for fewer than 3 samples, for a noise below 0, and for another ``of``.

    >>> from calclab.attribution import attribute
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 1, dtype=torch.float64), torch.nn.Tanh())
    >>> a = attribute(net, "smoothgrad", torch.zeros(1, 1, dtype=torch.float64), sigma=0.5, samples=200)
    >>> bool(a.error > 0), a.gradients
    (True, 200)
    """
    if of not in ("absolute", "signed", "squared"):
        raise UserError(f"of={of}: the mean is of absolute, signed or squared gradients. Type of=absolute")
    if samples < 3 or noise < 0 or (sigma is not None and sigma < 0):
        raise UserError(
            "smoothgrad takes samples=3 or more, and noise (or sigma) of 0 or more. Type samples=50 noise=0.15"
        )
    if sigma is None:
        reference = q.reference
        spread = noise * (reference.amax(0) - reference.amin(0))
    else:
        spread = torch.full_like(q.rows[0], sigma)
    engine, generator, pairs = q.engine, q.generator(), (samples + 1) // 2
    found = []
    for lot in q.lots():
        x = q.rows[lot]
        z, mean = engine.lift(x), Moments(x)
        at_once = max(1, q.points // (2 * len(x)))
        for low in range(0, pairs, at_once):
            ε = torch.empty(min(at_once, pairs - low), *x.shape, dtype=x.dtype, device=x.device)
            noisy = ε.normal_(generator=generator).mul_(spread)
            moved = engine.push(noisy)  # x - ε is as far the other way
            points = torch.cat([z + moved, z - moved])
            g = engine.pull(q.gradients(points, lot))
            g = g.abs_() if of == "absolute" else g.square_() if of == "squared" else g
            mean.take(g[: len(noisy)].add_(g[len(noisy) :]).mul_(0.5))
        found.append(mean.result())
    values, error = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Found(values, error, f"standard error over {pairs} pairs of samples")


class Moments:
    """The mean of samples (s, b, d) that come in lots, and its standard error √(Σ(x - x̄)² / (n (n - 1))).

    >>> lots = Moments(torch.zeros(1, 1))
    >>> for lot in ([0.0, 2.0], [4.0, 6.0]):
    ...     lots.take(torch.tensor(lot).reshape(2, 1, 1))
    >>> mean, error = lots.result()
    >>> float(mean), round(float(error) ** 2, 5)  # 20 / 12
    (3.0, 1.66667)
    """

    def __init__(self, like: Tensor) -> None:
        self.n = 0
        self.centre: Tensor | None = None
        self.sum, self.squares = torch.zeros_like(like), torch.zeros_like(like)

    def take(self, samples: Tensor) -> None:
        """Deviations from the first lot's mean are summed, so that nothing cancels. ``samples`` are used up."""
        if self.centre is None:
            self.centre = samples.mean(0)
        samples = samples.sub_(self.centre)
        self.n += len(samples)
        self.sum += samples.sum(0)
        self.squares += samples.square_().sum(0)

    def result(self) -> tuple[Tensor, Tensor]:
        """The mean (b, d), and its standard error."""
        assert self.centre is not None
        off = self.sum / self.n
        variance = (self.squares / self.n - off.square()).clamp_(min=0) / max(self.n - 1, 1)
        return self.centre + off, variance.sqrt()
