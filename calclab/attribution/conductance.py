"""Conductance (Dhamdhere, Sundararajan and Yan 2019, section 3): what flows to t through each unit of a layer.

    C_u = ∫₀¹ ∂t/∂a_u (da_u/dα) dα = ∫ ∂t/∂a_u da_u,    x(α) = x₀ + α (x - x₀)

along the straight path of the input from its baseline: integrated gradients of t, seen from the layer. Where all that
reaches the output goes through the layer, Σ_u C_u = t(x) - t(x₀) by the chain rule.

As a Stieltjes sum, ∂t/∂a_u in the middle of each piece times the change of a_u over it, the error falls with the square
of the number of pieces, of a layer just before a kink with the number; pieces are halved, row by row, until no unit's
value changes by more than the tolerance. No derivative of a_u by α is needed, so that one backward pass a point is
enough. (Captum 0.9 takes a sum of first order whose nodes leave out both ends: with its 50 steps it was off by 11 % on
a small tanh network.)

>>> from calclab.attribution import attribute
>>> net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
>>> a = attribute(net, "conductance", torch.ones(2, 3, dtype=torch.float64), layer="1", tol=1e-4)
>>> a.values.shape, bool((a.values.sum(1) - (a.score - a.reference_score)).abs().max() < 1e-3)
(torch.Size([2, 4]), True)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calclab.attribution.layers import outputs_of
from calclab.attribution.question import Found, Question
from calclab.errors import UserError

FIRST, MOST = 8, 1024  # pieces of the path
TRIED = 16  # rows by which it is seen whether something goes round a layer


def conductance(q: Question, *, layer: str, steps: int | None = None, tol: float = 1e-2) -> Found:
    """C_u (B, width) of the units of ``layer``; Σ = F(x) - F(baseline) where all that reaches the output goes through
    the layer; of several baselines the mean.

    ``steps`` takes so many pieces and asks for no tolerance; ``tol`` is relative to the row's largest |value|, and the
    error is the row's largest change by the last halving, with its gap. ``converged`` is False where the most pieces
    left some row above it. UserError for several inputs, for a layer that there is not or that is run twice, and for
    steps or a tolerance out of range.
    """
    if not q.model.plain:
        raise UserError("conductance is here for one floating-point input. Type method=integrated_gradients")
    if (steps is not None and steps < 1) or not tol > 0:
        raise UserError(f"steps={steps} tol={tol:g}: 1 step or more, and a tolerance above 0. Type tol=1e-2")
    shape = outputs_of(q, layer)
    module = q.model.module.get_submodule(layer)
    values, errors, starts, converged, whole = [], [], [], True, True
    every, rows = q.baselines, torch.arange(len(q.rows), device=q.rows.device)
    for baseline in every:
        path = Path(q, module, baseline)
        pieces, waiting = FIRST if steps is None else steps, rows
        value, start = path.sums(pieces, rows)
        change = torch.full_like(value, torch.nan)
        through = path.all_through()
        whole = whole and through
        while steps is None and len(waiting) and pieces < MOST:
            pieces *= 2
            finer, _ = path.sums(pieces, waiting)
            off = (finer - value[waiting]).abs().amax(1, keepdim=True).expand_as(finer)
            if through:  # a kink that both sums have missed shows in the gap
                off = off + (finer.sum(1) - (q.score - start)[waiting]).abs()[:, None]
            change[waiting], value[waiting] = off, finer
            waiting = waiting[off.amax(1) > tol * finer.abs().amax(1)]
        converged = converged and (steps is not None or not len(waiting))
        values.append(value)
        errors.append(change)
        starts.append(start)
    mean, off, start = (torch.stack(parts).mean(0) for parts in (values, errors, starts))
    gap = mean.sum(1) - (q.score - start)
    notes = [] if converged else [f"conductance: {MOST} pieces left some row above tol={tol:g}: see the error"]
    if not whole:
        notes.append(f"conductance: not all that reaches the output goes through layer={layer}")
    if steps is not None:
        return Found(mean, None, "", gap, start, True, tuple(notes), shape)
    return Found(
        mean, off, "the row's largest change by halving, and its gap", gap, start, converged, tuple(notes), shape
    )


class Path:
    """From ``baseline`` (1 or B, d) to the rows, as seen by a layer of the network."""

    def __init__(self, q: Question, module: nn.Module, baseline: Tensor) -> None:
        self.q, self.module = q, module
        self.start = baseline.expand(len(q.rows), -1)

    def sums(self, pieces: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Σ ∂t/∂a(α_middle) (a(α_end) - a(α_begin)), (b, width), and t (b,) of the baseline, for the rows numbered."""
        q = self.q
        at_once = max(1, int(q.bytes / (q.recording.numbers * q.rows.element_size())))
        parts, starts = [], []
        for lot in torch.split(rows, at_once):
            several = max(1, at_once // len(lot))
            before, t = self.at(q.rows.new_zeros(1), lot, slopes=False)
            starts.append(t[0])
            total = torch.zeros_like(before[0])
            for first in range(0, pieces, several):
                k = torch.arange(first, min(first + several, pieces), device=lot.device).to(q.rows)
                ends, _ = self.at((k + 1) / pieces, lot, slopes=False)
                slopes, _ = self.at((k + 0.5) / pieces, lot, slopes=True)
                total += (slopes * (ends - torch.cat([before, ends[:-1]]))).sum(0)
                before = ends[-1:]
            parts.append(total)
        return torch.cat(parts), torch.cat(starts)

    def all_through(self) -> bool:
        """Whether t falls to that of the baseline once the layer alone gives what it gives there: then nothing goes
        round it, and Σ_u C_u has to be t(x) - t(x₀). Tried on a few rows."""
        q = self.q
        lot = torch.arange(min(TRIED, len(q.rows)), device=q.rows.device)
        before, t = self.at(q.rows.new_zeros(1), lot, slopes=False)
        handle = self.module.register_forward_hook(lambda module, args, result: before[0].reshape(result.shape))
        try:
            with torch.no_grad():
                found = q.target.values(q.model.outputs(q.rows[lot], None), lot)
        finally:
            handle.remove()
        slack = 2**12 * torch.finfo(t.dtype).eps * (1 + float(t.abs().max()))
        return float((found - t[0]).abs().max()) <= slack

    def at(self, α: Tensor, lot: Tensor, *, slopes: bool) -> tuple[Tensor, Tensor]:
        """a or, with ``slopes``, ∂t/∂a of the layer at α (s,) of the path: (s, b, width); and t (s, b)."""
        q = self.q
        points = torch.lerp(self.start[lot], q.rows[lot], α[:, None, None])
        s, b = points.shape[:2]
        caught: list[Tensor] = []

        def catch(module: nn.Module, args: object, result: Tensor) -> Tensor:
            caught.append(result.detach().requires_grad_(slopes))
            return caught[0].clone()  # what follows may work in place

        handle = self.module.register_forward_hook(catch)
        try:
            with torch.set_grad_enabled(slopes):
                y = q.model.outputs(points.view(s * b, -1), None).view(s, b, -1)
        finally:
            handle.remove()
        t = q.target.values(y.detach(), lot)
        a = caught[0]
        if slopes and not y.requires_grad:
            return torch.zeros_like(a).reshape(s, b, -1).detach(), t
        if not slopes:
            q.forwards += s * b
            return a.reshape(s, b, -1), t
        q.gradients_taken += s * b
        seed = q.target.seed(y.detach(), lot).expand_as(y)
        (g,) = torch.autograd.grad(y, a, seed, allow_unused=True, materialize_grads=True)
        return g.reshape(s, b, -1), t
