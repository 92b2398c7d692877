"""Formulas: text to tree (an allow-list), and from the tree a torch program, rigorous balls and closed forms."""

from __future__ import annotations

from calclab.subject.formula.build import formula
from calclab.subject.formula.value import evaluate

__all__ = ["evaluate", "formula"]
