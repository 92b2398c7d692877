"""The hyperparameters of a run, as TensorBoard's HParams shows them: by name, those that differ between runs first.

Of a sweep only the options chosen and the knobs that it varies are told: constants would push them off the screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from calclab.core import Run

ASIDE = (
    "claims", "outputs", "figures", "rerun", "fail_fast", "report", "sinks", "checkpoint_every", "optimizer.lr",
    "device", "study",
)  # fmt: skip
UNTOLD = {*ASIDE, *(f"function.{name}" for name in ("minima", "domain", "source")), "function.name", "data.name",
          "network.name", "function.variables"}  # fmt: skip
GROUPS = ("law", "optimizer", "schedule", "line_search", "function", "network", "data")
Plain = bool | int | float | str


def hyperparameters(run: Run) -> dict[str, Plain]:
    """The options chosen, then of a sweep the knobs that it varies, else all knobs; builders and what is unset are
    left out."""
    chosen = {group: option for group in GROUPS if (option := option_of(run, group)) is not None}
    knobs = {name: value for name, value in flatten(run.config) if name not in chosen}
    if not run.swept:
        return {**chosen, "topic": run.topic, **knobs}
    return {**chosen, **{name: knobs[name] for name in run.swept if name in knobs}}


def option_of(run: Run, group: str) -> str | None:
    """What stands in a group: the option's name, the formula, or the name of the user's own class."""
    node, option = run.config.get(group), run.choices.get(group)
    if not isinstance(node, Mapping):
        return "none" if group in run.swept else None
    if "expr" in node and option in (None, "formula"):
        expr = node["expr"]
        return expr if isinstance(expr, str) else ", ".join(map(str, expr))
    if option in (None, "custom", "links"):
        return str(node.get("name") or node.get("callable") or node.get("_target_")).rpartition(".")[2]
    return str(option)


def flatten(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Plain]]:
    """The knobs of a nested configuration as ``group.knob``, without builders, claims and what is unset.

    A topic's knobs stand at the root too, and are told once.
    """
    for key, value in sorted(config.items(), key=lambda item: isinstance(item[1], Mapping)):  # the root's knobs first
        name = f"{prefix}{key}"
        if key.startswith("_") or value is None or name in UNTOLD:
            continue
        if name == "topic" and isinstance(value, Mapping):
            value = {knob: entry for knob, entry in value.items() if knob != "name" and knob not in config}
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            yield name, str(value)
        elif isinstance(value, bool | int | float | str):
            yield name, value
        else:
            yield name, str(value)
