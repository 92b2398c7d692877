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
    schema = options(group).get(option.replace("_", "").lower())
    return {} if schema is None else knobs(schema)


@cache
def options(group: str) -> dict[str, type[Schema]]:
    """The schemas of a group, each by the name of its option without underscores."""
    module = importlib.import_module(f"calclab.schema.{group}")
    own = (value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__)
    return {schema.__name__.lower(): schema for schema in own if issubclass(schema, Schema)}
