"""The truth about a formula: value, gradient and Hessian by second-order forward differentiation over mpmath.

Everything is computed at two precisions that must agree to 25 digits, else at higher ones; what never agrees is not
known (None). The lowest is such that 1 + x**4 keeps x, however small or large the numbers are. Where two sides of a
comparison are equal, both are followed: if they agree, the derivative exists. Where forward differentiation has no
answer (√ at 0), slopes are taken from both sides, ever nearer, at thousands of bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import mpmath
from mpmath import mp, mpf

Tree = tuple[Any, ...]
MOST = 20_000  # bits
SAME = mpf(10) ** -25
LARGEST = mpf(2) ** 4000  # arguments beyond it are left alone
NEAR = (300, 700, 1500)  # slopes are taken 2^-300 away, and nearer
TIES = 3
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
NAN = mpf("nan")


class UnknownError(Exception):
    """Too large to be computed, or undecided."""


class UndefinedError(Exception):
    """The function has no real value here."""


@dataclass
class Jet:
    """f, its gradient (n,) and the lower triangle of its Hessian, (n, n) as rows; ``of`` has the variables in it."""

    v: Any
    g: list[Any]
    h: list[list[Any]]
    of: frozenset[int] = frozenset()


Rule = tuple[Callable[[Any], Any], Callable[[Any, Any], Any], Callable[[Any, Any], Any]]  # f(x), f'(x, y), f''(x, y)


def domain(low: float | None, high: float | None = None, strict: bool = False) -> Callable[[Any], bool]:
    def inside(x: Any) -> bool:
        if low is not None and (x < low or (strict and x == low)):
            return False
        return not (high is not None and (x > high or (strict and x == high)))

    return inside


DOMAINS = {
    "log": domain(0, strict=True),
    "log2": domain(0, strict=True),
    "log10": domain(0, strict=True),
    "log1p": domain(-1, strict=True),
    "sqrt": domain(0),
    "asin": domain(-1, 1),
    "acos": domain(-1, 1),
    "acosh": domain(1),
    "atanh": domain(-1, 1, strict=True),
    "gamma": lambda x: x > 0 or x != mpmath.floor(x),
    "lgamma": lambda x: x > 0 or x != mpmath.floor(x),
}


def sig(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


def bell(x: Any) -> Any:
    return 2 / mpmath.sqrt(mp.pi) * mpmath.exp(-x * x)


def ln(base: int) -> Any:
    return mpmath.log(mpf(base))


def half(x: Any) -> Any:
    return mpmath.sqrt(1 - x * x)


RULES: dict[str, Rule] = {
    "sin": (mpmath.sin, lambda x, y: mpmath.cos(x), lambda x, y: -y),
    "cos": (mpmath.cos, lambda x, y: -mpmath.sin(x), lambda x, y: -y),
    "tan": (mpmath.tan, lambda x, y: 1 / mpmath.cos(x) ** 2, lambda x, y: 2 * y / mpmath.cos(x) ** 2),
    "asin": (mpmath.asin, lambda x, y: 1 / half(x), lambda x, y: x / half(x) ** 3),
    "acos": (mpmath.acos, lambda x, y: -1 / half(x), lambda x, y: -x / half(x) ** 3),
    "atan": (mpmath.atan, lambda x, y: 1 / (1 + x * x), lambda x, y: -2 * x / (1 + x * x) ** 2),
    "sinh": (mpmath.sinh, lambda x, y: mpmath.cosh(x), lambda x, y: y),
    "cosh": (mpmath.cosh, lambda x, y: mpmath.sinh(x), lambda x, y: y),
    "tanh": (mpmath.tanh, lambda x, y: mpmath.sech(x) ** 2, lambda x, y: -2 * y * mpmath.sech(x) ** 2),
    "asinh": (mpmath.asinh, lambda x, y: 1 / mpmath.sqrt(1 + x * x), lambda x, y: -x / mpmath.sqrt(1 + x * x) ** 3),
    "acosh": (mpmath.acosh, lambda x, y: 1 / mpmath.sqrt(x * x - 1), lambda x, y: -x / mpmath.sqrt(x * x - 1) ** 3),
    "atanh": (mpmath.atanh, lambda x, y: 1 / (1 - x * x), lambda x, y: 2 * x / (1 - x * x) ** 2),
    "exp": (mpmath.exp, lambda x, y: y, lambda x, y: y),
    "expm1": (mpmath.expm1, lambda x, y: mpmath.exp(x), lambda x, y: mpmath.exp(x)),
    "log": (mpmath.log, lambda x, y: 1 / x, lambda x, y: -1 / (x * x)),
    "log2": (lambda x: mpmath.log(x) / ln(2), lambda x, y: 1 / (x * ln(2)), lambda x, y: -1 / (x * x * ln(2))),
    "log10": (lambda x: mpmath.log(x) / ln(10), lambda x, y: 1 / (x * ln(10)), lambda x, y: -1 / (x * x * ln(10))),
    "log1p": (mpmath.log1p, lambda x, y: 1 / (1 + x), lambda x, y: -1 / (1 + x) ** 2),
    "sqrt": (mpmath.sqrt, lambda x, y: 1 / (2 * y), lambda x, y: -1 / (4 * y**3)),
    "cbrt": (
        lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
        lambda x, y: 1 / (3 * y * y),
        lambda x, y: -2 / (9 * y**5),
    ),
    "sigmoid": (sig, lambda x, y: sig(x) * sig(-x), lambda x, y: sig(x) * sig(-x) * (sig(-x) - sig(x))),
    "softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), lambda x, y: sig(x), lambda x, y: sig(x) * sig(-x)),
    "erf": (mpmath.erf, lambda x, y: bell(x), lambda x, y: -2 * x * bell(x)),
    "erfc": (mpmath.erfc, lambda x, y: -bell(x), lambda x, y: 2 * x * bell(x)),
    "gamma": (
        mpmath.gamma,
        lambda x, y: y * mpmath.psi(0, x),
        lambda x, y: y * (mpmath.psi(0, x) ** 2 + mpmath.psi(1, x)),
    ),
    "lgamma": (
        lambda x: mpmath.log(abs(mpmath.gamma(x))),
        lambda x, y: mpmath.psi(0, x),
        lambda x, y: mpmath.psi(1, x),
    ),
}
# Arguments up to which mpmath needs no more bits than it has.
REACH = {
    **dict.fromkeys(("exp", "expm1", "sinh", "cosh", "tanh", "sigmoid", "softplus"), mpf(2) ** 300),
    **dict.fromkeys(("sin", "cos", "tan"), mpf(2) ** 1200),
    **dict.fromkeys(("gamma", "lgamma"), mpf(10) ** 5),
    **dict.fromkeys(("erf", "erfc"), mpf(2) ** 60),
}


class Forward:
    """Jets through a tree at the precision of the moment; ``choices`` for comparisons of equals, in their order."""

    def __init__(self, x: Sequence[Any], order: int, choices: Sequence[bool] = ()) -> None:
        self.x, self.n, self.order, self.choices = x, len(x), order, choices
        self.ties = 0
        self.singular = False

    def constant(self, value: Any) -> Jet:
        return Jet(value, [mpf(0)] * self.n, [[mpf(0)] * (i + 1) for i in range(self.n)])

    def through(self, v: Any, parts: list[Jet], first: list[Any], second: dict[tuple[int, int], Any]) -> Jet:
        """The chain rule; where an operation is singular, nothing is said by the variables that enter it."""

        def times(a: Any, b: Any) -> Any:
            return NAN if mpmath.isnan(a) or mpmath.isnan(b) else mpf(0) if not a or not b else a * b

        of = frozenset().union(*(p.of for p in parts))
        if self.order == 0:
            return Jet(v, [mpf(0)] * self.n, [[mpf(0)] * (i + 1) for i in range(self.n)], of)
        if any(mpmath.isnan(d) for d in (*first, *second.values())):
            g = [NAN if i in of else mpf(0) for i in range(self.n)]
            return Jet(v, g, [[NAN if {i, j} <= of else mpf(0) for j in range(i + 1)] for i in range(self.n)], of)
        g = [mpmath.fsum(times(d, p.g[i]) for d, p in zip(first, parts, strict=True)) for i in range(self.n)]
        h = []
        for i in range(self.n):
            row = []
            for j in range(i + 1):
                terms = [times(d, p.h[i][j]) for d, p in zip(first, parts, strict=True)]
                terms += [times(s, times(parts[a].g[i], parts[b].g[j])) for (a, b), s in second.items()]
                row.append(mpmath.fsum(terms))
            h.append(row)
        return Jet(v, g, h, of)

    def decide(self, left: Jet, right: Jet, op: str) -> bool:
        """Equal sides are a tie if either moves; sides that differ by rounding alone are not told apart."""
        gap = abs(left.v - right.v)
        if gap == 0:
            moves = bool(left.of | right.of) and left is not right
            if self.order and moves:
                self.ties += 1
                if self.ties <= len(self.choices):
                    return self.choices[self.ties - 1]
            return COMPARED[op](0, 0)
        if gap < mpf(2) ** (60 - mp.prec) * max(abs(left.v), abs(right.v)):
            raise UnknownError
        return COMPARED[op](left.v, right.v)

    def select(self, op: str, left: Jet, right: Jet, then: Callable[[], Jet], otherwise: Callable[[], Jet]) -> Jet:
        return then() if self.decide(left, right, op) else otherwise()

    def __call__(self, tree: Tree) -> Jet:
        op, *args = tree
        if op == "number":
            return self.constant(mpf(args[0]))
        if op == "pi":
            return self.constant(mp.pi + 0)
        if op == "x":
            jet = self.constant(self.x[args[0]])
            jet.g = [mpf(i == args[0]) for i in range(self.n)]
            jet.of = frozenset(args)
            return jet
        if op == "where":
            left = self(args[1])
            right = left if args[2] == args[1] else self(args[2])  # beside itself it is equal everywhere
            return self.select(args[0], left, right, lambda: self(args[3]), lambda: self(args[4]))
        parts = [self(a) for a in args]
        if any(abs(p.v) > mpf(2) ** (2**40) for p in parts):
            raise UnknownError
        result = self.operation(op, parts)
        if mpmath.isnan(result.v) or mpmath.isinf(result.v):
            raise UndefinedError
        return result

    def operation(self, op: str, parts: list[Jet]) -> Jet:
        a, b = (*parts, parts[0])[:2]
        u, v = a.v, b.v
        zero, one = mpf(0), mpf(1)
        match op:
            case "add":
                return self.through(u + v, parts, [one, one], {})
            case "sub":
                return self.through(u - v, parts, [one, -one], {})
            case "neg":
                return self.through(-u, parts, [-one], {})
            case "mul":
                return self.through(u * v, parts, [v, u], {(0, 1): one, (1, 0): one})
            case "div":
                if not v:
                    raise UndefinedError
                mixed = -1 / (v * v)
                return self.through(
                    u / v, parts, [1 / v, -u / (v * v)], {(0, 1): mixed, (1, 0): mixed, (1, 1): 2 * u / v**3}
                )
            case "pow":
                return self.power(a, b, parts)
            case "atan2":
                return self.angle(u, v, parts)
            case "abs":
                minus = lambda: self.through(-u, [a], [-one], {})  # noqa: E731
                return self.select(">", a, self.constant(zero), lambda: a, minus)
            case "relu":
                nothing = self.constant(zero)
                return self.select(">", a, nothing, lambda: a, lambda: nothing)
            case "sign":
                if not u and self.order and a.of:
                    self.singular = True
                    return self.through(zero, [a], [NAN], {})
                return self.constant(mpf(mpmath.sign(u)))
            case "max" | "min":
                best = parts[0]
                for part in parts[1:]:
                    best = self.select(">" if op == "max" else "<", best, part, lambda w=best: w, lambda w=part: w)
                return best
        if op in REACH and abs(u) > REACH[op]:
            raise UnknownError
        if op in DOMAINS and not DOMAINS[op](u):
            raise UndefinedError
        f, first, second = RULES[op]
        y = f(u)
        if self.order == 0:
            return self.constant(y)
        try:
            slopes = (first(u, y), second(u, y)) if a.of else (zero, zero)
        except ZeroDivisionError:
            self.singular = True
            slopes = (NAN, NAN)
        return self.through(y, [a], [slopes[0]], {(0, 0): slopes[1]})

    def power(self, a: Jet, b: Jet, parts: list[Jet]) -> Jet:
        u, e = a.v, b.v
        whole = e == mpmath.floor(e)
        if abs(e) > 10**9 or (u and abs(e) * max(1, abs(mpmath.log(abs(u)))) > mpf(2) ** 60):
            raise UnknownError
        if u < 0 and not whole:
            raise UndefinedError
        if u == 0 and e < 0:
            raise UndefinedError
        value = mpf(1) if e == 0 else mpf(0) if u == 0 else u ** (int(e) if whole else e)
        if self.order == 0:
            return self.constant(value)
        fixed, still = not b.of, not a.of

        def lower(k: int) -> Any:
            """d^k/du^k u^e"""
            factor = mpmath.fprod(e - i for i in range(k))
            if not factor:
                return mpf(0)
            if u == 0 and e < k:
                self.singular = True
                return NAN
            return factor * (mpf(1) if e == k else mpf(0) if u == 0 else u ** (int(e) - k if whole else e - k))

        if fixed:
            return self.through(value, [a], [lower(1)], {(0, 0): lower(2)}) if not still else self.constant(value)
        if u <= 0:
            self.singular = True
            return self.through(value, parts, [NAN, NAN], {(0, 0): NAN, (1, 1): NAN, (0, 1): NAN})
        log = mpmath.log(u)
        mixed = value / u * (1 + e * log)
        second = {(0, 0): lower(2), (1, 1): value * log * log, (0, 1): mixed, (1, 0): mixed}
        return self.through(value, parts, [lower(1), value * log], second)

    def angle(self, v: Any, u: Any, parts: list[Jet]) -> Jet:
        if not u and not v:
            raise UndefinedError
        if v == 0 and u < 0 and self.order and parts[0].of:
            self.singular = True  # the branch cut
            return self.through(mp.pi + 0, parts, [NAN, NAN], {(0, 0): NAN, (1, 1): NAN, (0, 1): NAN})
        square = u * u + v * v
        mixed = (v * v - u * u) / square**2
        second = {(0, 0): -2 * u * v / square**2, (1, 1): 2 * u * v / square**2, (0, 1): mixed, (1, 0): mixed}
        return self.through(mpmath.atan2(v, u), parts, [u / square, -v / square], second)


# --- agreement ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slope:
    """A number that is known (``value``), or known not to exist (``exists`` False), or neither (None, None).

    ``sides`` are the slopes from the left and the right where they were looked at: None where there is none.
    """

    value: Any = None
    exists: bool | None = None
    sides: tuple[Any, Any] | None = None


MISSING, UNKNOWN = Slope(exists=False), Slope()


@dataclass(frozen=True)
class Truth:
    value: Slope
    gradient: list[Slope]
    hessian: list[list[Slope]]


def numbers(tree: Tree) -> list[float]:
    if tree[0] == "number":
        return [tree[1]]
    return [v for part in tree[1:] if isinstance(part, tuple) for v in numbers(part)]


def precisions(tree: Tree, x: Sequence[float]) -> list[tuple[int, int]]:
    """Pairs of bits to try."""
    spread = max((abs(math.frexp(v)[1]) for v in (*x, *numbers(tree)) if v), default=0)
    low = 350 + 4 * spread
    return [(k * low, 2 * k * low) for k in (1, 4, 16) if 2 * k * low <= MOST]


def same(a: Any, b: Any) -> bool:
    return bool(a == b) or abs(a - b) <= SAME * abs(b)


def settled(coarse: Any, fine: Any) -> Slope:
    """What two precisions say together; a number that shrinks with the precision is a zero."""
    if mpmath.isnan(coarse) or mpmath.isnan(fine):
        return UNKNOWN
    return Slope(fine, True) if same(coarse, fine) else UNKNOWN


def flat(jet: Jet) -> list[Any]:
    return [jet.v, *jet.g, *(value for row in jet.h for value in row)]


def looks(tree: Tree, x: Sequence[float], order: int) -> tuple[list[Jet], bool]:
    """The jets of all choices at equal sides, and whether one met a singular operation."""
    first = Forward([mpf(v) for v in x], order)
    jets, singular = [first(tree)], first.singular
    ties = first.ties
    if ties > TIES:
        raise UnknownError
    if ties:
        jets = []
        for choices in product((True, False), repeat=ties):
            look = Forward([mpf(v) for v in x], order, choices)
            jets.append(look(tree))
            singular |= look.singular
            if look.ties > ties:
                raise UnknownError
    return jets, singular


def truth(tree: Tree, x: Sequence[float]) -> Truth:
    """What is known of a formula at x."""
    n = len(x)
    unknown = [[UNKNOWN] * (i + 1) for i in range(n)]
    value = value_at(tree, x)
    if value.exists is not True:
        return Truth(value, [value] * n, [[value] * (i + 1) for i in range(n)])
    found: list[Slope] | None = None
    for low, high in precisions(tree, x):
        try:
            with mp.workprec(low):
                coarse, singular = looks(tree, x, 2)
            with mp.workprec(high):
                fine, again = looks(tree, x, 2)
                if len(coarse) != len(fine):
                    continue
                columns = [list(zip(map(flat, coarse), map(flat, fine), strict=True))]
                found = []
                for k in range(len(flat(fine[0]))):
                    each = [settled(c[k], f[k]) for c, f in columns[0]]
                    if any(slope.exists is None for slope in each):
                        found.append(UNKNOWN)
                    elif all(same(slope.value, each[0].value) for slope in each):
                        found.append(each[0])
                    else:
                        found.append(UNKNOWN)  # a kink perhaps: it is looked at from both sides
                if not all(same(jet.v, fine[0].v) for jet in fine):  # a jump: slopes that agree say nothing of it
                    found[1:] = [UNKNOWN] * (len(found) - 1)
        except (UnknownError, ZeroDivisionError, OverflowError, ValueError):
            continue
        except UndefinedError:
            break
        if all(slope.exists for slope in found) or (singular and again) or len(fine) > 1:
            break
    if found is None:
        return Truth(value, [UNKNOWN] * n, unknown)
    gradient = [g if g.exists else from_both_sides(tree, x, i) for i, g in enumerate(found[1 : n + 1])]
    # A second derivative is only believed where the first ones exist and nothing was singular or tied.
    rows, at = [], n + 1
    for i in range(n):
        row = found[at : at + i + 1]
        at += i + 1
        rows.append([h if gradient[i].exists and gradient[j].exists else UNKNOWN for j, h in enumerate(row)])
    return Truth(value, gradient, rows)


def value_at(tree: Tree, x: Sequence[Any]) -> Slope:
    for low, high in precisions(tree, x):
        try:
            with mp.workprec(low):
                coarse = Forward([mpf(v) for v in x], 0)(tree).v
            with mp.workprec(high):
                fine = Forward([mpf(v) for v in x], 0)(tree).v
                if same(coarse, fine):
                    return Slope(fine, True)
        except UndefinedError:
            return MISSING
        except (UnknownError, ZeroDivisionError, OverflowError, ValueError):
            continue
    return UNKNOWN


def nearer(tree: Tree, x: Sequence[float], i: int, sign: int) -> list[Any]:
    """Difference quotients by x_i to one side, ever nearer."""
    here = Forward([mpf(v) for v in x], 0)(tree).v
    slopes = []
    for bits in NEAR:
        h = sign * mpf(2) ** -bits * (abs(mpf(x[i])) or 1)
        near = [mpf(v) + (h if k == i else 0) for k, v in enumerate(x)]
        slopes.append((Forward(near, 0)(tree).v - here) / h)
    return slopes


def from_both_sides(tree: Tree, x: Sequence[float], i: int) -> Slope:
    """∂f/∂x_i by what one sees ever nearer; a slope that dies out is 0, one that grows is none."""
    with mp.workprec(8000):
        sides = []
        for sign in (-1, 1):
            try:
                slopes = nearer(tree, x, i, sign)
                with mp.workprec(11000):
                    again = nearer(tree, x, i, sign)
            except UndefinedError:
                sides.append(None)
                continue
            except (UnknownError, ZeroDivisionError, OverflowError, ValueError):
                return UNKNOWN
            if not all(map(same, slopes, again)):
                return UNKNOWN  # rounding
            a, b, c = slopes
            if abs(b - c) <= mpf(10) ** -20 * abs(c):
                sides.append(c)
            elif abs(c) < mpf(2) ** -20 * abs(b) and abs(b) < mpf(2) ** -20 * abs(a):
                sides.append(mpf(0))
            elif abs(c) > 2 * abs(b) > 4 * abs(a):
                sides.append(mpf("inf") * mpmath.sign(c))
            else:
                return UNKNOWN
        left, right = sides
        if left is None or right is None:
            return Slope(None, None, (left, right))
        if mpmath.isinf(left) or mpmath.isinf(right):
            return Slope(None, False, (left, right))
        exists = left == right or abs(left - right) <= mpf(10) ** -18 * abs(right)
        return Slope(right, True, (left, right)) if exists else Slope(None, False, (left, right))
