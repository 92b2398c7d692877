"""Permutation importance (Breiman 2001, section 10; Fisher, Rudin and Dominici 2019, section 3): how far a score falls
when a feature is shuffled over the rows.

    a_j = s(y, labels) - mean over shuffles π of s(y with x_j of row π(i) in place of its own, labels)

One number for a feature and all rows together, in the unit of the score: how much the network *relies* on x_j, not how
much the data hold. Two features that say the same share the fall, or hide it: with one of them shuffled the network
reads the other. It is 0 on average for a feature that the network does not read, and the standard error is that of
shuffling alone, not of the choice of rows. ``repeats`` times d times B values of the network.

>>> from calclab.attribution import attribute
>>> net = torch.nn.Linear(2, 1, bias=False)
>>> _ = net.load_state_dict({"weight": torch.tensor([[1.0, 0.0]])})
>>> x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
>>> a = attribute(net, "permutation", x, labels=x[:, :1], score="r2", repeats=20)
>>> float(a.values[0, 1]), bool((a.values[0, 0] - 2).abs() < 0.2)  # r² falls from 1 to -1: the variance is doubled
(0.0, True)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from calclab.attribution.gradients import Moments
from calclab.attribution.question import Found, Question
from calclab.attribution.removal import members, shared
from calclab.errors import UserError

Score = Callable[[Tensor, Tensor], Tensor | float]  # outputs (B, m), labels -> one number, larger is better


def permutation(
    q: Question,
    *,
    repeats: int = 30,
    score: str | Score | None = None,
    groups: Tensor | Sequence[int] | None = None,
) -> Found:
    """The mean fall of the score over ``repeats`` shuffles of each feature, (1, d), over all rows together.

    ``score`` is accuracy, r2, loss (its fall is minus the loss's rise) or a function of outputs (B, m) and labels that
    is larger for the better; None takes accuracy for classes and r2 for numbers. Features of one of the ``groups`` (d,)
    are shuffled together and share the fall evenly. The standard error is that of shuffling alone, not of the choice of
    rows. UserError without labels, for fewer than 2 repeats or rows, and for a score that does not fit the labels.
    """
    if q.sample.labels is None:
        raise UserError("permutation needs the label of each row. Give labels=")
    if repeats < 2 or len(q.rows) < 2:
        raise UserError(f"repeats={repeats} on {len(q.rows)} rows: 2 or more of both. Type repeats=30")
    rate = scorer(q, score)
    member = None if groups is None else members(groups, q)
    B = len(q.rows)
    count = q.rows.shape[1] if member is None else len(member)
    before = rate(q.outputs[None])
    generator = q.generator()
    moments = Moments(before.expand(1, count))
    at_once = max(1, q.forward_points // B)
    for _ in range(repeats):
        falls = torch.empty(1, 1, count, dtype=q.rows.dtype, device=q.rows.device)
        for low in range(0, count, at_once):
            part = slice(low, min(low + at_once, count))
            order = torch.rand(part.stop - low, B, generator=generator, device=q.rows.device).argsort(1)
            outputs = shuffled(q, part, order, member)
            falls[0, 0, part] = before - rate(outputs)
        moments.take(falls)
    values, error = moments.result()
    found = Found(values, error, f"standard error over {repeats} shuffles")
    return found if member is None else shared(found, member)


def shuffled(q: Question, part: slice, order: Tensor, member: Tensor | None) -> Tensor:
    """Outputs (f, B, m), of each feature (group) of ``part`` with its values taken from rows ``order`` (f, B)."""
    engine = q.engine
    found = []
    size = max(1, q.forward_points // len(order))
    for low in range(0, len(q.rows), size):
        lot = slice(low, min(low + size, len(q.rows)))
        x, picked = q.rows[lot], order[:, lot]
        z = engine.lift(x)
        if member is None:
            features = torch.arange(part.start, part.stop, device=x.device)
            values = q.rows.T[features].gather(1, picked)  # (f, b)
            change = torch.zeros(x.shape[1], len(x), dtype=x.dtype, device=x.device)
            change[features] = values - x.T[features]
            points = engine.effects(change.T, part).add_(z)
        else:
            points = z + engine.push((q.rows[picked] - x) * member[part, None])
        found.append(q.answers(points, lot))
    return torch.cat(found, 1)


def scorer(q: Question, score: str | Score | None) -> Callable[[Tensor], Tensor]:
    """Outputs (f, B, m) to scores (f,): larger is better. Of one output the class is its sign. UserError for a score
    that does not go with the labels."""
    y = q.sample.labels
    assert y is not None
    classes = not y.is_floating_point() and y.ndim == 1
    score = ("accuracy" if classes else "r2") if score is None else score
    dtype = q.rows.dtype
    if score == "accuracy":
        if not classes:
            raise UserError("score=accuracy needs classes, and the labels are numbers. Type score=r2")
        if q.outputs.shape[1] == 1:
            return lambda o: ((o[..., 0] > 0) == (y > 0)).to(dtype).mean(-1)
        return lambda o: (o.argmax(-1) == y).to(dtype).mean(-1)
    if score == "r2":
        t = y.to(dtype).reshape(len(y), -1)
        if t.shape[1] != q.outputs.shape[1]:
            raise UserError(
                f"score=r2: {q.outputs.shape[1]} outputs, and labels with {t.shape[1]}. Type score=accuracy"
            )
        total = (t - t.mean(0)).square().sum()
        return lambda o: 1 - (o - t).square().sum((-1, -2)) / total
    if score == "loss":
        loss = q.sample.loss
        if loss is None:
            raise UserError(
                "score=loss: a module by itself has no loss. Give loss=, a function (outputs, labels) -> (N,)"
            )
        return lambda o: torch.stack([-loss(each, y).mean() for each in o])
    if isinstance(score, str):
        raise UserError(
            f"score={score}: the scores are accuracy, r2, loss, or a function (outputs, labels). Type score=loss"
        )
    given = score
    return lambda o: torch.stack([torch.as_tensor(given(each, y), dtype=dtype, device=o.device) for each in o])
