"""Optimizers: rules, what makes one of anything else, schedules of the rate, and line searches.

A rule is ``init(x) -> state`` and ``update(point, state, lr) -> (move, state)``, pure. It may have more:

- ``entrywise``: True where points (..., n) with lr (..., 1) are so many runs at once (`stack` puts rules together)
- ``theory(smallest, largest)``: what is known of it on a quadratic (`theory.Theory`)
- ``frozen(state, lr)``: what it does to each entry with its moments as they are (`stability.Frozen`), None before any
- ``spent(state)``: evaluations used besides one gradient a step (`counting.spent` asks any rule)
- ``admit(function)``: raises UserError where it cannot walk (`line_search.admit` asks any rule)

A rule keeps nothing to itself: the same point, state and rate give the same move, so that a run can stop anywhere and
go on from what was saved, and a line search can try a rule without having taken its step.

>>> import calclab
>>> from calclab.core import Point
>>> f = calclab.formula("x**2", at=3)
>>> rule, x = as_rule(torch.optim.SGD), f.start
>>> rule.update(Point(x, f.call(x), 2 * x, f), rule.init(x), 0.1)[0]
tensor([-0.6000], dtype=torch.float64)
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from calclab.core import Rule
from calclab.errors import UserError
from calclab.optimizer.batch import stack
from calclab.optimizer.counting import spent
from calclab.optimizer.line_search import admit
from calclab.optimizer.wrapped import Wrapped

__all__ = ["admit", "as_rule", "spent", "stack"]


def as_rule(made: Callable[..., Any]) -> Rule:
    """The rule that ``made`` makes, all but called: a class of rules, or any torch.optim class, with its knobs."""
    partial = made if isinstance(made, functools.partial) else functools.partial(made)
    kind, knobs = partial.func, partial.keywords
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer):
        return Wrapped(kind, {name: tuple(v) if isinstance(v, list) else v for name, v in knobs.items()})
    name = getattr(kind, "__name__", str(kind))
    takes = parameters(kind)
    for knob in knobs:
        if takes is not None and knob not in takes:
            raise UserError(f"optimizer.{knob}: {name} has no such knob. It takes {', '.join(takes) or 'none'}")
    try:
        rule = partial()
    except TypeError as error:
        raise UserError(f"optimizer={name}: {error}. It takes {', '.join(takes or ['anything'])}") from error
    if not callable(getattr(rule, "init", None)) or not callable(getattr(rule, "update", None)):
        raise UserError(f"_target_={name} makes no optimizer: that is a torch.optim class, or has init and update")
    return rule


def parameters(kind: Callable[..., Any]) -> Sequence[str] | None:
    """The names of what may be given; None for anything."""
    try:
        found = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in found) else [p.name for p in found]
