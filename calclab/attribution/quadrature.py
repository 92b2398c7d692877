"""∫ ∂t/∂x along the straight path from a baseline to a row, by quadrature.

Rules on [0, 1], Σ_i w_i f(α_i) ≈ ∫₀¹ f: Gauss-Legendre with n nodes, exact for polynomials up to degree 2n - 1, and the
pair of Gauss with 7 and Kronrod with 15 nodes (Piessens et al. 1983, QUADPACK, qk15): the 15 hold the 7, so that one
set of gradients gives both values, exact up to degree 13 and 22, and their difference tells the coarser one's error.

Of a function with r continuous derivatives the error of a rule on pieces of width h falls like h^r, r up to its degree;
at a kink of the integrand (a jump of ∂t/∂x) like h only, which is why intervals are halved where the change is large
and nowhere else.

>>> nodes, weights = legendre(3, torch.float64, torch.device("cpu"))
>>> [abs(float(weights @ nodes**k) - 1 / (k + 1)) < 1e-15 for k in (0, 5, 6)]  # exact up to degree 2·3 - 1
[True, True, False]
>>> nodes, (fine, change) = kronrod(torch.float64, torch.device("cpu"))
>>> abs(float(fine @ nodes**22) - 1 / 23) < 1e-15, abs(float(change @ nodes**13)) < 1e-15
(True, True)
>>> abs(float(change @ nodes**14)) > 1e-9  # Gauss's rule is not exact any more
True
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from calclab.attribution.question import Question

INTERVALS = 512  # of one row, at most
CROWDED = 128  # from so many on the worst are halved first: a layer of width 1e-12 is reached, whatever kinks there are
BULK = 0.9  # of a row's change, which its intervals to be halved then have together
# Piessens et al., QUADPACK (1983), qk15: nodes of Kronrod's rule on [0, 1) from the outermost, every second one Gauss's
NODES = (
    0.991455371120812639206854697526329,
    0.949107912342758524526189684047851,
    0.864864423359769072789712788640926,
    0.741531185599394439863864773280788,
    0.586087235467691130294144691258630,
    0.405845151377397166906606412076961,
    0.207784955007898467600689403773245,
    0.0,
)
KRONROD = (
    0.022935322010529224963732008058970,
    0.063092092629978553290700663189204,
    0.104790010322250183839876322541518,
    0.140653259715525918745189590510238,
    0.169004726639267902826583426598550,
    0.190350578064785409913256402421014,
    0.204432940075298892414161999234649,
    0.209482141084727828012999174891714,
)
GAUSS = (
    0.129484966168869693270611432679082,
    0.279705391489276667901467771423780,
    0.381830050505118944950369775488975,
    0.417959183673469387755102040816327,
)


@lru_cache
def legendre(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights (n,) of Gauss-Legendre on [0, 1]: exact up to degree 2n - 1. Made in float64, then rounded."""
    from numpy.polynomial.legendre import leggauss

    nodes, weights = (torch.from_numpy(part) for part in leggauss(n))
    return ((nodes + 1) / 2).to(device, dtype), (weights / 2).to(device, dtype)


@lru_cache
def kronrod(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes (15,) on [0, 1]; weights (2, 15): of Kronrod's rule (exact to degree 22), and of it minus Gauss's (13)."""
    half = torch.tensor(NODES, dtype=torch.float64)
    nodes = torch.cat([-half[:-1], half.flip(0)])
    fine = torch.tensor(KRONROD, dtype=torch.float64)
    fine = torch.cat([fine[:-1], fine.flip(0)])
    coarse = torch.zeros_like(fine)
    gauss = torch.tensor(GAUSS, dtype=torch.float64)
    coarse[1::2] = torch.cat([gauss[:-1], gauss.flip(0)])
    weights = torch.stack([fine, fine - coarse]) / 2
    return ((nodes + 1) / 2).to(device, dtype), weights.to(device, dtype)


# --- along a straight path ---


@dataclass(frozen=True)
class Segment:
    """From ``start`` (b, h) to ``end`` (b, h) in the lifted space, for rows ``lot``; ``change`` (b, d) is x - x₀."""

    lot: slice
    start: Tensor
    end: Tensor
    change: Tensor

    def at(self, α: Tensor) -> Tensor:
        """Points (s, b, h) at α (s,): start + α (end - start)."""
        return torch.lerp(self.start, self.end, α[:, None, None])


def segments(q: Question, baseline: Tensor, size: int) -> list[Segment]:
    """The paths of all rows from ``baseline`` (1 or B, d), ``size`` rows at once."""
    engine, B = q.engine, len(q.rows)
    shared = engine.lift(baseline) if len(baseline) == 1 else None
    found = []
    for low in range(0, B, size):
        lot = slice(low, min(low + size, B))
        x = q.rows[lot]
        end = engine.lift(x)
        start = engine.lift(baseline[lot]) if shared is None else shared.expand_as(end)
        found.append(Segment(lot, start, end, x - (baseline if shared is not None else baseline[lot])))
    return found


def fixed(q: Question, path: Segment, steps: int) -> Tensor:
    """(b, d) by Gauss-Legendre with ``steps`` nodes, and without an error: ``steps`` gradients a row. The gradients are
    summed in the lifted space before one product takes them back to x."""
    nodes, weights = legendre(steps, q.rows.dtype, q.rows.device)
    total = torch.zeros_like(path.end)
    at_once = max(1, q.points // len(path.end))
    for low in range(0, steps, at_once):
        g = q.gradients(path.at(nodes[low : low + at_once]), path.lot)
        total += (weights[None, low : low + at_once] @ g.view(len(g), -1)).view_as(total)
    return q.engine.pull(total).mul_(path.change)


def adaptive(q: Question, path: Segment, tol: float) -> tuple[Tensor, Tensor, bool]:
    """Values (b, d), error (b, d), and whether each row's error is below tol times its largest |value|.

    Each interval has its Kronrod value and what Gauss's rule differs by, feature by feature: that is the change shown
    as the error (of the coarser rule; the finer one is better); or what its values lack of the change of t from its
    beginning to its end, where that is more: a ReLU may go on or off between the nodes and be seen by none. While the
    changes of a row add up to more than the tolerance, its intervals with more than their share are halved, of many the
    worst first; rows that have converged are left alone.
    """
    b = len(path.end)
    eps = torch.finfo(q.rows.dtype).eps
    row = torch.arange(b, device=q.rows.device)
    low, width = torch.zeros(b, dtype=q.rows.dtype, device=q.rows.device), torch.ones_like(q.rows[:, 0][:b])
    value, change = intervals(q, path, row, low, width)
    values, error = torch.empty_like(value), torch.empty_like(value)
    done = True
    while True:
        count = torch.bincount(row, minlength=b)
        total = torch.zeros_like(values).index_add_(0, row, value)
        off = torch.zeros_like(values).index_add_(0, row, change)
        size = total.abs().amax(1)
        floor = 64 * eps * torch.zeros_like(size).index_add_(0, row, value.abs().amax(1))  # rounding: no halving helps
        allowed = torch.maximum(tol * size, floor)
        open_rows = (count > 0) & (off.amax(1) > allowed)
        full = count >= INTERVALS
        done = done and not bool((open_rows & full).any())
        open_rows &= ~full
        settled = (count > 0) & ~open_rows
        values[settled], error[settled] = total[settled], off[settled]
        share = (allowed / (2 * count.clamp(min=1)))[row]
        mine = open_rows[row]
        largest = change.amax(1)
        split = mine & (largest > share)
        split &= (count <= CROWDED)[row] | bulk(row, largest, b)
        if not bool(split.any()):
            return values, error, done
        keep = mine & ~split
        half = width[split] / 2
        new_row, new_low = torch.cat([row[split]] * 2), torch.cat([low[split], low[split] + half])
        new_width = torch.cat([half, half])
        new_value, new_change = intervals(q, path, new_row, new_low, new_width)
        row, low, width = (
            torch.cat([row[keep], new_row]),
            torch.cat([low[keep], new_low]),
            torch.cat([width[keep], new_width]),
        )
        value, change = torch.cat([value[keep], new_value]), torch.cat([change[keep], new_change])


def bulk(row: Tensor, change: Tensor, rows: int) -> Tensor:
    """Whether each interval (i,) is among the fewest of its row, the worst first, that have BULK of its whole change
    (Dörfler 1996, section 4.2)."""
    order = change.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    whole = torch.zeros(rows, dtype=change.dtype, device=change.device).index_add_(0, row, change)
    sorted_change, sorted_row = change[order], row[order]
    larger = sorted_change.cumsum(0) - sorted_change - (whole.cumsum(0) - whole)[sorted_row]
    marked = torch.zeros_like(row, dtype=torch.bool)
    marked[order] = larger < BULK * whole[sorted_row]
    return marked


def intervals(q: Question, path: Segment, row: Tensor, low: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """The value (i, d) of each interval [low, low + width] of the path of row ``row``, and |its change| from the
    coarser rule, or its gap where that is larger: 15 gradients and 2 values of t each.

    A feature that does not change along the path has no error, whatever ∂t/∂x does.
    """
    nodes, weights = kronrod(q.rows.dtype, q.rows.device)
    ends = torch.tensor([[0.0], [1.0]], dtype=nodes.dtype, device=nodes.device)
    eps = torch.finfo(nodes.dtype).eps
    found = []
    size = max(1, q.points // (len(nodes) + 2))
    for first in range(0, len(row), size):
        part = slice(first, first + size)
        r, h = row[part], width[part]
        α = low[part] + nodes[:, None] * h
        points = torch.lerp(path.start[r], path.end[r], α[..., None])
        g = q.gradients(points, r + path.lot.start)
        both = (weights @ g.reshape(len(nodes), -1)).view(2, *g.shape[1:])
        moved = path.change[r]
        value, change = q.engine.pull(both).mul_(moved).mul_(h[:, None])
        α = low[part] + ends * h
        first_t, last_t = q.values(torch.lerp(path.start[r], path.end[r], α[..., None]), r + path.lot.start)
        rounding = 64 * eps * (first_t.abs() + last_t.abs())
        gap = ((value.sum(1) - (last_t - first_t)).abs() - rounding).clamp(min=0)
        found.append(torch.stack([value, torch.where(moved == 0, 0, torch.maximum(change.abs(), gap[:, None]))]))
    value, change = torch.cat(found, 1)
    return value, change
