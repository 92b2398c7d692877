"""What a user may ask for in vain: a target, a method or a baseline that there is not."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from calclab.attribution.target import choose
from calclab.errors import UserError
from calclab.function.network import Network
from calclab.topic import words
from calclab.topic.importance.asked import METHODS, OF_FUNCTIONS, Asked


def refuse(asked: Asked, methods: Sequence[str]) -> None:
    """UserError for a target, a method or a baseline that there is not."""
    network = asked.subject if isinstance(asked.subject, Network) else None
    allowed = [f"output.{i}" for i in range(len(asked.outputs))]
    if network is not None:
        label = ["label"] * (network.data.classification and len(asked.outputs) > 1)
        allowed = ["loss", "predicted", *allowed, *label]
    allowed = allowed or ["loss"]
    for name in methods:
        refuse_method(asked, name)
    if asked.target not in (*allowed, *asked.outputs) and not is_formula(asked):
        more = ", or a formula in y0, y1, ..." if asked.outputs else ""
        raise UserError(
            f"target={asked.target}: of {asked.subject.name} there is {words.listing(allowed, 14)}{more}. "
            f"Type for example target={allowed[0]}"
        )
    asked.origin  # noqa: B018  (a wrong baseline is refused)
    if network is not None:
        first_look(asked, methods)


def first_look(asked: Asked, methods: Sequence[str]) -> list[str]:
    """Every method on a row or two: UserError for what it refuses, notes for what it says of the network."""
    notes: list[str] = []
    for name in methods:
        rows = asked.reference[: 2 if name == "permutation" else 1]
        seen = asked.look(name, rows, None if asked.labels is None else asked.labels[: len(rows)])
        notes += [note for note in seen.notes if note not in notes and not note.startswith("constant in these rows")]
    return notes


def refuse_method(asked: Asked, name: str) -> None:
    if name not in METHODS:
        raise UserError(f"method={name}: no such method. {words.nearest(name, METHODS)}")
    if not isinstance(asked.subject, Network) and name not in OF_FUNCTIONS:
        raise UserError(
            f"method={name} needs data, and {asked.subject.name} is a function. There are: {', '.join(OF_FUNCTIONS)}"
        )
    if name == "permutation" and isinstance(asked.subject, Network) and not asked.subject.data.targets.numel():
        raise UserError(f"method=permutation: {asked.subject.data.name} has no targets to be right about")


def is_formula(asked: Asked) -> bool:
    """Whether the target is a formula in the outputs y0, y1, ... that can be read."""
    if not asked.outputs or not re.search(r"y\d", asked.target):
        return False
    try:
        choose(asked.target, torch.zeros_like(asked.reference[:1, :1]).expand(1, len(asked.outputs)))
    except UserError:
        return False
    return True
