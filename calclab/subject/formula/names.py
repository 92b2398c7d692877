"""The names of variables: which may be one, and which coordinate each is.

When all of them are x0, x1, ... (or x[i] is used) they are ordered by their number; otherwise alphabetically, with
numbers counted as numbers (w2 before w10), unless they are declared.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from calclab.errors import UserError
from calclab.subject.formula.text import nearest, short
from calclab.subject.formula.tree import FUNCTIONS

VARIABLES = 100_000
# Names that other systems read as functions or constants: a formula that uses them would mean two things.
RESERVED = {
    **dict.fromkeys(
        ("beta", "zeta", "S", "N", "O", "Q", "I", "E", "e", "lambda", "inf", "nan"), "means something else"
    ),
    "n": "is the number of variables",
    "pi": "is 3.14159...",
}


def check_variable(name: str) -> None:
    """Raise UserError unless ``name`` may name a variable."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,31}", name, re.ASCII) or "__" in name:
        raise UserError(f"variable '{short(name)}': a name is made of letters, digits and _, as in x, w1 or rate.")
    if name in RESERVED or name in FUNCTIONS:
        reason = RESERVED.get(name, "is a function")
        raise UserError(
            f"'{name}' cannot be a variable: it {reason}." + (" Write exp(1) for e." * (name in "eE")) + " Rename it."
        )


def natural(name: str) -> tuple[str, int, str]:
    """Sorts w2 before w10."""
    match = re.fullmatch(r"(.*?)(\d*)", name)
    assert match
    return match[1], int(match[2] or -1), name


def ordered(
    used: Collection[str], indexed: str | None, declared: tuple[str, ...] | None, formula: str
) -> tuple[str, ...]:
    """The variables, in the order of the coordinates; ``indexed`` is the x of x[i]. UserError where names do not go
    together in ``formula`` (its text), or are not among those declared.
    """
    if declared is not None:
        if unknown := sorted(set(used) - set(declared)):
            raise UserError(
                f"Formula '{formula}': unknown name '{short(unknown[0])}'; the variables are "
                f"{short(', '.join(declared), 60)}.{nearest(unknown[0], [*declared, *FUNCTIONS])}"
            )
        return declared
    base = indexed or "x"
    numbers = {name: re.fullmatch(base + r"(0|[1-9]\d*)", name) for name in used}
    if all(numbers.values()) and (used or indexed):
        largest = max((int(match[1]) for match in numbers.values() if match), default=-1)
        if largest >= VARIABLES:
            raise UserError(f"Formula '{formula}': {base}{largest} asks for more than {VARIABLES} variables.")
        return tuple(f"{base}{k}" for k in range(largest + 1))
    if indexed:
        other = next(name for name, match in numbers.items() if not match)
        raise UserError(
            f"Formula '{formula}': '{other}' beside {base}[i]; name every variable {base}0, {base}1, ... "
            f"or {base}[0], {base}[1]."
        )
    return tuple(sorted(used, key=natural))
