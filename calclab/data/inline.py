"""Rows typed by hand, in a study or on the command line."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from calclab.core import Data
from calclab.data.finish import Common, finish
from calclab.data.kinds import are_classes
from calclab.errors import UserError


def inline(
    *,
    inputs: Sequence[Any],
    targets: Sequence[Any] | None,
    outputs: int | None,
    features: Sequence[str] | None,
    classes: Sequence[str] | None,
    task: str,
    **common: Unpack[Common],
) -> Data:
    """Data from nested lists: inputs (B, *shape), and targets (B,) or (B, m), or none.

    Targets are classes where ``task`` says so, or where it is auto and they are a flat list of texts, booleans or
    whole numbers each of which stands there twice or more on average (`kinds.are_classes`); classes are numbered in
    sorted order. Without targets a network has ``outputs`` outputs.
    """
    x = _numbers("data.inputs", inputs)
    if x.ndim == 1 and len(x):
        raise UserError(f"data.inputs={list(inputs)}: a list of rows is needed. Type data.inputs='[{list(inputs)}]'")
    if not x.numel():
        raise UserError("data.inputs is empty: rows are needed. Type for example data.inputs='[[1, 2], [3, 4]]'")
    classification = targets is not None and _are_classes(targets, task)
    if targets is None:
        y, names = torch.zeros(len(x), 0), [f"output.{i}" for i in range(outputs or 1)]
    elif classification:
        y, names = _numbered(targets)
    else:
        y = _numbers("data.targets", targets)
        y = y.reshape(len(y), -1) if y.numel() else torch.zeros(0, 1)
        names = [f"output.{i}" for i in range(y.shape[1])]
    if len(y) != len(x):
        raise UserError(
            f"data.targets has {len(y)} entries and data.inputs {len(x)} rows. Give one target for each row"
        )
    if outputs is not None and outputs != len(names):
        raise UserError(f"data.outputs={outputs}: the targets ask for {len(names)}. Leave data.outputs out")
    return finish(
        "inline",
        x,
        y,
        features=_named("data.features", features, _feature_names(tuple(x.shape[1:]))),
        classes=_named("data.classes", classes, names),
        classification=classification,
        **common,
    )


def _numbers(key: str, rows: Sequence[Any]) -> Tensor:
    try:
        return torch.tensor(rows, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{key}: the lists hold more than numbers, or differ in length. Type for example {key}='[[1, 2], [3, 4]]'"
        ) from error


def _are_classes(targets: Sequence[Any], task: str) -> bool:
    flat = not any(isinstance(target, list | tuple) for target in targets)
    if task == "classification" and not flat:
        raise UserError("data.targets: classes are a flat list, one for each row. Type data.targets='[0, 1, 1]'")
    if task == "auto":
        if not flat or not all(isinstance(target, str | int) for target in targets) or len(set(targets)) < 2:
            return False
        numbers = all(isinstance(target, int) and not isinstance(target, bool) for target in targets)
        return not numbers or are_classes(np.unique(np.array(targets, dtype=np.float64)), len(targets))
    return task == "classification"


def _numbered(targets: Sequence[Any]) -> tuple[Tensor, list[str]]:
    """Class numbers, and the classes they stand for. Numbers in order of size, texts in that of the alphabet."""
    different = sorted(set(targets), key=lambda target: (isinstance(target, str), target))
    numbers = {target: number for number, target in enumerate(different)}
    return torch.tensor([numbers[target] for target in targets]), [str(target) for target in different]


def _feature_names(shape: tuple[int, ...]) -> list[str]:
    if len(shape) == 1:
        return [f"x{i}" for i in range(shape[0])]
    return [f"x[{','.join(map(str, index))}]" for index in itertools.product(*(range(size) for size in shape))]


def _named(key: str, names: Sequence[str] | None, usual: list[str]) -> list[str]:
    if names is None:
        return usual
    if len(names) != len(usual):
        raise UserError(
            f"{key} gives {len(names)} names for {len(usual)}: {', '.join(usual[:5])}. Give {len(usual)} names"
        )
    return [str(name) for name in names]
