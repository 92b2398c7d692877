"""A rule from what a configuration says of its optimizer, and of the line search around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calclab.app.build import maker
from calclab.core import Rule
from calclab.optimizer import as_rule

ASIDE = ("lr",)  # of an option's YAML: what the rule is not built with


def build(optimizer: Mapping[str, Any], line_search: Mapping[str, Any] | None) -> Rule:
    """The rule, along a line searched where one is asked for."""
    rule = as_rule(maker({key: value for key, value in optimizer.items() if key not in ASIDE}))
    return maker(line_search)(rule=rule) if line_search else rule
