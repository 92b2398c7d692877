"""The Taylor-order test: with the right gradient γ of φ, φ(x + h d) - φ(x) - h γ·d falls like h², and only then.

The remainder is taken apart. Its odd part (φ(x+hd) - φ(x-hd))/2 - h γ·d falls like h³ for a right gradient, and a
wrong one leaves h times its error: divided by h, a *plateau* while h shrinks 16 times and more. Its even part
(φ(x+hd) + φ(x-hd))/2 - φ(x) falls like h²; a kink leaves h times half the jump. A plateau needs no threshold that
would have to know curvature or noise, and tells gradients wrong by 1e-4 from right ones (the test itself: Farrell,
Ham, Funke and Rognes 2013, section 6).
Rounding of x + h d is no error here: the displacements are those that the floating-point points really have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import comb, inf, isfinite, log, nan
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from calclab.core.values import wide
from calclab.numerics import differences

Phi = Callable[[Tensor], Tensor]

SHRINK = 4.0
LEVELS = (12, 19)  # steps, in float32 and in float64
WINDOW = 3  # a plateau spans this many steps at least
FLAT = 0.1  # and its values agree this well; a smooth remainder would change 16-fold from one step to the next
MANY = 256
NUMBERS = 2**18  # displacements that are held at once, in all
NEAR = 8  # samples that tell the noise
SCATTER = 4.0  # times their standard deviation: no error is larger
ABOVE = 8.0  # times the noise: smaller remainders say nothing


@dataclass(frozen=True)
class Remainder:
    """Both parts of the remainder along one direction: steps h descending, parts divided by h, noise divided by h."""

    slope: float
    h: tuple[float, ...]
    odd: tuple[float, ...]
    even: tuple[float, ...]
    noise: tuple[float, ...]
    order: float  # the observed power of h in the whole remainder; nan where all of it is noise, as for linear φ

    @property
    def resolution(self) -> float:
        """The smallest error of the slope that could have been seen: odd part and noise at the best two steps."""
        sizes = [max(abs(o), ABOVE / 2 * s) for o, s in zip(self.odd, self.noise, strict=True)]
        return min((max(pair) for pair in pairwise(sizes)), default=inf)

    @property
    def variation(self) -> float:
        """The steepest that φ is, less γ·d, on the way out along the direction: what its slopes are small against."""
        return max((abs(e) + abs(o) for e, o in zip(self.even, self.odd, strict=True)), default=0.0)


@dataclass(frozen=True)
class Samples:
    """Scalar φ at x and at x ± h d for h = 1, 1/4, 1/16, ...: ``base`` (), ``ahead`` and ``behind`` (k,).

    ``near`` (p,) holds φ at x, x + δd, x + 2δd, ... with δ so small that only rounding bends it.
    """

    x: Tensor
    d: Tensor
    base: Tensor
    ahead: Tensor
    behind: Tensor
    near: Tensor

    @property
    def steps(self) -> list[float]:
        return [SHRINK**-k for k in range(len(self.ahead))]

    @property
    def finite(self) -> bool:
        return bool(self.base.isfinite())

    def noise(self, slope: float) -> float:
        """How far rounding moves φ, absolutely: where large terms cancel this is far more than an ulp of φ.

        The larger of what ``near`` scatters by and of the height of the stairs, where φ stands still though it should
        move by ``slope``: a loss that is small beside the outputs it was computed from does both.
        """
        height, still = 0.0, (self.ahead == self.base) & (self.behind == self.base)
        h = torch.tensor(self.steps, dtype=self.x.dtype, device=self.x.device)
        if bool((still & (abs(slope) * h > 2 * torch.finfo(self.x.dtype).eps * self.base.abs())).any()):
            seen = torch.cat([self.base.reshape(1), self.ahead, self.behind])
            gaps = seen[seen.isfinite()].sort().values.diff()
            height = float(gaps[gaps > 0].min()) if bool((gaps > 0).any()) else 0.0
        return max(height, SCATTER * self.scatter)

    @cached_property
    def scatter(self) -> float:
        """The standard deviation of the noise in φ, as ``near`` tells it."""
        return float(scatter(self.near))

    def rounding(self, slope: float) -> float:
        """How far off rounding may put a slope: the steepest that φ is on the way, times what it may lose, and the
        noise in φ itself. A slope far smaller than those nearby is often the difference of two large ones.
        """
        moved = torch.stack([self.ahead - self.base, self.behind - self.base]).abs()
        h = torch.tensor(self.steps, dtype=self.x.dtype, device=self.x.device)
        if bool((moved == 0).all()):
            return inf
        steep = (moved / h)[:, :NEAR].nan_to_num(nan=0.0, posinf=0.0).max()
        return 64 * (torch.finfo(self.x.dtype).eps * float(steep) + self.noise(slope))

    def quotients(self, slope: float) -> tuple[Tensor, Tensor]:
        """Central quotients (k,) and the rounding in each, of steps that show more than that; ``slope`` is to be
        judged."""
        k = len(self.ahead) * 3 // 4
        ahead, behind = self.ahead[:k], self.behind[:k]
        h = torch.tensor(self.steps[:k], dtype=self.x.dtype, device=self.x.device)
        noise = torch.finfo(self.x.dtype).eps * (ahead.abs() + behind.abs() + 2 * self.base.abs())
        return (ahead - behind) / (2 * h), noise.clamp(min=self.noise(slope)) / h


def richardson(seen: Sequence[Samples], slopes: Sequence[float]) -> list[tuple[float, float]]:
    """Of each direction the slope of φ extrapolated from central quotients, and an estimate of its error; ``slopes``
    are those to be judged."""
    quotients, noise = zip(*(one.quotients(slope) for one, slope in zip(seen, slopes, strict=True)), strict=True)
    limits, errors = differences.extrapolate(torch.stack(quotients, 1), torch.stack(noise, 1), SHRINK)
    return list(zip(limits.tolist(), errors.tolist(), strict=True))


def sample(phi: Phi, x: Tensor, d: Tensor) -> Samples:
    """φ at x (n,) and on both sides along d (n,), from h = 1 down to where rounding is all that is left."""
    rows = samples(x[None], d[None], lambda steps: torch.stack([phi(x + s * d) for s in steps])[None])
    return rows[0]


@torch.no_grad()
def samples(x: Tensor, ds: Tensor, along: Callable[[Tensor], Tensor]) -> list[Samples]:
    """``sample`` at each of the points x (p, n) along its direction of ds (p, n); ``along`` gives φ at x + s d for
    steps s (k,): (p, k)."""
    levels, δ = LEVELS[x.dtype == torch.float64], torch.finfo(x.dtype).eps ** (2 / 3)
    h = [SHRINK**-k for k in range(levels)]
    steps = [0.0, *h, *(-s for s in h), *(i * δ for i in range(1, NEAR + 1))]
    found = along(torch.tensor(steps, dtype=x.dtype, device=x.device))
    rows = (torch.split(row, [1, levels, levels, NEAR]) for row in found)
    return [
        Samples(p, d, base[0], ahead, behind, torch.cat([base, near]))
        for p, d, (base, ahead, behind, near) in zip(x, ds, rows, strict=True)
    ]


def scatter(values: Tensor) -> Tensor:
    """The standard deviation of the noise in equally spaced values (p, ...), from their third to fifth differences; of
    each column, in the widest type.

    A smooth part has none to speak of there. The noise σ of independent errors shows in a difference of order k with
    variance σ² (2k)! / k!². Moré and Wild (2011), "Estimating computational noise", algorithm ECnoise.
    """
    row = values.to(wide(values.device))
    found = torch.zeros_like(row[0])
    for k in range(1, 6):
        row = row.diff(dim=0)
        if k > 2:
            found = found.maximum((row.square().mean(0) / comb(2 * k, k)).sqrt())
    return found.nan_to_num(0.0, 0.0)


@torch.no_grad()
def remainder(seen: Samples, gamma: Tensor) -> Remainder | None:
    """The remainder for the claimed gradient γ (n,); None where φ is not finite."""
    x, d = seen.x, seen.d
    h = torch.tensor([s for h in seen.steps for s in (h, -h)], dtype=x.dtype, device=x.device)
    few = max(1, NUMBERS // len(x))  # displacements at once, as the floating-point points really have them
    moved = torch.cat([dots((x + part.unsqueeze(1) * d) - x, gamma) for part in torch.split(h, few)])
    slope = dot(gamma, d)
    pairs = torch.stack([seen.ahead, seen.behind], 1).reshape(-1)
    numbers = torch.cat([seen.base.reshape(1), pairs]).to(slope.dtype).tolist()
    eps, noise = torch.finfo(x.dtype).eps, seen.noise(float(slope))
    return split(numbers, [float(slope), *moved.tolist()], seen.steps, eps, noise)


class Triple(NamedTuple):
    """φ(x + h d), φ(x - h d), and what of each is left when φ(x) and γ·(displacement) are taken away."""

    h: float
    ahead: float
    behind: float
    ahead_left: float
    behind_left: float


def split(values: list[float], moved: list[float], steps: list[float], eps: float, noise: float) -> Remainder | None:
    """The parts from φ(x), φ(x + h d), φ(x - h d), ... and slope, γ·(displacement ahead), γ·(behind), ..."""
    base, slope = values[0], moved[0]
    if not isfinite(base) or not isfinite(slope):
        return None
    triples = [
        Triple(h, ahead, behind, ahead - base - a, behind - base - b)
        for h, ahead, behind, a, b in zip(steps, values[1::2], values[2::2], moved[1::2], moved[2::2], strict=True)
        if isfinite(ahead) and isfinite(behind)
    ]
    if not triples:
        return None
    level = max(noise, noise_level(base, triples, eps))
    moving = [t for t in triples if slope == 0 or not t.ahead == base == t.behind]  # standing still tells nothing
    return Remainder(
        slope,
        tuple(t.h for t in moving),
        tuple((t.ahead_left - t.behind_left) / 2 / t.h for t in moving),
        tuple((t.ahead_left + t.behind_left) / 2 / t.h for t in moving),
        tuple((level + 2 * eps * max(abs(t.ahead), abs(t.behind))) / t.h for t in moving),
        observed_order([(t.h, t.ahead_left) for t in triples], level),
    )


def noise_level(base: float, triples: list[Triple], eps: float) -> float:
    """Rounding in φ near x: an ulp of its value, or the remainder at the smallest steps."""
    last = max(max(abs(t.ahead_left), abs(t.behind_left)) for t in triples[-2:])
    return max(2 * eps * abs(base), last)


def observed_order(parts: list[tuple[float, float]], level: float) -> float:
    """The median power of h between neighbouring steps, over those where the remainder is well above the noise."""
    clear = [(h, abs(r)) for h, r in parts if abs(r) > 4 * ABOVE * level]
    powers = [log(r / s) / log(h / k) for (h, r), (k, s) in pairwise(clear) if r and s and h > k]
    return median(powers[-5:]) if powers else nan


def plateau(parts: tuple[float, ...], noise: tuple[float, ...]) -> float | None:
    """The value on which parts/h settle at the smallest steps that stand out of the noise; None where they do not."""
    clear = [k for k, (p, s) in enumerate(zip(parts, noise, strict=True)) if abs(p) > ABOVE * s]
    if len(clear) < WINDOW:
        return None
    last = clear[-WINDOW:]
    if last[-1] - last[0] != WINDOW - 1:
        return None
    window = [parts[k] for k in last]
    middle = median(window)
    return middle if max(abs(p - middle) for p in window) <= FLAT * abs(middle) else None


def directions(x: Tensor, count: int, seed: int) -> Tensor:
    """``frame`` for the variables, times max(1, |x_i|) so that every variable moves: (min(count, n), n).

    With more than ``MANY`` variables one direction has a part of every error, and more would be dear: one is enough.
    """
    return frame(len(x), count if len(x) <= MANY else 1, seed, x) * x.abs().clamp(min=1)


def frame(n: int, count: int, seed: int, like: Tensor) -> Tensor:
    """Seeded orthogonal directions of length about sqrt(n), (min(count, n), n), with the dtype and device of ``like``.

    Orthogonal, so that up to ``count`` variables no error can hide between them; their lengths differ by odd factors,
    so that steps in powers of 4 do not beat with a period of the function.
    """
    maker = torch.Generator(device=like.device).manual_seed(seed)
    z = torch.randn(min(count, n), n, generator=maker, dtype=like.dtype, device=like.device)
    found: list[Tensor] = []
    for row in z:
        for _ in range(2):  # Gram and Schmidt, twice is enough
            for earlier in found:
                row = row - (earlier @ row) * earlier
        found.append(row / row.norm())
    lengths = 0.75 + torch.rand(len(z), 1, generator=maker, dtype=like.dtype, device=like.device) / 2
    return torch.stack(found) * (lengths * n**0.5)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """a·b in float64, where the device has it: a float32 dot is off by 8e-5 at 272 thousand parameters."""
    return a.to(wide(a.device)) @ b.to(wide(a.device))


def dots(rows: Tensor, b: Tensor) -> Tensor:
    """``dot`` of each of the rows (k, n) with b (n,): (k,)."""
    return rows.to(wide(b.device)) @ b.to(wide(b.device))
