"""The problem: which rows, what is attributed of them (the target t), and what they are compared with (the baseline).

    a_j(x) says how much feature j of the row x has to do with t(x), where t(x) is one number made of the outputs.

A network looks at rows of its data, a function at its start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from calclab.attribution.baseline import baselines
from calclab.attribution.model import Model
from calclab.attribution.target import Target, choose
from calclab.core import Function, Rows
from calclab.errors import UserError
from calclab.subject.network import Network
from calclab.topic.importance.features import Columns, Features, Units
from calclab.topic.importance.methods import BY_ROW, INWARD, OF_NEURON, OF_ONE_TRAINING, OF_UNITS

PART = 256  # rows, at most, that the trust report looks at again and again, evenly spaced


class FunctionModule(nn.Module):
    """A function as a module: (B, n) to (B, m)."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        call = self.function.call
        try:
            y = torch.vmap(call)(x)
        except RuntimeError:  # it cannot be batched
            y = torch.stack([call(row) for row in x])
        return y.reshape(len(x), -1)


@dataclass(frozen=True, eq=False)
class ImportanceProblem:
    """``methods`` are all of inputs, or all of a layer's units (`refusals.refuse_layer`); the first one gives the
    ranking. ``most`` rows are looked at, None: all of them; ``tol`` and ``samples`` are the methods' own where None."""

    subject: Function | Network
    methods: tuple[str, ...]
    target: str
    baseline: Any
    most: int | None
    tol: float | None
    samples: int | None
    seed: int
    layer: str | None = None
    neuron: Any = None

    # --- the methods ---

    @cached_property
    def by_row(self) -> tuple[str, ...]:
        """The methods that give values for each row."""
        return tuple(name for name in self.methods if name in BY_ROW)

    @property
    def head(self) -> str:
        """The first method, which gives the ranking."""
        return self.methods[0]

    @cached_property
    def ordering(self) -> tuple[str, ...]:
        """The methods whose values tell in which order columns are to be deleted: those of inputs, of the target."""
        return tuple(name for name in self.by_row if name not in OF_ONE_TRAINING)

    # --- the rows ---

    @cached_property
    def inputs(self) -> Tensor:
        """The rows looked at, (N, d)."""
        rows = self.subject.rows if isinstance(self.subject, Network) else self.reference
        return rows[: self.most]

    @property
    def count(self) -> int:
        """How many rows are attributed one by one."""
        return len(self.inputs) if self.by_row else 0

    def labels_of(self, rows: slice | Tensor) -> Tensor | None:
        return self.subject.data.targets[rows] if isinstance(self.subject, Network) else None

    @cached_property
    def places(self) -> list[int]:
        """Where the rows looked at are in the user's table, from 0."""
        known = self.subject.data.places if isinstance(self.subject, Network) else None
        return list(range(len(self.inputs))) if known is None else known[: len(self.inputs)].tolist()

    @cached_property
    def part(self) -> Tensor:
        """The numbers of the rows that the trust report looks at."""
        return evenly(len(self.inputs), PART)

    @cached_property
    def columns(self) -> Columns:
        return Columns(self.subject)

    @cached_property
    def features(self) -> Features:
        """What is ranked."""
        if not self.of_units:
            return self.columns
        assert isinstance(self.subject, Network)
        assert self.layer is not None
        with torch.no_grad():
            shape = self.subject.activations(self.subject.data.inputs[:1])[self.layer].shape[1:]
        return Units(self.layer, tuple(shape), self.reference.device)

    @property
    def of_units(self) -> bool:
        """Whether it is the units of a layer that are ranked, not inputs."""
        return any(name in OF_UNITS for name in self.methods)

    @property
    def reference(self) -> Tensor:
        """All rows (R, d) that means and classes are taken of."""
        return self.columns.reference

    @cached_property
    def labels(self) -> Tensor | None:
        return self.columns.few.targets if isinstance(self.subject, Network) else None

    # --- what they are attributed ---

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        return self.subject.outputs

    @cached_property
    def kind(self) -> str:
        """The target as the engine is told it, after `refuse` has found it right; a scalar function has one output."""
        return self.target if isinstance(self.subject, Network) or self.outputs else "output.0"

    @property
    def place(self) -> int:
        """The number of the output that is asked for; 0 where none is."""
        found = re.fullmatch(r"output\.(\d+)", self.target)
        if self.target in self.outputs:
            return self.outputs.index(self.target)
        return int(found[1]) if found else 0

    @cached_property
    def what(self) -> str:
        """The target in words."""
        if self.target in ("loss", "label") or not self.outputs:
            return "loss" if self.target == "loss" else "output of the label"
        if self.target == "predicted":
            return "predicted class" if len(self.outputs) > 1 else self.outputs[0]
        found = re.fullmatch(r"output\.(\d+)", self.target)
        return self.outputs[int(found[1])] if found else self.target

    @property
    def unit(self) -> str:
        """The neuron in words."""
        place = [self.neuron] if isinstance(self.neuron, int) else list(self.neuron or ())
        return f"{self.layer}[{','.join(map(str, place))}]"

    def of_what(self, method: str) -> str:
        """What a method speaks of, in words: the target, or a number of the layer's own."""
        if method == "layer_activation":
            return str(self.layer)
        if method in INWARD:
            return self.unit
        return f"{self.what} through {self.unit}" if method in OF_NEURON else self.what

    @cached_property
    def module(self) -> nn.Module:
        return FunctionModule(self.subject) if isinstance(self.subject, Function) else self.subject.module

    def chosen(self, outputs: Tensor, labels: Tensor | None) -> Target:
        """The target of rows with these outputs (b, m)."""
        loss = self.subject.loss.rows if isinstance(self.subject, Network) else None
        return choose(self.kind, outputs, names=self.outputs, labels=labels, loss=loss)

    def score(self, network: Network) -> str:
        """What permutation importance is a fall of."""
        if self.target == "loss":
            return "loss"
        return "accuracy" if network.data.classification else "r2"

    def predicted(self, x: Tensor) -> Tensor | None:
        """The outputs (b,) predicted for rows x, to be held fixed; None where the target is no prediction."""
        if not isinstance(self.subject, Network) or self.target != "predicted":
            return None
        with torch.no_grad():
            return self.subject.batch_outputs(x).argmax(1)

    # --- what they are compared with ---

    @cached_property
    def compared(self) -> str | Tensor:
        """The baseline; where none is asked for, the mean of several rows, else zeros. Numbers are the user's own; of
        columns that are codes the commonest stands for the mean."""
        baseline = self.baseline
        if baseline is None:
            baseline = "mean" if len(self.reference) > 1 else "zeros"
        if isinstance(baseline, str):
            mean = baseline.strip() == "mean" or baseline.startswith("class.")
            if mean and self.codes:
                return self.whole_codes(baseline)
            rows = self.subject.rows if isinstance(self.subject, Network) else None
            return rows.mean(0) if isinstance(rows, Rows) and baseline.strip() == "mean" else baseline
        try:
            numbers = torch.tensor([float(x) for x in self.baseline], dtype=torch.float64).to(self.reference)
        except (TypeError, ValueError):
            numbers = self.reference.new_zeros(0)
        if numbers.shape != (self.columns.width,):
            raise UserError(
                f"baseline={self.baseline}: a list holds a number for each of the {self.columns.width} inputs. "
                "Type for example baseline=mean"
            )
        if any(float(numbers[code]) % 1 for code in self.codes):
            names = ", ".join(self.columns.inputs[code] for code in self.codes)
            raise UserError(f"baseline={self.baseline}: codes are whole numbers, and {names} is one")
        units = self.subject.data.units if isinstance(self.subject, Network) else None
        if units is None:
            return numbers
        return torch.where(units.scale > 0, (numbers - units.shift) / units.scale, 0.0)

    @property
    def codes(self) -> tuple[int, ...]:
        """The numbers of the inputs that are codes."""
        return self.subject.data.codes if isinstance(self.subject, Network) else ()

    def whole_codes(self, baseline: str) -> Tensor:
        """A mean (d,), of all rows or of those of a class, that has the commonest code where there are codes."""
        point = self.point(baseline)[0]
        rows = self.reference
        if baseline.startswith("class.") and self.labels is not None:
            assert isinstance(self.subject, Network)
            name, classes = baseline.partition(".")[2], list(self.subject.data.classes)
            rows = rows[self.labels == (classes.index(name) if name in classes else int(name))]
        for code in self.codes:
            values, counts = torch.unique(rows[:, code], return_counts=True)
            point[code] = values[counts.argmax()]
        return point

    @cached_property
    def origin(self) -> Tensor:
        """The baseline as one point (1, d); of the training set, its mean."""
        return self.point(self.compared)

    def point(self, baseline: str | Tensor) -> Tensor:
        """``baseline`` as one point (1, d)."""
        shape = self.subject.data.inputs.shape[1:] if isinstance(self.subject, Network) else self.reference.shape[1:]
        model = Model(self.module, (self.reference[:1].reshape(1, *shape),))
        classes = self.subject.data.classes if isinstance(self.subject, Network) else ()
        return baselines(baseline, model, self.reference, self.labels, classes).mean(0)

    # --- the user's numbers ---

    @cached_property
    def factor(self) -> Tensor | None:
        """What brings attributions of the rows looked at to the unit of the number that is predicted, (N, 1), where it
        was standardised; None where the target has no unit or the user's already."""
        data = self.subject.data if isinstance(self.subject, Network) else None
        if data is None or data.target_units is None or self.target in ("loss", "label"):
            return None
        scale = data.target_units.scale
        if len(scale) != len(self.outputs) or (self.target != "predicted" and self.what not in self.outputs):
            return None
        if self.target != "predicted" or len(scale) == 1:
            return scale[self.outputs.index(self.what)].expand(len(self.inputs), 1)
        assert isinstance(self.subject, Network)
        with torch.no_grad():
            return scale[self.subject.batch_outputs(self.inputs).argmax(1)][:, None]

    def factor_of(self, method: str) -> Tensor | None:
        """The factor of the methods that speak of the target."""
        return None if method in INWARD else self.factor


def evenly(count: int, most: int) -> Tensor:
    """The numbers of at most ``most`` rows out of ``count``, evenly spaced, the first among them.

    >>> evenly(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return torch.arange(0, count, -(-count // most)) if count else torch.arange(0)
