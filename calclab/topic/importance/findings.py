"""What has been found so far: attributions of the rows, permutation importance, what trainings brought.

Importance of a feature is the mean of |a| over the rows, with standard error s/√N. Of a run that was interrupted any
part may be missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from calclab.core import State
from calclab.topic.importance.problem import ImportanceProblem

LEAST = 10  # rows for which intervals are given


@dataclass(frozen=True, eq=False)
class Findings:
    """``rows`` (M, N, C) are the attributions by feature, by the M methods ``by_row``, ``sums`` (M, N) what they add up
    to, ``gaps`` (M, N) what that lacks of F(x) - F(baseline), ``unsettled`` (M,) whether a tolerance was missed;
    ``permutation`` and ``permutation_error`` (1, C); ``trainings`` has ``importance`` (C,), ``wrong`` and ``guess`` of
    each network trained again, on the rows numbered ``part``; ``deletion`` (P, M' + 1, 2), ``randomised`` (L, M) and
    ``removed`` (R, 2) what was found at each point of these tests."""

    methods: tuple[str, ...]
    by_row: tuple[str, ...]
    part: Tensor
    rows: Tensor | None = None
    sums: Tensor | None = None
    gaps: Tensor | None = None
    unsettled: Tensor | None = None
    permutation: Tensor | None = None
    permutation_error: Tensor | None = None
    trainings: Sequence[Mapping[str, Tensor]] = ()
    deletion: Tensor | None = None
    randomised: Tensor | None = None
    removed: Tensor | None = None

    @property
    def head(self) -> str:
        """The first method, which gives the ranking."""
        return self.methods[0]

    @cached_property
    def sizes(self) -> Tensor | None:
        """|a| of the first method, (N, C); of permutation importance one row, as it is."""
        if self.head == "permutation":
            return self.permutation
        return None if self.rows is None else self.rows[0].abs()

    @cached_property
    def by_method(self) -> Tensor:
        """Mean |a| by each method, (methods, C), in their order."""
        means = {} if self.rows is None else dict(zip(self.by_row, self.rows.abs().mean(1), strict=True))
        if self.permutation is not None:
            means["permutation"] = self.permutation[0]
        return torch.stack([means[name] for name in self.methods if name in means])

    @cached_property
    def by_training(self) -> Tensor | None:
        """Importance (S, C) of the network at hand, on the rows of ``part``, and of those trained again."""
        found = [entry["importance"] for entry in self.trainings if bool(entry["importance"].isfinite().all())]
        if not found or self.sizes is None:
            return None
        own = self.sizes if self.head == "permutation" else self.sizes[self.part]
        return torch.stack([own.mean(0), *found])

    @property
    def rankable(self) -> bool:
        """Whether there is enough for intervals: few rows, drawn again, tell little of others, and permutation
        importance, which has no rows, needs trainings."""
        if self.sizes is None or not bool(self.sizes.isfinite().all()):
            return False
        return self.by_training is not None if self.head == "permutation" else len(self.sizes) >= LEAST


def findings(problem: ImportanceProblem, state: State) -> Findings:
    """Of a scan's state."""
    parts: dict[str, Any] = {}
    if blocks := numbered(state["blocks"]):
        seen = slice(0, int(state["seen"]))
        values = torch.cat([block["values"] for block in blocks], 1)
        parts["rows"] = by_feature(problem, values[:, seen])
        parts["sums"], parts["gaps"] = values.sum(-1), torch.cat([block["gap"] for block in blocks], 1)
        parts["unsettled"] = torch.stack([block["unsettled"] for block in blocks]).any(0)
    if "permutation" in state:
        entry = state["permutation"]
        parts |= {"permutation": entry["values"], "permutation_error": entry["errors"]}
    for kind in ("deletion", "randomised", "removed"):
        if state.get(kind):
            parts[kind] = torch.stack(numbered(state[kind]))
    trainings = tuple(numbered(state.get("training", {})))
    return Findings(problem.methods, problem.by_row, problem.part, trainings=trainings, **parts)


def numbered(entries: Mapping[str, Any]) -> list[Any]:
    """The entries "0", "1", ... in order."""
    return [entries[str(i)] for i in range(len(entries))]


def by_feature(problem: ImportanceProblem, values: Tensor) -> Tensor:
    """Values (M, N, w) of the methods that go by row, as (M, N, C), in the unit of what is predicted."""
    found = []
    for name, part in zip(problem.by_row, values, strict=True):
        own, factor = problem.features.by_feature(part, name), problem.factor_of(name)
        found.append(own if factor is None else own * factor[: len(own)])
    return torch.stack(found)


def standard_error(rows: Tensor) -> Tensor:
    """Of the mean of the rows (N, C), s/√N with s² over N - 1; NaN for one row.

    >>> standard_error(torch.tensor([[1.0], [3.0]]))
    tensor([1.])
    """
    if len(rows) < 2:
        return torch.full_like(rows[0], math.nan)
    return rows.std(0) / len(rows) ** 0.5


def shares(rows: Tensor) -> Tensor:
    """Each row (..., C) over the sum of its sizes; a row of zeros as it is.

    >>> shares(torch.tensor([[1.0, -3.0], [0.0, 0.0]]))
    tensor([[ 0.2500, -0.7500],
            [ 0.0000,  0.0000]])
    """
    totals = rows.abs().sum(-1, keepdim=True)
    return torch.where(totals > 0, rows / totals, 0.0)
