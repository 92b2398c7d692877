"""Closed forms to show: the derivatives of a formula by the rules of calculus, typeset.

They are shown and nothing is computed with them: that is for the balls (``balls.py``). Numbers stand as typed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from calclab.subject.formula.symbols import HALF, LONG, SIZE, Symbols, UnreadableError
from calclab.subject.formula.tree import Node
from calclab.subject.formula.typeset import (
    ATOM,
    NAMED,
    POWER,
    PRODUCT,
    SUM,
    Piece,
    bracket,
    number,
    piece,
    symbol,
    times,
)
from calclab.subject.formula.unroll import Steps

VARIABLES = 8
READABLE = 1500  # characters of LaTeX
SQUARED = NAMED | {"log", "sigmoid", "gamma", "erf", "erfc", "digamma"}  # whose name takes the exponent
Place = tuple[int, ...]


def derivatives(steps: Steps, order: int) -> tuple[Symbols, dict[Place, int]]:
    """For every entry (row, i) or (row, i, j), i <= j, its expression. Raises UnreadableError where they are too many
    or together too long.
    """
    if steps.n > VARIABLES:
        raise UnreadableError(LONG)
    sizes, w = steps.sizes(), Symbols()
    if sum(sizes[root] for root in steps.roots) > SIZE:
        raise UnreadableError(LONG)
    places: list[int] = []
    for node in steps.nodes:
        places.append(w.step(node.op, node.text, node.value, [places[a] for a in node.args]))
    found: dict[Place, int] = {(row,): places[root] for row, root in enumerate(steps.roots)}
    for _ in range(order):
        before, found = found, {}
        for at, root in before.items():
            for i in range(at[-1] if len(at) > 1 else 0, steps.n):
                found[*at, i] = w.derivative(root, i)
                if sum(w.sizes[k] for k in found.values()) > 2 * SIZE:
                    raise UnreadableError(LONG)
    return w, found


def latex(steps: Steps, variables: Sequence[str], vector: bool, letter: str, order: int) -> list[str]:
    """One equation for each derivative of ``order`` 1 or 2, or one line that says why there is none."""
    try:
        w, found = derivatives(steps, order)
        pieces = written(w, list(found.values()), variables)
        lines = [f"{left(at, vector, letter, variables)} = {pieces[k][0]}" for at, k in found.items()]
        if sum(map(len, lines)) > READABLE:
            raise UnreadableError(LONG)
    except UnreadableError as reason:
        return [refusal(reason)]
    return lines


def refusal(reason: object) -> str:
    """A line in the place of the equations."""
    return rf"\text{{no closed form: {reason}}}"


def left(at: Place, vector: bool, letter: str, variables: Sequence[str]) -> str:
    """f'(x), or ∂²f/∂x∂y."""
    row, *places = at
    f = f"{symbol(letter)}_{{{row}}}" if vector else symbol(letter)
    by = [symbol(variables[i]) for i in places]
    if len(variables) == 1:
        return f + "'" * len(by) + rf"({by[0]})"
    if len(by) == 1:
        return rf"\frac{{\partial {f}}}{{\partial {by[0]}}}"
    below = rf"\partial {by[0]}^{{2}}" if by[0] == by[1] else rf"\partial {by[0]} \partial {by[1]}"
    return rf"\frac{{\partial^{{2}} {f}}}{{{below}}}"


def written(w: Symbols, roots: Sequence[int], variables: Sequence[str]) -> dict[int, Piece]:
    """The LaTeX of expressions and of all that is below them."""
    pieces: dict[int, Piece] = {}
    for k in w.below(roots):
        node = w.nodes[k]
        args = [pieces[a] for a in node.args]
        match node.op:
            case "x":
                pieces[k] = symbol(variables[int(node.value)]), ATOM
            case "sum":
                pieces[k] = total([text for text, _ in args]), SUM
            case "number" | "product":
                pieces[k] = product(w, node.args or (k,), pieces)
            case "power":
                pieces[k] = product(w, (k,), pieces)
            case "select":
                test = piece(Node(node.text), args[:2])
                pieces[k] = piece(Node("where"), [test, *args[2:]])
            case _:
                pieces[k] = piece(node, args)
    return pieces


def total(terms: list[str]) -> str:
    """Terms with their signs, one without a minus first."""
    first, *rest = sorted(terms, key=lambda text: text.startswith("-"))
    return first + "".join(f" - {text[1:]}" if text.startswith("-") else f" + {text}" for text in rest)


def product(w: Symbols, factors: Sequence[int], pieces: Mapping[int, Piece]) -> Piece:
    """Factors, those with negative exponents below a line."""
    sign, above, below = "", [], []
    for k in factors:
        node, value = w.nodes[k], w.numbers.get(k)
        if value is not None:
            sign = "-" * (value < 0)
            if isinstance(value, float):
                above.append(number(f"{abs(value):.15g}"))
            else:
                p, q = abs(value.numerator), value.denominator
                above += [number(str(p))] * (p != 1)
                below += [number(str(q))] * (q != 1)
            continue
        base, exponent = node.args if node.op == "power" else (k, w.one)
        e = w.numbers.get(exponent)
        if e is None:
            above.append((f"{bracket(pieces[base], ATOM)}^{{{pieces[exponent][0]}}}", POWER))
        else:
            (below if e < 0 else above).append(power(w, base, -e if e < 0 else e, pieces))
    text, binds = joined(above)
    if below:
        text, binds = rf"\frac{{{text}}}{{{joined(below)[0]}}}", POWER
    return (sign + bracket((text, binds), PRODUCT), SUM) if sign else (text, binds)


def power(w: Symbols, base: int, exponent: Fraction | float, pieces: Mapping[int, Piece]) -> Piece:
    text, binds = pieces[base]
    if exponent == 1:
        return text, binds
    if exponent == HALF and isinstance(exponent, Fraction):
        return rf"\sqrt{{{text}}}", POWER
    written = str(exponent) if isinstance(exponent, Fraction) else number(f"{exponent:.15g}")[0]
    if w.nodes[base].op in SQUARED:  # sin²(x)
        return text.replace(r"\left(", rf"^{{{written}}}\left(", 1), POWER
    return f"{bracket(pieces[base], ATOM)}^{{{written}}}", POWER


def joined(factors: Sequence[Piece]) -> Piece:
    if not factors:
        return "1", ATOM
    result = factors[0]
    for factor in factors[1:]:
        result = times(result, factor), PRODUCT
    return result
