"""A loss of the user's: any callable of outputs and targets, and the rule by which the losses ℓ of its rows make it up.

    mean            L(S) = Σ ℓ_b / |S|
    sum             L(S) = Σ ℓ_b
    weighted mean   L(S) = Σ w_b ℓ_b / Σ w_b, with w_b > 0 or 0 from the targets: weights of classes, tokens left out
    all rows        none of these: what a row adds depends on the others (batch statistics, contrasts)

Rows S are taken in chunks wherever there is a rule; it is found by trying pieces of unequal lengths. What rows weigh is
seen by the derivative: a row a that joins them has the share w_a / (w_a + Σ w_b) of its own, since

    ∂L(S ∪ a)/∂y_a = w_a / (w_a + Σ_S w_b) ∂ℓ_a/∂y_a.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from calclab.core.values import wide
from calclab.errors import UserError, error_line
from calclab.network.loss import LOSSES, Call, Loss

PIECES = (slice(0, 1), slice(1, 3), slice(3, 6))  # of unequal lengths: a mean of means is another number
TRIED = PIECES[-1].stop
JITTER = 0.1  # of the outputs that are tried: rows of one target differ, and stay in the domain of the loss
NUMBERS = 2**24  # outputs that are weighed at once
SENTENCES = {
    "mean": "the mean over the rows (checked on pieces of 1, 2 and 3 rows)",
    "sum": "the sum over the rows (checked on pieces of 1, 2 and 3 rows)",
    "weighted mean": "a mean over the rows weighted by their targets, such as by class, or with entries left out "
    "(checked on pieces of 1, 2 and 3 rows)",
    "all rows": "no mean and no sum over rows: all of them are always taken together",
}
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3}
Looked = tuple[Tensor, Tensor]  # the loss of some rows (), and its gradient by what they have in common


@dataclass(frozen=True)
class OwnLoss(Loss):
    """``of_row`` takes outputs (B, *shape) and targets at once, to one number (), put together by ``rule``."""

    shape: tuple[int, ...] = ()
    own_rule: str = "mean"
    scale: Scale | None = None  # of a weighted mean

    @property
    def rule(self) -> str:
        return self.own_rule

    def amount(self, targets: Tensor) -> Tensor | int:
        """Of a weighted mean what the rows weigh together; the mean weight of those it was made for is 1."""
        if self.scale is not None:
            return self.scale.weigh(targets)
        return len(targets) if self.rule == "mean" else 1

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B,): the loss of each row; of a weighted mean times its weight, so that their mean over all is the loss."""
        if self.rule == "all rows":
            raise UserError(f"the loss {self.name} is of all rows together, and a row has none of its own")
        y = self.shaped(outputs)
        found = torch.stack([self.of_row(y[i : i + 1], targets[i : i + 1]) for i in range(len(y))])
        if self.scale is None:
            return found
        w = torch.stack([self.scale.weigh(targets[i : i + 1]) for i in range(len(y))]).to(found)
        return torch.where(w > 0, found, 0) * w

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.of_row(self.shaped(outputs), targets)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        amount = self.amount(targets)
        if isinstance(amount, Tensor) and not bool(amount):  # all left out: a mean of nothing is no number
            return 0 * outputs.sum()
        return self(outputs, targets) * amount

    def shaped(self, outputs: Tensor) -> Tensor:
        return outputs.reshape(len(outputs), *self.shape)


@dataclass(frozen=True)
class Scale:
    """Weighs rows by their targets against one row, of outputs (1, *shape) and target (1, ...); ``slope`` is ∂ℓ/∂y of
    that row by itself, and ``unit`` its weight."""

    call: Call
    output: Tensor
    target: Tensor
    slope: Tensor
    unit: float = 1.0

    def weigh(self, targets: Tensor) -> Tensor:
        """Σ w of rows with these targets, (). NaN where nothing can be seen."""
        size = max(1, NUMBERS // self.output.numel())
        return torch.stack([self.beside(piece) for piece in torch.split(targets, size)]).sum() * self.unit

    def beside(self, targets: Tensor) -> Tensor:
        with torch.enable_grad():
            y = self.output.clone().requires_grad_()
            others = self.output.expand(len(targets), *self.output.shape[1:])
            (found,) = torch.autograd.grad(
                self.call(torch.cat([y, others]), torch.cat([self.target, like(targets, self.target)])), y
            )
        return rest((found * self.slope).sum() / self.slope.square().sum())


def rest(share: Tensor) -> Tensor:
    """What the others weigh, where a row of weight 1 has this share."""
    amount = 1 / share.detach() - 1
    return torch.where(amount.abs() < TOLERANCE[amount.dtype], 0, amount)


def like(targets: Tensor, other: Tensor) -> Tensor:
    """Targets in the dtype of others, where they are no whole numbers."""
    return targets.to(other.dtype) if targets.is_floating_point() else targets


def own(call: Call, outputs: Tensor, targets: Tensor, all_targets: Tensor | None = None) -> tuple[Loss, str]:
    """Any callable as a loss, a torch.nn loss or a function of outputs (B, ...) and targets, and a sentence on the rule
    that was found.

    It may give one number, or one for each row or entry, which are averaged. ``outputs`` and ``targets`` are some rows
    to try it on, ``all_targets`` those of all rows. UserError for what takes or gives anything else.
    """
    name = getattr(call, "__name__", type(call).__name__)
    name = f"own_{name}" if name in LOSSES else name
    call = held(call, outputs)
    at = [i % len(outputs) for i in range(TRIED)]
    y, t = jittered(outputs[at]), targets[at]
    shape = tuple(outputs.shape[1:])
    found = tried(name, call, y, t)
    if found.shape == (len(y),):
        by_row = Loss(name, lambda outputs, targets: call(outputs.reshape(len(outputs), *shape), targets))
        return by_row, f"the loss {name} gives a number for each row: their mean is taken"
    said = ""
    if found.ndim:
        entries = call
        call, said = (
            (lambda o, t: entries(o, t).mean()),
            f"the loss {name} gives {tuple(found.shape[1:])} numbers a row",
        )
    rule, scale = found_rule(call, y, t, targets if all_targets is None else all_targets)
    said = f"{said}, averaged: " if said else f"the loss {name} is "
    return OwnLoss(name, call, rule != "sum", shape, rule, scale), said + SENTENCES[rule]


def found_rule(call: Call, y: Tensor, t: Tensor, targets: Tensor) -> tuple[str, Scale | None]:
    """The rule of a loss, seen on the rows y, t; of a weighted mean, what weighs."""
    y, t = exact(call, y, t)

    def look(rows: slice) -> Looked:
        with torch.enable_grad():
            leaf = y.clone().requires_grad_()
            value = call(leaf[rows], t[rows])
            (slope,) = torch.autograd.grad(value, leaf) if value.requires_grad else (torch.zeros_like(leaf),)
        return value.detach(), slope

    if not any(bool(part.any()) for part in look(slice(None))):  # margins that all rows keep: other targets tell
        y = y.roll(1, 0)
    slopes = look(slice(0, TRIED))[1].nan_to_num().flatten(1).norm(dim=1)
    row = slice(int(slopes.argmax()), int(slopes.argmax()) + 1)
    scale = Scale(call, y[row], t[row], look(row)[1][row])
    rule = rule_of(look, lambda rows: scale.weigh(t[rows]))
    if rule not in ("mean", "weighted mean") or not bool(slopes.any()):
        return rule, None
    amount = float(scale.weigh(targets))
    if rule == "mean" and abs(amount - len(targets)) <= TOLERANCE[y.dtype] * len(targets):  # all as those tried
        return rule, None
    return "weighted mean", replace(scale, unit=len(targets) / amount)


def rule_of(look: Callable[[slice], Looked], weigh: Callable[[slice], Tensor], slack: float = 0.0) -> str:
    """The first rule by which the pieces, with loss and gradient each, make up all that are tried, within rounding or
    ``slack`` of their size."""
    whole, parts = look(slice(0, TRIED)), [look(piece) for piece in PIECES]
    count: dict[str, Callable[[slice], Tensor | int]] = {
        "mean": lambda rows: rows.stop - rows.start,
        "sum": lambda rows: 1,
        "weighted mean": weigh,
    }
    for rule, amount in count.items():
        sizes = [amount(piece) for piece in PIECES]
        total = amount(slice(0, TRIED))
        if isinstance(total, Tensor) and not bool(total.isfinite()):  # a row by itself has no slope
            continue
        pairs = [
            (total * whole[i], sum(size * part[i] for size, part in zip(sizes, parts, strict=True) if size != 0))
            for i in range(2)
        ]
        if all(close(torch.as_tensor(right), left, slack) for left, right in pairs):
            return rule
    return "all rows"


def close(found: Tensor, true: Tensor, slack: float = 0.0) -> bool:
    """Whether two numbers or vectors agree, but for rounding or ``slack``, relative."""
    slack = max(slack, TOLERANCE[true.dtype]) * float(true.detach().abs().nan_to_num().max())
    return torch.allclose(found.to(true), true, rtol=0, atol=slack, equal_nan=True)


def exact(call: Call, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs and targets in float64, if the loss takes them."""
    finer = y.to(wide(y.device))
    twice = finer, like(t, finer)
    try:
        with torch.no_grad():
            found = call(*twice)
    except Exception:  # of a loss that holds numbers of another dtype
        return y, t
    return twice if found.dtype is torch.float64 else (y, t)


def held(call: Call, outputs: Tensor) -> Call:
    """A loss that is a module is copied: what is given is never changed. Its parameters stay what they are."""
    if not isinstance(call, nn.Module):
        return call
    try:
        return copy.deepcopy(call).to(outputs.device, outputs.dtype).requires_grad_(False)
    except Exception:  # of what cannot be copied
        return call


def jittered(outputs: Tensor) -> Tensor:
    """Outputs a little nearer to 0, each by another part: numbers between 0 and 1 stay so."""
    noise = torch.rand(outputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return outputs.detach() * (1 - JITTER * noise).to(outputs)


def tried(name: str, call: Call, y: Tensor, t: Tensor) -> Tensor:
    """What the loss gives for these rows; UserError where that is no number, or where it takes no such rows."""
    if missing := arguments_missing(call):
        raise UserError(
            f"the loss {name} asks for {missing} too, and is given outputs and targets. Wrap it: "
            f"lambda outputs, targets: loss(..., {missing}), or a function of a module: network.loss=my_module.loss"
        )
    try:
        with torch.no_grad():
            found = call(y, t)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the loss {name} does not take outputs {tuple(y.shape)} of {y.dtype} and targets {tuple(t.shape)} of "
            f"{t.dtype}: {error_line(error)}"
        ) from error
    if not isinstance(found, Tensor) or not found.is_floating_point() or not found.numel():
        what = f"{tuple(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"the loss {name} gives {what}. It must give one number, or one for each row")
    return found


def arguments_missing(call: Call) -> str:
    """The arguments that a loss needs beyond two; nothing where that cannot be seen."""
    try:
        known = inspect.signature(call.forward if isinstance(call, nn.Module) else call)
    except (TypeError, ValueError):
        return ""
    asked = [
        entry
        for entry in known.parameters.values()
        if entry.default is entry.empty and entry.kind not in (entry.VAR_POSITIONAL, entry.VAR_KEYWORD)
    ]
    placed = [entry for entry in asked if entry.kind is not entry.KEYWORD_ONLY]
    return ", ".join(entry.name for entry in (*placed[2:], *(e for e in asked if e not in placed)))
