"""What was probably meant by a value that a knob does not take: 5% for 0.05, yes for true, SGD's names for ours.

Only candidates: whoever asks takes the first that the knob allows, and says it as the line to type.
"""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from calclab.schema.aliases import VALUES, plain

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
TRUTHS = {
    **dict.fromkeys(("yes", "on", "1", "y", "t", "true", "always", "enabled"), True),
    **dict.fromkeys(("no", "off", "0", "n", "f", "false", "never", "none"), False),
}
NOTHING = ("none", "nil", "all", "any", "auto", "off", "no", "false", "nan", "na", "-", "", "inf", "unlimited", "full")
SUFFIXES = {"k": 1e3, "m": 1e6, "%": 1e-2, "‰": 1e-3}
LONGEST = 200  # characters of a value that is looked at


def candidates(given: Any, base: Any, choices: Sequence[str | bool], example: Any) -> Iterator[Any]:
    """Values that may have been meant by ``given``, the likeliest first, for a knob of type ``base``.

    >>> next(candidates("5%", float, (), 0.1))
    0.05
    >>> next(candidates("CrossEntropyLoss", str, ("mse", "cross_entropy"), "mse"))
    'cross_entropy'
    """
    if isinstance(given, int) and given.bit_length() > LONGEST:
        return
    text = unicodedata.normalize("NFKC", str(given)).replace("。", ".").strip().strip("'\"“”‘’").rstrip(",;").strip()
    if len(text) > LONGEST:
        return
    if base is bool or True in choices:
        yield from (value for word, value in TRUTHS.items() if text.lower() == word)
    if choices:
        wrap = get_origin(base) is list and not isinstance(given, list)  # one name where a list is asked for
        spelt = [choice for choice in choices if isinstance(choice, str)]
        yield from names(entries(text) if wrap else given, text, spelt)
    elif base in (int, float):
        for value in numbers(text):
            yield tidy(value)
            if value < 0:
                yield tidy(-value)
            if value > 1:
                yield value / 100  # a percentage, where a fraction is asked for
    elif get_origin(base) is list:
        yield from lists(given, text, get_args(base)[0])
    elif get_origin(base) is dict and not isinstance(given, list | dict):
        entry, number = re.match(r"\{(\w+): *[^,{}]+\}$", str(example).strip("'")), next(numbers(text), math.nan)
        if entry and math.isfinite(number):
            yield {entry[1]: tidy(number)}
    if text.lower() in NOTHING:
        yield None


def tidy(value: float) -> float:
    """A whole number without its point."""
    return int(value) if value == int(value) else value


def names(given: Any, text: str, choices: Sequence[str]) -> Iterator[Any]:
    """Of a list each name by itself; a name by its letters, by what others call it, and by what is near."""
    if isinstance(given, list):
        found = [next(names(entry, str(entry), choices), None) for entry in given]
        if None not in found:
            yield found
        return
    if text in choices:
        yield text
    wanted = plain(text)
    yield from (choice for choice in choices if plain(choice) == wanted)
    if VALUES.get(wanted) in choices:
        yield VALUES[wanted]
    yield from difflib.get_close_matches(wanted, choices, n=1, cutoff=0.7)


def numbers(text: str) -> Iterator[float]:
    """A number written otherwise: 5%, 1/100, 2**-3, 10^-2, 1k, 1 000, 0,05, 3 steps."""
    compact = text.replace("_", "").replace("−", "-").replace("×", "*")
    if re.fullmatch(r"[+-]?\d{1,3}([ ,']\d{3})+", compact) and not compact.startswith("0"):
        compact = re.sub("[ ,']", "", compact)
    if re.fullmatch(r"[+-]?\d+,\d+", compact):
        compact = compact.replace(",", ".")
    for pattern, value in (
        (rf"({NUMBER})", lambda a: a),
        (rf"({NUMBER})\s*(?:f|d|steps?|rows?|epochs?|s|x)", lambda a: a),
        (rf"({NUMBER})\s*/\s*({NUMBER})", lambda a, b: a / b),
        (rf"({NUMBER})\s*(?:\*\*|\^)\s*\(?({NUMBER})\)?", lambda a, b: a**b),
        (rf"({NUMBER})\s*(?:\*|·)\s*10\s*(?:\*\*|\^)\s*\(?({NUMBER})\)?", lambda a, b: float(f"{a!r}e{int(b)}")),
    ):
        if found := re.fullmatch(pattern, compact):
            yield from finite(value, *map(float, found.groups()))
    if (found := re.fullmatch(rf"({NUMBER})\s*([km%‰])", compact.lower())) is not None:
        yield from finite(lambda a: round(a * SUFFIXES[found[2]], 15), float(found[1]))


def finite(function: Any, *values: float) -> Iterator[float]:
    try:
        found = function(*values)
    except (ArithmeticError, ValueError):
        return
    if isinstance(found, float) and math.isfinite(found):
        yield found


def lists(given: Any, text: str, entry: Any) -> Iterator[list[Any]]:
    """One value as a list of one; several with blanks, commas, ; or other brackets between them as a list."""
    if isinstance(given, dict) or text.lower() in NOTHING:
        return
    parts = entries(text)
    found = [next(numbers(part), math.nan) for part in parts]
    if entry is not str and parts and all(map(math.isfinite, found)):
        yield list(map(tidy, found))
    elif entry is str and parts and all(re.fullmatch(r"[\w.*+/-]+", part) for part in parts):
        yield parts


def entries(text: str) -> list[str]:
    """What stands between blanks, commas and semicolons, without the brackets around them."""
    return [part.strip("'\"") for part in re.split(r"\s*[,;]\s*|\s+", text.strip("[](){} ")) if part]
