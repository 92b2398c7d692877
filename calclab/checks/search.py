"""Which numbers of a derivative are looked at, and where a wrong one is.

Few variables: every entry by itself. Many: seeded directions through all of them and through each part, in which one
wrong entry shows as long as it stands out of the rounding of all together (a slope is known to about 1e-12 of its
size); the largest entries and a random sample by themselves; and where a direction is off, its variables are halved
until the wrong entry is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from calclab.checks import slopes
from calclab.checks.judgement import ROUNDED, TOLERANCE, Judged, bad, judge
from calclab.checks.program import Part
from calclab.core import Verdict
from calclab.numerics.tolerance import RICHARDSON

SEED = 20_162
EACH = 64  # variables of which every entry is looked at, whatever it costs
SAMPLE = 24  # largest entries, and as many random ones, of more variables
DIRECTIONS = 3  # through each part
HALVINGS = 60  # measurements that may be spent on finding one wrong entry
NUMBERS = 2**22  # that the points of one measurement may have


@dataclass
class Question:
    """A derivative given of a map, at one point: ``values`` takes points (p, n) to (p, m), ``given`` directions (p, n)
    to (p, m). ``dense`` (m, n) is the derivative as a matrix, where there is one."""

    quantity: str
    method: str
    x: Tensor
    values: slopes.Values
    given: Callable[[Tensor], Tensor]
    parts: Sequence[Part]
    dense: Tensor | None = None
    point: int = 0
    weights: Tensor | None = None  # (m, k) of the k outputs that ``values`` and ``given`` are sums of


@dataclass
class Look:
    """What came of a question: ``rows`` and the ``directions`` judged; of the entries measured by themselves ``index``
    (k,), ``claimed`` and ``found`` (k, m) per unit of the variable, with ``bound``; ``of`` is how it was looked at."""

    question: Question
    rows: list[Judged]
    directions: list[Judged] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    claimed: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    found: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    bound: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    refuted: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.bool))
    of: str = ""

    @property
    def worst(self) -> Judged:
        return max([*self.rows, *self.directions], key=lambda row: row.badness)


def given_by(dense: Tensor) -> Callable[[Tensor], Tensor]:
    """J d for a matrix J (m, n) and directions (p, n); entries that do not move are left out, be they NaN."""

    def product(directions: Tensor) -> Tensor:
        alone = (directions != 0).sum(1) == 1
        found = (
            directions @ dense.T.nan_to_num(torch.nan)
            if not bool(alone.all())
            else directions.new_zeros(len(directions), len(dense))
        )
        for i in torch.nonzero(alone).reshape(-1).tolist():
            k = int(directions[i].abs().argmax())
            found[i] = dense[:, k] * directions[i, k]
        return found

    return product


def look(question: Question, *, tolerance: float = TOLERANCE, most: int = EACH, sample: int = SAMPLE) -> Look:
    """Look at a question; every entry by itself where there are no more than ``most``, else ``sample`` of them."""
    x, n = question.x, len(question.x)
    base = question.values(x[None])[0]
    noise = slopes.noise_of(question.values, x, base)
    search = Search(question, base, noise, tolerance)
    if n <= most:
        search.entries(list(range(n)))
        count = f"{len(base)} × {n}" if len(base) > 1 else f"{n}"
        said = f"all {count} entries by themselves" if count != "1" else "the entry by itself"
        return search.result(said)
    groups = [list(range(part.start, part.stop)) for part in question.parts]
    off: list[list[int]] = []
    for group in groups if len(groups) <= 64 else [list(range(n))]:
        off += search.through(group)
    search.entries(search.sample(n, sample))
    done = set(search.wrong())
    for group in off:
        if not done & set(group):
            search.halve(group)
    single = len(search.index)
    return search.result(f"{search.ways} directions through {n:,} variables, {single} entries by themselves")


def glance(question: Question, tolerance: float = TOLERANCE) -> bool:
    """Whether a derivative is off along one seeded direction through all variables: cheap, for many points."""
    base = question.values(question.x[None])[0]
    search = Search(question, base, slopes.noise_of(question.values, question.x, base), tolerance)
    return search.along(search.signs(range(len(question.x)), 1))[1]


class Search:
    """The measurements of one question."""

    def __init__(self, question: Question, base: Tensor, noise: Tensor, tolerance: float) -> None:
        self.question, self.base, self.noise, self.tolerance = question, base, noise, tolerance
        self.scale = slopes.scales(question.x)
        self.maker = torch.Generator().manual_seed(SEED)
        self.rows: list[Judged] = []
        self.directions: list[Judged] = []
        self.ways = 0
        self.index: list[int] = []
        self.claimed: list[Tensor] = []
        self.found: list[Tensor] = []
        self.bound: list[Tensor] = []
        self.largest: Tensor | None = None

    def measure(self, directions: Tensor, given: Tensor) -> slopes.Measured:
        q = self.question
        return slopes.measured(q.values, q.x, directions, self.noise, given, 0.4 * self.tolerance)

    def entries(self, index: Sequence[int]) -> None:
        """Look at these variables by themselves."""
        new = [i for i in index if i not in set(self.index)]
        wide = max(1, NUMBERS // (2 * slopes.FIRST * max(len(self.scale), 8 * len(self.base))))
        for few in (new[k : k + wide] for k in range(0, len(new), wide)):
            directions = torch.zeros(len(few), len(self.scale), dtype=self.scale.dtype, device=self.scale.device)
            directions[range(len(few)), few] = self.scale[few]
            given = self.question.given(directions)
            found = self.measure(directions, given)
            seen = found.slope.abs().nan_to_num(0, 0, 0).amax(0)
            self.largest = seen if self.largest is None else torch.maximum(self.largest, seen)
            rows = judge(self.base, given, found, self.tolerance, self.largest)
            s = self.scale[few][:, None]
            for row in rows:
                k = row.direction
                unit = float(self.scale[few[k]])
                self.rows.append(
                    Judged(
                        few[k],
                        row.output,
                        row.given / unit,
                        row.measured / unit,
                        row.bound / unit,
                        row.verdict,
                        row.note,
                    )
                )
            self.index += few
            self.claimed.append(given / s)
            self.found.append(found.slope / s)
            self.bound.append(RICHARDSON * found.error / s)

    def signs(self, group: Sequence[int], count: int) -> Tensor:
        """Directions (count, n) of random signs in the variables of ``group``."""
        drawn = torch.randint(0, 2, (count, len(group)), generator=self.maker).to(self.scale) * 2 - 1
        directions = torch.zeros(count, len(self.scale), dtype=self.scale.dtype, device=self.scale.device)
        directions[:, list(group)] = drawn * self.scale[list(group)]
        return directions / len(group) ** 0.5

    def through(self, group: Sequence[int]) -> list[list[int]]:
        """Look along directions through a group; the group, where one is off or cannot be told."""
        if len(group) <= 4:
            self.entries(group)
            return []
        judged, off = self.along(self.signs(group, DIRECTIONS))
        self.ways += DIRECTIONS
        self.directions += judged
        return [list(group)] if off else []

    def along(self, directions: Tensor) -> tuple[list[Judged], bool]:
        """Numbers along directions, and whether one is off by more than rounding. A direction is refuted as a number
        is; where it is off by less, its entries have to be looked at."""
        given = self.question.given(directions)
        found = self.measure(directions, given)
        rows = judge(self.base, given, found, self.tolerance)
        size = torch.maximum(found.slope.abs(), found.varied)
        dense = self.question.dense
        if dense is not None:  # a sum of terms that cancel rounds like the terms
            size = torch.maximum(size, (directions**2 @ dense.T.nan_to_num(0, 0, 0) ** 2).sqrt())
        gap = (given - found.slope).abs()
        off = (gap > RICHARDSON * found.error + 0.1 * ROUNDED * size) & ~found.singular & given.isfinite()
        return rows, bool(off.any())

    def sample(self, n: int, count: int) -> list[int]:
        """The largest entries given, and random ones."""
        chosen = torch.randperm(n, generator=self.maker)[:count].tolist()
        if self.question.dense is not None:
            size = (self.question.dense.abs().nan_to_num(torch.inf).amax(0) * self.scale).cpu()
            chosen += size.topk(min(count, n)).indices.tolist()
        return list(dict.fromkeys(chosen))

    def wrong(self) -> list[int]:
        """Variables with a refuted entry of their own."""
        return [row.direction for row in self.rows if row.verdict is Verdict.REFUTED]

    def halve(self, group: Sequence[int]) -> None:
        """Halve a group that is off until single entries are left, and look at those."""
        waiting, spent = [list(group)], 0
        while waiting and spent < HALVINGS and not bad(self.rows):
            few = waiting.pop()
            if len(few) <= 4:
                self.entries(few)
                continue
            middle = len(few) // 2
            for half in (few[:middle], few[middle:]):
                spent += 1
                if self.along(self.signs(half, 2))[1]:
                    waiting.append(half)

    def bent(self) -> set[int]:
        """Outputs with a wrong entry of which slopes do not add up, f'(d) ≠ Σ d_i ∂f/∂x_i, along directions through the
        variables in which they have no kink: sorted eigenvalues where two are equal have slopes in each variable, and
        no derivative."""
        found: set[int] = set()
        if len(self.index) < len(self.scale):
            return found
        slope, bound = torch.cat(self.found), torch.cat(self.bound)
        for j in {row.output for row in self.rows if row.verdict is Verdict.REFUTED}:
            kinked = {row.direction for row in self.rows if row.output == j and row.verdict is Verdict.UNDEFINED}
            directions = self.signs([i for i in self.index if i not in kinked], 2)
            seen = self.measure(directions, torch.full((2, len(self.base)), torch.nan).to(self.base))
            moved = directions[:, self.index]
            total = moved @ slope[:, j].nan_to_num(0, 0, 0)
            allowed = moved.abs() @ bound[:, j].nan_to_num(0, 0, 0) + RICHARDSON * seen.error[:, j]
            size = (moved.abs() @ slope[:, j].abs().nan_to_num(0, 0, 0)).clamp(min=float(seen.slope[:, j].abs().max()))
            off = (seen.slope[:, j] - total).abs() > 2 * allowed + 1e-4 * size
            if bool((off | seen.singular[:, j]).any()):
                found.add(j)
        return found

    def result(self, said: str) -> Look:
        q = self.question
        if bent := self.bent():
            note = "not differentiable here: slopes along directions do not add up"
            self.rows = [
                replace(row, verdict=Verdict.UNDEFINED, note=note)
                if row.output in bent and row.verdict is Verdict.REFUTED
                else row
                for row in self.rows
            ]
        look = Look(q, self.rows, self.directions, self.index, of=said)
        if self.index:
            look.claimed, look.found, look.bound = (torch.cat(rows) for rows in (self.claimed, self.found, self.bound))
            look.refuted = torch.zeros_like(look.claimed, dtype=torch.bool)
            at = {k: i for i, k in enumerate(self.index)}
            for row in self.rows:
                if row.verdict is Verdict.REFUTED:
                    look.refuted[at[row.direction], row.output] = True
        return look
