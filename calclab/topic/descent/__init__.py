"""Descent: the walk, what each step shows (`trace`), its theory beforehand (`forecast`), when it has run away
(`runaway`), where it ended (`ending`), and how that is told (`answer`, `pictures`)."""

from __future__ import annotations

from calclab.topic.descent.descent import Descent

__all__ = ["Descent"]
