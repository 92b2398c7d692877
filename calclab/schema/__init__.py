"""The schema of every knob: one module for each group of conf/, one dataclass for each option of the group."""

from calclab.schema import common, law, line_search, optimizer, schedule, topic
from calclab.schema.catalogue import find
from calclab.schema.knob import Knob, Schema, knob, knobs

__all__ = ["Knob", "Schema", "common", "find", "knob", "knobs", "law", "line_search", "optimizer", "schedule", "topic"]
