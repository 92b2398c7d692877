"""What the claims of a study come to over all its trials: at every value that is swept, with every seed.

>>> held, lost = {"text": "x is 1", "holds": True, "found": "1"}, {"text": "x is 1", "holds": False, "found": "3"}
>>> verdict([Trial({"lr": "0.1"}, [held]), Trial({"lr": "0.2"}, [lost])])
'holds only for lr=0.1'
>>> summaries([Trial({"seed": "0"}, [held]), Trial({"seed": "1"}, [lost])])[0].found
'2 ± 1 (2 trials, standard error)'
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calclab.schema.study import FAILS, HOLDS, ONLY

SEED = "seed"
LISTED = 6  # of the settings at which a claim holds, or does not, that are named


@dataclass(frozen=True)
class Trial:
    """One run of a study: the knobs in which it differs from the others, and its claims as outcome.json has them."""

    setting: Mapping[str, str]
    claims: Sequence[Mapping[str, Any]]

    @property
    def holds(self) -> bool:
        return bool(self.claims) and all(claim.get("holds") for claim in self.claims)

    @property
    def name(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.setting.items())


@dataclass(frozen=True)
class Summary:
    """One claim over all trials: how often it held, and what was found, with its standard error where it is a number
    that differs."""

    text: str
    held: int
    trials: int
    found: str

    @property
    def holds(self) -> bool:
        return self.held == self.trials

    @property
    def count(self) -> str:
        return (
            f"held in {self.held} of {self.trials}" if self.trials > 1 else ("holds" if self.holds else "does not hold")
        )


def verdict(trials: Sequence[Trial]) -> str:
    """``holds``, ``does not hold``, or ``holds only for`` what is named; with some of the seeds alone, how many."""
    kept = [trial for trial in trials if trial.holds]
    if len(kept) == len(trials):
        return HOLDS
    if not kept:
        return FAILS
    settings: dict[str, list[bool]] = {}
    for trial in trials:
        settings.setdefault(setting(trial), []).append(trial.holds)
    whole = [name for name, held in settings.items() if all(held)]
    part = [f"{name} {sum(held)} of {len(held)} seeds".strip() for name, held in settings.items() if any(held)]
    named = part if any(any(held) and not all(held) for held in settings.values()) else whole
    more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
    return f"{ONLY} {', '.join(named[:LISTED])}{more}"


def setting(trial: Trial) -> str:
    """The trial without its seed."""
    return " ".join(f"{key}={value}" for key, value in trial.setting.items() if key != SEED)


def summaries(trials: Sequence[Trial], texts: Sequence[str] = ()) -> list[Summary]:
    """A row for each claim, in the order of the study; ``texts`` say it where trials word it with their own numbers."""
    rows = []
    for i, claims in enumerate(zip(*(trial.claims for trial in trials), strict=False)):
        worded = list(dict.fromkeys(str(claim.get("text")) for claim in claims))
        text = texts[i] if len(worded) > 1 and i < len(texts) else worded[0]
        alike = len({setting(trial) for trial in trials}) == 1
        rows.append(Summary(text, sum(bool(claim.get("holds")) for claim in claims), len(claims), found(claims, alike)))
    return rows


def found(claims: Sequence[Mapping[str, Any]], alike: bool) -> str:
    """What the trials found: the one thing; of numbers the range, or where the trials are ``alike`` but for the seed,
    their mean with its standard error; else the first few."""
    texts = list(dict.fromkeys(str(claim.get("found")) for claim in claims))
    if len(texts) == 1:
        return texts[0]
    try:
        numbers = [float(str(claim.get("found"))) for claim in claims]
    except ValueError:
        return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")
    if not alike or not all(map(math.isfinite, numbers)):
        return f"between {min(numbers):.4g} and {max(numbers):.4g}"
    error = statistics.stdev(numbers) / math.sqrt(len(numbers))
    return f"{statistics.fmean(numbers):.4g} ± {error:.2g} ({len(numbers)} trials, standard error)"
