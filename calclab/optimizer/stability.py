"""Where a rule leaves stability, whatever its preconditioner: one number that passes 1.

A rule of torch.optim, its second moments taken as they stand, does for each entry, with g = ∂L + λ x (weight decay that
is a part of the gradient) and w = lr λ of one that is not,

    m⁺ = β m + κ g,    x⁺ = (1 - w) x - r (a g + b m⁺),        r = lr/P: lr, or lr over a root of second moments

On a quadratic this is linear; along one eigendirection, h = r λ(H), its eigenvalues z are the roots of

    z² - (1 - w - a h + β - b κ h) z + β (1 - w - a h) = 0

of which one passes -1 as the rate grows, and none leaves the unit circle before (the product of both is below 1 until
then). At z = -1, that is m⁺ = -m and x⁺ = -x, all but H is diagonal, also where directions do not come apart:

    2 (1 + β) x = (1 + β) w x + r (a (1 + β) + b κ) (H + λ) x

So ρ = λmax(C (H + λ) C + ½ diag w) with C² = r (a (1 + β) + bκ)/(2 (1 + β)) is the **stability ratio**: exactly where
ρ > 1 steps grow along its eigenvector, their sign alternating. Groups with rates, betas and decays of their own are in
C and w, and no approximation is made of them; ρ is linear in the rates, so that 1/ρ times each is the largest stable
one. Of gradient descent ρ = lr λmax/2; of a heavy ball lr λmax/(2 + 2μ); of Adam after many steps λmax(P^-½ H P^-½)
over (2 + 2β)/((1 - β) lr), which is 38/lr at β = 0.9 (Cohen et al. 2022, arXiv 2207.14484).

Assumed: the moments move slowly. Of a fresh Adam, RMSprop or Adagrad, whose first steps are lr whatever the gradient,
nothing of this kind can be said, and UserError says so.

>>> x = torch.nn.Parameter(torch.zeros(2))
>>> share = frozen(torch.optim.SGD([x], lr=0.1, momentum=0.9))[x]
>>> round(share.threshold, 6), round(float(share.scale), 6)  # 2 (1 + μ), lr over it
(3.8, 0.026316)
>>> adam = torch.optim.Adam([x], lr=0.01, eps=0.0)
>>> for _ in range(1000):
...     x.grad = torch.tensor([1.0, 2.0])
...     adam.step()
>>> share = frozen(adam)[x]
>>> round(share.threshold, 6), [round(entry, 4) for entry in share.inverse.tolist()]
(38.0, [1.0, 0.5])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import unwrap
from math import inf
from typing import Any

import torch
from torch import Tensor

from calclab.errors import UserError

Group = Mapping[str, Any]
NONE_YET = "has no second moments yet"


@dataclass(frozen=True)
class Frozen:
    """What one parameter feels.

    ``rate`` is lr as it is applied; ``inverse`` P⁻¹ by entry, or 1: of Adam after t steps P = (1 - β^t)(√v̂ + eps);
    ``memory`` β; ``direct`` a; ``through`` bκ; weight decay ``coupled`` λ, or ``decoupled`` w. ``sign`` is -1 where the
    rule goes uphill.
    """

    rate: float
    inverse: Tensor | float = 1.0
    memory: float = 0.0
    direct: float = 1.0
    through: float = 0.0
    coupled: float = 0.0
    decoupled: float = 0.0
    sign: float = 1.0

    @property
    def threshold(self) -> float:
        """What lr λ(P⁻¹H) may be, weight decay aside: 2 (1 + β)/(a (1 + β) + bκ)."""
        β = self.memory
        response = self.direct * (1 + β) + self.through
        return 2 * (1 + β) / response if response else inf

    @property
    def scale(self) -> Tensor | float:
        """C² of the parameter: 0 where the rate is."""
        return self.inverse * (self.rate / self.threshold)

    @property
    def shift(self) -> Tensor | float:
        """What stands beside C H C on the diagonal: C² λ + w/2."""
        return self.scale * self.coupled + self.decoupled / 2


@dataclass(frozen=True)
class Diagonals:
    """c and d (n,) of C (± H) C + diag d, whose largest eigenvalue is the stability ratio.

    ``uniform`` is a parameter's share, but for P, where all have the same rate, threshold and decay: then there is one
    learning rate, and one threshold that the preconditioned sharpness is held against. ``adaptive``: entries have rates
    of their own, from second moments.
    """

    c: Tensor
    d: Tensor
    sign: float
    uniform: Frozen | None
    adaptive: bool


def diagonals(shares: Mapping[Tensor, Frozen], parameters: Sequence[Tensor]) -> Diagonals:
    """Of ``parameters``, one after the other; one that the rule does not know never moves, and has zeros."""
    still = Frozen(0.0)
    own = [shares.get(p, still) for p in parameters]
    kinds = [torch.float32 if p.dtype.itemsize < 4 else p.dtype for p in parameters]
    c = [spread(share.scale, p, kind) for share, p, kind in zip(own, parameters, kinds, strict=True)]
    d = [spread(share.shift, p, kind) for share, p, kind in zip(own, parameters, kinds, strict=True)]
    signs = {share.sign for share in own if share.rate} or {1.0}
    if len(signs) > 1:
        raise UserError("groups of which some go uphill (maximize) have no stability ratio of this kind")
    alike = {replace(share, inverse=0.0) for share in own if share.rate}
    uniform = next(iter(alike)) if len(alike) == 1 else None
    adaptive = any(isinstance(share.inverse, Tensor) for share in own)
    return Diagonals(torch.cat(c).sqrt(), torch.cat(d), signs.pop(), uniform, adaptive)


def spread(value: Tensor | float, p: Tensor, kind: torch.dtype) -> Tensor:
    """One number for every entry of a parameter, flat (k,)."""
    if isinstance(value, Tensor):
        return value.detach().reshape(-1).to(p.device, kind)
    return torch.full((p.numel(),), float(value), dtype=kind, device=p.device)


# --- the rules of torch.optim ---


def frozen(optimizer: torch.optim.Optimizer) -> dict[Tensor, Frozen]:
    """What each parameter of an optimizer feels, with its moments, steps and groups as they are now.

    Raises UserError for a rule that is not one of this kind, and for one that has no second moments yet.
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)  # as frameworks wrap it
    kind = next((kind for kind in RULES if isinstance(optimizer, kind)), None)
    name = type(optimizer).__name__
    if kind is None or unwrap(type(optimizer).step) is not unwrap(kind.step):
        known = ", ".join(sorted({*(kind.__name__ for kind in RULES), "AdamW"}))
        raise UserError(
            f"{name} has no largest stable rate that is known: its step is not the gradient's, times a number for each "
            f"entry, with momentum. It is known of {known}; λmax and the batch sharpness are of any"
        )
    moved = any(optimizer.state.get(p) for group in optimizer.param_groups for p in group["params"])
    if kind is not torch.optim.SGD and not moved:
        raise UserError(
            f"{name} {NONE_YET}: its first steps are lr, whatever the gradient, and no rate is too large by curvature. "
            "Ask again after some steps"
        )
    found: dict[Tensor, Frozen] = {}
    for group in optimizer.param_groups:
        for p in group["params"]:
            state = optimizer.state.get(p, {})
            if kind is torch.optim.SGD or state:
                found[p] = replace(
                    RULES[kind](group, state), sign=-1.0 if group.get("maximize") else 1.0, **decay(group)
                )
    return found


def decay(group: Group) -> dict[str, float]:
    """Weight decay, as a part of the gradient or beside it."""
    weight = float(group.get("weight_decay", 0.0))
    if group.get("decoupled_weight_decay", False):
        return {"decoupled": float(group["lr"]) * weight}
    return {"coupled": weight}


def sgd(group: Group, state: Group) -> Frozen:
    """torch.optim.SGD: a heavy ball, Nesterov's, or neither."""
    lr, μ, damping = float(group["lr"]), float(group["momentum"]), float(group["dampening"])
    if not μ:
        return Frozen(lr)
    if group["nesterov"]:
        return Frozen(lr, memory=μ, direct=1.0, through=μ)
    return Frozen(lr, memory=μ, direct=0.0, through=1.0 - damping)


def adam(group: Group, state: Group) -> Frozen:
    """torch.optim.Adam, AdamW: m̂/(√v̂ + eps) with both corrections as they stand; amsgrad takes the largest v."""
    β, β2 = map(float, group["betas"])
    step = float(state["step"])
    second = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
    P = (1 - β**step) * (wide(second) / (1 - β2**step)).sqrt().add(float(group["eps"]))
    return Frozen(float(group["lr"]), 1 / P, β, 0.0, 1 - β)


def nadam(group: Group, state: Group) -> Frozen:
    """torch.optim.NAdam: ((1 - μ_t) g/(1 - Πμ) + μ_{t+1} m/(1 - Πμ μ_{t+1}))/(√v̂ + eps)."""
    β, β2 = map(float, group["betas"])
    step, ψ = float(state["step"]), float(group["momentum_decay"])
    now, after = (β * (1 - 0.5 * 0.96 ** (k * ψ)) for k in (step, step + 1))
    product = float(state["mu_product"])
    inverse = 1 / (wide(state["exp_avg_sq"]) / (1 - β2**step)).sqrt().add(float(group["eps"]))
    return Frozen(float(group["lr"]), inverse, β, (1 - now) / (1 - product), after * (1 - β) / (1 - product * after))


def radam(group: Group, state: Group) -> Frozen:
    """torch.optim.RAdam: m̂ until the variance of v is known, then m̂ times a rectification over √v̂."""
    β, β2 = map(float, group["betas"])
    step = float(state["step"])
    correction = 1 / (1 - β**step)
    most = 2 / (1 - β2) - 1
    length = most - 2 * step * β2**step / (1 - β2**step)
    if length <= 5:
        return Frozen(float(group["lr"]), correction, β, 0.0, 1 - β)
    rectified = ((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)) ** 0.5
    inverse = rectified * (1 - β2**step) ** 0.5 / wide(state["exp_avg_sq"]).sqrt().add(float(group["eps"]))
    return Frozen(float(group["lr"]), correction * inverse, β, 0.0, 1 - β)


def adamax(group: Group, state: Group) -> Frozen:
    """torch.optim.Adamax: m̂ over the largest gradient so far, which fades; eps is in it already."""
    β = float(group["betas"][0])
    P = (1 - β ** float(state["step"])) * wide(state["exp_inf"])
    return Frozen(float(group["lr"]), 1 / P, β, 0.0, 1 - β)


def rmsprop(group: Group, state: Group) -> Frozen:
    """torch.optim.RMSprop, centred or not; momentum adds up scaled gradients."""
    second, μ = wide(state["square_avg"]), float(group["momentum"])
    if group["centered"]:
        second = (second - wide(state["grad_avg"]).square()).clamp(min=0)
    inverse = 1 / second.sqrt().add(float(group["eps"]))
    if not μ:
        return Frozen(float(group["lr"]), inverse)
    return Frozen(float(group["lr"]), inverse, μ, 0.0, 1.0)


def adagrad(group: Group, state: Group) -> Frozen:
    """torch.optim.Adagrad: g over the root of all squares so far, at a rate that decays."""
    rate = float(group["lr"]) / (1 + (float(state["step"]) - 1) * float(group["lr_decay"]))
    return Frozen(rate, 1 / wide(state["sum"]).sqrt().add(float(group["eps"])))


def wide(moment: Tensor) -> Tensor:
    """In float32 at least."""
    return moment.detach().float() if moment.dtype.itemsize < 4 else moment.detach()


RULES: dict[type[torch.optim.Optimizer], Callable[[Group, Group], Frozen]] = {
    torch.optim.SGD: sgd,
    torch.optim.Adam: adam,
    torch.optim.NAdam: nadam,
    torch.optim.RAdam: radam,
    torch.optim.Adamax: adamax,
    torch.optim.RMSprop: rmsprop,
    torch.optim.Adagrad: adagrad,
}
