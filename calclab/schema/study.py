"""What a study tells of itself beside its claims, under ``study:`` in its YAML: all of it is optional.

study:
  paper: Understanding edge-of-stability training dynamics with a minimalist example (Zhu et al. 2023)
  arxiv: "2210.03294"
  equation: Section 3
  words: the final sharpness is just below 2/η
  picture: figure 1 shows ...
  seeds: 5                       # seed=0 ... seed=4, where chance has a part
  sweep: {lr: [0.1, 0.2]}        # the claims are held at each of these
  short: [steps=200]             # for calclab gallery --short
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calclab.errors import UserError
from calclab.schema.knob import Schema, knob, knobs

HOLDS, FAILS, ONLY = "holds", "does not hold", "holds only for"


@dataclass(frozen=True, kw_only=True)
class Study(Schema):
    paper: str = knob("title of the paper whose claim it is, authors and year", "Dynamical isometry (Saxe et al. 2014)")
    arxiv: str | None = knob("its number on arXiv, in quotes: a number would lose its last zeros", '"1312.6120"')
    equation: str | None = knob("where it stands: the equation, theorem, section or figure", "equation 9")
    words: str | None = knob("the claim in the paper's words", "the sharpness hovers just above 2/η")
    picture: str | None = knob("what the paper's own picture shows, in a sentence", "figure 1 shows the sharpness")
    shows: str | None = knob("which picture of the run stands in the gallery", "loss")
    note: str | None = knob("what differs here, and what was found", "the paper has the limit, this finite n")
    seeds: int = knob("how many seeds, 0, 1, ..., the claims are held at", 5, at_least=1, at_most=1000)
    sweep: dict[str, Any] = knob(
        "knobs and the list of values of each, at all of which they are held", "{lr: [0.1, 0.2]}"
    )
    short: list[str] = knob("words that make it quick, for the short form", "[steps=200]")
    verdict: str = knob(
        "what the claims come to: holds, does not hold, or holds only for ..., as the gallery words it; where they "
        "come to something else, its exit status is 3",
        HOLDS,
    )


DEFAULTS: Mapping[str, Any] = {
    "paper": "", "arxiv": None, "equation": None, "words": None, "picture": None, "shows": None, "note": None,
    "seeds": 1, "sweep": {}, "short": [], "verdict": HOLDS,
}  # fmt: skip


def study(given: Any, name: str = "") -> Study:
    """What is under ``study:``; UserError for a key that there is none of, and for a value out of its range.

    >>> study({"paper": "Saxe et al. 2014", "seeds": 3}).seeds
    3
    """
    known, of = knobs(Study), f" of experiment={name}" if name else ""
    if given is not None and not isinstance(given, Mapping):
        raise UserError(f"study{of} is a mapping. There are: {', '.join(known)}")
    for key, value in (given or {}).items():
        if key not in known:
            raise UserError(f"study.{key}{of}: there is no such key. There are: {', '.join(known)}")
        known[key].check(value, f"study.{key}")
    values = {**DEFAULTS, **(given or {})}
    for key, many in values["sweep"].items():
        if not isinstance(many, list | tuple) or not many:
            raise UserError(f"study.sweep.{key}{of}: a list of values to hold the claims at, such as [0.1, 0.2]")
    if values["verdict"] not in (HOLDS, FAILS) and not values["verdict"].startswith(ONLY):
        raise UserError(f"study.verdict{of}: it begins with {HOLDS}, {FAILS} or {ONLY}, not {values['verdict']}")
    return Study(**values)
