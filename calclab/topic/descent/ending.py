"""Where a walk ended: decided from the gradient and the signs of the Hessian, with a word of advice.

Descent stops where the gradient vanishes, which may be a saddle or a maximum: Newton's method is drawn to either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.core import Function, Line
from calclab.numerics.kinks import nowhere
from calclab.numerics.measured import MOST
from calclab.numerics.operators import dense_hessian, value_and_gradient
from calclab.numerics.spectrum import inertia
from calclab.numerics.stationary import LocalModel, local_model, stationary
from calclab.numerics.verify import known
from calclab.topic import words
from calclab.topic.descent.advice import bottomless, further, grown, learn, overshoots, smaller
from calclab.topic.descent.chance import chance
from calclab.topic.descent.nonfinite import lost
from calclab.topic.descent.walk import FAR_ABOVE, Walk

FAR = 1e-3  # times the gradient norm at the start: beyond it no gradient is a rounding error
NEVER_NEGATIVE = ("cross_entropy", "bce", "mse", "half_mse", "mae", "huber")  # losses whose lowest value is 0
DENSE = 200  # variables up to which the Hessian is formed to tell
SHORTER = 0.9  # times Newton's last step: towards t^11 and what is less flat
NEAR = 1e-2  # times 1 + |x_i|: a stationary point within it is where the walk ended


@dataclass(frozen=True)
class Ending:
    """``word``: minimum, saddle, maximum, flat, stationary (its kind not known); moving, unstable (still moving, at a
    rate beyond the largest stable one), risen (its loss far above where it began), chance (a network that tells no more
    than a constant would); diverged, nonfinite. ``lines`` tell why, and what to do next."""

    word: str
    lines: Sequence[Line]


def made(word: str, why: str = "", advice: str = "") -> Ending:
    """With a line for each of what there is to say."""
    texts = {"why": why, "next": advice}
    return Ending(word, [Line(label, text) for label, text in texts.items() if text])


def ending(walk: Walk) -> Ending:
    """Where the walk is.

    A network that has lost what it began with, or tells no more than a constant would, is not called stationary: where
    units are dead or saturated the gradient vanishes too.
    """
    x = walk.x
    if not bool(walk.loss.isfinite() & walk.gradient.isfinite().all() & x.isfinite().all()):
        return made("nonfinite", *lost(walk))
    if walk.runaway:
        return made("diverged", "", bottomless(walk) or smaller(walk))
    if walk.network is not None:
        if walk.rise > FAR_ABOVE:
            return made("risen", grown(walk), smaller(walk))
        if walk.network.loss_name in NEVER_NEGATIVE and float(walk.loss) <= torch.finfo(x.dtype).eps * walk.start[0]:
            return made("minimum", "the loss is zero to working precision: there is nothing left to learn")
        if found := chance(walk.network, x, walk.scores):
            return made("chance", found, learn(walk))
    return kind_of_point(walk) or moving(walk)


def kind_of_point(walk: Walk) -> Ending | None:
    """What kind of stationary point x is; None where it is none.

    Stationary: ‖g‖ < tol, with a stationary point near, or within rounding of one (`numerics.stationary`). Of
    a formula the proven gradient and eigenvalues decide.
    """
    function, x, size = walk.function, walk.x, walk.gradient.norm()
    vanished = bool(size < walk.tol)
    if not vanished and bool(size > FAR * max(walk.start[1], 1.0)):
        return None
    if len(x) > DENSE:
        advice = "topic=hessian on the saved weights tells what it is"
        return made("stationary", "the gradient has vanished", advice) if vanished else None
    seen = local_model(function, x, walk.gradient)
    if not bool(seen.λ.isfinite().all()):
        why = f"the gradient has vanished where the second derivative {unknown(function, x)}"
        return made("stationary", why) if vanished else None
    if not stationary(function, x, seen):
        if not vanished:
            return None
        if bool(seen.gradient.norm() >= walk.tol):
            true = words.number(seen.gradient.norm())
            return made("moving", f"the float program's gradient has vanished, and the proven one has norm {true}")
        if not near(function, x, seen):
            return made(
                "stationary", "the gradient is below tol, and no stationary point is near", "type a smaller tol"
            )
    found = inertia(seen.λ, seen.ball)
    curvature, advice = f"eigenvalues {words.ends(seen.λ)}", bottomless(walk) or UPHILL
    match found.word:
        case "saddle":
            curvature += f": {found.negative} of {len(x)} directions go down"
        case "degenerate":
            curvature, advice = f"{curvature}: they do not tell what the point is", ""
        case "minimum":
            advice = ""
    word = "flat" if found.word == "degenerate" else found.word
    return Ending(word, [Line("Hessian", curvature), *made(word, "", advice).lines])


def unknown(function: Function, x: Tensor) -> str:
    """What is known of second derivatives that are no numbers."""
    H = dense_hessian(function.call, x)
    return nowhere(known(function, x, 2, H) if len(x) <= MOST else {})


def moving(walk: Walk) -> Ending:
    """Of a walk that has not settled. λmax is looked for where the walk gives cause to: a healthy one would pay more
    for it than for its steps."""
    falls = walk.rise <= 0 and (walk.contraction is None or 0 < walk.contraction < 1)
    if (not falls or walk.sharpness is not None) and (walk.beyond or 0) > 1:
        return made("unstable", overshoots(walk), smaller(walk))
    if walk.rise > FAR_ABOVE:
        return made("risen", "", smaller(walk))
    grows = walk.contraction is not None and walk.contraction > 1
    return made("moving", "", (grows and bottomless(walk)) or further(walk))


UPHILL = "start a little elsewhere (function.at=...), or take a rule that leaves saddles (optimizer=damped_newton)"


def near(function: Function, x: Tensor, seen: LocalModel) -> bool:
    """Whether Newton's step is short and does what it promises: g falls by half at least, as towards t^k by
    (1 - 1/(k-1))^(k-1) < 1/2, and the next step is shorter, as towards t^k by (k-2)/(k-1). Where f only dies out, as
    exp(-t) does, g falls as much, and the next step is as long.
    """
    move = newton(x, seen)
    if not bool(move.any() & (move.abs() <= NEAR * (1 + x.abs())).all()):
        return False
    there = x + move
    g = value_and_gradient(function.call, there)[1]
    if not bool(g.abs().max() <= seen.gradient.abs().max() / 2):  # the norm squares: of 1e-200 it knows nothing
        return False
    again = local_model(function, there, g)
    closer = newton(there, again).abs().max() <= SHORTER * move.abs().max()
    return bool(closer) or stationary(function, there, again)


def newton(x: Tensor, seen: LocalModel) -> Tensor:
    """Newton's step from x along the directions that curve."""
    λ, V = seen.λ.to(x), seen.V.to(x)
    zero = 0.0 if seen.ball is not None else len(x) * torch.finfo(x.dtype).eps * λ.abs().max()
    return V @ torch.where(λ.abs() > zero, -(seen.gradient.to(x) @ V) / λ, 0.0)
