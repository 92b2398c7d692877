"""The last steps of every builder: take and split rows, standardise, cast, name, and say what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from calclab.core import Data
from calclab.data.split import split
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
    held_out: float,
    rows: int | None = None,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int,
    notes: Sequence[str] = (),
) -> Data:
    """Data from float64 inputs (B, *shape) and targets: (B,) class numbers, or (B, m) numbers to predict.

    What is held out is held out of everything: mean and variance are those of the rows to learn from.
    """
    notes = list(notes)
    if rows is not None and rows < len(inputs):
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(inputs), generator=generator)[:rows].sort().values
        notes.append(f"{rows} of {len(inputs)} rows, chosen by the seed")
        inputs, targets = inputs[chosen], targets[chosen]
    if not bool(inputs.isfinite().all()):
        raise UserError(f"data={name} holds inputs that are not finite numbers. Leave these rows out")
    parts = [torch.arange(len(inputs))]
    if held_out:
        parts = list(split(name, targets, held_out, classification=classification, seed=seed))
        notes.append(
            f"{len(parts[1])} of {len(inputs)} rows held out, chosen by the seed"
            + ", of each class alike" * classification
        )
    x, y = inputs[parts[0]], targets[parts[0]]
    if constant := [feature for feature, same in zip(features, _constant(x), strict=True) if same]:
        shown = ", ".join(constant[:5]) + (" and others" if len(constant) > 5 else "")
        notes.append(f"{len(constant)} of {len(features)} inputs are constant: {shown}")
    if standardize:
        inputs = standardized(inputs, x)
        notes.append("inputs standardised to mean 0 and variance 1")
        if not classification and targets.shape[1] and not bool(_constant(y).any()):
            moments = ", ".join(
                f"{name} had mean {float(mean):.4g} and deviation {float(deviation):.4g}"
                for name, mean, deviation in zip(classes, y.mean(0), y.std(0, correction=0), strict=True)
            )
            targets = standardized(targets, y)
            notes.append(f"targets standardised as well: {moments}")
    whole = Data(
        name=name,
        inputs=inputs.to(dtype=dtype, device=device),
        targets=targets.to(device=device) if classification else targets.to(dtype=dtype, device=device),
        features=tuple(features),
        classes=tuple(classes),
        classification=classification,
        notes=tuple(notes),
    )
    return apart(whole, *parts) if held_out else whole


def apart(data: Data, learned: Tensor, held: Tensor) -> Data:
    """The rows numbered ``learned``, with those numbered ``held`` as its held-out rows."""

    def take(chosen: Tensor) -> Data:
        chosen = chosen.to(data.inputs.device)
        return replace(data, inputs=data.inputs[chosen], targets=data.targets[chosen])

    return replace(take(learned), held_out=replace(take(held), name=f"{data.name}, held out", notes=()))


def _constant(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    return (flat == flat[0]).all(dim=0)


def standardized(x: Tensor, by: Tensor | None = None) -> Tensor:
    """(x - mean) / deviation for each entry, over the rows of ``by`` (None: its own); what never varies becomes 0."""
    by = x if by is None else by
    mean, varies = by.flatten(1).mean(dim=0), ~_constant(by)
    nothing = torch.zeros((), dtype=x.dtype)
    deviation = (by.flatten(1) - mean).where(varies, nothing).square().mean(dim=0).sqrt()
    centred = (x.flatten(1) - mean).where(varies, nothing)
    return (centred / deviation.where(deviation > 0, torch.ones_like(deviation))).reshape(x.shape)
