"""Descent: the walk, what each step shows (`trace`), its theory beforehand (`forecast`), where it ended (`ending`)."""

from __future__ import annotations

from calclab.topic.descent.descent import Descent

__all__ = ["Descent"]
