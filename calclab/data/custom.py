"""Rows from a function of the user's, in any form that `rows.data` takes; and what is done to them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

import torch

from calclab.core import Data
from calclab.data.finish import Common, finish
from calclab.data.rows import data, drawn
from calclab.errors import UserError, error_line


def custom(
    make: Callable[[], Any],
    *,
    target: str | None = None,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    memory: float | None = None,
    **common: Unpack[Common],
) -> Data:
    """Data from what ``make`` gives, called once, with draws from the seed: tensors, a DataFrame, a Dataset, a loader.

    Raises UserError where it is none of these, and where the function raises.
    """
    name = str(getattr(getattr(make, "func", make), "__name__", "rows"))
    with drawn(None, common["seed"]):
        try:
            given = make()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"data._target_: {name} could not be called: {error_line(error)}") from error
    if given is None:
        raise UserError(
            f"data._target_: {name} returns nothing, and rows are needed: (inputs, targets), a DataFrame, a Dataset or "
            "a DataLoader"
        )
    known: dict[str, Any] = {"target": target, "memory": memory, "name": name, "seed": common["seed"]}
    known |= {"features": features or (), "classes": classes or ()}
    return finished(data(given, dtype=torch.float64, **known), None, **common)


def finished(given: Data, rows: int | None, **common: Unpack[Common]) -> Data:
    """Rows drawn, held out and standardised as those of any data set are; ``given`` in float64."""
    made = finish(
        given.name,
        given.inputs,
        given.targets,
        features=given.features,
        classes=given.classes,
        classification=given.classification,
        notes=given.notes,
        rows=rows,
        **common,
    )
    held = None if made.held_out is None else replace(made.held_out, layout=given.layout)
    return replace(made, layout=given.layout, held_out=held)
