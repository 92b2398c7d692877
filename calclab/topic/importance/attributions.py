"""Attributions of rows by the methods asked for, and what has been found of them so far.

A value is a share of t(x) - t(baseline), a slope ∂t/∂x, or a size, as `methods` says; beside it stands its error.
Importance of a feature is the mean of |a| over the rows, with standard error s/√N.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from calclab.attribution import Attribution, attribute
from calclab.core import Function, State
from calclab.subject.network import Network
from calclab.topic.importance.methods import LAYERED, OF_NEURON, PLAYERS, REFINED, SAMPLED, STEPPED
from calclab.topic.importance.problem import ImportanceProblem

LEAST = 10  # rows for which intervals are given
WINDOW = 3  # side of the square of an image that occlusion covers


def attributions(
    problem: ImportanceProblem,
    method: str,
    rows: Tensor,
    labels: Tensor | None,
    *,
    network: Network | None = None,
    fixed: Tensor | None = None,
) -> Attribution:
    """One method on rows (b, d): of ``network`` in place of the subject, and of the outputs ``fixed`` (b,) in place of
    the predicted ones."""
    subject = problem.module if isinstance(problem.subject, Function) else network or problem.subject
    options = options_of(problem, method)
    if method == "permutation" and isinstance(subject, Network):
        options["score"] = problem.score(subject)
    return attribute(
        subject,
        "ablation" if method == "occlusion" and problem.columns.image is None else method,
        rows,
        target=problem.kind if fixed is None else fixed,
        labels=labels,
        baseline=problem.compared,
        reference=problem.reference,
        reference_labels=problem.labels,
        seed=problem.seed,
        **options,
    )


def options_of(problem: ImportanceProblem, method: str) -> dict[str, Any]:
    """What a method is told besides rows, target and baseline."""
    options: dict[str, Any] = {}
    image = problem.columns.image
    if image is not None and method == "occlusion":
        options["window"] = (min(WINDOW, image[1]), min(WINDOW, image[2]))
    if method == "gradient":
        options["absolute"] = False
    if method in REFINED and problem.tol is not None:
        options["tol"] = problem.tol
    if problem.samples is not None:
        options |= {
            name: problem.samples
            for name, methods in (("samples", SAMPLED), ("steps", STEPPED), ("repeats", ("permutation",)))
            if method in methods
        }
    grouped = method in PLAYERS or (method == "occlusion" and image is None)
    if grouped and problem.columns.groups is not None:
        options["groups"] = problem.columns.groups
    if method in LAYERED:
        options["layer"] = problem.layer
    if method in OF_NEURON:
        options["neuron"] = problem.neuron
    return options


def block(problem: ImportanceProblem, rows: slice) -> dict[str, Tensor]:
    """All M methods that go by row, on b of the rows looked at: ``values`` and ``errors`` (M, b, w), ``gap`` (M, b),
    ``score`` (b,), and ``unsettled`` (M,), whether the tolerance was missed. NaN where a method has no such number."""
    x, labels = problem.inputs[rows], problem.labels_of(rows)
    found: dict[str, list[Tensor]] = {"values": [], "errors": [], "gap": [], "unsettled": []}
    seen: dict[str, Tensor] = {}
    for name in problem.by_row:
        if name == "gradient" and isinstance(problem.subject, Function):
            values, score = slope(problem.subject, x, problem.place)
            error, gap, settled = None, None, True
        else:
            a = attributions(problem, name, x, labels)
            values, error, gap, score, settled = a.values, a.error, a.gap, a.score, a.converged
        if name == "gradient":
            seen["gradients"] = values
        nothing = torch.full_like(values, torch.nan)
        found["values"].append(values)
        found["errors"].append(nothing if error is None else error)
        found["gap"].append(nothing[:, 0] if gap is None else gap)
        found["unsettled"].append(torch.tensor(not settled))
        seen["score"] = score
    return seen | {name: torch.stack(parts) for name, parts in found.items()}


def slope(function: Function, x: Tensor, output: int) -> tuple[Tensor, Tensor]:
    """∂f/∂x (1, n) of a function's output at its point x (1, n), and f (1,): the derivative that Arb can certify."""
    leaf = x.detach().clone().requires_grad_()
    score = function.call(leaf[0]).reshape(-1)[output]
    (g,) = torch.autograd.grad(score, leaf, allow_unused=True, materialize_grads=True)
    return g, score.detach()[None]


def permutation(problem: ImportanceProblem) -> dict[str, Tensor]:
    """``values`` and ``errors`` (1, C) of permutation importance, of all rows together."""
    every = slice(0, len(problem.inputs))
    seen = attributions(problem, "permutation", problem.inputs, problem.labels_of(every))
    error = torch.full_like(seen.values, torch.nan) if seen.error is None else seen.error
    return {"values": problem.columns.by_feature(seen.values), "errors": problem.columns.by_feature(error)}


# --- what has been found ---


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
    """Of a scan's state; of a run that was interrupted any part may be missing."""
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
