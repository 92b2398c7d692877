"""Whether a network tells more of its targets than a constant would: the share of the most frequent class, the mean."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from calclab.core import Rows
from calclab.subject.network import Network
from calclab.subject.scores import predictions

LITTLE = 0.05  # of the entropy of the classes: a loss this much below it has learned something
EVEN = 1e-3  # of their size: outputs that differ by less from row to row are the same


def chance(network: Network, θ: Tensor, found: Mapping[str, Tensor]) -> str:
    """What it does, in words, where it is no better than a constant; empty where it is, or there is no telling. Its
    scores are ``found``.

    The constant is the most frequent class, whose loss is the entropy H = -Σ p log p of the classes (where the loss is
    a cross-entropy, it may be below H without more rows being right), or the mean, which has r² = 0.
    """
    data = network.data
    if "train_accuracy" in found:
        p = data.targets.bincount().double() / len(data.targets)
        most = float(p.max())
        if most == 1 or float(found["train_accuracy"]) > most + 1e-9:
            return ""
        entropy = float(torch.special.entr(p).sum())
        if network.loss_name in ("cross_entropy", "bce") and float(found["train_loss"]) < (1 - LITTLE) * entropy:
            return ""
        score = f"{float(found['train_accuracy']):.1%} of the rows are right, and {most:.1%} would be by always saying "
        score += data.classes[int(p.argmax())]
    elif "train_r2" in found and float(found["train_r2"]) <= 0:  # NaN where the targets are constant
        score = f"r² is {float(found['train_r2']):.3g}, no better than always saying the mean"
    else:
        return ""
    return f"it is at chance: {score}{', ' + same if (same := sameness(network, θ)) else ''}"


def sameness(network: Network, θ: Tensor) -> str:
    """Said where all rows get the same outputs."""
    outputs = predictions(network, θ, network.data.inputs)
    if isinstance(outputs, Rows):
        outputs = outputs[: outputs.most]
    spread = outputs.std(0, correction=0).max() / outputs.abs().max().clamp(min=torch.finfo(outputs.dtype).tiny)
    return "all rows get the same outputs (units dead or saturated)" if bool(spread < EVEN) else ""
