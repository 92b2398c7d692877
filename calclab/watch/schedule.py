"""When what is due: cheap looks often, dear ones as seldom as the budget asks, both measured.

A budget of 0.05 is 5 % of the training time, the time between two calls of the watch less its own. A look that costs c
training steps and is taken every n takes c/n of it. Looks that ask for less than an equal share of the budget are taken
every ``every`` steps; what they leave is shared out among the dearer ones in the same way, and these are taken as often
as their share allows. Whatever the estimates say, no look is taken while what was spent and what it is expected to cost
are more than the budget of the time trained so far. What attends every step is taken off the budget first, but for half
of it, which looks have in any case: a step so short that attending it costs more is told by the cost reported.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from math import ceil, inf
from statistics import median

KEPT = 51  # durations of training steps and of each look, of which the median counts
Clock = Callable[[], float]


class Schedule:
    """Decides by ``every`` and ``budget`` (None: all is due every ``every`` steps, and the clock decides nothing).

    ``costs`` are guesses in training steps by the names of the looks, ``own`` the cadences of those that have one.
    ``trained`` and ``spent`` are seconds so far.
    """

    def __init__(
        self,
        costs: Mapping[str, float],
        every: int,
        budget: float | None,
        own: Mapping[str, int] | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.every, self.budget, self.clock = every, budget, clock
        self.own = dict(own or {})
        self.guesses = dict(costs)
        self.trained = self.spent = self.attended = 0.0
        self.last: dict[str, int] = {}  # the step at which each look was taken
        self.counts = dict.fromkeys(costs, 0)
        self._seconds: dict[str, deque[float]] = {name: deque(maxlen=KEPT) for name in costs}
        self._steps: deque[float] = deque(maxlen=KEPT)
        self._left: float | None = None  # when the training went on
        self._inside = 0.0  # of the watch's own time since then

    def enter(self) -> None:
        """The training has made a step."""
        now = self.clock()
        if self._left is not None:
            gap = max(0.0, now - self._left - self._inside)
            self.trained += gap
            self._steps.append(gap)
        self._entered, self._inside = now, 0.0

    def leave(self) -> None:
        """The training goes on."""
        self._left = self.clock()
        self.spent += self._left - self._entered

    def inside(self, seconds: float) -> None:
        """The watch took so long while the training went on: in the optimizer's hooks."""
        self.spent += seconds
        self._inside += seconds

    def attend(self, seconds: float) -> None:
        """What attends every step took so long while the training went on."""
        self.attended += seconds
        self.inside(seconds)

    @property
    def allowed(self) -> float:
        """The share of the training time that looks have."""
        assert self.budget is not None
        fixed = self.attended / self.trained if self.trained else 0.0
        return max(self.budget / 2, self.budget - fixed)

    def forget(self, name: str) -> None:
        """A look that is not taken again."""
        for held in (self.guesses, self.counts, self._seconds, self.own):
            held.pop(name, None)

    def took(self, name: str, step: int, seconds: float) -> None:
        """A look was taken, and what it cost."""
        if name not in self.guesses:  # given up in this look
            return
        self.last[name] = step
        self.counts[name] += 1
        self._seconds[name].append(seconds)

    @property
    def pace(self) -> float:
        """Seconds of a training step: the median of the last ones; 0 before the first."""
        return median(self._steps) if self._steps else 0.0

    def expected(self, name: str) -> float:
        """Seconds that a look will take: the least of its last two, since a first one warms up; a guess before."""
        known = self._seconds[name]
        return min(list(known)[-2:]) if known else self.guesses[name] * self.pace

    def intervals(self) -> dict[str, int]:
        """After how many steps each look is due again."""
        if self.budget is None or not self.pace:
            return {name: self.own.get(name, self.every) for name in self.guesses}
        costs = {name: self.expected(name) / self.pace for name in self.guesses}
        return shared(costs, self.every, self.allowed, self.own)

    def due(self, step: int) -> list[str]:
        """The looks to take at a step, in their order: what is due, as far as the budget of the time so far allows."""
        at = [name for name in self.guesses if step % self.own.get(name, self.every) == 0]
        if not at:
            return []
        if self.budget is None:
            return at
        after, left = self.intervals(), self.allowed * self.trained - (self.spent - self.attended)
        found = []
        for name in at:
            if step - self.last.get(name, -after[name]) >= after[name] and self.expected(name) <= left:
                found.append(name)
                left -= self.expected(name)
        return found


def shared(
    costs: Mapping[str, float], every: int, budget: float, own: Mapping[str, int] | None = None
) -> dict[str, int]:
    """The steps between two looks of each kind, multiples of its least: ``costs`` in training steps a look, together
    at most ``budget`` of all steps.

    >>> shared({"norms": 0.1, "noise": 2.0, "sharpness": 10.0}, every=50, budget=0.05)
    {'norms': 50, 'noise': 100, 'sharpness': 400}
    """
    left, found = budget, {}
    least = {name: (own or {}).get(name, every) for name in costs}
    ordered = sorted(costs, key=lambda name: costs[name] / least[name])
    for i, name in enumerate(ordered):
        share = left / (len(ordered) - i)
        wanted = costs[name] / share if share > 0 else inf
        times = max(1, ceil(wanted / least[name] - 1e-9)) if wanted < inf else 2**31
        found[name] = times * least[name]
        left -= costs[name] / found[name]
    return {name: found[name] for name in costs}
