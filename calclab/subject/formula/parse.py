"""Text to tree: Python's own parser reads, an allow-list decides. Nothing is ever evaluated as Python.

Variables are whatever names the formula uses, in the order that ``names.ordered`` tells.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence

from calclab.errors import UserError
from calclab.subject.formula.rewritten import rewritten
from calclab.subject.formula.text import (
    LARGEST,
    RESERVED,
    VARIABLES,
    check_variable,
    look_over,
    nearest,
    number,
    ordered,
    short,
)
from calclab.subject.formula.tree import FUNCTIONS, Node, Table, Tree, constant

EXPONENT = 1000.0  # the largest constant exponent
DEPTH = 200  # expressions within expressions, sums and products of many terms not counted
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "pow",
}
COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


def parse(expr: str | Sequence[str], variables: Sequence[str] | None = None) -> Tree:
    """The tree of one formula, or of a list of formulas with shared variables.

    UserError for what is none says how it is written, where that can be told.
    """
    texts = [expr] if isinstance(expr, str) else list(expr)
    if not texts:
        raise UserError("The list of formulas is empty. Type for example function.expr='[x0**2 + x1, x0*x1]'")
    table = Table()
    parser = Parser(table, None if variables is None else tuple(variables))
    try:
        roots = tuple(parser.read(text) for text in texts)
    except UserError as mistake:
        right = [meant(text) for text in texts]
        if any(right):
            written = ", ".join(new or str(text) for new, text in zip(right, texts, strict=True))
            raise UserError(f"{mistake} Write {short(written, 200)}") from None
        raise
    return Tree(tuple(table.nodes), roots, parser.variables(), parser.base)


def refusal(text: str) -> str:
    """What a text lacks to be a formula; empty for one."""
    try:
        Parser(Table()).read(text)
    except UserError as mistake:
        return str(mistake)
    return ""


def meant(text: str) -> str:
    """A text that is no formula, written as one; empty for a formula, and where nobody knows how."""
    if not isinstance(text, str) or not refusal(text):
        return ""
    new = rewritten(text)
    return "" if new == text or refusal(new) else new


class Parser:
    """Adds formulas to one table. ``bound`` names stand for nodes that are already there (the link before)."""

    def __init__(
        self,
        table: Table,
        variables: tuple[str, ...] | None = None,
        bound: Mapping[str, int] | None = None,
    ) -> None:
        for name in variables or ():
            check_variable(name)
        self.table = table
        self.declared = variables
        self.bound = bound or {}
        self.used: set[str] = set()
        self.base: str | None = None
        self.indices: dict[str, int] = {}
        self.constants: dict[int, float] = {}
        self.text = self.line = ""

    def read(self, text: str) -> int:
        """The node of a formula. Raises UserError, and nothing else, on anything that is not one."""
        if isinstance(text, int | float) and not isinstance(text, bool):
            text = repr(text)  # Hydra reads a bare 3 as a number
        if not isinstance(text, str):
            raise UserError(
                f"A formula is text, and this is {short(repr(text))}. Type for example function.expr='x**2'"
            )
        look_over(text)
        self.text = short(text)
        self.line = " ".join(text.split())
        try:
            body = ast.parse(self.line, mode="eval").body
        except SyntaxError as error:
            raise self.refuse(f"not a formula near position {error.offset}: {error.msg}") from None
        except (RecursionError, MemoryError, ValueError):
            raise self.refuse("too many terms or signs in a row; write sum(i, 0, n - 1, term)") from None
        try:
            return self.expression(body, 0)
        except RecursionError:
            raise self.refuse("expressions nested too deeply") from None

    def variables(self) -> tuple[str, ...]:
        """The variables, in the order of the coordinates; with x[i] only those named so far."""
        return ordered(self.used, self.base, self.declared, self.text)

    def refuse(self, reason: str) -> UserError:
        return UserError(f"Formula '{self.text}': {reason}.")

    # --- one node of Python's tree ------------------------------------------------------------------------------

    def expression(self, node: ast.expr, depth: int) -> int:
        if depth > DEPTH:
            raise self.refuse("expressions nested too deeply")
        if isinstance(node, ast.BinOp):
            return self.chain(node, depth)
        if isinstance(node, ast.Constant):
            return self.literal(node)
        if isinstance(node, ast.Name):
            return self.name(node.id)
        if isinstance(node, ast.UnaryOp):
            return self.signs(node, depth)
        if isinstance(node, ast.Call):
            return self.function(node, depth + 1)
        if isinstance(node, ast.Subscript):
            return self.item(node, depth + 1)
        if isinstance(node, ast.Compare):
            raise self.refuse("a comparison belongs inside where(condition, a, b)")
        if isinstance(node, ast.List | ast.Tuple):
            raise self.refuse("a list stands here; several outputs are typed as function.expr='[x0**2 + x1, x0*x1]'")
        raise self.refuse("this is not arithmetic; allowed are + - * / **, brackets, numbers, names and functions")

    def chain(self, node: ast.BinOp, depth: int) -> int:
        """a + b - c + ...: Python nests it to the left, thousands deep; here it is a loop."""
        links: list[tuple[str, ast.expr]] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp):
            op = OPERATORS.get(type(left.op))
            if op is None:
                raise self.refuse("the operators are + - * / and **")
            links.append((op, left.right))
            left = left.left
        value = self.expression(left, depth + 1)
        for op, right in reversed(links):
            value = self.add(op, value, self.expression(right, depth + 1))
        return value

    def signs(self, node: ast.UnaryOp, depth: int) -> int:
        minus = False
        inner: ast.expr = node
        while isinstance(inner, ast.UnaryOp):
            if not isinstance(inner.op, ast.USub | ast.UAdd):
                raise self.refuse("'not' and '~' are not allowed")
            minus ^= isinstance(inner.op, ast.USub)
            inner = inner.operand
        value = self.expression(inner, depth + 1)
        return self.add("neg", value) if minus else value

    def literal(self, node: ast.Constant) -> int:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self.refuse("only numbers are allowed as constants")
        text = self.line[node.col_offset : node.end_col_offset]
        value = number(text, self.text)
        place = self.table.add(Node("number", value=value, text=text))
        self.constants[place] = value
        return place

    def name(self, name: str) -> int:
        if name in self.indices:
            return self.indices[name]
        if name in self.bound:
            return self.bound[name]
        if name == "pi":
            place = self.table.add(Node("pi"))
            self.constants[place] = math.pi
            return place
        if name == "n" and "n" not in (self.declared or ()):
            return self.table.add(Node("n"))
        if name in FUNCTIONS:
            raise self.refuse(f"'{name}' is a function; write {name}(x), and do not name a variable so")
        if name in RESERVED:
            raise self.refuse(f"'{name}' cannot be a variable, it {RESERVED[name]}; rename it")
        if self.bound:
            raise self.refuse(f"unknown name '{name}'; this link may use {', '.join(list(self.bound)[:6])}")
        self.used.add(name)
        return self.table.add(Node("variable", text=name))

    def item(self, node: ast.Subscript, depth: int) -> int:
        if not isinstance(node.value, ast.Name):
            raise self.refuse("brackets [ ] follow a variable's name, as in x[i + 1]")
        base = node.value.id
        if isinstance(node.slice, ast.Slice | ast.Tuple):
            raise self.refuse(f"one index in the brackets, as in {base}[i + 1]")
        index = self.expression(node.slice, depth)
        fixed = self.constants.get(index)
        if fixed is not None:
            if fixed != int(fixed) or not 0 <= fixed < VARIABLES:
                raise self.refuse(f"the index {fixed:g} is not a whole number from 0")
            name = f"{base}{int(fixed)}"
            if not self.bound:
                self.set_base(base)
            return self.name(name)
        if self.bound:
            raise self.refuse(f"in a link the index is a number, as in {base}[0]")
        self.set_base(base)
        return self.table.add(Node("item", (index,), text=base))

    def set_base(self, base: str) -> None:
        if base in FUNCTIONS or base in RESERVED:
            raise self.refuse(f"'{base}' cannot be a variable; write x[i]")
        if self.base not in (None, base):
            raise self.refuse(f"both {self.base}[...] and {base}[...]; use one name for the variables")
        self.base = base

    def function(self, node: ast.Call, depth: int) -> int:
        if not isinstance(node.func, ast.Name):
            raise self.refuse("only functions by their plain name can be called, and a product needs a *")
        name = node.func.id
        if name not in FUNCTIONS:
            known = "write a product with *" if len(name) == 1 else "there is no such function"
            raise self.refuse(
                f"{short(name, 24)}(...): {known}.{nearest(name, FUNCTIONS)} Known: {', '.join(FUNCTIONS)}"
            )
        if node.keywords:
            raise self.refuse(f"{name}(...) takes no named arguments")
        if len(node.args) not in FUNCTIONS[name]:
            counts = " or ".join(map(str, FUNCTIONS[name][:2]))
            raise self.refuse(f"{name} takes {counts} arguments, and {len(node.args)} are given{USAGE.get(name, '')}")
        if name in ("sum", "prod"):
            return self.reduction(name, node.args, depth)
        if name == "where":
            return self.where(node.args, depth)
        args = [self.expression(arg, depth) for arg in node.args]
        if name == "log" and len(args) == 2:
            return self.add("div", self.add("log", args[0]), self.add("log", args[1]))
        value = self.add(name, *args[:2])
        for arg in args[2:]:
            value = self.add(name, value, arg)
        return value

    def where(self, args: list[ast.expr], depth: int) -> int:
        condition = args[0]
        if not isinstance(condition, ast.Compare) or len(condition.ops) != 1:
            raise self.refuse("where(condition, a, b) needs one comparison, as in where(x < 0, -x, x)")
        op = COMPARED.get(type(condition.ops[0]))
        if op is None:
            raise self.refuse("the comparisons are < <= > >= == !=")
        sides = self.expression(condition.left, depth), self.expression(condition.comparators[0], depth)
        test = self.table.add(Node(op, sides))
        then, otherwise = (self.expression(arg, depth) for arg in args[1:])
        return self.table.add(Node("where", (test, then, otherwise)))

    def reduction(self, kind: str, args: list[ast.expr], depth: int) -> int:
        if not isinstance(args[0], ast.Name):
            raise self.refuse(f"{kind}'s first argument is a name for the index{USAGE[kind]}")
        name = args[0].id
        if name in FUNCTIONS or name in RESERVED or name in self.indices:
            raise self.refuse(f"'{name}' cannot be the index of this {kind}; take i, j or k")
        low, high = (self.expression(arg, depth) for arg in args[1:3])
        index = self.table.add(Node("index", (low, high), float(len(self.indices) + 1), name))
        self.indices[name] = index
        body = self.expression(args[3], depth)
        del self.indices[name]
        if name in self.used:
            raise self.refuse(f"'{name}' is an index and a variable; name the index otherwise")
        return self.table.add(Node(kind, (index, body)))

    def add(self, op: str, *args: int) -> int:
        """The node of an operation. Constants are folded in float64 to refuse what overflows or is not real."""
        place = self.table.add(Node(op, args))
        values = [self.constants.get(arg) for arg in args]
        if op == "pow" and values[1] is not None and abs(values[1]) > EXPONENT:
            raise self.refuse(f"the exponent {values[1]:g} is too large; {EXPONENT:g} is the limit")
        if None not in values:
            value = constant(op, [v for v in values if v is not None])
            if not abs(value) <= LARGEST:
                what = "is not a real number" if math.isnan(value) else f"is larger than {LARGEST:g}"
                raise self.refuse(f"the constant {op}({', '.join(f'{v:g}' for v in values)}) {what}")
            self.constants[place] = value
        return place


USAGE = {
    "sum": ": sum(i, 0, n - 1, x[i]**2)",
    "prod": ": prod(i, 0, n - 1, cos(x[i]))",
    "where": ": where(x < 0, -x, x)",
}
