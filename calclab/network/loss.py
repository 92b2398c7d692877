"""Losses as plain arithmetic, one number a row, so that reverse, forward and batched derivatives of all orders work.

torch's own mean squared error and Huber loss have no forward-over-reverse derivative (pytorch issue 123996).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from calclab.core import Data
from calclab.errors import UserError

Call = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss by name. ``rows`` takes outputs (B, m) and targets (B,) or (B, m) to (B,); a call to the mean or sum."""

    name: str
    of_row: Call
    mean: bool = True

    @property
    def rule(self) -> str:
        """How the losses of the rows make up the loss: "mean" or "sum"; of a user's own also "weighted mean", and "all
        rows" where they do not."""
        return "mean" if self.mean else "sum"

    def amount(self, targets: Tensor) -> Tensor | int:
        """What `total` is divided by for the loss of these rows: how many they are, of a sum 1."""
        return len(targets) if self.mean else 1

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row, (B,)."""
        return self.of_row(outputs if outputs.ndim == 2 else outputs.reshape(len(outputs), -1), targets)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the rows, (); of ``sum`` the sum over all of them."""
        rows = self.rows(outputs, targets)
        return rows.mean() if self.mean else rows.sum()

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum over the rows, ()."""
        return self.rows(outputs, targets).sum()


def wanted(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets as (B, m) numbers: class c is 1 in place c and 0 elsewhere; of one output, the class number itself."""
    if targets.ndim > 1:
        return targets
    if outputs.shape[1] == 1:
        return targets.unsqueeze(1).to(outputs.dtype)
    classes = torch.arange(outputs.shape[1], device=outputs.device)
    return (targets.unsqueeze(1) == classes).to(outputs.dtype)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """log Σ_j exp(y_j) - y_c with c the class."""
    return torch.logsumexp(outputs, dim=1) - outputs.gather(1, targets.unsqueeze(1)).squeeze(1)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over the outputs of (y - t)²."""
    return (outputs - wanted(outputs, targets)).square().mean(dim=1)


def half_mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """½ Σ (y - t)² (Cohen et al. 2021)."""
    return 0.5 * (outputs - wanted(outputs, targets)).square().sum(dim=1)


def mae(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over the outputs of |y - t|."""
    return (outputs - wanted(outputs, targets)).abs().mean(dim=1)


def huber(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over the outputs of ½r² where |r| <= 1 and |r| - ½ beyond, r = y - t (Huber 1964)."""
    r = outputs - wanted(outputs, targets)
    return torch.where(r.abs() <= 1, 0.5 * r.square(), r.abs() - 0.5).mean(dim=1)


def bce(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over the outputs of -t log σ(y) - (1 - t) log σ(-y): binary cross-entropy of logits."""
    t = wanted(outputs, targets)
    return (-t * functional.logsigmoid(outputs) - (1 - t) * functional.logsigmoid(-outputs)).mean(dim=1)


def total(outputs: Tensor, targets: Tensor) -> Tensor:
    """Σ y: no targets are needed."""
    return outputs.sum(dim=1)


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("cross_entropy", cross_entropy),
        Loss("mse", mse),
        Loss("half_mse", half_mse),
        Loss("mae", mae),
        Loss("huber", huber),
        Loss("bce", bce),
        Loss("sum", total, mean=False),
    )
}


def choose(name: str | None, data: Data, outputs: int) -> Loss:
    """The loss called ``name``, or the usual one for the data; UserError where it does not fit data and outputs."""
    targets = data.targets.ndim == 1 or data.targets.shape[1] > 0
    if name is None:
        usual = "bce" if outputs == 1 and len(data.classes) == 2 else "cross_entropy"
        name = "sum" if not targets else usual if data.classification else "mse"
    if name not in LOSSES:
        raise UserError(
            f"network.loss={name}: the losses are {', '.join(LOSSES)}, or the dotted path of your own. "
            "Type network.loss=mse"
        )
    if name == "sum":
        return LOSSES[name]
    if not targets:
        raise UserError(f"network.loss={name} needs targets, and {data.name} has none. Type network.loss=sum")
    if data.classification and negative(data.targets):
        raise UserError(
            f"a class is a whole number from 0, and {data.name} has negative targets. Number the classes anew, or give "
            "a loss that leaves such rows out: nn.CrossEntropyLoss(ignore_index=-100)"
        )
    if not data.classification and name == "cross_entropy":
        raise UserError(
            f"network.loss={name} needs classes, and {data.name} has numbers to predict. Type network.loss=mse"
        )
    if not data.classification and name == "bce" and not _within_unit(data.targets):
        raise UserError(
            f"network.loss=bce needs targets from 0 to 1, and {data.name} has others. Type network.loss=mse"
        )
    expected = len(data.classes) if data.classification else data.targets.shape[1:].numel()
    binary = data.classification and expected == 2 and outputs == 1 and name != "cross_entropy"
    if outputs != expected and not binary:
        what = "classes" if data.classification else "numbers to predict"
        raise UserError(
            f"the network has {outputs} outputs, and {data.name} has {expected} {what}. "
            f"Give the network {expected} outputs, or type network.loss=sum to look at the outputs alone"
        )
    return LOSSES[name]


def negative(targets: Tensor) -> bool:
    return not targets.is_meta and any(bool((part < 0).any()) for part in torch.split(targets, 2**20))


def _within_unit(targets: Tensor) -> bool:
    return targets.is_meta or bool(((targets >= 0) & (targets <= 1)).all())
