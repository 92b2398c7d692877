"""A formula in another notation, written as the lab reads it: ``2x``, ``ln(x)``, ``f(x) = sin^2 x``, ``np.exp(x)``.

For messages alone: what is not a formula is refused, and this is the line to type instead, if it is one. Nothing is
evaluated; texts are changed by patterns, and their pieces by their order.
"""

from __future__ import annotations

import difflib
import re

from calclab.subject.formula.tree import FUNCTIONS

LONGEST = 400  # characters of a formula that is looked at
LETTERS = {
    "²": "**2", "³": "**3", "⁴": "**4", "¹": "**1", "½": "(1/2)", "π": "pi", "√": "sqrt ",
    **dict.fromkeys("·×⋅∗•", "*"), **dict.fromkeys("−–—", "-"), **dict.fromkeys("÷∕", "/"), "≤": "<=",
    "≥": ">=", "≠": "!=", "α": "a", "β": "b", "γ": "c", "λ": "lam", "μ": "mu", "σ": "s", "θ": "theta",
    "х": "x", "у": "y",  # Cyrillic
    **dict.fromkeys("“”‘’\"'`$\\", ""), "{": "(", "}": ")", "^": "**",
}  # fmt: skip
NAMES = {
    "ln": "log", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "arsinh": "asinh", "arcosh": "acosh", "artanh": "atanh", "arctan2": "atan2", "sen": "sin",
    "tg": "tan", "sh": "sinh", "ch": "cosh", "th": "tanh", "fabs": "abs", "absolute": "abs", "Abs": "abs",
    "sgn": "sign", "root": "sqrt", "Max": "max", "Min": "min", "loggamma": "lgamma", "gammaln": "lgamma", "lg": "log10",
    "maximum": "max", "minimum": "min", "logistic": "sigmoid", "expit": "sigmoid", "ld": "log2",
    "lb": "log2",
}  # fmt: skip
HEAD = re.compile(
    r"^\s*(?:lambda[\w\s,]*:|(?:def\s+)?[A-Za-z_]\w*\s*(?:\([\w\s,]*\))?\s*(?:->|:?=(?!=)|↦)|return\s)\s*"
)
MODULE = re.compile(
    r"\b(?:np|numpy|math|torch|jnp|jax|tf|scipy|special|nn|functional|sympy|sp|F)\.(?:[A-Za-z_]\w*\.(?=[A-Za-z_]))*"
)
PIECE = re.compile(r"\s*((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[A-Za-z_]\w*|\*\*|<=|>=|==|!=|.)", re.DOTALL)
INNER = r"\(([^(),]*(?:\([^()]*\)[^(),]*)*)"
SINGLE = r"(\([^()]*\)|[\w.]+(?:\([^()]*\))?)"


def rewritten(text: str) -> str:
    """The formula in the lab's own notation, as far as patterns tell; not yet held to be one.

    >>> rewritten("f(x) = 3x^2 + sin^2 x"), rewritten("np.log(x)*e**-x"), rewritten("x if x > 0 else 0.1x")
    ('3*x**2 + sin(x)**2', 'log(x)*exp(-x)', 'where(x > 0, x, 0.1*x)')
    """
    if len(text) > LONGEST:
        return text
    for letter, plain in LETTERS.items():
        text = text.replace(letter, plain)
    text = MODULE.sub("", HEAD.sub("", text.strip(), count=1))
    text = re.sub(r"\|([^|]+)\|", r"abs(\1)", text)
    text = re.sub(r"^(.+?)\s+if\s+(.+?)\s+else\s+(.+)$", r"where(\2, \1, \3)", text)
    text = re.sub(rf"\b(?:pow|power){INNER},\s*{INNER[2:]}\)", raised, text)
    text = re.sub(rf"\b(?:square|sq){INNER}\)", r"(\1)**2", text)
    text = re.sub(r"\b[A-Za-z]\w*", lambda found: NAMES.get(found[0], found[0]), text)
    known = "|".join(sorted(FUNCTIONS, key=len, reverse=True))
    text = re.sub(rf"\b({known})\s*\*\*\s*(\d+)\s*{SINGLE}", lambda m: f"{m[1]}({m[3].strip('()')})**{m[2]}", text)
    text = re.sub(rf"\b({known})\s+([A-Za-z]\w*|\d[\d.]*)(?!\s*\()", r"\1(\2)", text)
    text = re.sub(rf"(?<![\w.])e\s*\*\*\s*(-?){SINGLE}", lambda m: f"exp({m[1]}{inside(m[2])})", text)
    text = re.sub(r"(?<![\w.])e(?![\w(])", "exp(1)", text)
    return closed(products(text))


def raised(found: re.Match[str]) -> str:
    base, exponent = found[1].strip(), found[2].strip()
    return f"{base if base.isalnum() else f'({base})'}**{exponent if exponent.isalnum() else f'({exponent})'}"


def inside(text: str) -> str:
    """Without the round brackets around it."""
    return text[1:-1] if text.startswith("(") else text


def products(text: str) -> str:
    """With * between what stands side by side, and unknown functions by the name that is nearest."""
    out, before, place = "", "", 0
    while found := PIECE.match(text, place):
        piece, blank = found[1], text[place : found.start(1)]
        opens = text[found.end() :].lstrip().startswith("(")
        if opens and piece[0].isalpha() and piece not in FUNCTIONS and len(piece) > 1:
            piece = next(iter(difflib.get_close_matches(piece, list(FUNCTIONS), n=1)), piece)
        value = before[-1:].isalnum() or before in (")", "]", "_")
        starts = piece[0].isalnum() or piece[0] in "_(."
        call = piece == "(" and (before in FUNCTIONS or re.fullmatch(r"[A-Za-z_]{2,}\w*", before))
        if value and starts and not call and before not in FUNCTIONS:
            blank = "*"
        out, before, place = f"{out}{blank}{piece}", piece, found.end()
    return out.strip()


def closed(text: str) -> str:
    """With every bracket closed, none closed twice, and no sign at the end that waits for more."""
    text = re.sub(r"[-+*/,;:=\s]+$", "", text)
    out, waiting = "", 0
    for letter in text:
        waiting += (letter == "(") - (letter == ")")
        if waiting < 0:
            waiting = 0
        else:
            out += letter
    return out + ")" * waiting
