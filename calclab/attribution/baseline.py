"""What an input is compared with: zeros, a mean, a row, the mean of a class, or the training set, every row of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from calclab.attribution.model import Model
from calclab.errors import UserError

KINDS = "zeros, mean, row.0, class.0, training, or numbers of your own"
Given = Tensor | Sequence[Tensor]


def baselines(
    baseline: str | Given,
    model: Model,
    reference: Tensor,
    labels: Tensor | None,
    classes: Sequence[str] = (),
) -> Tensor:
    """The baselines (K, 1 or B, d): K of them for every row, of whose attributions the mean is taken."""
    if not isinstance(baseline, str):
        return points_of(baseline, model, "baseline")[None]
    text = baseline.strip()
    if text == "zeros":
        return torch.zeros_like(model.rows[:1])[None]
    if text == "mean":
        return reference.mean(0)[None, None]
    if text == "training":
        return reference[:, None]
    if found := re.fullmatch(r"row\.(\d+)", text):
        k = int(found[1])
        if k >= len(reference):
            raise UserError(
                f"baseline={text}: the reference has the rows 0 to {len(reference) - 1}. Type baseline=row.0"
            )
        return reference[k][None, None]
    if text.startswith("class."):
        return of_class(text, reference, labels, classes)[None, None]
    raise UserError(f"baseline={text}: the baselines are {KINDS}. Type baseline=mean")


def of_class(text: str, reference: Tensor, labels: Tensor | None, classes: Sequence[str]) -> Tensor:
    """The mean (d,) of the rows of a class, by name or number."""
    name = text.partition(".")[2]
    if labels is None or labels.ndim != 1 or labels.is_floating_point() or len(labels) != len(reference):
        raise UserError(
            f"baseline={text} needs the class of each row of the reference, and there are none here. "
            "Type baseline=mean (in Python, give reference_labels=)"
        )
    if name in classes:
        number = list(classes).index(name)
    elif name.isdigit():
        number = int(name)
    else:
        listed = ", ".join(f"class.{c}" for c in (classes or torch.unique(labels).tolist())[:10])
        raise UserError(f"baseline={text}: the classes are {listed}")
    chosen = reference[labels == number]
    if not len(chosen):
        raise UserError(f"baseline={text}: no row of the reference is of that class")
    return chosen.mean(0)


def points_of(given: Given, model: Model, what: str) -> Tensor:
    """Inputs as the module takes them (one row or B), or flat points, as points (1 or B, d)."""
    rows = model.rows
    parts = (given,) if isinstance(given, Tensor) else tuple(given)
    for part in parts:
        if not isinstance(part, Tensor):
            raise UserError(f"{what}: a {type(part).__name__} is given, and a tensor is needed")
    if len(parts) == 1 and model.plain:
        flat = parts[0].to(rows)
        if flat.ndim == 0:
            return flat.expand(1, rows.shape[1])
        if flat.shape == model.pieces[0]:
            flat = flat[None]
        flat = flat.reshape(1, -1) if flat.ndim == 1 else flat.flatten(1)
        if flat.shape[1] == rows.shape[1] and len(flat) in (1, len(rows)):
            return flat
    elif len(parts) == len(model.inputs):
        full = [p[None] if p.ndim == x.ndim - 1 else p for p, x in zip(parts, model.inputs, strict=True)]
        if all(p.shape[1:] == x.shape[1:] for p, x in zip(full, model.inputs, strict=True)):
            flat = model.flat(full)
            if len(flat) in (1, len(rows)):
                return flat
    shapes = " and ".join(str(tuple(p.shape)) for p in parts)
    wanted = " and ".join(str((1, *x.shape[1:])) for x in model.inputs)
    raise UserError(f"{what} of shape {shapes}: give {wanted} for all rows, or one for each of the {len(rows)} rows")
