"""The schema of every knob: one module for each group of conf/, one dataclass for each option of the group."""

from __future__ import annotations

import importlib
from functools import cache

from calclab.schema import common, line_search, optimizer, schedule, topic
from calclab.schema.knob import Knob, Schema, knob, knobs

__all__ = ["Knob", "Schema", "common", "find", "knob", "knobs", "line_search", "optimizer", "schedule", "topic"]


@cache
def find(group: str, option: str) -> dict[str, Knob]:
    """The knobs of one option of a group ("topic", "descent"), by name; empty when it has no schema (a user's own)."""
    module = importlib.import_module(f"calclab.schema.{group}")
    wanted = option.replace("_", "").lower()
    for name, schema in vars(module).items():
        if isinstance(schema, type) and issubclass(schema, Schema) and name.lower() == wanted:
            return knobs(schema)
    return {}
