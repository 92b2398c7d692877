"""What a row is compared with: a baseline x₀, of whose target t(x₀) the change t(x) - t(x₀) is explained.

    zeros      0, where that is what "nothing" looks like
    mean       the mean of the reference: after standardising, 0
    row.k      a row of the reference
    class.c    the mean of the reference's rows of class c: what makes x another class than c?
    training   every row of the reference, and the mean of the attributions from all of them
    a tensor   one point for all rows, or one for each

There is no neutral choice: an input that is at its baseline has no share, whatever the network does with it (Sturmfels,
Lundberg and Lee 2020, Visualizing the impact of feature attribution baselines). Over the training set the arbitrariness
is averaged out, at K times the price.
"""

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
    """The baselines (K, 1 or B, d): K of them for every row, of whose attributions the mean is taken.

    ``reference`` (R, d) and its ``labels`` (R,) are what mean, row, class and training speak of; ``classes`` are names
    of labels. UserError for a text that is none of these, for a row or class that there is not, and for a tensor of a
    shape that does not fit.

    >>> from calclab.attribution.model import Model
    >>> model = Model(torch.nn.Identity(), (torch.tensor([[1.0, 2.0]]),))
    >>> reference, labels = torch.tensor([[0.0, 0.0], [2.0, 6.0]]), torch.tensor([0, 1])
    >>> baselines("mean", model, reference, labels)
    tensor([[[1., 3.]]])
    >>> baselines("class.b", model, reference, labels, classes=("a", "b"))
    tensor([[[2., 6.]]])
    >>> baselines("training", model, reference, labels).shape
    torch.Size([2, 1, 2])
    """
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
    """The mean (d,) of the rows of a class, by name or number.

    UserError where the reference (R, d) has no classes (R,), for a class that there is not, and for one without rows.
    """
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
    """Inputs as the module takes them (one row or B), or flat points, as points (1 or B, d).

    A number stands for a point of that number everywhere. ``what`` is given names what is wrong in the UserError for
    tensors of other shapes.

    >>> model = Model(torch.nn.Identity(), (torch.zeros(4, 2),))
    >>> points_of(torch.tensor(1.0), model, "baseline"), points_of(torch.zeros(4, 2), model, "baseline").shape
    (tensor([[1., 1.]]), torch.Size([4, 2]))
    """
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
