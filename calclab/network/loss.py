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


@dataclass(frozen=True)
class OwnLoss(Loss):
    """A loss of the user's: ``of_row`` takes outputs (B, *shape) and targets at once, to their mean or sum ()."""

    shape: tuple[int, ...] = ()

    def rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        y = self.shaped(outputs)
        return torch.stack([self.of_row(y[i : i + 1], targets[i : i + 1]) for i in range(len(y))])

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.of_row(self.shaped(outputs), targets)

    def total(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self(outputs, targets) * (len(outputs) if self.mean else 1)

    def shaped(self, outputs: Tensor) -> Tensor:
        return outputs.reshape(len(outputs), *self.shape)


def own(call: Call, outputs: Tensor, targets: Tensor) -> Loss:
    """Any callable as a loss: a torch.nn loss, or a function of outputs (B, ...) and targets to (), or to (B,).

    ``outputs`` and ``targets`` are some rows, by which it is found whether () is a mean or a sum over rows.
    UserError for what is neither: then the loss of many rows could not be put together from parts.
    """
    name = getattr(call, "__name__", type(call).__name__)
    name = f"own_{name}" if name in LOSSES else name
    shape = tuple(outputs.shape[1:])
    twice = [*range(len(outputs)), 0]
    y, t = outputs[twice], targets[twice]
    try:
        with torch.no_grad():
            found = call(y, t)
            if not isinstance(found, Tensor) or found.shape not in (torch.Size(()), torch.Size((len(y),))):
                what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise UserError(f"the loss {name} gives {what}. It must give one number, or one for each row")
            if found.ndim:
                return Loss(name, lambda outputs, targets: call(outputs.reshape(len(outputs), *shape), targets))
            alone = torch.stack([call(y[i : i + 1], t[i : i + 1]) for i in range(len(y))])
    except UserError:
        raise
    except Exception as error:
        message = (str(error).strip() or "no message").splitlines()[0]
        raise UserError(
            f"the loss {name} does not take outputs {tuple(y.shape)} and targets {tuple(t.shape)}: {message}"
        ) from error
    for mean, whole in ((True, alone.mean()), (False, alone.sum())):
        if torch.allclose(found, whole, rtol=1e-4, atol=1e-6, equal_nan=True):
            return OwnLoss(name, call, mean, shape)
    raise UserError(
        f"the loss {name} is neither the mean nor the sum of the losses of its rows: {float(found):.4g}, where its "
        f"rows by themselves have the mean {float(alone.mean()):.4g}. Leave out weights of classes and ignored targets"
    )


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
        raise UserError(f"network.loss={name}: the losses are {', '.join(LOSSES)}. Type network.loss=mse")
    if name == "sum":
        return LOSSES[name]
    if not targets:
        raise UserError(f"network.loss={name} needs targets, and {data.name} has none. Type network.loss=sum")
    if not data.classification and name == "cross_entropy":
        raise UserError(
            f"network.loss={name} needs classes, and {data.name} has numbers to predict. Type network.loss=mse"
        )
    if not data.classification and name == "bce" and not _within_unit(data.targets):
        raise UserError(
            f"network.loss=bce needs targets from 0 to 1, and {data.name} has others. Type network.loss=mse"
        )
    expected = len(data.classes) if data.classification else data.targets.shape[1]
    binary = data.classification and expected == 2 and outputs == 1 and name != "cross_entropy"
    if outputs != expected and not binary:
        what = "classes" if data.classification else "numbers to predict"
        raise UserError(
            f"the network has {outputs} outputs, and {data.name} has {expected} {what}. "
            f"Give the network {expected} outputs, or type network.loss=sum to look at the outputs alone"
        )
    return LOSSES[name]


def _within_unit(targets: Tensor) -> bool:
    return targets.is_meta or bool(((targets >= 0) & (targets <= 1)).all())
