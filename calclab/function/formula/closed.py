"""Closed forms by SymPy, built from our own steps and never from text.

Two expressions stand side by side: one shows number literals as typed (0.1), the other holds the exact doubles that
the program uses, and is evaluated at 50 digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from calclab.function.formula.typeset import symbol
from calclab.function.formula.unroll import Steps

Expression = Any  # sympy.Expr
VARIABLES = 8
SIZE = 300  # nodes written out as a tree
WORK = 400  # nodes times second derivatives
READABLE = 1500  # characters of LaTeX
DIGITS = 50


def closed_form(steps: Steps, variables: Sequence[str], vector: bool, letter: str = "f") -> ClosedForm | None:
    """The closed form, where the formula is short enough to differentiate in no time and to be read."""
    sizes = steps.sizes()
    if len(variables) > VARIABLES or sum(sizes[root] for root in steps.roots) > SIZE:
        return None
    return ClosedForm(steps, tuple(variables), vector, letter)


class ClosedForm:
    def __init__(self, steps: Steps, variables: tuple[str, ...], vector: bool, letter: str = "f") -> None:
        import sympy

        self.steps = steps
        self.variables = variables
        self.vector = vector
        self.letter = symbol(letter)
        # Our own symbols: a user's name never reaches SymPy.
        self.symbols = [sympy.Symbol(f"x_{k}", real=True) for k in range(len(variables))]
        self.names = {s: symbol(name) for s, name in zip(self.symbols, variables, strict=True)}
        sizes = steps.sizes()
        self.size = sum(sizes[root] for root in steps.roots)
        self.cache: dict[tuple[bool, int], list[tuple[tuple[int, ...], Expression]]] = {}

    @cached_property
    def shown(self) -> list[Expression]:
        import sympy

        return self.build(lambda text, value: sympy.Integer(text) if text.isdigit() else sympy.Float(text, 15))

    @cached_property
    def precise(self) -> list[Expression]:
        import sympy

        return self.build(lambda text, value: sympy.Rational(*value.as_integer_ratio()))

    def build(self, literal: Callable[[str, float], Expression]) -> list[Expression]:
        """The roots as SymPy expressions."""
        values: list[Expression] = []
        for node in self.steps.nodes:
            args = [values[a] for a in node.args]
            if node.op == "number":
                values.append(literal(node.text, node.value))
            elif node.op == "x":
                values.append(self.symbols[int(node.value)])
            else:
                values.append(operation(node.op, node.text, args))
        return [values[root] for root in self.steps.roots]

    def derivatives(self, order: int, precise: bool) -> list[tuple[tuple[int, ...], Expression]]:
        """(place, expression) for every entry; of a Hessian the upper triangle."""
        known = self.cache.get((precise, order))
        if known is None:
            known = []
            for row, root in enumerate(self.precise if precise else self.shown):
                lead = (row,) if self.vector else ()
                if order == 0:
                    known.append((lead, root))
                    continue
                for i, u in enumerate(self.symbols):
                    first = root.diff(u)
                    if order == 1:
                        known.append(((*lead, i), first))
                    else:
                        for j, v in list(enumerate(self.symbols))[i:]:
                            known.append(((*lead, i, j), first.diff(v)))
            self.cache[precise, order] = known
        return known

    def fits(self, order: int) -> bool:
        return self.size * len(self.symbols) ** max(order - 1, 0) <= WORK

    def latex(self, order: int) -> list[str]:
        """One equation for each derivative, or none when together they are too long to read."""
        import sympy

        if not self.fits(order):
            return []
        lines = [
            f"{self.left(place, order)} = {sympy.latex(value, symbol_names=self.names)}"
            for place, value in self.derivatives(order, precise=False)
        ]
        return lines if sum(map(len, lines)) <= READABLE else []

    def left(self, place: tuple[int, ...], order: int) -> str:
        """f'(x), or ∂²f/∂x∂y."""
        f = f"{self.letter}_{{{place[0]}}}" if self.vector else self.letter
        by = [symbol(self.variables[i]) for i in place[-order:]]
        if len(self.variables) == 1:
            return f + "'" * order + rf"({by[0]})"
        if order == 1:
            return rf"\frac{{\partial {f}}}{{\partial {by[0]}}}"
        below = rf"\partial {by[0]}^{{2}}" if by[0] == by[1] else rf"\partial {by[0]} \partial {by[1]}"
        return rf"\frac{{\partial^{{2}} {f}}}{{{below}}}"

    def value(self, x: Tensor, order: int) -> Tensor | None:
        """The derivative tensor at x, evaluated at 50 digits and rounded; NaN where it is not a real number."""
        import sympy

        if not self.fits(order):
            return None
        point = {s: sympy.Rational(*float(v).as_integer_ratio()) for s, v in zip(self.symbols, x.tolist(), strict=True)}
        shape = ((len(self.steps.roots),) if self.vector else ()) + (len(self.symbols),) * order
        values = torch.empty(shape, dtype=torch.float64)
        for place, expression in self.derivatives(order, precise=True):
            entry = real(expression, point)
            values[place] = entry
            if order == 2:
                values[(*place[:-2], place[-1], place[-2])] = entry
        return values


def real(expression: Expression, point: dict[Expression, Expression]) -> float:
    """The value as a double; NaN where there is none."""
    try:
        # Piecewise conditions are decided by substitution, the rest by interval-checked evaluation.
        value = expression.subs(point) if expression.has(piecewise()) else expression
        number = value.evalf(DIGITS, subs=point, maxn=400)
        return float(str(number)) if number.is_real else math.nan  # float(number) would truncate
    except (TypeError, ValueError, ZeroDivisionError, OverflowError, AttributeError):
        return math.nan


def piecewise() -> Any:
    import sympy

    return sympy.Piecewise, sympy.sign, sympy.Abs, sympy.Heaviside


def operation(op: str, text: str, args: list[Expression]) -> Expression:
    """One step in SymPy."""
    import sympy

    if op == "pi":
        return sympy.pi
    if op == "select":
        left, right, then, otherwise = args
        if text == ">" and right == 0 and then == left and otherwise == -left:
            return sympy.Abs(left)
        relation = {"<": sympy.Lt, "<=": sympy.Le, ">": sympy.Gt, ">=": sympy.Ge, "==": sympy.Eq, "!=": sympy.Ne}[text]
        return sympy.Piecewise((then, relation(left, right)), (otherwise, True))
    plain: dict[str, Callable[..., Expression]] = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b,
        "pow": lambda a, b: a**b,
        "neg": lambda a: -a,
        "total": lambda *terms: sympy.Add(*terms),
        "log2": lambda a: sympy.log(a) / sympy.log(2),
        "log10": lambda a: sympy.log(a) / sympy.log(10),
        "log1p": lambda a: sympy.log(1 + a),
        "expm1": lambda a: sympy.exp(a) - 1,
        "sigmoid": lambda a: 1 / (1 + sympy.exp(-a)),
        "softplus": lambda a: sympy.log(1 + sympy.exp(a)),
        "cbrt": lambda a: sympy.real_root(a, 3),
        "lgamma": lambda a: sympy.loggamma(a),
    }
    return plain[op](*args) if op in plain else getattr(sympy, op)(*args)
