"""Derivatives as formulas: sums, products and powers in a normal form that is small, and never grows without notice.

A table of nodes like a formula's own, with sums and products of any number of terms:

    number   pi   x (value: the coordinate)   sum   product: a number first, if any   power: base, exponent
    select (text): left, right, then, otherwise      functions of one argument, atan2

Like terms are collected, powers of one base joined; brackets stay as they are. Every node knows how large it is when
written out as a tree, and one larger than ``SIZE`` is refused at once, so that nothing here takes long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from fractions import Fraction

from calclab.subject.formula.tree import Node, Table

SIZE = 400  # nodes of what can still be read
DIGITS = 10**12  # larger numerators and denominators become decimal numbers
Number = Fraction | float
HALF = Fraction(1, 2)
LONG = "too long to read"


class UnreadableError(Exception):
    """There is no closed form to show; says why."""


class Symbols:
    """Builds expressions; every method gives the place of a node."""

    def __init__(self) -> None:
        self.table = Table()
        self.sizes: list[int] = []
        self.numbers: dict[int, Number] = {}
        self.slopes: dict[tuple[int, int], int] = {}  # derivatives that are known, by node and coordinate
        self.zero, self.one = self.number(Fraction(0)), self.number(Fraction(1))

    @property
    def nodes(self) -> list[Node]:
        return self.table.nodes

    def add(self, op: str, *args: int, value: float = 0.0, text: str = "") -> int:
        place = self.table.add(Node(op, args, value, text))
        if place == len(self.sizes):
            self.sizes.append(1 + sum(self.sizes[a] for a in args))
            if self.sizes[place] > SIZE:
                raise UnreadableError(LONG)
        return place

    def number(self, value: Number) -> int:
        if isinstance(value, Fraction) and max(abs(value.numerator), value.denominator) > DIGITS:
            value = float(value)
        if not math.isfinite(value):
            raise UnreadableError("its numbers are larger than a float64 can be")
        text = str(value) if isinstance(value, Fraction) else f"{value:.15g}"
        place = self.add("number", value=float(value), text=text)
        self.numbers.setdefault(place, value)
        return place

    def literal(self, text: str, value: float) -> int:
        return self.number(Fraction(text) if text.isdigit() and value < DIGITS else value)

    def whole(self, k: int) -> bool:
        value = self.numbers.get(k)
        return value is not None and value == int(value)

    def split(self, k: int) -> tuple[Number, int]:
        """A term as a number and the rest."""
        if k in self.numbers:
            return self.numbers[k], self.one
        args = self.nodes[k].args
        if self.nodes[k].op == "product" and args[0] in self.numbers:
            return self.numbers[args[0]], args[1] if len(args) == 2 else self.add("product", *args[1:])
        return Fraction(1), k

    def sum(self, *terms: int) -> int:
        parts: dict[int, Number] = {}
        for term in terms:
            outer, inner = self.split(term)
            for each in self.nodes[inner].args if self.nodes[inner].op == "sum" else (inner,):
                factor, rest = self.split(each)
                parts[rest] = parts.get(rest, Fraction(0)) + outer * factor
        constant = parts.pop(self.one, Fraction(0))
        found = [self.product(self.number(factor), rest) for rest, factor in parts.items() if factor]
        if constant:
            found.append(self.number(constant))
        return self.zero if not found else found[0] if len(found) == 1 else self.add("sum", *found)

    def product(self, *factors: int) -> int:
        number: Number = Fraction(1)
        powers: dict[int, int] = {}  # exponents by base
        for factor in factors:
            for each in self.nodes[factor].args if self.nodes[factor].op == "product" else (factor,):
                if each in self.numbers:
                    number = number * self.numbers[each]
                    continue
                node = self.nodes[each]
                base, exponent = node.args if node.op == "power" else (each, self.one)
                powers[base] = self.sum(powers[base], exponent) if base in powers else exponent
        if not number:
            return self.zero
        found = []
        for base in sorted(powers, key=self.rank):
            place = self.power(base, powers[base])
            if place in self.numbers:
                number = number * self.numbers[place]
            else:
                found.append(place)
        if number != 1 or not found:
            found.insert(0, self.number(number))
        return found[0] if len(found) == 1 else self.add("product", *found)

    def rank(self, k: int) -> tuple[int, float]:
        """The order of factors: π, variables, then as they came."""
        order = {"pi": 0, "x": 1}.get(self.nodes[k].op, 2)
        return order, self.nodes[k].value if order == 1 else float(k)

    def power(self, base: int, exponent: int) -> int:
        if exponent == self.zero:
            return self.one
        if exponent == self.one or base == self.one:
            return base
        node, e = self.nodes[base], self.numbers.get(exponent)
        if e is not None and base in self.numbers:
            folded = raised(self.numbers[base], e)
            if folded is not None:
                return self.number(folded)
        if self.whole(exponent) and node.op == "power":
            return self.power(node.args[0], self.product(node.args[1], exponent))
        if self.whole(exponent) and node.op == "product":
            return self.product(*(self.power(a, exponent) for a in node.args))
        return self.add("power", base, exponent)

    def negative(self, k: int) -> int:
        return self.sum(self.product(self.number(Fraction(-1)), k))

    def quotient(self, a: int, b: int) -> int:
        return self.product(a, self.power(b, self.number(Fraction(-1))))

    def root(self, k: int, exponent: Fraction = HALF) -> int:
        return self.power(k, self.number(exponent))

    def rest(self, k: int) -> int:
        """1 - k²"""
        return self.sum(self.one, self.negative(self.root(k, Fraction(2))))

    def select(self, text: str, left: int, right: int, then: int, otherwise: int) -> int:
        if then == otherwise:
            return then
        if text == ">" and right == self.zero and otherwise == self.negative(then):
            return self.add("abs", left) if then == left else self.product(self.add("sign", left), then)
        return self.add("select", left, right, then, otherwise, text=text)

    def step(self, op: str, text: str, value: float, args: list[int]) -> int:
        """One step of a formula that is written out (``unroll``)."""
        match op:
            case "number":
                return self.literal(text, value)
            case "add" | "total":
                return self.sum(*args)
            case "sub":
                return self.sum(args[0], self.negative(args[1]))
            case "mul":
                return self.product(*args)
            case "div":
                return self.quotient(*args)
            case "pow":
                return self.power(*args)
            case "neg":
                return self.negative(*args)
            case "sqrt":
                return self.root(args[0])
            case "select":
                return self.select(text, *args)
        return self.add(op, *args, value=value)

    # --- derivatives ---

    def below(self, roots: Iterable[int]) -> list[int]:
        """The nodes that ``roots`` are made of, in order."""
        found, left = set(), list(roots)
        while left:
            k = left.pop()
            if k not in found:
                found.add(k)
                left.extend(self.nodes[k].args)
        return sorted(found)

    def derivative(self, root: int, i: int) -> int:
        """∂root/∂x_i."""
        for k in self.below([root]):
            if (k, i) not in self.slopes:
                self.slopes[k, i] = self.slope(k, i)
        return self.slopes[root, i]

    def slope(self, k: int, i: int) -> int:
        node = self.nodes[k]
        args, moves = node.args, [self.slopes[a, i] for a in node.args]
        if node.op == "x":
            return self.one if node.value == i else self.zero
        if all(move == self.zero for move in moves):
            return self.zero
        if node.op == "sum":
            return self.sum(*moves)
        if node.op == "product":
            terms = [(p, move) for p, move in enumerate(moves) if move != self.zero]
            return self.sum(*(self.product(*args[:p], *args[p + 1 :], move) for p, move in terms))
        if node.op == "select":
            return self.select(node.text, *args[:2], *moves[2:])
        if node.op == "power":
            base, exponent = args
            lower = self.power(base, self.sum(exponent, self.number(Fraction(-1))))
            return self.sum(
                self.product(exponent, lower, moves[0]),
                self.product(k, self.add("log", base), moves[1]) if moves[1] != self.zero else self.zero,
            )
        if node.op == "atan2":
            v, u = args
            square = self.sum(self.root(u, Fraction(2)), self.root(v, Fraction(2)))
            turned = self.sum(self.product(u, moves[0]), self.negative(self.product(v, moves[1])))
            return self.quotient(turned, square)
        return self.product(SLOPES[node.op](self, args[0], k), moves[0])


def raised(base: Number, exponent: Number) -> Number | None:
    """A power of numbers, where it is a number that is read more easily: None for √2."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator != 1 or (not base and exponent < 0) or abs(exponent) > 64:
            return None
        return Fraction(base ** int(exponent))
    try:
        return math.pow(base, exponent)
    except (ValueError, OverflowError):
        return None


def inverse(w: Symbols, k: int, exponent: Fraction = Fraction(-1)) -> int:
    return w.root(k, exponent)


# ∂y/∂a of every function of one argument, given the places of a and of y.
SLOPES: dict[str, Callable[[Symbols, int, int], int]] = {
    "abs": lambda w, a, y: w.add("sign", a),
    "sign": lambda w, a, y: w.zero,
    "sin": lambda w, a, y: w.add("cos", a),
    "cos": lambda w, a, y: w.negative(w.add("sin", a)),
    "tan": lambda w, a, y: w.sum(w.one, w.root(y, Fraction(2))),
    "asin": lambda w, a, y: w.root(w.rest(a), -HALF),
    "acos": lambda w, a, y: w.negative(w.root(w.rest(a), -HALF)),
    "atan": lambda w, a, y: inverse(w, w.sum(w.one, w.root(a, Fraction(2)))),
    "sinh": lambda w, a, y: w.add("cosh", a),
    "cosh": lambda w, a, y: w.add("sinh", a),
    "tanh": lambda w, a, y: w.rest(y),
    "asinh": lambda w, a, y: w.root(w.sum(w.one, w.root(a, Fraction(2))), -HALF),
    "acosh": lambda w, a, y: w.root(w.negative(w.rest(a)), -HALF),
    "atanh": lambda w, a, y: inverse(w, w.rest(a)),
    "exp": lambda w, a, y: y,
    "expm1": lambda w, a, y: w.add("exp", a),
    "log": lambda w, a, y: inverse(w, a),
    "log2": lambda w, a, y: inverse(w, w.product(a, w.add("log", w.number(Fraction(2))))),
    "log10": lambda w, a, y: inverse(w, w.product(a, w.add("log", w.number(Fraction(10))))),
    "log1p": lambda w, a, y: inverse(w, w.sum(w.one, a)),
    "cbrt": lambda w, a, y: w.product(w.number(Fraction(1, 3)), inverse(w, y, Fraction(-2))),
    "sigmoid": lambda w, a, y: w.product(y, w.sum(w.one, w.negative(y))),
    "softplus": lambda w, a, y: w.add("sigmoid", a),
    "erf": lambda w, a, y: bell(w, a),
    "erfc": lambda w, a, y: w.negative(bell(w, a)),
    "gamma": lambda w, a, y: w.product(y, w.add("digamma", a)),
    "lgamma": lambda w, a, y: w.add("digamma", a),
    "digamma": lambda w, a, y: w.add("trigamma", a),
}


def bell(w: Symbols, a: int) -> int:
    """erf'(a) = 2 / √π · exp(−a²)"""
    gauss = w.add("exp", w.negative(w.root(a, Fraction(2))))
    return w.product(w.number(Fraction(2)), w.root(w.add("pi"), -HALF), gauss)
