"""How well a network does on the rows it learns from and on those held out, a few rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from calclab.core import Data

if TYPE_CHECKING:
    from calclab.subject.network import Network

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
    outputs = predictions(network, θ, data.inputs)
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


def predictions(network: Network, θ: Tensor, inputs: Tensor) -> Tensor:
    """The outputs (B, m) at θ (n,) for inputs (B, *shape), detached, in pieces that bound the memory."""
    piece = max(1, min(ROWS, NUMBERS // max(1, inputs[0].numel())))
    parameters = network.unflatten(θ.detach())
    with torch.no_grad():
        return torch.cat([network.evaluate(part, parameters) for part in torch.split(inputs, piece)])


def right(network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
    """1 for every row (B,) whose class is predicted right, 0 for the others. One output tells of the second class by
    its sign where it is a logit (bce), and elsewhere by being nearer to 1 than to 0.
    """
    if outputs.shape[1] == 1:
        predicted = (outputs[:, 0] > (0 if network.loss_name == "bce" else 0.5)).long()
    else:
        predicted = outputs.argmax(dim=1)
    return (predicted == targets).to(outputs.dtype)
