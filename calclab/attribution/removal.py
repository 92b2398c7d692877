"""What the target loses when features are taken away: ablation (Zeiler and Fergus 2014), occlusion of windows, and
Shapley values by sampling permutations (Castro et al. 2009).

    ablation   a_j = t(x) - t(x with x_j at its baseline)
    occlusion  the same of a window of the input, shared by the entries that it covers
    shapley    a_j = mean over orders π of t(x_{S ∪ j}) - t(x_S), S the features before j in π

with x_S the row whose features of S are its own and the others those of the baseline. Shapley values are the only ones
that add up to t(x) - t(x₀), treat equal features equally, give nothing to a feature that changes nothing, and are
linear in t (Shapley 1953). Exactly they cost 2^d values of t; p sampled orders cost p (d - 1), with an error like 1/√p,
and add up whatever p is, since each order's differences telescope. None of these asks for a derivative: they hold for
codes and through kinks. A row that is half itself and half baseline may be like no row of the data: the network is then
asked about what it never saw (Covert, Lundberg and Lee 2021, Explaining by removing).

Features are taken away by putting the baseline's in their place. In the lifted space a feature's change is a vector, so
that no point is ever multiplied by W₁ as a whole.

>>> from calclab.attribution import attribute
>>> class And(torch.nn.Module):
...     def forward(self, x):
...         return x.prod(1, keepdim=True)
>>> x = torch.ones(1, 2)
>>> attribute(And(), "ablation", x).values  # each of both takes all away
tensor([[1., 1.]])
>>> attribute(And(), "shapley", x).values  # and they share it
tensor([[0.5000, 0.5000]])
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from calclab.attribution.chain import Chain
from calclab.attribution.gradients import Moments
from calclab.attribution.integrated import starts
from calclab.attribution.question import Found, Question
from calclab.errors import UserError


def ablation(q: Question, *, groups: Tensor | Sequence[int] | None = None) -> Found:
    """F(x) - F(x with the feature at its baseline), (B, d). Features of one group go together and share its value
    evenly. ``groups`` (d,) are whole numbers. One value of t for each feature or group; the error is rounding."""
    if groups is None:
        return taken_away(q, None)
    member = members(groups, q)
    found = taken_away(q, member)
    return shared(found, member)


def occlusion(q: Question, *, window: int | Sequence[int], stride: int | Sequence[int] | None = None) -> Found:
    """F(x) - F(x with a window at its baseline); an entry has the mean over the windows that cover it, (B, d).

    The window slides over the last axes of the input, through all channels: (h, w) on images, or a length, by
    ``stride`` (None: its own size); the last one ends at the border. One value of t for each place. UserError for a
    window or a stride that does not fit, and where some entry is covered by no window.
    """
    masks = windows(q, window, stride)
    found = taken_away(q, masks)
    cover = masks / masks.sum(0)
    assert found.error is not None
    return Found(found.values @ cover, found.error @ cover, found.error_kind, None, found.reference_score)


def taken_away(q: Question, masks: Tensor | None) -> Found:
    """t(x) - t(x with what a mask (s, d) covers at its baseline): (B, s); without masks each feature alone, (B, d)."""
    engine, score = q.engine, q.score
    count = q.rows.shape[1] if masks is None else len(masks)
    found = torch.zeros(count, len(q.rows), dtype=q.rows.dtype, device=q.rows.device)
    every = q.baselines
    for baseline in every:
        for lot in q.lots():
            x = q.rows[lot]
            change = (baseline if len(baseline) == 1 else baseline[lot]) - x
            z = engine.lift(x)
            at_once = max(1, q.forward_points // len(x))
            for low in range(0, count, at_once):
                part = slice(low, min(low + at_once, count))
                if masks is None:
                    points = engine.effects(change, part, z)
                else:
                    points = z + engine.push(masks[part, None] * change)
                v = q.values(points, lot)
                moved = (change != 0).T  # what nothing has changed keeps its score to the last bit
                moved = moved[part] if masks is None else (masks[part] @ moved.to(v.dtype)) > 0
                found[part, lot] += torch.where(moved, v, score[lot])
    values = score[:, None] - found.T / len(every)
    error = values.abs().add_(score.abs()[:, None], alpha=2).mul_(8 * torch.finfo(values.dtype).eps)
    return Found(values, error, "rounding")


def shapley(q: Question, *, samples: int = 25, groups: Tensor | Sequence[int] | None = None) -> Found:
    """The mean, over permutations, of what a feature adds to those before it, from the baseline to the row: (B, d).

    Permutations come in pairs, each with its reverse (Mitchell et al. 2022, section 4.1), so that their number is even;
    the standard error is that of the pairs. Values add up to F(x) - F(baseline) whatever the number: of two features
    one pair is all there is. ``groups`` (d,) makes players of groups, which share their value evenly. UserError for
    fewer than 3 ``samples``.
    """
    if samples < 3:
        raise UserError(f"samples={samples}: the error needs two pairs of permutations. Type samples=25")
    member = None if groups is None else members(groups, q)
    d = q.rows.shape[1]
    G = d if member is None else len(member)
    pairs = (samples + 1) // 2
    forward = torch.rand(pairs, G, generator=q.generator(), device=q.rows.device).argsort(1)
    orders = torch.stack([forward, forward.flip(1)], 1).view(-1, G)
    every = q.baselines
    parts = []
    for lot in q.lots(G - 1):
        sums = torch.stack([of_lot(q, lot, baseline, orders, member) for baseline in every]).mean(0)
        moments = Moments(sums[0])
        moments.take(sums)
        parts.append(moments.result())
    values, error = (torch.cat(part) for part in zip(*parts, strict=True))
    start = torch.stack([starts(q, baseline) for baseline in every]).mean(0)
    gap = values.sum(1) - (q.score - start)
    found = Found(values, error, f"standard error over {pairs} pairs of permutations", gap, start)
    return found if member is None else shared(found, member)


def of_lot(q: Question, lot: slice, baseline: Tensor, orders: Tensor, member: Tensor | None) -> Tensor:
    """What each feature adds, the mean of each pair of permutations: (pairs, b, G). ``orders`` (2 pairs, G)."""
    engine, (count, G) = q.engine, orders.shape
    x = q.rows[lot]
    base = (baseline if len(baseline) == 1 else baseline[lot]).expand_as(x)
    z, change = engine.lift(base), x - base
    v = torch.empty(count, G + 1, len(x), dtype=x.dtype, device=x.device)
    v[:, 0], v[:, -1] = q.values(z.clone(), lot), q.score[lot]
    for low, points in prefixes(q, z, change, orders, member):
        v[low : low + len(points), 1:-1] = q.values(points, lot)
    added = torch.empty(count, G, len(x), dtype=x.dtype, device=x.device)
    added.scatter_(1, orders[..., None].expand_as(added), v.diff(dim=1))  # from order to feature
    return added.view(-1, 2, G, len(x)).mean(1).transpose(1, 2)


def prefixes(
    q: Question, z: Tensor, change: Tensor, orders: Tensor, member: Tensor | None
) -> Iterator[tuple[int, Tensor]]:
    """For p permutations from the ``low``-th on: z with the first 1, 2, ... features put in, (p, G - 1, b, h)."""
    engine, (count, G) = q.engine, orders.shape
    if G == 1:
        return
    if isinstance(engine, Chain):  # one addition a point, whatever the number of features
        change = change if member is None else member[:, None] * change
        moves = (engine.effects(change, slice(None)) if member is None else engine.push(change)).unbind(0)
        for low, order in enumerate(orders.tolist()):
            points = z.new_empty(1, G - 1, *z.shape)
            before = z
            for j, after in zip(order, points[0].unbind(0), strict=False):
                before = torch.add(before, moves[j], out=after)
            yield low, points
        return
    k = torch.arange(1, G, device=z.device)
    places = orders.argsort(1)
    at_once = max(1, q.forward_points // (len(z) * (G - 1)))
    for low in range(0, count, at_once):
        masks = (places[low : low + at_once, None] < k[:, None]).to(z.dtype)  # (p, G - 1, G)
        masks = masks if member is None else masks @ member
        yield low, torch.addcmul(z, masks[:, :, None], change)


def members(groups: Tensor | Sequence[int], q: Question) -> Tensor:
    """Masks (G, d) of groups (d,): the features with one number belong together. UserError for another number of
    them."""
    numbers = torch.as_tensor(groups, device=q.rows.device).reshape(-1)
    d = q.rows.shape[1]
    if len(numbers) != d or numbers.is_floating_point():
        raise UserError(
            f"groups: {len(numbers)} are given. Give the whole number of a group for each of the {d} inputs"
        )
    return (numbers == torch.unique(numbers)[:, None]).to(q.rows.dtype)


def shared(found: Found, member: Tensor) -> Found:
    """Values of groups (B, G) as values of features (B, d), shared out evenly.

    >>> shared(Found(torch.tensor([[6.0, 1.0]])), torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])).values
    tensor([[3., 3., 1.]])
    """
    even = member / member.sum(1, keepdim=True)
    error = None if found.error is None else found.error @ even
    return Found(found.values @ even, error, found.error_kind, found.gap, found.reference_score)


def windows(q: Question, window: int | Sequence[int], stride: int | Sequence[int] | None) -> Tensor:
    """Masks (s, d) of all places of a window, with ones where it covers."""
    shape = q.model.pieces[0]
    size = (window,) if isinstance(window, int) else tuple(window)
    step = size if stride is None else (stride,) * len(size) if isinstance(stride, int) else tuple(stride)
    axes = shape[len(shape) - len(size) :]
    if len(q.model.pieces) > 1 or not size or len(size) > len(shape) or len(step) != len(size):
        raise UserError(f"window={window}: one input is needed, and a window over its last axes, of {tuple(shape)}")
    if any(not 0 < w <= a or s < 1 for w, a, s in zip(size, axes, step, strict=True)):
        raise UserError(f"window={window} stride={stride}: a window of 1 to {tuple(axes)}, moved by 1 or more")
    starts_of = [
        dict.fromkeys([*range(0, a - w + 1, s), a - w]) for a, w, s in zip(axes, size, step, strict=True)
    ]  # the last window ends at the border, so that every entry is covered
    masks = []
    for corner in itertools.product(*starts_of):
        mask = torch.zeros(shape, dtype=q.rows.dtype, device=q.rows.device)
        inside = mask
        for axis, (c, w) in enumerate(zip(corner, size, strict=True), len(shape) - len(size)):
            inside = inside.narrow(axis, c, w)
        inside.fill_(1)
        masks.append(mask.reshape(-1))
    covered = torch.stack(masks)
    if not bool(covered.any(0).all()):
        raise UserError(
            f"window={window} stride={stride}: some entries are covered by no window. Type a smaller stride"
        )
    return covered
