"""What importance is given to: the columns of a table, the inputs themselves, or the units of a layer.

A column that is a category is several inputs of the network, of which exactly one is 1. Shares add up, a_C = Σ_{j in C}
a_j, since they are parts of one sum. Slopes do not: the inputs of one column only change together, and how far t moves
when the category is drawn anew is, to first order,

    √Var(Σ_{j in C} g_j x_j) = √(gᵀ Σ g),    Σ the covariance of these inputs over the rows

which of a single input of deviation 1 is |g|. Of a layer's maps (channels, h, w) a channel is one unit.

>>> units = Units("conv", (2, 1, 3), torch.device("cpu"))
>>> values = torch.tensor([[1.0, 2.0, 3.0, 4.0, 4.0, 4.0]])
>>> units.names, units.by_feature(values, "conductance"), units.by_feature(values, "layer_activation")
(('conv[0]', 'conv[1]'), tensor([[ 6., 12.]]), tensor([[2., 4.]]))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from calclab.core import Data, Function, Rows
from calclab.subject.network import Network, entries
from calclab.topic.importance.methods import SLOPES

ALIKE = 0.95  # inputs that are correlated so strongly share their importance
PAIRS = 3  # of correlated columns, named
NUMBERS = 2**22  # inputs beyond which correlations are not looked for


class Features(Protocol):
    @property
    def names(self) -> tuple[str, ...]:
        """Of what is ranked, (C)."""
        ...

    @property
    def width(self) -> int:
        """How many values a method gives for a row: w."""
        ...

    @property
    def groups(self) -> Tensor | None:
        """The number (w,) of the feature that each value belongs to; None where they are the same."""
        ...

    @property
    def image(self) -> tuple[int, int, int] | None:
        """(channels, height, width), where the values are those of pixels."""
        ...

    def by_feature(self, values: Tensor, method: str = "") -> Tensor:
        """(..., w) as (..., C)."""
        ...

    def per_unit(self, method: str, values: Tensor) -> Tensor:
        """Values (N, C) by the user's own units of the features, where they are slopes by these."""
        ...


@dataclass(frozen=True, eq=False)
class Columns:
    """The inputs of a network, put together by the column of the table that they were made of; of a function, its
    variables."""

    subject: Function | Network

    @cached_property
    def reference(self) -> Tensor:
        """The rows (R, d) that means and classes are taken of: all, or where these do not fit in memory some, evenly
        spaced."""
        if not isinstance(self.subject, Network):
            return self.subject.start[None]
        rows = self.subject.rows
        return self.few.inputs.flatten(1) if isinstance(rows, Rows) else rows

    @cached_property
    def few(self) -> Data:
        """The data of a network; of rows that do not fit in memory, as many as are read at once."""
        assert isinstance(self.subject, Network)
        data = self.subject.data
        return data.some(data.inputs.most) if isinstance(data.inputs, Rows) else data

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, (d)."""
        return self.subject.data.features if isinstance(self.subject, Network) else self.subject.variables

    @property
    def width(self) -> int:
        return len(self.inputs)

    @cached_property
    def names(self) -> tuple[str, ...]:
        made_of = self.subject.data.columns if isinstance(self.subject, Network) else ()
        return tuple(dict.fromkeys(made_of)) if made_of else self.inputs

    @cached_property
    def groups(self) -> Tensor | None:
        if len(self.names) == len(self.inputs) or not isinstance(self.subject, Network):
            return None
        places = {name: place for place, name in enumerate(self.names)}
        return torch.tensor([places[name] for name in self.subject.data.columns], device=self.reference.device)

    @cached_property
    def joint(self) -> list[tuple[int, Tensor, Tensor]]:
        """Of each column that several inputs were made of: its number, these inputs (g,), their covariance (g, g)."""
        if self.groups is None:
            return []
        found = []
        for place in range(len(self.names)):
            members = (self.groups == place).nonzero()[:, 0]
            if len(members) > 1:
                off = self.reference[:, members] - self.reference[:, members].mean(0)
                found.append((place, members, off.T @ off / len(off)))
        return found

    def by_feature(self, values: Tensor, method: str = "") -> Tensor:
        """(..., d) as (..., C): summed over the inputs of each column, which is right for parts of a whole.

        Slopes g are none. Of the inputs of one column, which only change together, √(gᵀΣg) tells how far the target
        moves when the category is drawn anew, as |g| does of a standardised number moved by its deviation. What never
        varies has no deviation to be moved by: 0.
        """
        units = self.subject.data.units if isinstance(self.subject, Network) else None
        if units is not None and method in SLOPES:
            values = torch.where(units.scale > 0, values, 0.0)
        if self.groups is None:
            return values
        found = values.new_zeros(*values.shape[:-1], len(self.names)).index_add(-1, self.groups, values)
        for place, members, Σ in self.joint if method in SLOPES else ():
            g = values[..., members]
            together = Σ.diagonal().diag() if method == "smoothgrad" else Σ  # of smoothgrad the signs are not known
            found[..., place] = ((g @ together) * g).sum(-1).clamp(min=0).sqrt()
        return found

    def spread(self, of_columns: Tensor) -> Tensor:
        """What holds of a column (..., C), for each of its inputs: (..., d)."""
        return of_columns if self.groups is None else of_columns[..., self.groups]

    @property
    def image(self) -> tuple[int, int, int] | None:
        if not isinstance(self.subject, Network) or self.subject.data.inputs.ndim != 4:
            return None
        c, h, w = self.subject.data.inputs.shape[1:]
        return int(c), int(h), int(w)

    def per_unit(self, method: str, values: Tensor) -> Tensor:
        """Slopes by inputs that were standardised, by the user's own units of these; other values as they are.
        NaN where an input never varies, which has no unit; categories have none to divide by."""
        units = self.subject.data.units if isinstance(self.subject, Network) else None
        if units is None or method not in SLOPES:
            return values
        scale = units.scale.clone()
        if self.groups is not None:
            scale = values.new_ones(len(self.names)).index_copy(0, self.groups, scale)
            for place, _, _ in self.joint:
                scale[place] = 1.0
        return torch.where(scale > 0, values / scale, torch.nan)


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a layer that gives ``shape`` of a row; of maps (channels, h, w) a channel is one."""

    layer: str
    shape: tuple[int, ...]
    device: torch.device
    image: tuple[int, int, int] | None = None

    @property
    def maps(self) -> bool:
        return len(self.shape) == 3

    @property
    def width(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(entries(self.layer, torch.Size(self.shape[:1] if self.maps else self.shape)))

    @cached_property
    def groups(self) -> Tensor | None:
        if not self.maps:
            return None
        return torch.arange(self.shape[0], device=self.device).repeat_interleave(math.prod(self.shape[1:]))

    def by_feature(self, values: Tensor, method: str = "") -> Tensor:
        """Over the places of a channel, activations are averaged, and shares of the target add up."""
        if not self.maps:
            return values
        of_places = values.reshape(*values.shape[:-1], self.shape[0], -1)
        return of_places.mean(-1) if method == "layer_activation" else of_places.sum(-1)

    def per_unit(self, method: str, values: Tensor) -> Tensor:
        return values


def alike(columns: Columns) -> str:
    """A note on columns whose correlation over all rows is above ``ALIKE``: no method can tell which of them matters;
    else empty."""
    x = columns.reference
    if columns.groups is not None:  # columns of one input only
        single = torch.bincount(columns.groups, minlength=len(columns.names)) == 1
        x = x[:, single[columns.groups]]
        names = [name for name, alone in zip(columns.names, single.tolist(), strict=True) if alone]
    else:
        names = list(columns.names)
    if len(x) < 3 or columns.image is not None or not 1 < x.shape[1] <= 1000 or x.numel() > NUMBERS:
        return ""
    off = x - x.mean(0)
    norms = off.norm(dim=0)
    strength = torch.where(norms > 0, off / norms, 0.0)
    strength = (strength.T @ strength).abs().triu(1)
    order = strength.flatten().argsort(descending=True, stable=True)
    pairs = [divmod(int(p), len(names)) for p in order[: int((strength > ALIKE).sum())]]
    if not pairs:
        return ""
    shown = ", ".join(f"{names[a]} with {names[b]} ({float(strength[a, b]):.3f})" for a, b in pairs[:PAIRS])
    more = f" and {len(pairs) - PAIRS} pairs more" if len(pairs) > PAIRS else ""
    return f"columns so alike that they share their importance, by correlation: {shown}{more}"
