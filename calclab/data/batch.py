"""One batch of a user's, or all rows at once, as inputs and targets: a tensor, an array, a tuple, a mapping."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calclab.core import Layout
from calclab.core.layout import TARGETS
from calclab.errors import UserError

FORMS = (
    "give (inputs, targets), a DataFrame with target=, a Dataset, or a DataLoader (any iterable) of batches that are "
    "tensors, tuples (inputs, ..., targets) or dicts"
)


@dataclass(frozen=True)
class Batch:
    """Rows (b, ...) of the inputs, by name where ``named``, else in the order of a model's arguments; ``targets``
    (b, ...) or None."""

    inputs: Mapping[str, Tensor]
    targets: Tensor | None
    named: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def layout(self) -> Layout | None:
        """How several inputs lie side by side in a row; None of a single one."""
        if len(self.inputs) == 1:
            return None
        return Layout.of(self.inputs if self.named else list(self.inputs.values()))

    def rows(self, layout: Layout | None, dtype: torch.dtype) -> Tensor:
        """The inputs as one tensor of rows (b, ...). UserError for a batch of another layout."""
        if layout is None:
            return next(iter(self.inputs.values()))
        return layout.pack(self.inputs if self.named else list(self.inputs.values()), dtype)


def batch(given: Any, target: str | None = None) -> Batch:
    """What is given as a batch. Of a tuple the last is the target, and several inputs may be a tuple within; of a
    mapping the target is ``target``, or labels, targets, y.

    Raises UserError where it is none of these, and where its tensors disagree in their number of rows.
    """
    if array(given):
        return checked(Batch({"": tensor(given, "inputs")}, None))
    if isinstance(given, Mapping):
        return checked(of_mapping(given, target))
    if isinstance(given, tuple | list) and given:
        *inputs, targets = given if len(given) > 1 else (given[0], None)
        wanted = None if targets is None else tensor(targets, "targets")
        if len(inputs) == 1 and several(inputs[0], wanted):
            inputs = list(inputs[0])
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            named = {str(name): tensor(value, str(name)) for name, value in inputs[0].items()}
            return checked(Batch(named, wanted, named=True))
        if len(inputs) == 1:
            return checked(Batch({"": tensor(inputs[0], "inputs")}, wanted))
        return checked(Batch({f"input{k}": tensor(value, f"input {k}") for k, value in enumerate(inputs)}, wanted))
    raise UserError(f"a batch of the data is a {type(given).__name__}: {FORMS}")


def several(given: Any, targets: Tensor | None) -> bool:
    """Whether these are inputs side by side, as in ((x, z), y), and not rows: each has as many rows as the targets."""
    if not isinstance(given, tuple | list) or len(given) < 2 or targets is None or not all(map(array, given)):
        return False
    alike = len({tuple(value.shape) for value in given}) == 1
    if isinstance(given, list) and len(given) == len(targets) and alike:  # as many tensors as rows: the rows themselves
        return False
    return all(value.shape[:1] == targets.shape[:1] for value in given)


def of_mapping(given: Mapping[str, Any], target: str | None) -> Batch:
    names = [str(name) for name in given]
    if target is not None and target not in names:
        raise UserError(f"target={target!r}: the batches hold {', '.join(names)}. Name one of these")
    wanted = target or next((name for name in TARGETS if name in given), None)
    inputs = {name: tensor(given[name], name) for name in names if name != wanted and given[name] is not None}
    if not inputs:
        raise UserError(f"the batches hold {', '.join(names) or 'nothing'}, and no inputs beside the target: {FORMS}")
    targets = None if wanted is None or given[wanted] is None else tensor(given[wanted], wanted)
    return Batch(inputs, targets, named=True)


def checked(made: Batch) -> Batch:
    counts = {name or "inputs": value.shape[:1].numel() for name, value in made.inputs.items() if value.ndim}
    if made.targets is not None and made.targets.ndim:
        counts["targets"] = len(made.targets)
    if any(not value.ndim for value in (*made.inputs.values(), *([] if made.targets is None else [made.targets]))):
        raise UserError("a batch holds a single number where an axis of rows is needed. Give tensors (rows, ...)")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} rows of {name}" for name, count in counts.items())
        raise UserError(f"{told}: there must be as many of each")
    return made


def array(value: Any) -> bool:
    return isinstance(value, Tensor) or (hasattr(value, "__array__") and not hasattr(value, "columns"))


def tensor(value: Any, name: str) -> Tensor:
    """A tensor of numbers; UserError for texts and for lists of unequal length."""
    if isinstance(value, Tensor):
        found = value
    else:
        if isinstance(value, list | tuple) and value and all(isinstance(entry, Tensor) for entry in value):
            shapes = {tuple(entry.shape) for entry in value}
            if len(shapes) > 1:
                raise UserError(f"{name}: the rows have different shapes, {shapes_told(shapes)}. Pad or crop them")
            value = torch.stack(list(value))
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
                found = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            text = next(iter(texts(value)), None)
            why = f"texts such as {text!r}: encode them as numbers" if text is not None else str(error).splitlines()[0]
            raise UserError(f"{name} are no array of numbers, but {type(value).__name__} ({why}); {FORMS}") from None
    if found.is_complex():
        raise UserError(f"{name} are complex numbers. Give real and imaginary parts")
    if found.layout is not torch.strided:
        found = found.to_dense()
    return found.detach()


def refuse_unknown(rows: Tensor, name: str, first: int) -> None:
    """UserError where rows (b, ...), the first of which has the number ``first``, are not all finite numbers."""
    if rows.is_floating_point() and not bool(rows.isfinite().all()):
        bad = first + int((~rows.isfinite()).reshape(len(rows), -1).any(1).nonzero()[0])
        raise UserError(
            f"the {name} of row {bad} are not finite numbers (NaN or infinite). Leave such rows out, or fill them first"
        )


def shapes_told(shapes: set[tuple[int, ...]]) -> str:
    return " and ".join(map(str, sorted(shapes)[:2]))


def texts(value: Any) -> list[str]:
    """A text among entries of a list or array."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple) or getattr(getattr(value, "dtype", None), "kind", "") in "OUS":
        return [str(entry) for entry in list(value)[:1] if isinstance(entry, str | bytes)]
    return []
