"""What each layer of a network does on the way: histograms of its weights, gradient and step, and their norms."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from calclab.core import HISTOGRAM, Values
from calclab.subject.network import Network

BINS = 30
KINDS = ("weights", "gradients", "updates")


def layers(network: Network) -> list[str]:
    """The modules that hold the trainable parameters, in the order of these."""
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in network.shapes))


def watched(network: Network, x: Tensor, gradient: Tensor, move: Tensor, k: int) -> Values:
    """Of the point x (n,) at step k, the gradient there and the step that led there: a histogram of each layer's
    entries, (BINS, 3), and the norms (layers,) as trajectories. No step has led to the start."""
    found: dict[str, Tensor] = {}
    for kind, vector in zip(KINDS, (x, gradient, move), strict=True):
        if kind == "updates" and k == 0:
            continue
        parts = by_layer(network, vector)
        found |= {f"{HISTOGRAM}{kind}/{layer}": bins(part) for layer, part in parts.items()}
        found[f"layer_{kind}"] = torch.stack([part.norm() for part in parts.values()])
    return found


def by_layer(network: Network, vector: Tensor) -> Mapping[str, Tensor]:
    """The entries of a vector (n,) that belong to each layer."""
    pieces = zip(network.shapes, vector.split_with_sizes(network.sizes), strict=True)
    found: dict[str, list[Tensor]] = {}
    for name, piece in pieces:
        found.setdefault(name.rpartition(".")[0] or name, []).append(piece)
    return {layer: parts[0] if len(parts) == 1 else torch.cat(parts) for layer, parts in found.items()}


def bins(entries: Tensor) -> Tensor:
    """How many of the finite ``entries`` (m,) lie in each of BINS equal intervals, (BINS, 3): from, to, how many.

    >>> made = bins(torch.tensor([0.0, 1.0, 1.0, torch.nan]))
    >>> made[0].tolist()[2], made[-1].tolist()[2], float(made[:, 2].sum())
    (1.0, 2.0, 3.0)
    """
    finite = entries[entries.isfinite()].double().cpu()
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    wide = max(high - low, 1e-12 * max(abs(low), abs(high)), 1e-300)  # all the same: a narrow one around it
    low, high = (low, high) if high - low == wide else (low - wide, low + wide)
    place = ((finite - low) / (high - low) * BINS).long().clamp(0, BINS - 1)
    edges = torch.linspace(low, high, BINS + 1, dtype=torch.float64)
    return torch.stack([edges[:-1], edges[1:], place.bincount(minlength=BINS).double()], 1)
