"""What a watch comes to, as an answer: a headline, then labelled lines, then what the layers did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

import torch

from calclab.core import Answer
from calclab.lines import Line, Said, Table
from calclab.report.numbers import number
from calclab.watch.moment import Event, Reading

LAYERS = "layers/"
DIGITS = 4
MOST = 30  # layers in the table
EVENTS = 5  # told in the answer: the first, where it began, and the last
COURSES = {"loss/loss": "loss", "gradient/norm": "gradient norm", "curvature/stability_ratio": "λmax·lr/2"}
SCALES = ("noise/scale", "noise/scale_pooled")
GROUPS = ("loss", "gradient", "curvature", "noise", "update", "weight")


@dataclass(frozen=True)
class Watched:
    """What is known of a watch: ``last`` and ``first`` readings by name, events, looks taken, and its share of the
    training time beside its ``budget``; NaN and None where there is none."""

    model: str
    steps: int
    first: Mapping[str, Reading]
    last: Mapping[str, Reading]
    events: Sequence[Event]
    looks: Mapping[str, int]
    spent: float
    budget: float | None


def answer(found: Watched) -> Answer:
    """See the module's docstring; its values are the last readings of all parameters, the loss first."""
    last = {name: found.last[name] for name in sorted(found.last, key=order) if told(name)}
    lines: list[Said] = [Line(words(name), shown(one, at(one, last)), of=name) for name, one in last.items()]
    if table := layers(found.last):
        lines.append(table)
    some = found.events if len(found.events) <= EVENTS else [*found.events[:1], *found.events[1 - EVENTS :]]
    lines += [Line(f"step {event.step}", event.text, kind=event.kind) for event in some]
    taken = [f"{name} {count} time{'s' * (count != 1)}" for name, count in found.looks.items()]
    lines.append(Line("looked at", ", ".join(taken) or "nothing"))
    if isfinite(found.spent):
        allowed = "" if found.budget is None else f", of {share(found.budget)} allowed"
        lines.append(Line("cost", f"{share(found.spent)} of the training time{allowed}"))
    values = {name: torch.tensor(one.value, dtype=torch.float64) for name, one in last.items()}
    return Answer(headline(found), values, lines=lines)


def headline(found: Watched) -> str:
    """The worst that was told, else how the main readings went."""
    if bad := [event for event in found.events if event.kind == "bad"]:
        return f"step {bad[0].step}: {bad[0].text}"
    parts = [
        f"{said} {number(found.first[name].value, 3)} → {number(found.last[name].value, 3)}"
        for name, said in COURSES.items()
        if name in found.last
    ]
    scales = [one for name, one in found.last.items() if name in SCALES and one.step == latest("noise", found.last)]
    if scales:
        best = min(scales, key=lambda one: one.error)
        parts.append(f"noise scale {rounded(best)} rows")
    return f"{found.steps} step{'s' * (found.steps != 1)} of {found.model}: {'; '.join(parts) or 'nothing was read'}"


def told(name: str) -> bool:
    return not name.startswith((LAYERS, "watch/"))


def order(name: str) -> int:
    """The groups in the order in which they are told."""
    group = name.partition("/")[0]
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def latest(group: str, last: Mapping[str, Reading]) -> int:
    """The step at which a group was read last."""
    return max((one.step for name, one in last.items() if name.partition("/")[0] == group), default=-1)


def at(one: Reading, last: Mapping[str, Reading]) -> str:
    """Where a reading is older than others of its group."""
    return "" if one.step == latest(one.name.partition("/")[0], last) else f"at step {one.step}"


def words(name: str) -> str:
    """A reading's name as a label.

    >>> words("noise/gradient_squared"), words("loss/loss")
    ('noise: gradient squared', 'loss')
    """
    group, _, rest = name.partition("/")
    return f"{group}: {rest.replace('_', ' ')}" if rest != group else group


def shown(one: Reading, where: str = "") -> str:
    """A reading with its error, what that is, and where it was read."""
    more = "; ".join(filter(None, (one.by if isfinite(one.error) else "", where)))
    return rounded(one) + (f" ({more})" if more else "")


def rounded(one: Reading) -> str:
    """A reading with two digits of its error, and no more of itself than these.

    >>> rounded(Reading("", 558.21, 511.3)), rounded(Reading("", 0.23481, 0.00047)), rounded(Reading("", 1.5))
    ('560 ± 510', '0.23481 ± 0.00047', '1.5')
    """
    if not isfinite(one.error) or not isfinite(one.value) or one.error <= 0:
        return number(one.value, DIGITS)
    places = 1 - floor(log10(one.error))
    return f"{whole(one.value, places)} ± {whole(one.error, places)}"


def whole(value: float, places: int) -> str:
    """A number to so many places after the point, or before it."""
    return number(round(value, places), 15) if -4 < places < 6 else f"{value:.2g}"


def share(value: float) -> str:
    """In percent, two digits."""
    return f"{number(float(f'{100 * value:.2g}'))} %"


def layers(last: Mapping[str, Reading]) -> Table | None:
    """The last readings of the layers: a row each."""
    cells: dict[str, dict[str, str]] = {}
    kinds: dict[str, None] = {}
    for name, one in last.items():
        if name.startswith(LAYERS):
            kind, _, layer = name.removeprefix(LAYERS).partition("/")
            kinds[kind] = None
            cells.setdefault(layer, {})[kind] = number(one.value, 3)
    if not cells:
        return None
    rows = [[layer, *(held.get(kind, "") for kind in kinds)] for layer, held in cells.items()]
    label = "layers" if len(rows) <= MOST else f"layers, the first {MOST} of {len(rows)}"
    return Table(label, ["layer", *(kind.replace("_", " ") for kind in kinds)], rows[:MOST])
