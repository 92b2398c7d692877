"""What a check gives: a verdict, the evidence, the place of what is wrong, and its probable cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import TYPE_CHECKING

from calclab.core import Evidence, Verdict
from calclab.lines import Line
from calclab.terminal import plain

if TYPE_CHECKING:
    import pandas as pd

ORDER = list(Verdict)
GOOD = (Verdict.CERTIFIED, Verdict.CONSISTENT)
WORDS = {
    Verdict.CERTIFIED: "is right: proven",
    Verdict.CONSISTENT: "is right",
    Verdict.INCONCLUSIVE: "cannot be told",
    Verdict.UNDEFINED: "does not exist everywhere here",
    Verdict.SUSPECT: "is doubtful",
    Verdict.REFUTED: "is wrong",
}
FEW = 4  # quantities that a headline names
KINDS = {Verdict.CERTIFIED: "good", Verdict.CONSISTENT: "good", Verdict.REFUTED: "bad"}


class WrongDerivativeError(AssertionError):
    """A derivative that independent evidence contradicts. ``check`` is what was found."""

    def __init__(self, check: Check) -> None:
        super().__init__(str(check))
        self.check = check


@dataclass(frozen=True)
class Finding:
    """One row: what was asked, the evidence of its worst number, where that is, why it may be wrong, and how it was
    looked at. ``counts`` says whether the row decides: at other points than the one given only a wrong number does."""

    evidence: Evidence
    place: str = ""
    cause: str = ""
    of: str = ""
    where: str = ""

    @property
    def verdict(self) -> Verdict:
        return self.evidence.verdict

    @property
    def counts(self) -> bool:
        return self.evidence.step == 0 or self.verdict is Verdict.REFUTED

    @property
    def badness(self) -> int:
        return ORDER.index(self.verdict)


@dataclass(frozen=True, eq=False, repr=False)
class Check:
    """Whether derivatives are right.

    ``verdict`` is the worst word among the rows: certified (proven), consistent (independent evidence agrees to 1e-6),
    inconclusive, undefined (a kink, a pole), suspect (rounding, or NaN where there is a slope), refuted. ``place``
    names the entry that decided it, ``cause`` what such an error usually comes of.
    """

    subject: str
    findings: Sequence[Finding]
    notes: Sequence[str] = field(default=())

    @property
    def worst(self) -> Finding:
        """The row that decides; of several as bad the first."""
        rows = [row for row in self.findings if row.counts]
        return max(rows, key=lambda row: row.badness)

    @property
    def verdict(self) -> str:
        return self.worst.verdict.word

    @property
    def right(self) -> bool:
        """Whether all that was looked at is consistent or certified."""
        return self.worst.verdict in GOOD

    @property
    def place(self) -> str:
        return self.worst.place

    @property
    def cause(self) -> str:
        return self.worst.cause

    @property
    def given(self) -> float:
        """The number given, at the place."""
        return self.worst.evidence.value

    @property
    def measured(self) -> float:
        """The number measured there; `bound` is how far that can be off."""
        return self.worst.evidence.reference

    @property
    def bound(self) -> float:
        return self.worst.evidence.bound

    @property
    def evidence(self) -> pd.DataFrame:
        """One row a check, with place and cause."""
        import pandas as pd

        names = [entry.name for entry in fields(Evidence)]
        frame = pd.DataFrame([[getattr(row.evidence, name) for name in names] for row in self.findings], columns=names)
        frame["verdict"] = [row.verdict.word for row in self.findings]
        return frame.rename(columns={"step": "point"}).assign(
            place=[row.place for row in self.findings], cause=[row.cause for row in self.findings]
        )

    @property
    def headline(self) -> str:
        """The answer in a line."""
        row = self.worst
        if row.verdict not in GOOD:
            return f"{row.evidence.quantity} {WORDS[row.verdict]}"
        names = list(dict.fromkeys(each.evidence.quantity for each in self.findings if each.counts))
        if len(names) == 1:
            return f"{names[0]} {WORDS[row.verdict]}"
        if len(names) > FEW:
            return f"{names[0]} and {len(names) - 1} more kinds {WORDS[row.verdict].replace('is', 'are', 1)}"
        return f"{', '.join(names[:-1])} and {names[-1]} {WORDS[row.verdict].replace('is', 'are', 1)}"

    @property
    def lines(self) -> list[Line]:
        """The headline, and what is to be read under it."""
        row = self.worst
        found = [
            Line(self.subject, "", kind="title"),
            Line("", self.headline, kind="headline"),
            Line("verdict", self.verdict, kind=KINDS.get(row.verdict, "doubtful")),
        ]
        if row.verdict not in GOOD:
            e = row.evidence
            found.append(Line("place", f"{row.place}{row.where}"))
            if row.verdict is not Verdict.UNDEFINED or isfinite(e.reference):
                if e.method != "":
                    found.append(Line("given", f"{e.value:.10g}"))
                bound = f" ± {e.bound:.1g}" if isfinite(e.bound) else ""
                found.append(Line("measured", f"{e.reference:.10g}{bound}"))
            found.append(Line("because", e.note))
            if row.cause:
                found.append(Line("cause", f"probably {row.cause}"))
        others = [each for each in self.findings if each.counts and each is not row]
        if row.verdict in GOOD:
            found += [Line("looked at", sentence(row)), *(Line("", sentence(each)) for each in others)]
        else:
            found += [Line("also", sentence(each)) for each in others if each.verdict not in GOOD][:4]
        found += self.elsewhere
        return [*found, *(Line("note", note) for note in self.notes)]

    @property
    def elsewhere(self) -> list[Line]:
        """What other points said, a line for each question of which it differs."""
        said: dict[str, list[str]] = {}
        for quantity in dict.fromkeys(row.evidence.quantity for row in self.findings if row.evidence.step):
            rows = [row for row in self.findings if row.evidence.step and row.evidence.quantity == quantity]
            if any(row.verdict is Verdict.REFUTED for row in rows):
                continue
            good = sum(row.verdict in GOOD for row in rows)
            rest = sorted({row.verdict.word for row in rows if row.verdict not in GOOD})
            tail = f" ({', '.join(rest)} at the others)" if rest else ""
            said.setdefault(f"right at {good} of {len(rows)} other points{tail}", []).append(quantity)
        if len(said) == 1:
            return [Line("elsewhere", next(iter(said)))]
        return [Line("elsewhere", f"{', '.join(names)}: {text}") for text, names in said.items()]

    def raise_if_wrong(self) -> Check:
        """This check; WrongDerivativeError where evidence contradicts a derivative."""
        if self.worst.verdict is Verdict.REFUTED:
            raise WrongDerivativeError(self)
        return self

    def __str__(self) -> str:
        return "\n".join(plain(self.lines))

    def __repr__(self) -> str:
        return str(self)


def sentence(row: Finding) -> str:
    """A row in words."""
    e = row.evidence
    if row.verdict in GOOD:
        size = max(abs(e.value), abs(e.reference))
        close = max(e.gap, e.bound) / size if size else max(e.gap, e.bound)
        sure = f", known to {close:.0e}" if isfinite(close) and close > 0 else ""
        return f"{e.quantity}: {row.of}{sure}" if row.of else f"{e.quantity}: {e.note or row.verdict.word}"
    return (
        f"{e.quantity} {WORDS[row.verdict]}: {row.place}{row.where}: {e.note}"
        if row.place
        else f"{e.quantity} {WORDS[row.verdict]}: {e.note}"
    )
