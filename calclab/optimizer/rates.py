"""How fast a rule with momentum really is on a quadratic, at many rates and momenta at once, and in which way.

On f = ½ Σ λ_i c_i² a walk is linear in its start, and what is left after k steps falls like ρ^k, ρ the largest root in
size of the companion matrices of its directions (`optimizer.theory`). It is measured by the rule itself: walks of all
pairs (lr, momentum) are taken side by side from c = (1, ..., 1), and

    ρ ≈ (m_K / m_{K/2})^{2/K},    m_k = max over the last ten steps before k of ‖c‖,

whatever they oscillate. Where two roots are equal a walk falls like k ρ^k, so that ρ is off by a factor of at most
2^{2/K}; elsewhere it is nearer, once the slower root has won. Walks are scaled back to size 1 on the way: none under-
or overflows, because the rule is linear in the walk and its velocity.

>>> from calclab.optimizer.rules import Momentum
>>> λ, lrs, momenta = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 10.0], [0.1], [0.0, 0.5]))
>>> [round(float(rho), 3) for rho in measured(Momentum(momentum=0.0), λ, lrs, momenta, 4000)[:, 0]]  # 1 - 0.1, √0.5
[0.9, 0.707]
>>> from calclab.optimizer.theory import heavy_ball
>>> region(heavy_ball(1.0, 10.0, 0.5).ends(0.1))
'oscillating'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from calclab.core import Point
from calclab.optimizer.theory import Recurrence

WINDOW = 10  # steps over which an oscillation is told
SCALED = 8  # steps between two times that walks are scaled back
REGIONS = ("monotone", "alternating", "oscillating", "diverging")


class RateMap(NamedTuple):
    """Rates ``measured`` and ``predicted`` (momenta, lrs), and the pair that is best."""

    lrs: Tensor
    momenta: Tensor
    measured: Tensor
    predicted: Tensor
    best: tuple[float, float]


def measured(rule: Any, λ: Tensor, lrs: Tensor, momenta: Tensor, steps: int) -> Tensor:
    """ρ (momenta, lrs) of walks of ``steps`` steps along the eigendirections of a quadratic with eigenvalues λ (n,);
    0 of a walk that arrives."""
    lr, momentum = (part.reshape(-1, 1) for part in torch.meshgrid(lrs, momenta, indexing="xy"))
    many = batched(rule, momentum)
    c = torch.ones(len(lr), len(λ), dtype=torch.float64)
    state: dict[str, Any] = many.init(c)
    nothing = torch.zeros(len(lr), dtype=torch.float64)
    offset, sizes = nothing.clone(), {}
    middle = steps // 2
    for k in range(1, steps + 1):
        move, state = many.update(Point(c, nothing, c * λ, None), state, lr)  # type: ignore[arg-type]
        c = c + move
        if k % SCALED == 0:
            size = torch.stack([c, *moving(state, c)]).flatten(2).norm(dim=2).amax(0)
            size = torch.where(size > 0, size, 1.0)
            offset = offset + size.log()
            c = c / size[:, None]
            state = {name: value / size[:, None] if is_moving(value, c) else value for name, value in state.items()}
        if middle - WINDOW < k <= middle or k > steps - WINDOW:
            sizes[k] = c.norm(dim=1).log() + offset
    early = torch.stack([sizes[k] for k in sorted(sizes) if k <= middle]).amax(0)
    late = torch.stack([sizes[k] for k in sorted(sizes) if k > middle]).amax(0)
    found = ((late - early) / (steps - middle)).exp()
    return torch.where(found.isnan(), 0.0, found).reshape(len(momenta), len(lrs))


def moving(state: dict[str, Any], c: Tensor) -> list[Tensor]:
    """What of a rule's state grows with the walk: tensors of its shape."""
    return [value for value in state.values() if is_moving(value, c)]


def is_moving(value: Any, c: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == c.shape and value.is_floating_point()


def at_each(rule: Any, momenta: Tensor) -> list[Any]:
    """The rule at each momentum."""
    return [replace(rule, momentum=float(momentum)) for momentum in momenta]


def batched(rule: Any, momentum: Tensor) -> Any:
    """The rule with a momentum for each walk, past the check that it is one number."""
    many = replace(rule)
    object.__setattr__(many, "momentum", momentum)
    return many


def region(ends: Sequence[Recurrence]) -> str:
    """What a walk does in the long run, by the direction that is slowest: it diverges; or falls without turning back
    (a positive root leads), turning at every step (a negative one), or swinging (a complex pair)."""
    slowest = max(ends, key=lambda end: end.radius)
    if slowest.radius >= 1:
        return "diverging"
    if slowest.trace * slowest.trace < 4 * slowest.determinant:
        return "oscillating"
    return "monotone" if slowest.trace >= 0 else "alternating"
