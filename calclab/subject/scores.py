"""How well a network does on the rows it learns from and on those held out, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from calclab.core import Data, Rows
from calclab.core.rows import row_wise, windows
from calclab.core.values import wide

if TYPE_CHECKING:
    from calclab.subject.network.functions import Network

NUMBERS = 2**20  # so many input numbers go through the network at once,
ROWS = 1024  # and at most so many rows


def scores(network: Network, θ: Tensor) -> dict[str, Tensor]:
    """Numbers () at θ (n,), detached: the loss over all rows, and of classes the fraction that is predicted right, of
    numbers r² = 1 - Σ(y - t)² / Σ(t - mean t)², NaN of constant ones; each for the rows to learn from ("train_loss")
    and for those held out, where there are any ("held_out_loss", "held_out_accuracy", "held_out_r2").
    """
    parts = {"train": network.data, "held_out": network.data.held_out}
    return {
        f"{part}_{name}": value
        for part, data in parts.items()
        if data is not None
        for name, value in of(network, θ, data).items()
    }


def of(network: Network, θ: Tensor, data: Data) -> dict[str, Tensor]:
    """The scores on the rows of ``data``."""
    if network.own_loss:
        return {"loss": own_loss(network, θ, data)}
    outputs = predictions(network, θ, data.inputs)
    if isinstance(outputs, Rows) or isinstance(data.targets, Rows):
        return in_windows(network, outputs, data)
    found = {"loss": network.loss(outputs, data.targets)}
    if network.loss_name == "sum":
        return found
    if data.classification:
        found["accuracy"] = right(network, outputs, data.targets).mean()
    elif data.targets.is_floating_point() and data.targets.shape == outputs.shape:
        spread = (data.targets - data.targets.mean(dim=0)).square().sum()
        constant = (data.targets == data.targets[0]).all()
        error = (outputs - data.targets).square().sum()
        found["r2"] = torch.where(constant, torch.nan, 1 - error / spread)
    return found


def in_windows(network: Network, outputs: Tensor, data: Data) -> dict[str, Tensor]:
    """The same of rows that are read window by window: sums in float64, and of targets their own mean."""
    pieces, count, dtype = windows(outputs, data.targets), len(outputs), wide(outputs.device)

    def total(of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return torch.stack([of(outputs[w], data.targets[w]).to(dtype) for w in pieces]).sum(0)

    numbers = data.targets.is_floating_point() and data.targets.shape == outputs.shape
    loss = total(network.loss.total)
    found = {"loss": loss / network.amount(data.inputs, data.targets) if network.loss.mean else loss}
    if network.loss_name == "sum":
        return found
    if data.classification:
        found["accuracy"] = total(lambda y, t: right(network, y, t).sum()) / count
    elif numbers:
        mean = total(lambda y, t: t.to(dtype).sum(0)) / count
        spread = total(lambda y, t: (t.to(dtype) - mean).square().sum())
        found["r2"] = 1 - total(lambda y, t: (t - y).to(dtype).square().sum()) / spread
    return found


def predictions(network: Network, θ: Tensor, inputs: Tensor) -> Tensor:
    """The outputs (B, m) at θ (n,) for inputs (B, *shape), detached, in pieces that bound the memory; of `Rows`, such
    again."""
    piece, parameters = pieces(inputs), network.unflatten(θ.detach())

    def outputs(part: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([network.evaluate(few, parameters) for few in torch.split(part, piece)])

    return row_wise(inputs, outputs)


def own_loss(network: Network, θ: Tensor, data: Data) -> Tensor:
    """The loss () that a network computes itself, in pieces that bound the memory."""
    parameters, piece = network.unflatten(θ.detach()), pieces(data.inputs)
    with torch.no_grad():
        if network.loss.rule == "all rows":
            return network.value(parameters, data.inputs, data.targets)
        total = torch.stack(
            [
                network.total(parameters, *few).to(wide(θ.device))
                for w in windows(data.inputs, data.targets)
                for few in zip(torch.split(data.inputs[w], piece), torch.split(data.targets[w], piece), strict=True)
            ]
        ).sum()
    return (total / network.amount(data.inputs, data.targets)).to(θ.dtype)


def pieces(inputs: Tensor) -> int:
    """How many rows go through the network at once."""
    return max(1, min(ROWS, NUMBERS // max(1, inputs[0].numel())))


def right(network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
    """1 for every row (B,) whose class is predicted right, 0 for the others. One output tells of the second class by
    its sign where it is a logit (bce), and elsewhere by being nearer to 1 than to 0.
    """
    if outputs.shape[1] == 1:
        predicted = (outputs[:, 0] > (0 if network.loss_name == "bce" else 0.5)).long()
    else:
        predicted = outputs.argmax(dim=1)
    return (predicted == targets).to(outputs.dtype)
