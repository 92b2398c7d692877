"""Integrated gradients (Sundararajan et al. 2017, section 3) to a tolerance, and expected gradients (Erion et al.
2021).

    a_j = (x_j - x₀_j) ∫₀¹ ∂t/∂x_j (x₀ + α (x - x₀)) dα,    Σ_j a_j = t(x) - t(x₀)

The sum is exact by the fundamental theorem of calculus along the path, for t that is absolutely continuous there, as
every network of ReLUs and smooth activations is (completeness, their proposition 1). *Exactly*, where the network is
piecewise linear: every kink on the way is found (``kinks.py``), and between two of them the gradient is constant. Else
by Gauss-Kronrod (``quadrature.py``), refined row by row until no feature's value changes by more than the tolerance.
The completeness gap alone would not do: errors of features cancel in it (a gap of 6e-4 was seen with an error of 7e-2
in a feature), and a sum with a fixed number of steps, as is usual, tells nothing of either.

Expected gradients average over baselines x₀ from the training set, so that none has to be chosen:

    a_j = E over x₀ and α ~ U(0, 1) of (x_j - x₀_j) ∂t/∂x_j (x₀ + α (x - x₀)),    Σ_j a_j = t(x) - E t(x₀)

>>> from calclab.attribution import attribute
>>> net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).double()
>>> x = torch.randn(5, 3, dtype=torch.float64)
>>> a = attribute(net, "integrated_gradients", x)
>>> a.error_kind, bool(a.gap.abs().max() < 1e-12)
('rounding', True)
>>> smooth = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
>>> a = attribute(smooth, "integrated_gradients", x, tol=1e-6)
>>> a.error_kind, bool((a.gap.abs() <= a.error.sum(1) + 1e-12).all())
('quadrature change', True)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from calclab.attribution.chain import Chain
from calclab.attribution.gradients import Moments
from calclab.attribution.kinks import TooManyError, exact
from calclab.attribution.quadrature import adaptive, fixed, segments
from calclab.attribution.question import Found, Question
from calclab.errors import UserError


def integrated_gradients(
    q: Question, *, steps: int | None = None, tol: float | None = None, pieces: int = 4096, exact: bool | None = None
) -> Found:
    """Integrated gradients from each baseline; of several baselines the mean, (B, d).

    ``steps`` takes Gauss-Legendre with so many nodes and asks for no tolerance. ``exact`` is None: where the network is
    piecewise linear with no more than ``pieces`` pieces on any row's path; False: never; True: or not at all. ``tol``
    is relative to the row's largest |value|; None: 1e-8, in float32 1e-4. The error (B, d) is the quadrature's change,
    or rounding where the integral is exact; ``converged`` is False where some row ended above the tolerance. UserError
    for a number of steps, a tolerance or pieces out of range, and for exact=True where it cannot be.
    """
    tol = {torch.float64: 1e-8, torch.float32: 1e-4}.get(q.rows.dtype, 1e-2) if tol is None else tol
    if steps is not None and (steps < 1 or exact):
        raise UserError(f"steps={steps}: 1 or more, and without exact=True. Leave steps out for what is exact")
    if not tol > 0 or pieces < 1:
        raise UserError(f"tol={tol:g} pieces={pieces}: both above 0. Type tol=1e-4")
    bent = [*q.engine.bent, *([] if q.target.linear else [f"the target {q.target.name}"])]
    wanted = steps is None and exact is not False
    notes = []
    if wanted and bent:
        notes.append(f"not piecewise linear ({', '.join(bent[:3])}): integrated by quadrature")
    if exact and bent:
        raise UserError(f"exact=True: the network is not piecewise linear ({', '.join(bent[:3])}). Leave exact out")
    found, kinds = [], set()
    all_baselines = q.baselines
    for baseline in all_baselines:
        one, kind = along(q, baseline, steps, tol, pieces, wanted and not bent, bool(exact))
        found.append(one)
        kinds.add(kind)
    if wanted and not bent and kinds != {"rounding"}:
        notes.append(
            f"more than {pieces} pieces on some path, or an operation not understood: integrated by quadrature"
        )
    values, error, at_start, converged = found[0]
    for v, e, s, c in found[1:]:
        values, at_start, converged = values + v, at_start + s, converged and c
        error = None if error is None or e is None else error + e
    n = len(all_baselines)
    values, at_start = values / n, at_start / n
    kind = "" if steps is not None else "rounding" if kinds == {"rounding"} else "quadrature change"
    if not converged:
        notes.append(f"quadrature ended above tol={tol:g} for some rows: see the error. Type a larger tol")
    gap = values.sum(1) - (q.score - at_start)
    return Found(values, None if error is None else error / n, kind, gap, at_start, converged, tuple(notes))


Part = tuple[Tensor, Tensor | None, Tensor, bool]  # values (B, d), error (B, d), F(x₀) (B,), converged


def along(
    q: Question, baseline: Tensor, steps: int | None, tol: float, pieces: int, piecewise: bool, strict: bool
) -> tuple[Part, str]:
    """The values from one baseline (1 or B, d), and what their error is: rounding, or the quadrature's change. A path
    of too many pieces, and all after it, are integrated by quadrature; where ``strict``, that is a UserError."""
    score = q.score
    values: list[Tensor] = []
    errors: list[Tensor] = []
    at_start = starts(q, baseline)
    kind, converged = "rounding" if piecewise else "quadrature change", True
    for path in segments(q, baseline, lot_size(q, piecewise, steps)):
        if steps is not None:
            values.append(fixed(q, path, steps))
            continue
        if kind == "rounding":
            try:
                v, size = exact(q, path, pieces)
            except TooManyError:
                if strict:
                    raise UserError(
                        f"exact=True: more than pieces={pieces} pieces, or an operation with kinks that is not "
                        "understood. Leave exact out"
                    ) from None
                kind = "quadrature change"
            else:
                gap = v.sum(1) - (score[path.lot] - at_start[path.lot])
                values.append(v)
                errors.append(gap.abs()[:, None] + 4 * torch.finfo(v.dtype).eps * size)
                continue
        v, e, c = adaptive(q, path, tol)
        values.append(v)
        errors.append(e)
        converged = converged and c
    return (torch.cat(values), torch.cat(errors) if errors else None, at_start, converged), kind


def lot_size(q: Question, piecewise: bool, steps: int | None) -> int:
    """How many rows' paths are worked on at once."""
    if steps is not None:
        return max(1, q.points // steps) if len(q.rows) * 4 > q.points else len(q.rows)
    if not piecewise:
        return max(1, q.points // 15)
    if isinstance(q.engine, Chain):
        units = sum(linear.weight.shape[0] for _, linear in q.engine.steps if linear is not None) + q.engine.width
        each = 6 * (units + 2) * max(units, q.engine.width) * q.rows.element_size()
        return max(1, int(q.bytes / each))
    return max(1, q.points // 16)


def starts(q: Question, baseline: Tensor) -> Tensor:
    """F(x₀) (B,): with a target that differs by row, t of the one baseline still does."""
    B = len(q.rows)
    if len(baseline) == 1 and not q.model.needs_owner:
        outputs = q.answers(q.engine.lift(baseline), slice(0, 1))
        return q.target.values(outputs.expand(B, -1), slice(0, B))
    parts = [q.values(q.engine.lift(baseline.expand(B, -1)[lot]), lot) for lot in q.lots()]
    return torch.cat(parts)


def expected_gradients(q: Question, *, samples: int = 200) -> Found:
    """The mean of (x - x₀) ∂t/∂x(x₀ + α(x - x₀)) over x₀ of the reference and α of [0, 1] (Erion et al. 2021): (B, d),
    with its standard error.

    Baselines are drawn without replacement, in one order that each row enters at a place of its own, and α once in each
    of ``samples`` equal parts of [0, 1]: both leave less error than the standard error says. ``samples`` gradients a
    row. UserError for fewer than 2.
    """
    if samples < 2:
        raise UserError(f"samples={samples}: the error needs 2 or more. Type samples=200")
    engine, generator, reference = q.engine, q.generator(), q.reference
    lifted, R = engine.lift(reference), len(reference)
    rounds = [torch.randperm(R, generator=generator, device=q.rows.device) for _ in range(-(-samples // R))]
    order = torch.cat(rounds)
    place: dict[str, Any] = {"dtype": q.rows.dtype, "device": q.rows.device}
    found = []
    for lot in q.lots():
        x = q.rows[lot]
        end, mean = engine.lift(x), Moments(x)
        shift = torch.randint(R, (len(x),), generator=generator, device=x.device)
        at_once = max(1, q.points // len(x))
        for low in range(0, samples, at_once):
            s = min(at_once, samples - low)
            picked = (order[low : low + s, None] + shift) % R
            α = torch.rand(s, len(x), generator=generator, **place)
            α = (α + torch.arange(low, low + s, **place)[:, None]) / samples
            points = torch.lerp(lifted[picked], end, α[..., None])
            g = engine.pull(q.gradients(points, lot))
            mean.take(g.mul_(x - reference[picked]))
        found.append(mean.result())
    values, error = (torch.cat(parts) for parts in zip(*found, strict=True))
    start = mean_over(q, reference)
    gap = None if start is None else values.sum(1) - (q.score - start)
    return Found(values, error, f"standard error over {samples} samples", gap, start)


def mean_over(q: Question, reference: Tensor) -> Tensor | None:
    """The mean of t over the reference (R, d), (B,): t of a row's own class, which the values must add up to. None
    where that would need each row's target at each baseline."""
    if not q.target.linear or q.model.needs_owner:
        return None  # t would have to be asked for each row with each baseline
    size, total = q.points, torch.zeros_like(q.outputs[:1])
    for low in range(0, len(reference), size):
        part = reference[low : low + size]
        total += q.answers(q.engine.lift(part), slice(0, len(part))).sum(0)
    return q.target.values((total / len(reference)).expand(len(q.rows), -1), slice(0, len(q.rows)))
