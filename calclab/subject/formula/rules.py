"""Value, first and second derivatives of every operation, on Arb balls.

``FIRST[op](node, args, y, live)`` gives one ball for each argument (of those not ``live`` any value will do),
``SECOND`` the nonzero second derivatives by pairs of argument places; operations that are linear have no entry there.
Formulas are chosen to stay accurate for large arguments; precision does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from calclab.subject.formula.tree import Node

Arb = Any
EXPONENT = 2.0**60  # beyond it a power is not worked out
Pairs = dict[tuple[int, int], Arb]


def flint() -> Any:
    """python-flint, imported when the first ball is asked for."""
    import flint

    return flint


def arb(value: Any) -> Any:
    return flint().arb(value)


def nan() -> Arb:
    return arb(float("nan"))


def anything() -> Arb:
    """All real numbers: nothing is known."""
    return flint().arb(0, math.inf)


OUTSIDE: dict[str, Callable[..., bool]] = {
    **dict.fromkeys(("log", "log2", "log10"), lambda x: x <= 0),
    "log1p": lambda x: x <= -1,
    "sqrt": lambda x: x < 0,
    **dict.fromkeys(("asin", "acos"), lambda x: x < -1 or x > 1),
    "acosh": lambda x: x < 1,
    "atanh": lambda x: x <= -1 or x >= 1,
    **dict.fromkeys(("gamma", "lgamma"), lambda x: x <= 0 and x.is_exact() and x.is_integer()),
    "div": lambda a, b: b.is_zero(),
    "atan2": lambda y, x: y.is_zero() and x.is_zero(),  # no direction, though programs say 0
    "pow": lambda x, e: (x.is_zero() and e < 0) or (x < 0 and not e.contains_integer()),
}


def value(node: Node, args: Sequence[Arb]) -> Arb:
    """The value of a step: NaN where it is proven that there is none, everything where that is not certain: also where
    it is not certain of an argument, whatever the function's range is."""
    if any(a.is_nan() for a in args):  # of which Arb's asin says -π/2
        return nan()
    if not all(a.is_finite() for a in args):
        return anything()
    found = VALUES[node.op](node, args)
    if node.op == "atan2" and all(a.contains(0) for a in args) and not found.is_nan():
        return anything()  # perhaps at the point that has no direction, which Arb gives bounds for
    if found.is_nan():
        outside = OUTSIDE.get(node.op)
        return found if outside is not None and outside(*args) else anything()
    return found


def sure(found: Arb, args: Sequence[Arb]) -> Arb:
    """A derivative that is NaN at balls and not at points need not be missing: then it may be anything."""
    if isinstance(found, int) or not found.is_nan() or any(a.is_nan() for a in args):
        return found
    return found if all(a.is_exact() for a in args) else anything()


# --- values ---------------------------------------------------------------------------------------------------------


def power(x: Arb, e: Arb) -> Arb:
    """x**e: whole exponents for every x, others for x > 0, and 0**e = 0 for e > 0."""
    if not abs(e) < EXPONENT:
        return arb(1) if x == 1 else nan()
    if e.is_exact() and e.is_integer():
        k = int(e.unique_fmpz())
        if x.is_zero():
            return arb(1 if k == 0 else 0) if k >= 0 else nan()
        if k > 0 and not (x > 0 or x < 0):  # Arb's own power is NaN on balls around 0
            most = abs(x).upper() ** k
            return x if k == 1 else most * (flint().arb(0, 1) if k % 2 else flint().arb(0.5, 0.5))
        return arb(1) if k == 0 else x**k
    if x.is_zero() and e > 0:
        return arb(0)
    return x**e if x > 0 else nan()


def cbrt(x: Arb) -> Arb:
    if x.is_zero():
        return x
    return x.root(3) if x > 0 else -((-x).root(3)) if x < 0 else nan()


def sigmoid(x: Arb) -> Arb:
    return 1 / (1 + (-x).exp())


def softplus(x: Arb) -> Arb:
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


def lgamma(x: Arb) -> Arb:
    """ln |Γ|: below 0 through Γ itself."""
    return x.lgamma() if x > 0 else abs(x.gamma()).log()


def on_cut(y: Arb, x: Arb) -> bool:
    """Whether atan2(y, x) may be on its cut, where y = 0 and x < 0: there it jumps from π to -π."""
    return x < 0 and not (y > 0 or y < 0) and not y.is_nan()


def cut_side(y: Arb, x: Arb, above: bool) -> Arb:
    """atan2(y, x) near its cut, as it goes on from above (y >= 0) or from below."""
    π = flint().arb.pi()
    return (y / x).atan() + (π if above else -π)


def total(args: Sequence[Arb]) -> Arb:
    value = args[0]
    for arg in args[1:]:
        value = value + arg
    return value


def unary(name: str) -> Callable[[Node, Sequence[Arb]], Arb]:
    return lambda node, args: getattr(args[0], name)()


VALUES: dict[str, Callable[[Node, Sequence[Arb]], Arb]] = {
    "number": lambda node, args: arb(node.value),
    "pi": lambda node, args: flint().arb.pi(),
    "add": lambda node, args: args[0] + args[1],
    "sub": lambda node, args: args[0] - args[1],
    "mul": lambda node, args: args[0] * args[1] if args[0] is not args[1] else args[0] ** 2,
    "div": lambda node, args: args[0] / args[1],
    "pow": lambda node, args: power(args[0], args[1]),
    "neg": lambda node, args: -args[0],
    "total": lambda node, args: total(args),
    "atan2": lambda node, args: nan() if OUTSIDE["atan2"](*args) else flint().arb.atan2(args[0], args[1]),
    "cbrt": lambda node, args: cbrt(args[0]),
    "sigmoid": lambda node, args: sigmoid(args[0]),
    "softplus": lambda node, args: softplus(args[0]),
    "lgamma": lambda node, args: lgamma(args[0]),
    "log2": lambda node, args: args[0].log() / arb(2).log(),
    "log10": lambda node, args: args[0].log() / arb(10).log(),
}
for _name in (
    *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
    *("exp", "log", "log1p", "expm1", "sqrt", "erf", "erfc", "gamma"),
):
    VALUES[_name] = unary(_name)


# --- functions of one argument: f'(x, y) and f''(x, y), with y = f(x) -------------------------------------------------


def digamma(x: Arb) -> Arb:
    return x.digamma()


def trigamma(x: Arb) -> Arb:
    """ψ'(x) = ζ(2, x), by reflection below 0."""
    fl = flint()
    if x > 0:
        return fl.acb(2).zeta(fl.acb(x)).real
    return (fl.arb.pi() / (fl.arb.pi() * x).sin()) ** 2 - trigamma(1 - x) if x < 0 else nan()


def slope(x: Arb) -> Arb:
    """σ'(x) = e^-|x| / (1 + e^-|x|)²"""
    small = (-x).exp() if x > 0 else x.exp()
    return small / (1 + small) ** 2


def bell(x: Arb) -> Arb:
    """erf'(x) = 2 / √π · exp(−x²)"""
    return 2 / flint().arb.pi().sqrt() * (-(x**2)).exp()


Rule = Callable[[Arb, Arb], Arb]
UNARY: dict[str, tuple[Rule, Rule]] = {
    "sin": (lambda x, y: x.cos(), lambda x, y: -y),
    "cos": (lambda x, y: -x.sin(), lambda x, y: -y),
    "tan": (lambda x, y: 1 + y**2, lambda x, y: 2 * y * (1 + y**2)),
    "asin": (lambda x, y: 1 / (1 - x**2).sqrt(), lambda x, y: x / (1 - x**2).sqrt() ** 3),
    "acos": (lambda x, y: -1 / (1 - x**2).sqrt(), lambda x, y: -x / (1 - x**2).sqrt() ** 3),
    "atan": (lambda x, y: 1 / (1 + x**2), lambda x, y: -2 * x / (1 + x**2) ** 2),
    "sinh": (lambda x, y: x.cosh(), lambda x, y: y),
    "cosh": (lambda x, y: x.sinh(), lambda x, y: y),
    "tanh": (lambda x, y: 1 / x.cosh() ** 2, lambda x, y: -2 * y / x.cosh() ** 2),
    "asinh": (lambda x, y: 1 / (x**2 + 1).sqrt(), lambda x, y: -x / (x**2 + 1).sqrt() ** 3),
    "acosh": (lambda x, y: 1 / (x**2 - 1).sqrt(), lambda x, y: -x / (x**2 - 1).sqrt() ** 3),
    "atanh": (lambda x, y: 1 / (1 - x**2), lambda x, y: 2 * x / (1 - x**2) ** 2),
    "exp": (lambda x, y: y, lambda x, y: y),
    "expm1": (lambda x, y: x.exp(), lambda x, y: x.exp()),
    "log": (lambda x, y: 1 / x if x > 0 else nan(), lambda x, y: -1 / x**2),
    "log2": (lambda x, y: 1 / (x * arb(2).log()) if x > 0 else nan(), lambda x, y: -1 / (x**2 * arb(2).log())),
    "log10": (lambda x, y: 1 / (x * arb(10).log()) if x > 0 else nan(), lambda x, y: -1 / (x**2 * arb(10).log())),
    "log1p": (lambda x, y: 1 / (1 + x) if x > -1 else nan(), lambda x, y: -1 / (1 + x) ** 2),
    "sqrt": (lambda x, y: 1 / (2 * y), lambda x, y: -1 / (4 * y**3)),
    "cbrt": (lambda x, y: 1 / (3 * y**2), lambda x, y: -2 / (9 * y**5)),
    "sigmoid": (lambda x, y: slope(x), lambda x, y: slope(x) * (1 - 2 * y)),
    "softplus": (lambda x, y: sigmoid(x), lambda x, y: slope(x)),
    "erf": (lambda x, y: bell(x), lambda x, y: -2 * x * bell(x)),
    "erfc": (lambda x, y: -bell(x), lambda x, y: 2 * x * bell(x)),
    "gamma": (lambda x, y: y * digamma(x), lambda x, y: y * (digamma(x) ** 2 + trigamma(x))),
    "lgamma": (lambda x, y: digamma(x), lambda x, y: trigamma(x)),
}


# --- functions of two arguments -------------------------------------------------------------------------------------


def power_first(node: Node, args: Sequence[Arb], y: Arb, live: Sequence[bool]) -> list[Arb]:
    x, e = args
    return [e * power(x, e - 1) if live[0] and not e.is_zero() else 0, y * x.log() if live[1] else 0]


def power_second(node: Node, args: Sequence[Arb], y: Arb, live: Sequence[bool]) -> Pairs:
    x, e = args
    found: Pairs = {}
    if live[0]:
        factor = e * (e - 1)
        found[0, 0] = factor if factor.is_zero() else factor * power(x, e - 2)
    if live[1]:
        found[1, 1] = y * x.log() ** 2
    if all(live):
        found[0, 1] = found[1, 0] = power(x, e - 1) * (1 + e * x.log())
    return found


def atan2_second(node: Node, args: Sequence[Arb], y: Arb, live: Sequence[bool]) -> Pairs:
    v, u = args
    square = (u**2 + v**2) ** 2
    mixed = (v**2 - u**2) / square
    return {(0, 0): -2 * u * v / square, (1, 1): 2 * u * v / square, (0, 1): mixed, (1, 0): mixed}


def atan2_first(node: Node, args: Sequence[Arb], y: Arb, live: Sequence[bool]) -> list[Arb]:
    v, u = args
    square = u**2 + v**2
    return [u / square, -v / square]


First = Callable[[Node, Sequence[Arb], Arb, Sequence[bool]], list[Arb]]
FIRST: dict[str, First] = {
    "add": lambda node, args, y, live: [1, 1],
    "sub": lambda node, args, y, live: [1, -1],
    "neg": lambda node, args, y, live: [-1],
    "total": lambda node, args, y, live: [1] * len(args),
    "mul": lambda node, args, y, live: [args[1], args[0]],
    "div": lambda node, args, y, live: [1 / args[1], -y / args[1]],
    "pow": power_first,
    "atan2": atan2_first,
    "x": lambda node, args, y, live: [],
}
SECOND: dict[str, Callable[[Node, Sequence[Arb], Arb, Sequence[bool]], Pairs]] = {
    "mul": lambda node, args, y, live: {(0, 1): 1, (1, 0): 1},
    "div": lambda node, args, y, live: {
        (0, 1): -1 / args[1] ** 2,
        (1, 0): -1 / args[1] ** 2,
        (1, 1): 2 * y / args[1] ** 2,
    },
    "pow": power_second,
    "atan2": atan2_second,
}


def _register(name: str, first: Rule, second: Rule) -> None:
    FIRST[name] = lambda node, args, y, live: [first(args[0], y)]
    SECOND[name] = lambda node, args, y, live: {(0, 0): second(args[0], y)}


for _name, (_first, _second) in UNARY.items():
    _register(_name, _first, _second)
