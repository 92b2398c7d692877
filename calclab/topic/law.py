"""A law: a quantity measured at one setting after the other, each beside what theory says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calclab.core import Answer, Curves, Evidence, Function, Labels, Line, Picture, State, Table, Values
from calclab.laws import Law as Statement
from calclab.laws.base import CLOSE, ERRORS
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.base import Method

SHOWN = 8  # settings in the table of an answer


@dataclass(frozen=True, kw_only=True)
class Law(Method):
    """Step k is setting k of the ``law``. Row k holds its axis, and for each quantity q what was measured (q),
    what theory says (q_theory), and the standard error of what chance has a part in (q_error)."""

    subject: Function | Network
    law: Statement
    seed: int = 0

    @property
    def steps(self) -> int:
        return self.law.steps

    @property
    def evidence_steps(self) -> int:
        return min(self.steps + 1, 100)

    def init(self) -> State:
        return {"law": self.law.init()}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        inner, values = self.law.step(state["law"], k)
        new: State = {"law": inner}
        for name, value in values.items():
            before = state.get(f"seen.{name}")
            new[f"seen.{name}"] = value[None] if before is None else torch.cat([before, value[None]])
        return {**{key: value for key, value in state.items() if key not in new}, **new}, values

    def verify(self, state: State, k: int) -> list[Evidence]:
        """What the law has of it: each quantity against theory, where that is finite and exact."""
        return self.law.evidence(self.seen(state), k)

    def seen(self, state: State) -> dict[str, Tensor]:
        """What was logged at all settings so far, (K + 1, ...), by name."""
        return {name.removeprefix("seen."): value for name, value in state.items() if name.startswith("seen.")}

    def answer(self, state: State) -> Answer:
        seen = self.seen(state)
        values: dict[str, Tensor | str] = {}
        lines: list[Any] = []
        parts = []
        for q in self.law.quantities:
            told = distances(q, seen)
            values |= told
            gap, z = told[f"largest_gap_{q}"], told.get(f"largest_z_{q}")
            text = f"at most {words.number(100 * gap)} % from theory"
            if z is not None:
                text = f"at most {words.number(z)} standard errors from theory, {words.number(100 * gap)} %"
            lines.append(Line(q.replace("_", " "), text, f"largest_gap_{q}"))
            parts.append(bool(z <= ERRORS) if z is not None else bool(gap <= CLOSE))
        values |= self.law.findings(seen)
        for name, value in self.law.findings(seen).items():
            if isinstance(value, str) or value.ndim == 0:
                lines.append(
                    Line(name.replace("_", " "), value if isinstance(value, str) else words.number(value), name)
                )
        lines += self.table(seen)
        count = len(seen[self.law.axis])
        agree = "agree" if all(parts) else "do not all agree"
        return Answer(f"measured and theory {agree} at {count} settings of {self.law.axis}", values, lines=lines)

    def table(self, seen: Mapping[str, Tensor]) -> list[Table]:
        """Some of the settings, evenly, of quantities that are numbers."""
        names = [q for q in self.law.quantities if seen[q].ndim == 1]
        if not names:
            return []
        last = len(seen[self.law.axis]) - 1
        at = sorted({round(i * last / (SHOWN - 1)) for i in range(SHOWN)})
        columns = [name for q in names for name in (q, f"{q}_theory")]
        rows = [tuple(words.number(seen[name][k]) for name in (self.law.axis, *columns)) for k in at]
        return [Table("settings", (self.law.axis, *columns), rows)]

    def labels(self) -> Labels:
        return {}

    def pictures(self) -> Sequence[Picture]:
        axis = self.law.axis
        drawn = [
            Curves(q, (q, f"{q}_theory"), against=axis, log=self.law.log, axis=axis)
            for q in self.law.quantities
            if q not in self.law.vectors
        ]
        return [*self.law.pictures(), *drawn]


def distances(q: str, seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The largest |q - theory| over the settings with finite numbers: absolute, relative, and in standard errors."""
    value, theory = seen[q], seen[f"{q}_theory"]
    finite = value.isfinite() & theory.isfinite()
    away = (value - theory).abs()
    found = {
        f"largest_distance_{q}": largest(away[finite]),
        f"largest_gap_{q}": largest((away / theory.abs())[finite & (theory != 0)]),
    }
    if f"{q}_error" in seen:
        error = seen[f"{q}_error"]
        found[f"largest_z_{q}"] = largest((away / error)[finite & (error > 0)])
    return found


def largest(values: Tensor) -> Tensor:
    """The largest entry; NaN of none."""
    return values.max() if values.numel() else values.new_tensor(torch.nan)
