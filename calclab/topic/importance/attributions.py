"""Attributions of rows: what a method is told, what it says, and a block of rows by all methods at once.

A value is a share of t(x) - t(baseline), a slope ∂t/∂x, or a size, as `methods` says; beside it stands its error.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from calclab.attribution import Attribution, attribute
from calclab.core import Function
from calclab.subject.network import Network
from calclab.topic.importance.methods import LAYERED, OF_NEURON, PLAYERS, REFINED, SAMPLED, STEPPED
from calclab.topic.importance.problem import ImportanceProblem

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
