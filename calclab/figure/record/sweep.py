"""The record of a sweep's picture: the objective over each knob, from columns of plain values, a job each.

A knob of numbers has an axis, logarithmic where its values are spaced so. Words are colours there, all of them together
as long as they are few; those that are none have panels of their own, as have all where there are no numbers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from calclab.figure.record.scale import HUGE, geometric, loggable
from calclab.figure.records import Group, KnobPanel, Points, SweepPanel

COLOURED = 8  # groups in colours of their own
LISTED = 24  # words along an axis
PANELS = 6
FEW = 6  # values of a number up to which they may be colours
Value = float | str | None


@dataclass(frozen=True)
class Trials:
    """Jobs by column. ``objective`` is None where there is none to draw: ``lost`` says which of these ran away.
    ``limits`` are the largest stable values of the knob ``limited``, None where unknown; jobs of one number in
    ``settings`` differ in the knob ``repeats`` alone. Objectives that differ in knobs ``apart`` do not compare."""

    knobs: Mapping[str, Sequence[Value]]
    objective: Sequence[float | None]
    lost: Sequence[bool]
    settings: Sequence[int]
    limits: Sequence[float | None] = ()
    limited: str = "lr"
    repeats: str = "seed"
    apart: frozenset[str] = frozenset()
    maximize: bool = False


def sweep(trials: Trials, objective: str, best: int | None, title: str) -> SweepPanel | None:
    """None where no job has an objective, or nothing was swept."""
    numbers = [name for name, values in trials.knobs.items() if numeric(values)]
    words = [name for name in trials.knobs if name not in numbers]
    numbers = [name for name in numbers if name != trials.repeats] or numbers
    drawn = [y for y in trials.objective if y is not None and abs(y) < HUGE]
    if not drawn or not trials.knobs:
        return None
    log = loggable(drawn)
    beyond = [] if log else far(drawn, trials.maximize)
    if beyond:
        kept = [None if y in beyond else y for y in trials.objective]
        trials = replace(trials, objective=kept)
    colours, shown = coloured(trials, words)
    rows = [name for name in words if name not in trials.apart and not (numbers and name in shown)]
    if not numbers and not rows:
        return None
    chosen = [*numbers, *rows][:PANELS]
    panels = tuple(
        number_panel(trials, name, numbers, colours) if name in numbers else word_panel(trials, name) for name in chosen
    )
    star = None
    if best is not None and (height := trials.objective[best]) is not None:
        star = tuple(place(panel, trials.knobs[panel.knob][best]) for panel in panels), height
    none = len(trials.objective) - len(drawn) - sum(trials.lost)
    notes = [f"{len(beyond)} far {'below' if trials.maximize else 'above'} the others, not drawn"] if beyond else []
    notes += [f"{none} without a result, not drawn"] if none else []
    notes += [
        f"{name}: the best {LISTED} of {count}"
        for name in chosen
        if name in rows and (count := len(set(trials.knobs[name]))) > LISTED
    ]
    hidden = len(numbers) + len(rows) - len(chosen)
    notes += [f"{hidden} more knobs, not drawn"] if hidden else []
    zeros = drawn.count(0.0) if log else 0
    return SweepPanel(title, objective, log, panels, star, "; ".join(notes), floor(drawn) if zeros else 0.0)


def far(heights: Sequence[float], maximize: bool) -> list[float]:
    """The few that would press all others flat on a linear axis: at the bad end, twenty times as far from the best as
    nine tenths of them are."""
    sign = -1 if maximize else 1
    away = sorted(sign * y for y in heights)
    most = away[math.ceil(0.9 * (len(away) - 1))] - away[0]
    if not most > 0 or away[-1] - away[0] <= 20 * most:
        return []
    return [y for y in heights if sign * y - away[0] > 4 * most]


def floor(heights: Sequence[float]) -> float:
    """Where zeros are drawn on a logarithmic axis: below all that is positive."""
    low, high = (math.log10(end([y for y in heights if y > 0])) for end in (min, max))
    return 10 ** (low - max(0.3, 0.12 * (high - low)))


# --- colours ---


def coloured(trials: Trials, words: Sequence[str]) -> tuple[list[str] | None, Sequence[str]]:
    """The colour of each job by name, and the knobs that it tells: all of words, or the first whose words are few."""
    for names in [words, *([name] for name in words)]:
        found = [", ".join(str(trials.knobs[name][i]) for name in names) for i in range(len(trials.objective))]
        if 1 < len(set(found)) <= COLOURED:
            return found, names
    return None, ()


def by_number(trials: Trials, name: str, numbers: Sequence[str]) -> tuple[list[str], str]:
    """Without words: the number beside ``name`` that has the fewest values, where these are few; and which it is."""
    others = [other for other in numbers if other != name]
    counts = {other: len(set(trials.knobs[other])) for other in others}
    other = min(others, key=counts.__getitem__, default="")
    if not other or counts[other] > FEW or counts[other] >= len(set(trials.knobs[name])):
        return [""] * len(trials.objective), ""
    return [f"{other} {value:g}" if isinstance(value, float) else other for value in trials.knobs[other]], other


# --- panels ---


def number_panel(trials: Trials, name: str, numbers: Sequence[str], words: Sequence[str] | None) -> KnobPanel:
    """``words`` are the colours of all panels; without them, another of the ``numbers`` may be."""
    colours, told = (words, "") if words is not None else by_number(trials, name, numbers)
    alone = not set(numbers) - {name, told}
    values = [value if isinstance(value, float) else math.nan for value in trials.knobs[name]]
    log = geometric([value for value in values if math.isfinite(value)])
    groups = []
    for colour in dict.fromkeys(colours):
        jobs = [i for i, c in enumerate(colours) if c == colour and (values[i] > 0 or not log)]
        seen = [i for i in jobs if trials.objective[i] is not None and math.isfinite(values[i])]
        lost = tuple(sorted(values[i] for i in jobs if trials.lost[i] and math.isfinite(values[i])))
        known = [v for i in jobs if trials.limits and name == trials.limited and (v := trials.limits[i]) is not None]
        limits = (min(known), max(known)) if known else ()
        if not seen and not lost:
            continue
        groups.append(Group(colour, dots(trials, values, seen), best_line(trials, values, seen, alone), lost, limits))
    return KnobPanel(name, tuple(groups), log)


def word_panel(trials: Trials, name: str) -> KnobPanel:
    """A row for each word, the best on top; of many words the best."""
    texts = [str(value) for value in trials.knobs[name]]
    heights: dict[str, float] = {}
    better = max if trials.maximize else min
    for text, y in zip(texts, trials.objective, strict=True):
        if y is not None:
            heights[text] = better(y, heights.get(text, y))
    words = sorted(heights, key=heights.__getitem__, reverse=trials.maximize)
    words += [text for text in dict.fromkeys(texts) if text not in heights]
    shown = words[:LISTED]
    values = [float(shown.index(text)) if text in shown else math.nan for text in texts]
    seen = [i for i, y in enumerate(trials.objective) if y is not None and math.isfinite(values[i])]
    lost = tuple(sorted(values[i] for i, lost in enumerate(trials.lost) if lost and math.isfinite(values[i])))
    best = tuple((float(i), heights[word]) for i, word in enumerate(shown) if word in heights)
    return KnobPanel(name, (Group("", dots(trials, values, seen), best, lost),), False, tuple(shown))


def dots(trials: Trials, values: Sequence[float], jobs: Sequence[int]) -> Points:
    found = ((values[i], trials.objective[i]) for i in jobs)
    return tuple((x, y) for x, y in found if y is not None and abs(y) < HUGE)


def best_line(trials: Trials, values: Sequence[float], jobs: Sequence[int], alone: bool) -> Points:
    """The best setting at each value, seeds by their median. Where other numbers vary (not ``alone``) and hardly a
    value comes twice, the best of one would be no line: then there is none."""
    at: dict[float, dict[int, list[float]]] = {}
    for i in jobs:
        y = trials.objective[i]
        if y is not None and abs(y) < HUGE:
            at.setdefault(values[i], {}).setdefault(trials.settings[i], []).append(y)
    if not alone and 2 * len(at) > len(jobs):
        return ()
    better = max if trials.maximize else min
    return tuple(sorted((x, better(map(statistics.median, found.values()))) for x, found in at.items()))


# --- values ---


def numeric(values: Sequence[Value]) -> bool:
    """Numbers, of which at least two differ; a job may have none."""
    found = {value for value in values if value is not None}
    return len(found) > 1 and all(isinstance(value, float) for value in found)


def place(panel: KnobPanel, value: Value) -> float:
    """Where a value is on the axis of a panel."""
    if panel.names:
        return float(panel.names.index(str(value))) if str(value) in panel.names else math.nan
    return value if isinstance(value, float) else math.nan
