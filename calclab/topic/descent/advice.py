"""What to do next with a walk that has not settled. Nothing is said of lr that was not held against what is known:
the largest stable rate at the start and here, what a schedule makes of it, and that mini-batches stand less."""

from __future__ import annotations

import math

from calclab.topic import words
from calclab.topic.descent.walk import Walk

TENTH = 0.1  # of lr: the next to try where theory has nothing to say
LONG = 1e7  # more steps than this are no advice
VANISHED = 1e-4  # of the gradient at the start: what is less moves nothing
DONE = 1e-2  # of its peak: a schedule that has brought lr so low has ended the walk


def bottomless(walk: Walk) -> str:
    """What to say where no rate would help, since there is no lowest point to go to; empty elsewhere."""
    if walk.forecast is not None and walk.forecast.bottomless:
        return f"{walk.forecast.fall}: it has no minimum and no stable lr"
    if walk.runaway and float(walk.loss) < walk.start[0]:
        return f"{walk.fell} and has no lowest value on this way, whatever lr"
    return ""


def overshoots(walk: Walk) -> str:
    """Of a walk whose rate is beyond the largest stable one where it stands."""
    assert walk.beyond is not None
    assert walk.limit_here is not None
    lr, limit = words.number(walk.lr * walk.last), words.number(walk.limit_here)
    share = f"λmax·lr/2 = {walk.beyond:.3g}" if gradient_descent(walk) else f"lr is {walk.beyond:.3g} times that limit"
    edge = ", as at the edge of stability" if float(walk.loss) < walk.start[0] else ""
    return (
        f"it overshoots along the sharpest direction{edge}: lr={lr} is beyond {limit}, the largest stable one here "
        f"({share})"
    )


def grown(walk: Walk) -> str:
    """Of a walk that has lost what it began with: why, where its rate was found beyond the largest stable one."""
    text = "it has lost what it began with"
    shares = {"here": walk.beyond or 0.0}
    if walk.limit_at_start:
        shares["at the start"] = walk.lr * (walk.peak or 1) / walk.limit_at_start
    where = max(shares, key=lambda where: shares[where])
    if not shares[where] > 1:
        return text
    share = "λmax·lr/2 is" if gradient_descent(walk) else "lr in terms of the largest stable one is"
    return f"{text}: {share} {shares[where]:.3g} {where}, and beyond 1 steps along the sharpest direction grow"


def smaller(walk: Walk) -> str:
    """A smaller rate to try, below every limit that is known."""
    known = {" at the start": walk.limit_at_start, " here": None if walk.runaway else walk.limit_here}
    limits = {where: limit / (walk.peak or 1) for where, limit in known.items() if limit is not None}
    if not limits:
        return f"try a smaller lr, such as lr={words.number(walk.lr * TENTH)}"
    where = min(limits, key=lambda where: limits[where])
    limit, share = limits[where], 2 if walk.batch is None else 4
    reason = f"the largest stable lr{where} is {words.number(limit)}"
    if walk.forecast is not None and walk.forecast.quadratic:
        reason = f"the largest stable lr is {words.number(limit)}"
    elif walk.forecast is not None and walk.forecast.smallest < 0:
        reason = f"at the start f also curves downwards, and steps overshoot beyond lr={words.number(limit)}"
    if walk.scheduled and walk.peak not in (0, 1):
        reason += f", since the schedule multiplies it by up to {words.number(walk.peak)}"
    if walk.batch is not None:
        reason += f" with all rows, and batches of {walk.batch} stand less"
    if walk.lr > limit / share:
        return f"{reason}: try lr={words.number(limit / share)}"
    return f"{reason}, and lr was below: it left where that holds. Try lr={words.number(walk.lr * TENTH)}"


def learn(walk: Walk) -> str:
    """Of a network at chance: whether it went too far, or not far enough."""
    beyond_at_start = walk.limit_at_start is not None and walk.lr * (walk.peak or 1) > walk.limit_at_start
    if beyond_at_start or walk.rise > 0 or (walk.beyond or 0) > 1:
        return f"start again: {smaller(walk)}"
    if float(walk.gradient.norm()) < VANISHED * walk.start[1]:
        return (
            "hardly any gradient is left, and no lr helps: take other weights (seed=1), another activation or fewer "
            "layers"
        )
    if walk.limit_at_start is not None:
        most = words.number(walk.limit_at_start / (walk.peak or 1))
        return f"take more steps, or a larger lr (the largest stable one at the start is {most})"
    return "take more steps, or another lr"


def further(walk: Walk) -> str:
    """How far it still has to go, if it goes on as in its last step; where that tells nothing, what would."""
    if walk.tol == 0:
        return "tol=0 never ends a run"
    if walk.scheduled and walk.last < DONE * walk.peak:
        return f"the schedule has brought lr down to {words.number(walk.lr * walk.last)}: take more steps"
    if walk.batch is not None:
        calm = "" if walk.scheduled else ", and a schedule that brings lr down (schedule=cosine)"
        return f"mini-batches do not settle while lr stays: take more epochs{calm}"
    rate, norm = walk.contraction or 0.0, float(walk.gradient.norm())
    if walk.scheduled:
        return "take more steps"
    if rate == 1:
        return "the gradient did not change in the last step, as on a straight slope"
    if not 0 < rate < 1:
        return f"the gradient grew in the last step: {grew(walk)}"
    more = (math.log(walk.tol) - math.log(norm)) / math.log(rate)
    if more > LONG:
        return f"the gradient hardly shrinks: {slow(walk)}"
    return f"at the pace of its last step about {int(more) + 1} steps more would do"


def grew(walk: Walk) -> str:
    if walk.rise > 0:
        return smaller(walk)
    return "take more steps" if walk.beyond is not None else "take more steps, or a smaller lr"


def slow(walk: Walk) -> str:
    other = "another rule (optimizer=momentum, optimizer=lbfgs)"
    if walk.beyond is None:
        return f"take {other}"
    limit = walk.limit_here or 0.0
    return f"take a larger lr, up to {words.number(limit / 2)}, or {other}" if walk.beyond < 0.5 else f"take {other}"


def gradient_descent(walk: Walk) -> bool:
    return type(walk.rule).__name__ == "GradientDescent"
