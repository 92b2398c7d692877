"""Random formulas as trees of our own, and points to put them at: ordinary, tiny, huge, denormal, at kinks.

A tree is a tuple: ("number", 0.5), ("x", 0), ("pi",), (operation, tree, ...), ("where", comparison, left, right, then,
otherwise). It is written out as text for calclab and evaluated by ``truth.py``; nothing here knows of calclab.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

Tree = tuple[Any, ...]
TOPICS = ("derivative", "partial", "chain", "hessian", "jacobian", "descent")
SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
ORDINARY = ("sin", "cos", "tan", "atan", "sinh", "cosh", "tanh", "asinh", "exp", "expm1", "sigmoid", "softplus", "erf")
PICKY = ("log", "log2", "log10", "log1p", "sqrt", "cbrt", "asin", "acos", "acosh", "atanh", "gamma", "lgamma", "erfc")
BENT = ("abs", "relu", "sign")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
# What loses digits, bends or overflows somewhere; a, b, c are replaced by numbers and small trees.
HARD = """
(1 + a) - a | sqrt(a**2 + 1) - a | (1 - cos(a))/a**2 | sin(a)/a | expm1(a)/a | (exp(a) - 1)/a | a - sin(a)
(a - sin(a))/a**3 | tanh(a) - a | log(1 + a) - a | 1 - sigmoid(a) | log(exp(a) + exp(b)) | (a + b)**2 - a**2 - 2*a*b
1e20*a + (1 - cos(b))/b**2 | sin(a**7) | a**2 - 1e-17*b**2 | a**2 - b**2 | exp(-a**2) - 1 | 1/(1 + exp(-a))
log(a)*0 + b | sqrt(a) + b | log(a) + b | a/b | a**b | (a**2)**0.5 | cbrt(a**3) | sqrt(a**4) | abs(a)*a | abs(a)**3
max(a, b) | min(a, b) | max(a, a) | relu(a)**2 | where(a == 0, 1, sin(a)/a) | where(a > 0, a**2, a**3)
where(a < b, a, b) | sign(a)*a | abs(a - b) | max(a, -a) | max(a, b, a*b) | atan2(b, a) | atan2(a, b)
exp(1000*a) | exp(exp(a)) | exp(-exp(-a)) | gamma(a) | gamma(20000*a) | lgamma(a) - a*log(a) | sin(1e300*a)
cos(exp(a)) | a**(a**a) | tanh(a**0.3) | 1/(a - 1) | 1/a | log(abs(a)) | sqrt(abs(a)) | a*log(a) | a**0.3 | a**-2
a**20 | a**1000 | (1 - a)**2 + 100*(b - a**2)**2 | a*b*1e-300 | a*1e-320 | a/1e299*1e299 | 1e300*a**3
erf(a) - 1 | erfc(a)*exp(a**2) | atan(1/a) | asin(a) | acos(1 - a) | acosh(1 + a) | atanh(a) | log1p(a) - log(1 + a)
(a + b) - b | exp(a)*exp(-a) | a*(1/a) | sinh(a) - a | softplus(a) - a | (a*b)*(1/b) | sum(i, 1, 9, a**i/i)
prod(i, 1, 5, a - i) | sum(i, 0, 40, (-a)**i/gamma(i + 1)) | atan2(a, 0) | max(0, a)*min(0, a) | gamma(1e300*a)
1 + b/(a - a) | where(b > 1e30, log(-a), a*b) | where(a >= 0, sqrt(a), 0) | (a**2 + b**2)**1.5 | sqrt(a**2 + b**2)
exp(-(a**2 + b**2)) | cos(a)**2 + sin(a)**2 | cosh(a)**2 - sinh(a)**2 | log(a**2) - 2*log(a) | tan(a) - sin(a)/cos(a)
333.75*b**6 + a**2*(11*a**2*b**2 - b**6 - 121*b**4 - 2) + 5.5*b**8 + a/(2*b) | (exp(a) - exp(-a))/2 - sinh(a)
"""
TEMPLATES = [text.strip() for line in HARD.strip().splitlines() for text in line.split("|")]
NAMES = ("x", "y", "z")


@dataclass(frozen=True)
class Case:
    """One question: a topic, the formulas (for ``chain`` one for each link), and a point."""

    topic: str
    trees: tuple[Tree, ...]
    at: tuple[float, ...]
    links: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return NAMES[: len(self.at)]

    def texts(self) -> list[str]:
        if not self.links:
            return [text(tree, self.names) for tree in self.trees]
        return [f"h{k} = {text(tree, self.names if k == 0 else (f'h{k - 1}',))}" for k, tree in enumerate(self.trees)]


def text(tree: Tree, names: tuple[str, ...]) -> str:
    """The formula, with every bracket."""
    op, *args = tree
    if op == "number":
        return repr(args[0]) if args[0] >= 0 else f"({args[0]!r})"
    if op == "x":
        return names[args[0]]
    if op == "pi":
        return "pi"
    if op == "where":
        left, right, then, otherwise = (text(a, names) for a in args[1:])
        return f"where({left} {args[0]} {right}, {then}, {otherwise})"
    parts = [text(a, names) for a in args]
    if op in SIGNS:
        return f"({parts[0]} {SIGNS[op]} {parts[1]})"
    return f"(-{parts[0]})" if op == "neg" else f"{op}({', '.join(parts)})"


def variables(tree: Tree) -> set[int]:
    if tree[0] == "x":
        return {tree[1]}
    return {i for part in tree[1:] if isinstance(part, tuple) for i in variables(part)}


# --- chance ---------------------------------------------------------------------------------------------------------


def number(chance: random.Random) -> float:
    kind = chance.random()
    if kind < 0.5:
        return float(chance.choice((0, 1, 2, 3, 0.5, -1, 10, 0.1, 100, 1e-3)))
    if kind < 0.9:
        return round(chance.uniform(-4, 4), chance.randrange(4))
    return float(f"{chance.uniform(1, 10):.3g}e{chance.randrange(-30, 30)}")


def coordinate(chance: random.Random) -> float:
    kind = chance.random()
    if kind < 0.40:
        return chance.uniform(-3, 3)
    if kind < 0.60:
        return float(chance.choice((0, 0, 1, -1, 2, 0.5, 3, -2, 1e-8, 1e16, 1e8, 1e-9, 1e-5)))
    sign = chance.choice((1, 1, -1))
    if kind < 0.75:
        return sign * float(f"{chance.uniform(1, 10):.4g}e{-chance.randrange(3, 30)}")
    if kind < 0.90:
        return sign * float(f"{chance.uniform(1, 10):.4g}e{chance.randrange(3, 30)}")
    if kind < 0.95:
        return sign * float(f"{chance.uniform(1, 10):.4g}e{chance.choice((1, -1)) * chance.randrange(100, 300)}")
    return sign * chance.randrange(1, 10) * 5e-324 * 10 ** chance.randrange(0, 12)


def leaf(chance: random.Random, n: int) -> Tree:
    kind = chance.random()
    return ("x", chance.randrange(n)) if kind < 0.7 else ("pi",) if kind < 0.73 else ("number", number(chance))


def grown(chance: random.Random, n: int, depth: int) -> Tree:
    """A random tree."""
    if depth == 0 or chance.random() < 0.1:
        return leaf(chance, n)
    kind = chance.random()
    if kind < 0.45:
        op = chance.choice(("add", "sub", "mul", "mul", "div", "add"))
        return op, grown(chance, n, depth - 1), grown(chance, n, depth - 1)
    if kind < 0.53:
        e = chance.choice((2.0, 3.0, 2.0, -1.0, 0.5, 1.5, -2.0, 7.0, 4.0))
        return "pow", grown(chance, n, depth - 1), ("number", e)
    if kind < 0.56:
        return "pow", grown(chance, n, depth - 1), grown(chance, n, depth - 2 if depth > 1 else 0)
    if kind < 0.80:
        return chance.choice(ORDINARY), grown(chance, n, depth - 1)
    if kind < 0.89:
        return chance.choice(PICKY), grown(chance, n, depth - 1)
    if kind < 0.94:
        return chance.choice(BENT), grown(chance, n, depth - 1)
    if kind < 0.97:
        return chance.choice(("max", "min", "atan2")), grown(chance, n, depth - 1), grown(chance, n, depth - 1)
    sides = [grown(chance, n, depth - 1) for _ in range(4)]
    return "where", chance.choice(COMPARISONS), *sides


def replaced(tree: Tree, parts: dict[str, Tree]) -> Tree:
    if tree[0] == "name":
        return parts[tree[1]]
    return tuple(replaced(part, parts) if isinstance(part, tuple) else part for part in tree)


def hard(chance: random.Random, n: int) -> Tree:
    """One of the templates, with something small in the place of its letters, and perhaps something around it."""
    parts: dict[str, Tree] = {}
    for k, name in enumerate("ab"):
        here = ("x", k % n) if chance.random() < 0.8 else grown(chance, n, 1)
        scaled = chance.random()
        if scaled < 0.1:
            here = ("mul", ("number", number(chance) or 1.0), here)
        elif scaled < 0.15:
            here = ("sub", here, ("number", 1.0))
        parts[name] = here
    tree = replaced(read(chance.choice(TEMPLATES)), parts)
    around = chance.random()
    if around < 0.15:
        tree = chance.choice(("add", "mul", "sub")), tree, grown(chance, n, 2)
    elif around < 0.2:
        tree = (chance.choice(ORDINARY), tree)
    return tree


def tower(chance: random.Random, n: int) -> Tree:
    """Deep and repetitive."""
    x: Tree = ("x", 0)
    depth, kind = chance.randrange(3, 25), chance.randrange(7)
    tree = x
    for k in range(depth):
        if kind == 0:  # Horner
            tree = "add", ("mul", tree, x), x
        elif kind == 1:
            tree = "exp", ("neg", tree)
        elif kind == 2:
            tree = chance.choice(("sigmoid", "tanh", "sin", "softplus")), tree
        elif kind == 3:
            tree = ("pow", x, tree) if k < 4 else tree
        elif kind == 4:
            tree = "abs", ("sub", tree, ("number", 1.0))
        elif kind == 5:
            tree = "mul", ("sin", ("mul", ("number", float(k + 1)), x)), tree
        else:
            tree = "where", ">", tree, ("number", 0.0), ("add", ("log", tree), x), ("sub", tree, ("number", 1.0))
            if k == 4:
                break
    return tree if n == 1 else ("add", tree, ("mul", ("x", 1), ("x", n - 1)))


def formula(chance: random.Random, n: int) -> Tree:
    kind = chance.random()
    if kind < 0.40:
        return grown(chance, n, chance.randrange(1, 5))
    return hard(chance, n) if kind < 0.93 else tower(chance, n)


def case(seed: int, k: int, topic: str | None = None) -> Case:
    """Case ``k`` of a seed."""
    chance = random.Random(f"{seed} {k}")
    topic = topic or TOPICS[k % len(TOPICS)]
    n = 1 if topic == "derivative" else chance.choice((1, 2, 2, 3)) if topic != "partial" else chance.choice((2, 2, 3))
    at = [coordinate(chance) for _ in range(n)]
    if n > 1 and chance.random() < 0.15:
        at[1] = at[0]
    if topic == "chain" and chance.random() < 0.8:
        count = chance.randrange(2, 5)
        trees = [formula(chance, n)] + [
            formula(chance, 1) if chance.random() < 0.3 else grown(chance, 1, 2) for _ in range(count - 1)
        ]
        trees[1:] = [tree if variables(tree) else ("mul", ("x", 0), tree) for tree in trees[1:]]
        return Case(
            topic, tuple(every(tree, n if j == 0 else 1) for j, tree in enumerate(trees)), tuple(at), links=True
        )
    count = chance.choice((1, 2, 2, 3)) if topic == "jacobian" else 1
    trees = [formula(chance, n) for _ in range(count)]
    if topic == "jacobian" and chance.random() < 0.1:  # denormals
        trees = [("mul", ("number", 1e-300), ("mul", tree, ("number", 1e-15))) for tree in trees]
    trees[0] = every(trees[0], n)
    return Case(topic, tuple(trees), tuple(at))


def every(tree: Tree, n: int) -> Tree:
    """The tree, with each variable in it, so that calclab counts as many."""
    for i in sorted(set(range(n)) - variables(tree)):
        tree = "add", tree, ("mul", ("x", i), ("x", i))
    return tree


# --- the templates' text --------------------------------------------------------------------------------------------


def read(template: str) -> Tree:
    """A template's text as a tree, sums and products written out: Python's parser, and only what stands above."""
    import ast

    ops: dict[type, str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}
    signs: dict[type, str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}

    def tree(node: Any, index: dict[str, float]) -> Tree:
        match node:
            case ast.BinOp():
                return ops[type(node.op)], tree(node.left, index), tree(node.right, index)
            case ast.UnaryOp(operand=ast.Constant()):
                return "number", -float(node.operand.value)
            case ast.UnaryOp():
                return "neg", tree(node.operand, index)
            case ast.Constant():
                return "number", float(node.value)
            case ast.Name():
                return ("number", index[node.id]) if node.id in index else ("name", node.id)
            case ast.Call(func=ast.Name(id="where")):
                test = node.args[0]
                sides = (test.left, test.comparators[0], *node.args[1:])
                return "where", signs[type(test.ops[0])], *(tree(side, index) for side in sides)
            case ast.Call(func=ast.Name(id="sum" | "prod" as kind)):
                name, low, high, body = node.args
                terms = [tree(body, {**index, name.id: float(k)}) for k in range(low.value, high.value + 1)]
                whole = terms[0]
                for term in terms[1:]:
                    whole = "add" if kind == "sum" else "mul", whole, term
                return whole
            case ast.Call():
                return node.func.id, *(tree(a, index) for a in node.args)
        raise ValueError(template)

    return tree(ast.parse(template, mode="eval").body, {})
