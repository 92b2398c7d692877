"""The last steps of every builder: take and split rows, standardise, cast, name, and say what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict

import torch
from torch import Tensor

from calclab.core import Data, Units
from calclab.core.rows import row_wise, windows
from calclab.data.missing import Gap, filled
from calclab.data.split import split
from calclab.errors import UserError


class Common(TypedDict):
    """What every builder is asked for and hands on to `finish`; some draw from the seed as well."""

    standardize: bool
    held_out: float
    dtype: torch.dtype
    device: torch.device | str
    seed: int


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
    columns: Sequence[str] = (),
    gaps: Sequence[Gap] = (),
    places: Tensor | None = None,
) -> Data:
    """Data from float64 inputs (B, *shape) and targets: (B,) class numbers, or (B, m) numbers to predict.

    ``columns`` names what the inputs were made of, where several were made of one; ``gaps`` are those in which values
    are missing; ``places`` (B,) says which rows of the table these are, where some are left out already.

    What is held out is held out of everything: mean and variance, and what is put in for missing values, are those of
    the rows to learn from.
    """
    notes = list(notes)
    if rows is not None and rows < len(inputs):
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(inputs), generator=generator)[:rows].sort().values
        notes.append(f"{rows} of {len(inputs)} rows, chosen by the seed")
        inputs, targets = inputs[chosen], targets[chosen]
        places = chosen if places is None else places[chosen]
    parts = [torch.arange(len(inputs))]
    if held_out:
        parts = list(split(name, targets, held_out, classification=classification, seed=seed))
        notes.append(
            f"{len(parts[1])} of {len(inputs)} rows held out, chosen by the seed"
            + ", of each class alike" * classification
        )
    inputs = filled(inputs, parts[0], gaps) if gaps else inputs
    if not all(bool(inputs[window].isfinite().all()) for window in windows(inputs)):
        raise UserError(f"data={name} holds inputs that are not finite numbers. Leave these rows out")
    x, y = inputs[parts[0]], targets[parts[0]]
    if constant := [feature for feature, same in zip(features, _constant(x), strict=True) if same]:
        shown = ", ".join(constant[:5]) + (" and others" if len(constant) > 5 else "")
        notes.append(f"{len(constant)} of {len(features)} inputs are constant: {shown}")
    units, target_units = None, None
    if standardize and not inputs.is_floating_point():
        raise UserError(f"data.standardize=true: the inputs of {name} are codes, and no quantities. Leave it out")
    if standardize:
        inputs, units = standardized(inputs, x), units_of(x, dtype, device)
        notes.append("inputs standardised to mean 0 and variance 1")
        if not classification and targets.shape[1] and not bool(_constant(y).any()):
            told = ", ".join(
                f"{name} had mean {float(mean):.4g} and deviation {float(deviation):.4g}"
                for name, mean, deviation in zip(classes, *moments(y), strict=True)
            )
            targets, target_units = standardized(targets, y), units_of(y, dtype, device)
            notes.append(f"targets standardised as well: {told}")
    whole = Data(
        name=name,
        inputs=inputs.to(dtype=dtype if inputs.is_floating_point() else inputs.dtype, device=device),
        targets=targets.to(device=device) if classification else targets.to(dtype=dtype, device=device),
        features=tuple(features),
        classes=tuple(classes),
        classification=classification,
        notes=tuple(notes),
        columns=tuple(columns),
        units=units,
        target_units=target_units,
        places=places,
    )
    if not held_out:
        return whole
    learned, held = map(whole.take, parts)
    return replace(learned, held_out=replace(held, name=f"{name}, held out", notes=()))


def _constant(x: Tensor) -> Tensor:
    flat = x.flatten(1)
    first = flat[0]
    return torch.stack([(flat[window] == first).all(dim=0) for window in windows(flat)]).all(dim=0)


def moments(by: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (d,) of each entry over the rows; the deviation of what never varies is 0."""
    flat, constant = by.flatten(1), _constant(by)
    mean = torch.where(constant, flat[0], flat.mean(dim=0))
    return mean, row_wise(flat, lambda part: (part - mean).square()).mean(dim=0).sqrt()


def standardized(x: Tensor, by: Tensor | None = None) -> Tensor:
    """(x - mean) / deviation for each entry, over the rows of ``by`` (None: its own); what never varies becomes 0."""
    by = x if by is None else by
    mean, deviation = moments(by)
    nothing = torch.zeros((), dtype=x.dtype)
    varies, scale = ~_constant(by), deviation.where(deviation > 0, torch.ones_like(deviation))
    shape = x.shape[1:]
    return row_wise(
        x, lambda part: ((part.flatten(1) - mean).where(varies, nothing) / scale).reshape(len(part), *shape)
    )


def units_of(by: Tensor, dtype: torch.dtype, device: torch.device | str) -> Units:
    """The way back from what `standardized` makes; of what never varies every number is the mean."""
    mean, deviation = moments(by)
    return Units(mean.to(dtype=dtype, device=device), deviation.to(dtype=dtype, device=device))
