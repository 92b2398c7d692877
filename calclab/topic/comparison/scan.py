"""Comparison: which optimizer gets how low on one subject, for the same number of gradient evaluations.

What makes it fair (Choi et al. 2019; Sivaprasad et al. 2020; Schmidt, Schneider and Hennig 2021; Moré and Wild 2009):

1. One budget of gradient evaluations for every walk, whatever its steps cost (`walks` keeps the books).
2. One effort of tuning: every optimizer tries as many learning rates, over a common sweep or over one of its own that
   the user names. Its other knobs are what conf/optimizer says, or what the user sets: they are not tuned.
3. Tuned by what a user sees: the median over starts of the lowest loss found. Known minima are not looked at.
   A walk that diverged counts as infinite, and rates at which none did are preferred (`tuning.choose`).
4. Chosen on half of the starts and reported on the others, so that luck in choosing is not reported as skill.
5. Paired: every optimizer walks from the same starts, and a sign test over them says whether the first is to be told
   from the second at all. It asks nothing of the distribution of losses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from calclab import schema
from calclab.core import (
    Answer,
    Evidence,
    Function,
    Labels,
    Picture,
    Rule,
    State,
    Values,
)
from calclab.errors import UserError
from calclab.optimizer import admit
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.base import Method
from calclab.topic.comparison import tuning
from calclab.topic.comparison.answer import answer
from calclab.topic.comparison.batched import same_bits
from calclab.topic.comparison.evidence import evidence
from calclab.topic.comparison.pictures import labels, pictures
from calclab.topic.comparison.rates import sweeps
from calclab.topic.comparison.starts import law, starts
from calclab.topic.comparison.tables import spreads, table
from calclab.topic.comparison.tuning import Tuned
from calclab.topic.comparison.walks import Walks
from calclab.topic.descent.forecast import forecast

NUMBERS = 10**7  # optimizers × rates × starts × variables, at most: 80 MB for each array of them
MARKS = 60  # places on the clock, at most, at which every walk's lowest loss is kept for the curves
FORECAST = 100  # variables up to which the Hessian is formed for theory's limit


@dataclass(frozen=True, kw_only=True)
class Comparison(schema.topic.Comparison, Method):
    """Step k is the clock of `Walks`: k gradient evaluations after the one at the start.

    Row k holds for every optimizer the median over starts of the lowest loss so far (infinite of walks that have
    diverged), at each rate (``best_<name>``) and
    at whichever rate is lowest there (``median_<name>``). The last step has the matrices: ``table``, one row an
    optimizer, of the starts that report; ``final_loss`` and ``diverged`` by rate, over all starts; ``wins``, the share
    of starts from which the row is better than the column, ties counting half; and quartiles over the
    starts that report, of the lowest loss by the clock (``course``) and by rate (``sensitivity``), and of how far it is
    above the lowest that any walk found from that start (``above``: what Moré and Wild call f - f_L).
    """

    subject: Function | Network
    rules: Mapping[str, Rule] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rules:
            raise UserError("optimizers=[]: nothing to compare. Type for example optimizers='[gd,adam]'")
        if stray := [name for name in self.own or {} if name not in self.rules]:
            raise UserError(f"own.{stray[0]}: {words.nearest(stray[0], self.names)}")
        n, rows = len(self.function.start), len(self.rules) * len(self.sweeps[0]) * self.seeds
        if rows * n > NUMBERS:
            raise UserError(
                f"{rows} walks (optimizers × rates × seeds) of {n} variables are more than fit: {NUMBERS // n} do. "
                "Type fewer seeds or rates"
            )
        for name, rule in self.rules.items():
            try:
                admit(rule, self.function)
                rule.init(self.function.start)
            except UserError as error:
                raise UserError(f"optimizers={name}: {error}") from error

    # --- what is compared ---

    @cached_property
    def function(self) -> Function:
        return self.subject.objective()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.rules)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The names as parts of other names."""
        return tuple(name.replace("+", "_") for name in self.names)

    @cached_property
    def sweeps(self) -> tuple[tuple[float, ...], ...]:
        """The learning rates (R) of every optimizer."""
        return sweeps(self.names, self.rates, self.own)

    @cached_property
    def walks(self) -> Walks:
        return Walks(
            function=self.function,
            rules=self.rules,
            rates=self.sweeps,
            starts=starts(self.subject, self.function, self.seeds, self.seed),
            budget=self.budget,
            tol=self.tol,
        )

    @cached_property
    def marks(self) -> tuple[int, ...]:
        """Places on the clock, evenly spaced on a logarithmic scale, the last the budget."""
        return tuple(sorted({round(self.budget ** (i / (MARKS - 1))) for i in range(MARKS)}))

    @cached_property
    def limits(self) -> tuple[float, ...]:
        """Theory's largest stable rate of each rule at the subject's own start (of a quadratic: anywhere), or NaN."""
        if len(self.function.start) > FORECAST:
            return (math.nan,) * len(self.rules)
        known = [forecast(self.function, rule, 1.0, self.tol) for rule in self.rules.values()]
        return tuple(math.nan if one is None or one.limit is None else float(one.limit) for one in known)

    # --- the scan ---

    @property
    def steps(self) -> int:
        return self.budget

    @property
    def evidence_steps(self) -> int:
        return 12 if self.function.exact is not None else 4

    def notes(self) -> Sequence[str]:
        notes = []
        if self.seeds > 1:
            notes.append(f"start 0 is the subject's own; the others are {law(self.subject, self.function)}")
        if 1 < self.seeds < 4:
            notes.append(f"seeds={self.seeds}: the starts that report have chosen the rate too. Type seeds=12 or more")
        return notes

    def init(self) -> State:
        state = self.walks.init()
        history = state["best"].expand(len(self.marks), -1, -1).clone()
        return {**state, "history": history, "clock": torch.tensor(0)}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        new = {**self.walks.advance(state, k), "clock": torch.tensor(k)}
        if k in self.marks:
            new["history"] = state["history"].clone()
            new["history"][self.marks.index(k)] = counted(new)
        medians = tuning.median(self.apart(counted(new)))
        values = {f"median_{key}": row.min() for key, row in zip(self.keys, medians, strict=True)}
        values |= {f"best_{key}": row for key, row in zip(self.keys, medians, strict=True)}
        return new, values | (self.matrices(new) if k == self.budget else {})

    def apart(self, rows: Tensor) -> Tensor:
        """(..., B) as (..., R, S)."""
        return rows.reshape(*rows.shape[:-1], len(self.sweeps[0]), self.seeds)

    def noise(self, best: Tensor) -> Tensor:
        """What is rounding, of losses (O, R, S), from each start (S,)."""
        return self.walks.noise(best.flatten(0, 1).min(0).values)

    def tuned(self, state: State) -> Tuned:
        best, settled = self.apart(counted(state)), self.apart(state["settled"])
        return tuning.tune(best, settled, self.noise(self.apart(state["best"])))

    def diverged(self, state: State) -> Tensor:
        """The share of starts (O, R) from which the walk diverged."""
        return self.apart(state["diverged"]).to(state["best"]).mean(-1)

    def table(self, state: State, tuned: Tuned) -> Tensor:
        return table(tuned, self.diverged(state), self.sweeps, self.limits)

    def matrices(self, state: State) -> dict[str, Tensor]:
        best, found, tuned = self.apart(counted(state)), self.apart(state["best"]), self.tuned(state)
        return {
            "table": self.table(state, tuned),
            "final_loss": tuning.median(best),
            "diverged": self.diverged(state),
            "rates": best.new_tensor(self.sweeps),
            "clock": best.new_tensor(self.marks).expand(len(self.rules), -1),
            "wins": (1 + tuned.better.to(best)).mean(-1) / 2,
            **spreads(tuned, best, found, self.apart(state["history"]), self.noise(found)),
        }

    # --- the answer ---

    def verify(self, state: State, k: int) -> list[Evidence]:
        alone = {name: self.taken_alone(state, i, k) for i, name in enumerate(self.names)}
        return evidence(self.walks, state, k, alone)

    def taken_alone(self, state: State, i: int, k: int) -> list[int]:
        """The walks of optimizer i that are taken again, alone: early on any, at the end the tuned one from the first
        start. Late ones only where a batch has the bits of a walk alone, as formulas have: elsewhere rounding grows."""
        if k == self.budget and self.walks.straight and same_bits(self.rules[self.names[i]]):
            return [int(self.tuned(state).rate[i]) * self.seeds]
        return [(31 * k + 7 * i) % self.walks.rows] if k <= 4 else []

    def answer(self, state: State) -> Answer:
        tuned = self.tuned(state)
        spent = int(state["clock"]), self.budget
        return answer(self.names, self.keys, tuned, self.table(state, tuned), spent, len(self.sweeps[0]))

    def labels(self) -> Labels:
        return labels(self.names, self.keys, self.sweeps, self.marks)

    def pictures(self) -> Sequence[Picture]:
        return pictures(self.keys)


def counted(state: State) -> Tensor:
    """The lowest loss (O, B) of every walk; infinite where it has diverged."""
    return torch.where(state["diverged"], torch.inf, state["best"])
