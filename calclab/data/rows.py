"""Rows of the user's own: tensors, arrays, a DataFrame, a Dataset or a DataLoader, as ``core.Data``.

What is given is read and never changed. A loader is gone through once, in its own order, and its batches are joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from calclab.core import Data
from calclab.errors import UserError

TOGETHER = 256  # rows of a Dataset that are joined at once
PAIR = "give (inputs, targets), a DataFrame with target=, a Dataset, or a DataLoader of such pairs"


def data(
    given: Any,
    *,
    target: str | None = None,
    features: Sequence[str] = (),
    classes: Sequence[str] = (),
    name: str = "data",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Data:
    """``Data`` of what a user has in hand.

    ``given`` is a ``Data``, a pair (inputs (B, *shape), targets (B,) or (B, m)) of tensors or arrays, inputs alone, a
    DataFrame with its column ``target``, a torch Dataset of (input, target), or any iterable of such batches, a
    DataLoader among them. Whole numbers as targets (B,) are classes; numbers with a fraction are to be predicted.
    Inputs of whole numbers stay what they are: codes, such as tokens. Raises UserError for what is none of these.
    """
    if isinstance(given, Data):
        return given
    names = tuple(features)
    if hasattr(given, "columns") and hasattr(given, "to_numpy"):
        given, names = frame(given, target, names)
    elif target is not None:
        raise UserError(f"target={target!r} names a column of a DataFrame, and the data are {type(given).__name__}")
    inputs, targets = pair(given)
    if len(inputs) == 0:
        raise UserError(f"the data hold no rows: {PAIR}")
    if targets is not None and len(targets) != len(inputs):
        raise UserError(f"{len(inputs)} rows of inputs and {len(targets)} of targets: there must be as many")
    inputs = inputs.detach().to(device)
    inputs = inputs.to(dtype) if inputs.is_floating_point() or inputs.dtype is torch.bool else inputs.long()
    width = inputs[0].numel()
    if names and len(names) != width:
        raise UserError(f"{len(names)} features are named, and a row has {width} numbers")
    wanted, classification = torch.zeros(len(inputs), 0, dtype=dtype, device=device), False
    if targets is not None:
        wanted, classification = as_targets(targets.detach().to(device), dtype)
    count = int(wanted.max()) + 1 if classification else wanted.shape[1]
    if classes and len(classes) < count:
        raise UserError(f"{len(classes)} classes are named, and the targets have {count}")
    return Data(
        name=name,
        inputs=inputs,
        targets=wanted,
        features=names or tuple(f"x{k}" for k in range(width)),
        classes=tuple(map(str, classes)) or tuple(f"{'class' if classification else 'y'}{k}" for k in range(count)),
        classification=classification,
    )


def as_targets(targets: Tensor, dtype: torch.dtype) -> tuple[Tensor, bool]:
    """Targets as ``Data`` has them, and whether they are classes."""
    if targets.ndim == 1 and not targets.is_floating_point():
        if bool((targets < 0).any()):
            raise UserError("a class is a whole number from 0: there are negative targets. Number the classes anew")
        return targets.long(), True
    return targets.to(dtype).reshape(len(targets), -1), False


def frame(given: Any, target: str | None, names: Sequence[str]) -> tuple[Any, tuple[str, ...]]:
    """Inputs and targets of a DataFrame of numbers, and the names of its columns."""
    columns = [column for column in given.columns if column != target]
    if target is not None and len(columns) == len(given.columns):
        raise UserError(f"target={target!r}: there is no such column. There are: {', '.join(map(str, columns))}")
    wrong = [column for column in given.columns if given[column].dtype.kind not in "iufb"]
    if wrong:
        raise UserError(f"the column {wrong[0]!r} holds no numbers. Encode it, or ask for data=table data.path=my.csv")
    inputs = torch.tensor(given[columns].to_numpy(dtype="float64"))
    if bool(inputs.isnan().any()):
        raise UserError("values are missing in the table: fill them first, or ask for data=table data.path=my.csv")
    targets = None if target is None else torch.tensor(given[target].to_numpy())
    return (inputs, targets), tuple(names) or tuple(map(str, columns))


def pair(given: Any) -> tuple[Tensor, Tensor | None]:
    """Inputs and targets, all rows."""
    if array(given):
        return tensor(given), None
    if isinstance(given, tuple | list) and len(given) == 2 and all(map(array, given)):
        return tensor(given[0]), tensor(given[1])
    if hasattr(given, "__getitem__") and not isinstance(given, tuple | list | Mapping):  # a Dataset: rows one by one
        given = DataLoader(given, batch_size=TOGETHER)
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise UserError(f"the data are a {type(given).__name__}: {PAIR}")
    batches = [both(batch) for batch in given]
    if not batches:
        raise UserError(f"the data hold no rows: {PAIR}")
    targets = [y for _, y in batches if y is not None]
    return torch.cat([x for x, _ in batches]), torch.cat(targets) if targets else None


def both(part: Any) -> tuple[Tensor, Tensor | None]:
    """Inputs and targets of one batch."""
    if isinstance(part, tuple | list) and len(part) == 2:
        return tensor(part[0]), tensor(part[1])
    if isinstance(part, Tensor):
        return part, None
    raise UserError(f"a batch of the data is a {type(part).__name__}: {PAIR}")


def array(value: Any) -> bool:
    return isinstance(value, Tensor) or hasattr(value, "__array__")


def tensor(value: Any) -> Tensor:
    try:
        return value if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{type(value).__name__} is no array of numbers ({error}): {PAIR}") from None
