"""The text of a formula and the names in it, looked over before Python's parser may see it.

Only ASCII letters, digits, brackets and arithmetic pass; length, nesting and numbers are bounded here, where looking
costs one pass. Everything else is refused with one line that says what to type instead.

When all variables are x0, x1, ... (or x[i] is used) they are ordered by their number; otherwise alphabetically, with
numbers counted as numbers (w2 before w10), unless they are declared.
"""

from __future__ import annotations

import difflib
import keyword
import math
import re
from collections.abc import Collection, Iterable

from calclab.errors import UserError
from calclab.subject.formula.tree import FUNCTIONS

LENGTH = 20_000  # characters
DEPTH = 90  # brackets within brackets; Python's own parser stops at 200
LARGEST = 1e300
VARIABLES = 100_000
# Names that other systems read as functions or constants: a formula that uses them would mean two things.
RESERVED = {
    **dict.fromkeys(
        ("beta", "zeta", "S", "N", "O", "Q", "I", "E", "e", "lambda", "inf", "nan"), "means something else"
    ),
    "n": "is the number of variables",
    "pi": "is 3.14159...",
}

TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>\*\*|<=|>=|==|!=|//|[-+*/()\[\],<>])"
)
HINTS = {
    "^": "a power is written **, as in x**2",
    "%": "there is no remainder; use where(...) or sin and cos for something periodic",
    "//": "there is no whole-number division; write /",
    "=": "a formula has no =; a comparison is written ==, inside where(condition, a, b)",
    ".": "attributes are not allowed; a decimal point belongs between digits, as in 0.5",
    '"': "text in quotes is not allowed",
    "'": "text in quotes is not allowed",
    "{": "braces are not allowed; use round brackets",
    "}": "braces are not allowed; use round brackets",
    ":": "slices, lambda and := are not allowed",
    ";": "one formula is one expression",
    "!": "a factorial is written gamma(x + 1)",
    "|": "an absolute value is written abs(x)",
    "&": "conditions are nested: where(a, where(b, yes, no), no)",
    "@": "a product is written *",
    "#": "comments are not allowed",
    "$": "only letters, digits and + - * / ** ( ) [ ] , are allowed",
}


def short(text: str, length: int = 40) -> str:
    """The text, cut for a message of one line."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."


def nearest(name: str, allowed: Iterable[str]) -> str:
    """' Did you mean sin?', or nothing when no name is near."""
    near = difflib.get_close_matches(name[:40], list(allowed), 1)
    return f" Did you mean {near[0]}?" if near else ""


def look_over(text: str) -> None:
    """Raise UserError unless the text is made of allowed pieces within the bounds."""
    if len(text) > LENGTH:
        raise UserError(
            f"The formula has {len(text)} characters, and {LENGTH} are allowed. "
            "Long sums are written sum(i, 0, n - 1, x[i]**2)."
        )
    shown = short(text)
    if not text.strip():
        raise UserError("The formula is empty. Type for example function.expr='x**2 + y**2'")
    if not text.isascii():
        letter = next(c for c in text if ord(c) > 127)
        raise UserError(
            f"Formula '{shown}': the character {letter!r} (U+{ord(letter):04X}) is not plain ASCII. "
            "Type powers as x**2, pi as pi, and plain letters a-z."
        )
    place, depth, before = 0, 0, ""
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            character = text[place]
            hint = HINTS.get(character, "only letters, digits and + - * / ** ( ) [ ] , < > are allowed")
            raise UserError(f"Formula '{shown}': {character!r} at position {place + 1}: {hint}.")
        kind, piece = match.lastgroup, match.group()
        place = match.end()
        if piece in ("(", "["):
            depth += 1
            if depth > DEPTH:
                raise UserError(f"Formula '{shown}': more than {DEPTH} brackets within brackets.")
        elif piece in (")", "]"):
            depth -= 1
            if depth < 0:
                raise UserError(f"Formula '{shown}': a closing bracket too many at position {place}.")
        elif piece in HINTS:
            raise UserError(f"Formula '{shown}': {piece!r} at position {place - len(piece) + 1}: {HINTS[piece]}.")
        elif kind == "name":
            _look_at_name(piece, before, shown)
        elif kind == "number":
            number(piece, shown)
        before = piece if kind == "number" else ""
    if depth:
        raise UserError(f"Formula '{shown}': {depth} closing bracket{'s' * (depth > 1)} missing at the end.")


def split(text: str) -> list[str]:
    """'[a, b]' or 'a, b' as its parts, cut at the commas outside brackets; a text that is no list as one part.

    The lists that a shell passes arrive as text: '[x0**2 + x1, max(x0, x1)]'. Quotes around a part are dropped.
    """
    text = text.strip()
    if len(text) > LENGTH:
        look_over(text)
    listed = text.startswith("[") and text.endswith("]")
    inner = text[1:-1] if listed else text
    parts, depth, begin = [], 0, 0
    for place, letter in enumerate(inner):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append(inner[begin:place])
            begin = place + 1
    parts.append(inner[begin:])
    if len(parts) == 1 and not listed:
        return [text]
    parts = [part.strip() for part in parts]
    return [part[1:-1] if len(part) > 1 and part[0] == part[-1] and part[0] in "'\"" else part for part in parts]


def number(piece: str, shown: str = "") -> float:
    """The IEEE double nearest to a literal; integers must be exact."""
    whole = piece.isdigit()
    value = float(piece) if len(piece) <= 400 else math.inf
    if abs(value) > LARGEST:
        raise UserError(f"Formula '{shown}': the number {short(piece, 20)} is too large; {LARGEST:g} is the limit.")
    if whole and int(value) != int(piece):
        raise UserError(
            f"Formula '{shown}': the whole number {short(piece, 24)} has more digits than float64 holds; "
            f"write {value!r} if the nearest one will do."
        )
    return value


def _look_at_name(name: str, before: str, shown: str) -> None:
    if before:
        raise UserError(f"Formula '{shown}': write a product with *, as in {before}*{short(name, 20)}.")
    if name.startswith("_") or "__" in name:
        raise UserError(f"Formula '{shown}': the name {short(name, 30)} is not allowed; names start with a letter.")
    if keyword.iskeyword(name):
        hint = {"if": "; write where(condition, a, b)", "lambda": "; call the variable lam"}.get(name, "")
        raise UserError(f"Formula '{shown}': '{name}' is not allowed in a formula{hint}.")
    if len(name) > 32:
        raise UserError(f"Formula '{shown}': the name {short(name, 24)} is longer than 32 letters.")


# --- names ---


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
