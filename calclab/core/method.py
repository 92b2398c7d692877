"""The method: a topic is a pure scan, a rule a pure pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from calclab.core.answer import Answer, Status
from calclab.core.evidence import Evidence
from calclab.core.picture import Picture
from calclab.core.question import Function
from calclab.core.values import Columns, Labels, State, Values


@runtime_checkable
class Topic(Protocol):
    """A method as a pure scan over k = 0, 1, ..., ``steps``. Its fields are its hyperparameters."""

    @property
    def steps(self) -> int: ...

    @property
    def evidence_steps(self) -> int:
        """At about how many of the steps evidence is gathered; the last is always among them."""
        ...

    def init(self) -> State:
        """The state before k = 0."""
        ...

    def step(self, state: State, k: int) -> tuple[State, Values]:
        """The state after step k, and what is logged there; the state passed in is left as it was.

        Past the end that `stop` finds, the state itself and nothing: so nothing is done twice to find that end.
        """
        ...

    def derive(self, before: State, columns: Columns) -> Columns:
        """The columns to log, from those of one block of steps and the state before it.

        What can be had from logged values is computed here, for a whole block at once. A row may only depend on its
        own row and the one before (which ``before`` holds for the first), so that it is the same however blocks fall.
        """
        ...

    def stop(self, columns: Columns) -> tuple[int, Status] | None:
        """The first step of this block at which the run ends early, and how; None to go on."""
        ...

    def verify(self, state: State, k: int) -> list[Evidence]:
        """Evidence for what was logged at step k, given the state after it. May be empty where there is nothing new."""
        ...

    def answer(self, state: State) -> Answer:
        """The answer, given the state after the last step."""
        ...

    def notes(self) -> Sequence[str]:
        """What the user should know before the run starts, a sentence each."""
        ...

    def write_artifacts(self, state: State, folder: Path) -> None:
        """Write what other runs may want of the state after the last step, such as weights."""
        ...

    def labels(self) -> Labels:
        """Names along the axes of every value of rank 1 (columns) and 2 (rows, columns)."""
        ...

    def pictures(self) -> Sequence[Picture]:
        """What to draw when the run has ended."""
        ...


@dataclass(frozen=True)
class Scan:
    """How far a scan has come: how it ended (INTERRUPTED while it goes on), the last step k, the state after it, the
    last value of every name, the evidence gathered."""

    status: Status
    step: int
    state: State
    last: Values
    evidence: Sequence[Evidence]


class Point(NamedTuple):
    """Where a rule stands: x (n,), f(x) (), ∇f(x) (n,), and f itself, for rules that look further than the gradient."""

    x: Tensor
    loss: Tensor
    gradient: Tensor
    function: Function


class Rule(Protocol):
    """An optimizer as a pure pair. ``update`` returns the move x_{k+1} - x_k and the rule's next state.

    ``lr`` is a float, or a tensor where it is one of a batch: a rule that works entry by entry then takes points
    (..., n) and ``lr`` (..., 1) as they are.
    """

    def init(self, x: Tensor) -> State: ...

    def update(self, point: Point, state: State, lr: float | Tensor) -> tuple[Tensor, State]: ...
