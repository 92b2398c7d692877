"""The last steps of every builder: take a part of the rows, standardise, cast, name, and say what was done."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from calclab.core import Data
from calclab.errors import UserError


def finish(
    name: str,
    inputs: Tensor,
    targets: Tensor,
    *,
    features: Sequence[str],
    classes: Sequence[str],
    classification: bool,
    standardize: bool,
    rows: int | None = None,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int,
    notes: Sequence[str] = (),
) -> Data:
    """Data from float64 inputs (B, *shape) and targets: (B,) class numbers, or (B, m) numbers to predict."""
    notes = list(notes)
    if rows is not None and rows < len(inputs):
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(inputs), generator=generator)[:rows].sort().values
        notes.append(f"{rows} of {len(inputs)} rows, chosen by the seed")
        inputs, targets = inputs[chosen], targets[chosen]
    if not bool(inputs.isfinite().all()):
        raise UserError(f"data={name} holds inputs that are not finite numbers. Leave these rows out")
    if constant := [feature for feature, same in zip(features, _constant(inputs), strict=True) if same]:
        shown = ", ".join(constant[:5]) + (" and others" if len(constant) > 5 else "")
        notes.append(f"{len(constant)} of {len(features)} inputs are constant: {shown}")
    if standardize:
        inputs = standardized(inputs)
        notes.append("inputs standardised to mean 0 and variance 1")
        if not classification and targets.shape[1] and not bool(_constant(targets).any()):
            moments = ", ".join(
                f"{name} had mean {float(mean):.4g} and deviation {float(deviation):.4g}"
                for name, mean, deviation in zip(classes, targets.mean(0), targets.std(0, correction=0), strict=True)
            )
            targets = standardized(targets)
            notes.append(f"targets standardised as well: {moments}")
    return Data(
        name=name,
        inputs=inputs.to(dtype=dtype, device=device),
        targets=targets.to(device=device) if classification else targets.to(dtype=dtype, device=device),
        features=tuple(features),
        classes=tuple(classes),
        classification=classification,
        notes=tuple(notes),
    )


def _constant(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return (flat == flat[0]).all(dim=0)


def standardized(x: Tensor) -> Tensor:
    """(x - mean) / deviation for each entry over the rows; entries that never vary become 0."""
    flat = x.flatten(1)
    centred = (flat - flat.mean(dim=0)).where(~_constant(x), torch.zeros((), dtype=x.dtype))
    deviation = centred.square().mean(dim=0).sqrt()
    return (centred / deviation.where(deviation > 0, torch.ones_like(deviation))).reshape(x.shape)
