"""The curvature that a training feels, on the batch and in the mode that it trains in.

    sharpness        λmax of the loss, and of rules with one rate for all entries the stability ratio: λmax·lr/2 of
                     gradient descent, what stands for it of momentum (`optimizer.stability`)
    preconditioned   the same ratio for rules with a rate for every entry, Adam and its like, from their own moments;
                     and the preconditioned sharpness, where all parameters share a learning rate and betas
    batch_sharpness  gᵀH g/‖g‖² of the step's own batch where the step began, and the mean over the last looks
    blocks           λmax of each layer's block of H, the other layers standing still
    spectrum         trace, share of negative eigenvalues, how many stand apart

Beyond a stability ratio of 1 steps grow along the sharpest direction; ``curvature/largest_stable_rate`` is where that
begins, and ``layers/curvature_share`` how much of that direction is in which layer. The function is the loss of the
step's batch as the training computes it: with batch statistics where it takes those, one draw of dropout, in the
parameters' own precision without autocast, at a kink what autograd has there.

Errors are how far λmax can be above the value, which is never above it: from few products as long as the ratio is far
below 1, where the value is near all the same, and from as many as it takes where it is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan

import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.numerics.krylov import Extremes, Probes
from calclab.numerics.lanczos import Ritz
from calclab.numerics.linear import LinearOperator
from calclab.optimizer.stability import Diagonals, diagonals, frozen
from calclab.second_order.held import Held
from calclab.second_order.kernels import QuickTwice
from calclab.second_order.sharpness import along, batch_sharpness, scaled, sharpness
from calclab.topic.hessian.spectrum import outliers
from calclab.watch.moment import Moment, Named, Reading
from calclab.watch.norms import by_layer

QUICK, FULL, NEAR = 6, 24, 0.5  # products of a look below a ratio of NEAR, and of others
MISSED = "nothing larger, at 99 %"
REMEMBERED = 16  # looks at the batch sharpness that its mean is over
TOP = 5  # eigenvalues that are told
CLASSES = 10  # most that could stand apart, which outliers are counted among


@dataclass(frozen=True)
class Stability:
    """The stability ratio, above 1 where steps grow, and how far it can be above that; the largest stable rate with its
    bound, NaN where parameters have rates of their own; the share of the sharpest direction in each layer."""

    ratio: float
    bound: float
    rate: float
    rate_bound: float
    shares: Mapping[str, float]

    def readings(self) -> list[Reading]:
        found = [Reading("curvature/stability_ratio", self.ratio, self.bound, MISSED)]
        if isfinite(self.rate):
            found.append(Reading("curvature/largest_stable_rate", self.rate, self.rate_bound, MISSED))
        return found + [Reading(f"layers/curvature_share/{layer}", share) for layer, share in self.shares.items()]


def stability(found: Ritz, shares: Mapping[str, float], lr: float | None) -> Stability:
    """What a ratio means for the rate ``lr``, None where there are several: each may be 1/ratio times as large."""
    ratio, bound = float(found.value), found.bound
    rate = lr / ratio if lr is not None and ratio > 0 else nan
    least = lr / (ratio + bound) if isfinite(rate) and lr is not None else nan
    return Stability(ratio, bound, rate, rate - least, shares)


def shares(v: Tensor, parameters: Named) -> dict[str, float]:
    """How much of ‖v‖² is in each layer, v (n,) the parameters one after the other."""
    pieces = v.split_with_sizes([p.numel() for p in parameters.values()])
    squares = torch.stack([piece.square().sum() for piece in pieces]).tolist()
    total = sum(squares) or 1.0
    return {layer: sum(squares[i] for i in places) / total for layer, places in by_layer(tuple(parameters)).items()}


def held(moment: Moment, parameters: Named | None = None) -> Held:
    """The loss of the moment's batches on the graph of its parameters, where they are or somewhere else."""
    leaves = {name: p.detach().requires_grad_() for name, p in (parameters or moment.parameters).items()}
    with QuickTwice():
        return Held(moment.loss({**moment.parameters, **leaves}), list(leaves.values()))


def felt(moment: Moment) -> Diagonals | None:
    """What the rule does to each entry as it stands; None where no stability ratio is known of it, or not yet."""
    own = {name.replace("_orig_mod.", ""): p for name, p in moment.model.named_parameters()}
    try:
        return diagonals(frozen(moment.optimizer), [own[name] for name in moment.parameters])
    except UserError:
        return None


def same_for_all(rule: Diagonals) -> bool:
    """Whether all entries move by the same rate, and the largest curvature is what the rule feels."""
    return rule.sign > 0 and bool((rule.c == rule.c[0]).all() & (rule.d == rule.d[0]).all())


def times(top: Ritz, scale: float, shift: float) -> Ritz:
    """The pair of scale A + shift from that of A."""
    value, upper = scale * top.value + shift, scale * top.upper + shift
    return Ritz(value, top.vector, scale * top.residual, top.products, upper, scale * top.noise)


def top_of(
    A: LinearOperator, moment: Moment, eps: float, products: int | None, ratio: Callable[[float], float]
) -> Ritz:
    """λmax of A from the eigenvector of the look before, by so many products, None: as many as the place asks for.

    ``ratio`` is the stability ratio of a λmax: one that has come near since the last look is looked at in full at once.
    """
    memory, seed = moment.memory, moment.seed + moment.step
    near, quick = memory.get("direction"), not memory.get("near", True)
    top = sharpness(A, near, seed=seed, most=products or (QUICK if quick else FULL), eps=eps)
    if products is None and quick and ratio(float(top.value)) >= NEAR:
        return sharpness(A, top.vector, seed=seed, most=FULL, eps=eps)
    return top


def kept(moment: Moment, top: Ritz, ratio: float) -> None:
    """What the next look goes on from; a rule without a ratio is never near."""
    moment.memory.update(direction=top.vector, near=ratio >= NEAR)


class Sharpness:
    """λmax of the loss, and the stability ratio of rules that have one rate for all entries.

    ``products`` is the most of a look, None: by how near the ratio is to 1.
    """

    name = "sharpness"
    cost = 20.0

    def __init__(self, products: int | None = None) -> None:
        self.products = products

    def take(self, moment: Moment) -> Sequence[Reading]:
        about = held(moment)
        rule = felt(moment)
        if rule is None or not same_for_all(rule):
            rule, scale, shift = None, 0.0, 0.0
        else:
            scale, shift = float(rule.c[0]) ** 2, float(rule.d[0])
        top = top_of(about.hessian, moment, about.eps, self.products, lambda λ: scale * λ + shift)
        readings = [Reading("curvature/sharpness", float(top.value), top.bound, MISSED)]
        if not isfinite(float(top.value)):
            return readings
        ratio = times(top, scale, shift)
        kept(moment, top, float(ratio.value))
        if rule is None:
            return readings
        lr = None if rule.uniform is None else rule.uniform.rate
        return readings + stability(ratio, shares(top.vector, moment.parameters), lr).readings()


class Preconditioned:
    """The stability ratio of rules with a rate for every entry; nothing of those that `Sharpness` tells it of."""

    name = "preconditioned"
    cost = 20.0

    def __init__(self, products: int | None = None) -> None:
        self.products = products

    def take(self, moment: Moment) -> Sequence[Reading]:
        rule = felt(moment)
        if rule is None or same_for_all(rule):
            return []
        about = held(moment)
        A = scaled(about.hessian, rule.c, rule.d, rule.sign)
        top = top_of(A, moment, about.eps, self.products, float)
        if not isfinite(float(top.value)):
            return [Reading("curvature/stability_ratio", nan)]
        kept(moment, top, float(top.value))
        one = rule.uniform
        found = stability(top, shares(top.vector, moment.parameters), None if one is None else one.rate)
        readings = found.readings()
        if one is not None and one.rate:
            by = one.threshold / one.rate  # 38/lr of Adam at β = 0.9, after many steps
            value = by * (found.ratio - one.decoupled / 2)
            readings.append(Reading("curvature/preconditioned_sharpness", value, by * found.bound, MISSED))
        return readings


class BatchSharpness:
    """The curvature of the step's batch along its own gradient, where the step began: afterwards it has been fitted."""

    name = "batch_sharpness"
    cost = 6.0
    step = True

    def take(self, moment: Moment) -> Sequence[Reading]:
        before = {
            name: p for name, p in (moment.taken.before if moment.taken else {}).items() if name in moment.parameters
        }
        about = held(moment, before or None)
        now = float(along(about.hessian, about.gradient))
        last: deque[float] = moment.memory.setdefault("last", deque(maxlen=REMEMBERED))
        last.append(now)
        mean = batch_sharpness(list(last))
        by = f"standard error of {mean.batches} looks"
        error = mean.error if mean.batches > 1 else nan
        readings = [
            Reading("curvature/along_gradient", now),
            Reading("curvature/batch_sharpness", mean.value, error, by),
        ]
        rates = set(moment.rates.values())
        if type(moment.optimizer) is torch.optim.SGD and len(rates) == 1:
            half = rates.pop() / 2
            readings.append(Reading("curvature/batch_stability_ratio", half * mean.value, half * error, by))
        return readings


class Blocks:
    """λmax of every layer's own block of H."""

    name = "blocks"
    cost = 100.0

    def take(self, moment: Moment) -> Sequence[Reading]:
        about = held(moment)
        names, sizes = tuple(moment.parameters), about.sizes
        device = about.leaves[0].device
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        readings = []
        for layer, places in by_layer(names).items():
            at = torch.cat([torch.arange(starts[i], starts[i] + sizes[i], device=device) for i in places])
            top = sharpness(
                about.hessian.sub(at), moment.memory.get(layer), seed=moment.seed + moment.step, eps=about.eps
            )
            moment.memory[layer] = top.vector if isfinite(float(top.value)) else None
            readings.append(Reading(f"layers/sharpness/{layer}", float(top.value), top.bound, MISSED))
        return readings


class Spectrum:
    """Trace, share of negative eigenvalues, and the largest ones: how many stand apart from the others."""

    name = "spectrum"
    cost = 400.0

    def take(self, moment: Moment) -> Sequence[Reading]:
        about = held(moment)
        pairs = Extremes(about.hessian, top=CLASSES + 2, tol=1e-2, check=0, seed=moment.step).run(most=100)
        probes = Probes(about.hessian, probes=10, depth=10, deflate=pairs, seed=moment.step)
        state = probes.run()
        trace, inertia = probes.trace(state), probes.density(state).inertia()
        readings = [
            Reading("curvature/trace", float(trace.value), float(trace.half), "95 % interval"),
            Reading(
                "curvature/negative_share",
                float(inertia.negative.value),
                float(torch.maximum(inertia.high[0] - inertia.negative.value, inertia.negative.value - inertia.low[0])),
                "95 % interval",
            ),
        ]
        for i, (value, residual) in enumerate(zip(pairs.values[:TOP].tolist(), pairs.residuals.tolist(), strict=False)):
            readings.append(Reading(f"curvature/eigenvalue/{i + 1}", value, residual, "residual"))
        count = outliers(pairs.values, min(CLASSES, len(pairs.values) - 2))
        return readings if count is None else [*readings, Reading("curvature/outliers", count)]
