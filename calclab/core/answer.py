"""The answer: how a run ended, what it found, and whether it kept what a study promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from calclab.lines import Line, Said


class Status(Enum):
    """How a run ended; the value is the sentence shown to the user."""

    COMPLETED = "took all its steps"
    CONVERGED = "converged: the gradient norm fell below tol"
    DIVERGED = "diverged: the iterates run away"
    NONFINITE = "left the finite numbers"
    INTERRUPTED = "was interrupted"
    FAILED = "failed"

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Answer:
    """What a topic found: a headline of one line, the numbers and words asked for, formulas to typeset (LaTeX), and the
    lines and tables to read under the headline."""

    headline: str
    values: Mapping[str, Tensor | str]
    latex: Sequence[str] = ()
    lines: Sequence[Said] = ()

    @property
    def sentence(self) -> str:
        """Headline and lines in one sentence, tables left out.

        >>> Answer("a minimum", {}, lines=[Line("trace", "20", of="trace"), Line("signs", "2 positive")]).sentence
        'a minimum; trace = 20; signs: 2 positive'
        """
        lines = [line for line in self.lines if isinstance(line, Line)]
        return "; ".join([self.headline, *(f"{line.label}{' =' if line.of else ':'} {line.text}" for line in lines)])


@dataclass(frozen=True)
class Claim:
    """A number or word that a study promised, and whether the run shows it."""

    text: str
    expected: str
    found: str
    holds: bool
