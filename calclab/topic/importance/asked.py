"""What is asked for: the rows, what is attributed of them, and what they are compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from calclab.attribution import Attribution, attribute
from calclab.attribution.baseline import baselines
from calclab.attribution.model import Model
from calclab.attribution.target import Target, choose
from calclab.core import Function
from calclab.errors import UserError
from calclab.subject.network import Network
from calclab.topic.importance.features import Columns, Features, Units
from calclab.topic.importance.methods import INWARD, LAYERED, OF_NEURON, OF_UNITS, PLAYERS, REFINED, SAMPLED, STEPPED

WINDOW = 3  # side of the square of an image that occlusion covers


class Called(nn.Module):
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
class Asked:
    """A network looks at its rows, a function at its start. ``methods`` are all of inputs, or all of a layer's units
    (`mistakes.refuse_layer`)."""

    subject: Function | Network
    methods: tuple[str, ...]
    target: str
    baseline: Any
    tol: float | None
    samples: int | None
    seed: int
    layer: str | None = None
    neuron: Any = None

    # --- the rows ---

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
        return self.subject.data.targets if isinstance(self.subject, Network) else None

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
        return Called(self.subject) if isinstance(self.subject, Function) else self.subject.module

    def look(
        self,
        method: str,
        rows: Tensor,
        labels: Tensor | None,
        *,
        network: Network | None = None,
        fixed: Tensor | None = None,
    ) -> Attribution:
        """One method on rows (b, d): of ``network`` in place of the subject, and of the outputs ``fixed`` (b,) in place
        of the predicted ones."""
        subject = self.module if isinstance(self.subject, Function) else network or self.subject
        options = self.options(method)
        if method == "permutation" and isinstance(subject, Network):
            options["score"] = self.score(subject)
        return attribute(
            subject,
            "ablation" if method == "occlusion" and self.columns.image is None else method,
            rows,
            target=self.kind if fixed is None else fixed,
            labels=labels,
            baseline=self.compared,
            reference=self.reference,
            reference_labels=self.labels,
            seed=self.seed,
            **options,
        )

    def options(self, method: str) -> dict[str, Any]:
        """What a method is told besides rows, target and baseline."""
        options: dict[str, Any] = {}
        image = self.columns.image
        if image is not None and method == "occlusion":
            options["window"] = (min(WINDOW, image[1]), min(WINDOW, image[2]))
        if method == "gradient":
            options["absolute"] = False
        if method in REFINED and self.tol is not None:
            options["tol"] = self.tol
        if self.samples is not None:
            options |= {
                name: self.samples
                for name, methods in (("samples", SAMPLED), ("steps", STEPPED), ("repeats", ("permutation",)))
                if method in methods
            }
        grouped = method in PLAYERS or (method == "occlusion" and image is None)
        if grouped and self.columns.groups is not None:
            options["groups"] = self.columns.groups
        if method in LAYERED:
            options["layer"] = self.layer
        if method in OF_NEURON:
            options["neuron"] = self.neuron
        return options

    def score(self, network: Network) -> str:
        """What permutation importance is a fall of."""
        if self.target == "loss":
            return "loss"
        return "accuracy" if network.data.classification else "r2"

    def chosen(self, outputs: Tensor, labels: Tensor | None) -> Target:
        """The target of rows with these outputs (b, m)."""
        loss = self.subject.loss.rows if isinstance(self.subject, Network) else None
        return choose(self.kind, outputs, names=self.outputs, labels=labels, loss=loss)

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
            return self.whole_codes(baseline) if mean and self.codes else baseline
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

    def factor(self, rows: Tensor) -> Tensor | None:
        """What brings attributions of rows (b, d) to the unit of the number that is predicted, (b, 1), where it was
        standardised; None where the target has no unit or the user's already."""
        data = self.subject.data if isinstance(self.subject, Network) else None
        if data is None or data.target_units is None or self.target in ("loss", "label"):
            return None
        scale = data.target_units.scale
        if len(scale) != len(self.outputs) or (self.target != "predicted" and self.what not in self.outputs):
            return None
        if self.target != "predicted" or len(scale) == 1:
            return scale[self.outputs.index(self.what)].expand(len(rows), 1)
        assert isinstance(self.subject, Network)
        with torch.no_grad():
            return scale[self.subject.batch_outputs(rows).argmax(1)][:, None]
