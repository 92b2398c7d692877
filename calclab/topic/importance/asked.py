"""What is asked for: the rows, what is attributed of them, what they are compared with, and the columns of a table that
the inputs were made of."""

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
from calclab.function.network import Network

SLOPES = ("gradient", "smoothgrad")  # per unit of the input; the others are shares of the target itself
PLAYERS = ("ablation", "shapley", "permutation")  # of these, inputs of one column change together
BY_ROW = (
    "gradient",
    "gradient_x_input",
    "integrated_gradients",
    "expected_gradients",
    "smoothgrad",
    "ablation",
    "occlusion",
    "shapley",
    "deeplift",
    "deeplift_shap",
    "lrp",
)
METHODS = (*BY_ROW, "permutation")
OF_FUNCTIONS = ("gradient", "gradient_x_input", "integrated_gradients", "ablation", "occlusion", "shapley")
SAMPLED = ("expected_gradients", "smoothgrad", "shapley", "permutation")
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
    """A network looks at its rows, a function at its start."""

    subject: Function | Network
    target: str
    baseline: Any
    tol: float | None
    samples: int | None
    seed: int

    # --- the rows ---

    @cached_property
    def reference(self) -> Tensor:
        """All rows (R, d) that means and classes are taken of."""
        return self.subject.rows if isinstance(self.subject, Network) else self.subject.start[None]

    @cached_property
    def labels(self) -> Tensor | None:
        return self.subject.data.targets if isinstance(self.subject, Network) else None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the inputs, (d)."""
        return self.subject.data.features if isinstance(self.subject, Network) else self.subject.variables

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What importance is given to, (C): the columns of the table, or the inputs themselves."""
        made_of = self.subject.data.columns if isinstance(self.subject, Network) else ()
        return tuple(dict.fromkeys(made_of)) if made_of else self.names

    @cached_property
    def groups(self) -> Tensor | None:
        """The number (d,) of the column of each input; None where they are the same."""
        if len(self.columns) == len(self.names) or not isinstance(self.subject, Network):
            return None
        places = {name: place for place, name in enumerate(self.columns)}
        return torch.tensor([places[name] for name in self.subject.data.columns], device=self.reference.device)

    @cached_property
    def joint(self) -> list[tuple[int, Tensor, Tensor]]:
        """Of each column that several inputs were made of: its number, these inputs (g,), their covariance (g, g)."""
        if self.groups is None:
            return []
        found = []
        for place in range(len(self.columns)):
            members = (self.groups == place).nonzero()[:, 0]
            if len(members) > 1:
                off = self.reference[:, members] - self.reference[:, members].mean(0)
                found.append((place, members, off.T @ off / len(off)))
        return found

    def by_column(self, values: Tensor, method: str = "") -> Tensor:
        """(..., d) as (..., C): summed over the inputs of each column, which is right for parts of a whole.

        Slopes g are none. Of the inputs of one column, which only change together, √(gᵀΣg) tells how far the target
        moves when the category is drawn anew, as |g| does of a standardised number moved by its deviation.
        """
        if self.groups is None:
            return values
        found = values.new_zeros(*values.shape[:-1], len(self.columns)).index_add(-1, self.groups, values)
        for place, members, Σ in self.joint if method in SLOPES else ():
            g = values[..., members]
            together = Σ if method == "gradient" else Σ.diagonal().diag()  # of smoothgrad the signs are not known
            found[..., place] = ((g @ together) * g).sum(-1).clamp(min=0).sqrt()
        return found

    def spread(self, of_columns: Tensor) -> Tensor:
        """What holds of a column (..., C), for each of its inputs: (..., d)."""
        return of_columns if self.groups is None else of_columns[..., self.groups]

    @property
    def image(self) -> tuple[int, int, int] | None:
        """(channels, height, width), where the inputs are images."""
        if not isinstance(self.subject, Network) or self.subject.data.inputs.ndim != 4:
            return None
        c, h, w = self.subject.data.inputs.shape[1:]
        return int(c), int(h), int(w)

    # --- what they are attributed ---

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        return self.subject.response().outputs

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
        options: dict[str, Any] = {}
        if self.image is not None and method == "occlusion":
            options["window"] = (min(WINDOW, self.image[1]), min(WINDOW, self.image[2]))
        method = "ablation" if method == "occlusion" and self.image is None else method
        if method == "gradient":
            options["absolute"] = False
        if method == "integrated_gradients" and self.tol is not None:
            options["tol"] = self.tol
        if method in SAMPLED and self.samples is not None:
            options["repeats" if method == "permutation" else "samples"] = self.samples
        if method in PLAYERS and self.groups is not None:
            options["groups"] = self.groups
        subject = self.module if isinstance(self.subject, Function) else network or self.subject
        if method == "permutation" and isinstance(subject, Network):
            options["score"] = self.score(subject)
        return attribute(
            subject,
            method,
            rows,
            target=self.kind if fixed is None else fixed,
            labels=labels,
            baseline=self.compared,
            reference=self.reference,
            reference_labels=self.labels,
            seed=self.seed,
            **options,
        )

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
        """The baseline; where none is asked for, the mean of several rows, else zeros. Numbers are the user's own."""
        if self.baseline is None:
            return "mean" if len(self.reference) > 1 else "zeros"
        if isinstance(self.baseline, str):
            return self.baseline
        try:
            numbers = torch.tensor([float(x) for x in self.baseline], dtype=torch.float64).to(self.reference)
        except (TypeError, ValueError):
            numbers = self.reference.new_zeros(0)
        if numbers.shape != (len(self.names),):
            raise UserError(
                f"baseline={self.baseline}: a list holds a number for each of the {len(self.names)} inputs. "
                "Type for example baseline=mean"
            )
        units = self.subject.data.units if isinstance(self.subject, Network) else None
        if units is None:
            return numbers
        return torch.where(units.scale > 0, (numbers - units.shift) / units.scale, 0.0)

    @cached_property
    def origin(self) -> Tensor:
        """The baseline as one point (1, d); of the training set, its mean."""
        shape = self.subject.data.inputs.shape[1:] if isinstance(self.subject, Network) else self.reference.shape[1:]
        model = Model(self.module, (self.reference[:1].reshape(1, *shape),))
        classes = self.subject.data.classes if isinstance(self.subject, Network) else ()
        return baselines(self.compared, model, self.reference, self.labels, classes).mean(0)

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

    def per_unit(self, method: str, values: Tensor) -> Tensor:
        """Slopes (N, C) by inputs that were standardised, by the user's own units of these; other values as they are.
        NaN where an input never varies, which has no unit; categories have none to divide by."""
        units = self.subject.data.units if isinstance(self.subject, Network) else None
        if units is None or method not in SLOPES:
            return values
        scale = units.scale.clone()
        if self.groups is not None:
            scale = values.new_ones(len(self.columns)).index_copy(0, self.groups, scale)
            for place, _, _ in self.joint:
                scale[place] = 1.0
        return torch.where(scale > 0, values / scale, torch.nan)
