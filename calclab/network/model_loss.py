"""The loss that a model computes itself, from its inputs and the targets: Hugging Face's ``.loss``, or a function of
parameters and a batch.

The rule by which rows make it up is found as that of a user's own loss is (`criterion`), by its gradient G = ∇_θ L: of
a weighted mean over rows S and a row a,

    G(S ∪ a) = s G(a) + (1 - s) G(S),    s = w_a / (w_a + Σ_S w_b),

so that s = ⟨G(S ∪ a) - G(S), G(a) - G(S)⟩ / |G(a) - G(S)|² says what S weighs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from calclab.core import Data
from calclab.core.values import wide
from calclab.errors import UserError
from calclab.network.call import of_loss
from calclab.network.criterion import SENTENCES, TOLERANCE, TRIED, Looked, close, rule_of
from calclab.network.loss import Loss, negative
from calclab.network.stateless import Stateless

Parameters = Mapping[str, Tensor]
PIECE = 32  # rows whose weight is found at once
SLACK = 1e-4  # relative: many models compute parts in float32, whatever they are given
CHECKED = 256  # rows, at most, that are looked at for whether all weigh the same


def of_outputs(*_: Tensor) -> Tensor:
    """Said where a loss of the outputs is asked for."""
    raise UserError(
        "the loss is the model's own, and what is asked needs a loss of its outputs and the targets. Give one: "
        "calclab.loss(model, criterion, data), or network.loss=cross_entropy; or ask for topic=hessian"
    )


@dataclass(frozen=True)
class ModelLoss(Loss):
    """``whole`` takes parameters, inputs (B, *shape) and targets to the loss of these rows, (), put together by
    ``own_rule``. Of a weighted mean ``references`` are rows that others are weighed against, in ``unit``."""

    of_row: Callable[[Tensor, Tensor], Tensor] = of_outputs
    whole: Callable[[Parameters, Tensor, Tensor], Tensor] = field(kw_only=True)
    own_rule: str = field(default="mean", kw_only=True)
    references: tuple[Reference, ...] = field(default=(), kw_only=True)
    unit: float = field(default=1.0, kw_only=True)

    @property
    def rule(self) -> str:
        return self.own_rule

    def each(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row (B,), times its weight where they have weights."""
        rows = [slice(i, i + 1) for i in range(len(inputs))]
        return torch.stack([self.added(parameters, inputs[row], targets[row]) for row in rows])

    def added(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        """The sum over the rows, (), each times its weight."""
        amount = self.weigh(inputs, targets)
        value = self.whole(parameters, inputs, targets)
        return value.nan_to_num() * 0 if amount == 0 else value * amount

    def weigh(self, inputs: Tensor, targets: Tensor) -> float:
        """What `added` is divided by for the loss of these rows."""
        if not self.references:
            return float(len(inputs)) if self.rule == "mean" else 1.0
        pieces = zip(torch.split(inputs, PIECE), torch.split(targets, PIECE), strict=True)
        return self.unit * sum(self.beside(*piece) for piece in pieces)

    def beside(self, inputs: Tensor, targets: Tensor) -> float:
        """What some rows weigh, in the weight of the first reference, by the one whose gradient differs most."""
        alone = self.references[0].look(inputs, targets)
        far = max(self.references, key=lambda reference: reference.distance(alone))
        return far.weight * far.weigh(inputs, targets, alone)


@dataclass(frozen=True)
class Reference:
    """A row, with its loss and gradient; ``look`` gives these of any rows."""

    look: Callable[[Tensor, Tensor], Looked]
    inputs: Tensor
    targets: Tensor
    found: Looked
    weight: float = 1.0

    def distance(self, other: Looked) -> float:
        """How far apart the gradients are, in units of both: infinite where the other has none."""
        (_, a), (_, b) = self.found, other
        far = float((a - b).norm() / (a.norm() + b.norm()).clamp(min=torch.finfo(a.dtype).tiny))
        return far if far == far else torch.inf

    def weigh(self, inputs: Tensor, targets: Tensor, alone: Looked) -> float:
        """What rows weigh, in the weight of this one; 0 where it is left as it is by them."""
        joint = self.look(torch.cat([self.inputs, inputs]), torch.cat([self.targets, targets]))[1]
        own, others = self.found[1], alone[1]
        if close(joint, own, SLACK):
            return 0.0
        dtype = wide(own.device)
        apart = (own - others).to(dtype)
        share = float((joint - others).to(dtype) @ apart / apart.square().sum())
        return 1 / share - 1


def own_loss(call: Stateless, name: str, parameters: Parameters, data: Data) -> tuple[ModelLoss, str]:
    """The loss that a model computes, and a sentence on the rule by which its rows add up. UserError where it gives
    none for these rows."""
    given = (data.targets,) if data.targets.numel() else ()

    def whole(parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        with of_loss():
            found: Tensor = call(parameters, inputs, *(targets for _ in given))
        return found

    def look(inputs: Tensor, targets: Tensor) -> Looked:
        with torch.enable_grad():
            leaves = {key: p.detach().requires_grad_() for key, p in parameters.items()}
            value = whole(leaves, inputs, targets)
            if not value.requires_grad:
                return value.detach(), value.new_zeros(1)
            slopes = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return value.detach(), torch.cat([slope.reshape(-1) for slope in slopes])

    few = data.some(TRIED)
    at = torch.arange(TRIED, device=few.inputs.device) % len(few.inputs)
    x, t = few.inputs[at], few.targets[at]
    alone = [look(x[i : i + 1], t[i : i + 1]) for i in range(len(few.inputs))]
    made = ModelLoss(name, whole=whole)
    references = [
        Reference(look, x[i : i + 1], t[i : i + 1], found)
        for i, found in enumerate(alone)
        if bool(found[1].isfinite().all()) and bool(found[1].any())
    ][:2]
    if references:
        other = replace(made, references=(references[0],))
        references[1:] = [replace(r, weight=other.beside(r.inputs, r.targets)) for r in references[1:]]
    weighted = replace(made, references=tuple(r for r in references if r.weight > 0), own_rule="weighted mean")

    def weigh(inputs: Tensor, targets: Tensor) -> Tensor:
        amount = weighted.weigh(inputs, targets) if weighted.references else torch.nan
        return x.new_tensor(amount, dtype=wide(x.device))

    rule = rule_of(lambda rows: look(x[rows], t[rows]), lambda rows: weigh(x[rows], t[rows]), SLACK)
    if rule in ("mean", "weighted mean") and weighted.references:
        some = data.some(CHECKED)
        few_left_out = not data.targets.is_floating_point() and negative(data.targets)  # tokens: such rows may be rare
        amount, count = float(weigh(some.inputs, some.targets)), len(some.inputs)
        even = abs(amount - count) <= max(SLACK, TOLERANCE[alone[0][1].dtype]) * count and not few_left_out
        rule = "mean" if rule == "mean" and even else "weighted mean"
        weighted = replace(weighted, unit=count / amount)
    sentence = f"the loss is the model's own, {SENTENCES[rule]}"
    return (weighted if rule == "weighted mean" else replace(made, mean=rule != "sum", own_rule=rule)), sentence
