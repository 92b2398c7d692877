"""``evaluate``: the numbers that a study promises, written as formulas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from calclab.errors import UserError
from calclab.subject.formula.bind import bind
from calclab.subject.formula.parse import parse
from calclab.subject.formula.tensors import Program
from calclab.subject.formula.text import nearest, short
from calclab.subject.formula.tree import FUNCTIONS


def evaluate(text: Any, names: Mapping[str, float] | None = None) -> Tensor:
    """The float64 value of a formula in ``names``; of (nested) lists of formulas and numbers, the array of values."""
    if isinstance(text, Sequence) and not isinstance(text, str):
        rows = [evaluate(entry, names) for entry in text]
        if len({row.shape for row in rows}) > 1:
            raise UserError(f"{short(str(text))}: the rows of an array must have one length.")
        return torch.stack(rows) if rows else torch.zeros(0, dtype=torch.float64)
    known = names or {}
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise UserError(f"{short(repr(text))} is not a number or a formula.")
    words = re.findall(r"[A-Za-z_]\w*", text) if isinstance(text, str) else []
    used = tuple(dict.fromkeys(word for word in words if word in known and word not in FUNCTIONS))
    tree = parse(text if isinstance(text, str) else repr(text), None)
    if unknown := [name for name in tree.variables if name not in used]:
        raise UserError(
            f"'{short(str(text))}': unknown name '{short(unknown[0])}'; known are "
            f"{short(', '.join(known), 80) or 'numbers only'}."
            f"{nearest(unknown[0], [*known, *FUNCTIONS])}"
        )
    x = torch.tensor([float(known[name]) for name in tree.variables], dtype=torch.float64)
    return Program(bind(tree, tree.variables), False, x.dtype, x.device)(x)
