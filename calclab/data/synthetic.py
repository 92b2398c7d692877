"""Data sets drawn from a seed, or computed: their truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from calclab.core import Data
from calclab.data.finish import Common, finish
from calclab.errors import UserError


def blobs(*, rows: int, classes: int, dimension: int, separation: float, **common: Unpack[Common]) -> Data:
    """A Gaussian mixture: ``rows`` rows separation·u_c + z of each class c, |u_c| = 1 at random, z standard normal."""
    generator = torch.Generator().manual_seed(common["seed"])
    centres = torch.randn(classes, dimension, generator=generator, dtype=torch.float64)
    centres = separation * centres / centres.norm(dim=1, keepdim=True)
    noise = torch.randn(classes, rows, dimension, generator=generator, dtype=torch.float64)
    inputs = (centres.unsqueeze(1) + noise).flatten(0, 1)
    return _classes("blobs", inputs, classes, **common)


def moons(*, rows: int, noise: float, **common: Unpack[Common]) -> Data:
    """Two half circles of radius 1: (cos t, sin t) and (1 - cos t, ½ - sin t), t evenly from 0 to π, plus noise."""
    t = torch.linspace(0, math.pi, rows, dtype=torch.float64)
    outer = torch.stack([t.cos(), t.sin()], dim=1)
    inner = torch.stack([1 - t.cos(), 0.5 - t.sin()], dim=1)
    inputs = torch.cat([outer, inner])
    return _classes("moons", inputs + _noise(inputs, noise, common["seed"]), 2, **common)


def spirals(*, rows: int, noise: float, turns: float, **common: Unpack[Common]) -> Data:
    """Two spirals ±r (cos φ, sin φ) with r from 0 to 1 and φ = 2π·turns·r, evenly in r, plus noise."""
    r = torch.linspace(0, 1, rows + 1, dtype=torch.float64)[1:]
    φ = 2 * math.pi * turns * r
    arm = r.unsqueeze(1) * torch.stack([φ.cos(), φ.sin()], dim=1)
    inputs = torch.cat([arm, -arm])
    return _classes("spirals", inputs + _noise(inputs, noise, common["seed"]), 2, **common)


def linear(*, rows: int, weights: Sequence[float], bias: float, noise: float, **common: Unpack[Common]) -> Data:
    """y = w·x + b + noise with x standard normal."""
    try:
        w = torch.tensor([float(weight) for weight in weights], dtype=torch.float64)
    except (TypeError, ValueError):
        w = torch.zeros(0)
    if not len(w):
        raise UserError(
            f"data.weights={weights}: one number for each input is needed. Type data.weights='[2, -3, 0.5]'"
        )
    generator = torch.Generator().manual_seed(common["seed"])
    inputs = torch.randn(rows, len(w), generator=generator, dtype=torch.float64)
    targets = inputs @ w + bias + noise * torch.randn(rows, generator=generator, dtype=torch.float64)
    return finish(
        "linear",
        inputs,
        targets.unsqueeze(1),
        features=[f"x{i}" for i in range(len(w))],
        classes=["y"],
        classification=False,
        **common,
    )


def chebyshev(*, degree: int, points: int, **common: Unpack[Common]) -> Data:
    """y = T_k(x) = cos(k arccos x) on evenly spaced points of [-1, 1] (Cohen et al. 2021: k = 3, 20 points)."""
    x = torch.linspace(-1, 1, points, dtype=torch.float64)
    before, now = torch.ones_like(x), x
    for _ in range(degree):  # T_{k+1} = 2x T_k - T_{k-1}
        before, now = now, 2 * x * now - before
    return finish(
        "chebyshev",
        x.unsqueeze(1),
        before.unsqueeze(1),
        features=["x"],
        classes=["y"],
        classification=False,
        **common,
    )


def _noise(like: Tensor, deviation: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return deviation * torch.randn(like.shape, generator=generator, dtype=torch.float64)


def _classes(name: str, inputs: Tensor, classes: int, **common: Unpack[Common]) -> Data:
    """Rows sorted by class, as many of each."""
    return finish(
        name,
        inputs,
        torch.arange(classes).repeat_interleave(len(inputs) // classes),
        features=[f"x{i}" for i in range(inputs.shape[1])],
        classes=[f"class.{c}" for c in range(classes)],
        classification=True,
        **common,
    )
