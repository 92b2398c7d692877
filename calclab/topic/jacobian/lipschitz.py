"""How much a network can stretch: between the largest ‖J‖ seen and a bound made of its layers' norms.

    max over the rows of ‖J(x)‖_2  ≤  Lip f  ≤  Π_k ‖layer_k‖ along a path, Σ over paths that meet

The first is a lower bound for the Lipschitz constant wherever the network is differentiable. The second is an upper one
(Szegedy et al. 2014, section 4.3): norms multiply along a path and add where paths meet, Lip(f + g) ≤ Lip f + Lip g, so
that a residual block has at most 1 + Lip f (Gouk et al. 2021, section 3.3). It is often by far too large: layers seldom
stretch the same direction.

>>> import torch
>>> from calclab.numerics.jacobian import traced
>>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Tanh()).eval()
>>> _ = net[0].load_state_dict({"weight": torch.diag(torch.tensor([3.0, 1.0]))})
>>> found = bound(traced(net, torch.zeros(2)), net)
>>> found.constant, found.missing
(3.0, ())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from calclab.numerics.jacobian import Step
from calclab.numerics.jacobian.layers import passes
from calclab.numerics.jacobian.norms import norm
from calclab.topic.words import listing

ATTENTION = ("Attention", "MultiheadAttention", "SelfAttention", "TransformerEncoderLayer", "TransformerDecoderLayer")
NO_CONSTANT = "dot-product attention has no global Lipschitz constant (Kim, Papamakarios and Mnih 2021)"

STEEP = 100.0  # a factor beyond what weights have: a normalisation of each row, max|γ| / √ε


@dataclass(frozen=True)
class Bound:
    """``norms`` by layer; ``constant`` is the upper bound; ``missing`` tells why there is none; ``sums`` whether paths
    are added."""

    norms: dict[str, float]
    constant: float
    missing: tuple[str, ...]
    sums: bool = False


def bound(steps: Sequence[Step] | None, module: nn.Module) -> Bound:
    """From the steps of the network ``module``."""
    if any(type(inner).__name__ in ATTENTION for inner in module.modules()):
        return Bound({}, float("inf"), (NO_CONSTANT,))
    if steps is None:
        return Bound({}, float("inf"), ("its program cannot be followed layer by layer",))
    norms: dict[str, float] = {}
    missing: list[str] = []
    reached = [1.0]
    for step in steps:
        if step.kind == "layer":
            found = norm(step)
            if found is None:
                missing.append(f"{step.name} ({type(step.module).__name__})")
            elif not passes(step.module):
                norms[step.name] = found
            reached.append(reached[step.sources[0]] * (0.0 if found is None else found))
        elif step.kind == "other":
            missing.append(step.name)
            reached.append(0.0)
        else:
            factors = step.factors or (1.0,)
            reached.append(sum(abs(c) * reached[k] for c, k in zip(factors, step.sources, strict=True)))
    sums = any(step.kind == "sum" and len(step.sources) > 1 for step in steps)
    return Bound(norms, float("inf") if missing else reached[-1], tuple(missing), sums)


def text(seen: float, found: Bound) -> str:
    """The bracket in words."""
    low = f"at least {seen:.4g}"
    if found.missing:
        return f"{low} (no upper bound: {listing(found.missing, 2)})"
    how = "the product of the layers' norms" + ", added where paths meet" * found.sums
    at = max(found.norms, key=found.norms.__getitem__, default="")
    if found.norms.get(at, 0) > STEEP:
        how += f"; {at} alone may stretch by {found.norms[at]:.3g}, where its inputs are nearly alike"
    return f"{low} and at most {found.constant:.4g} ({how})"
