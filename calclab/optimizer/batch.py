"""Rules that differ only in numbers, put together into one for a batch of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from calclab.core import Rule


def stack(rules: Sequence[Rule]) -> Rule | None:
    """One rule for points (B, n), row b as ``rules[b]`` has it: its numbers that differ become (B, 1) tensors.

    None where they cannot share a batch: not all of one class that works entry by entry, or different in more than
    numbers.
    """
    first = rules[0]
    if not getattr(first, "entrywise", False) or any(type(rule) is not type(first) for rule in rules):
        return None
    different: dict[str, Any] = {}
    for entry in dataclasses.fields(first):  # type: ignore[arg-type]
        values = [getattr(rule, entry.name) for rule in rules] if entry.init else []
        if all(value == values[0] for value in values):
            continue
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            return None
        different[entry.name] = torch.tensor(values, dtype=torch.float64).unsqueeze(1)
    return dataclasses.replace(first, **different) if different else first  # type: ignore[type-var]
