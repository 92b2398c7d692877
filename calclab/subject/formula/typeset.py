"""A formula as LaTeX, straight from the tree: sums stay sums, numbers stay as typed, and no SymPy is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from calclab.subject.formula.bind import Bound
from calclab.subject.formula.tree import Node

LONGEST = 400  # nodes of a formula that is still readable
SUM, PRODUCT, POWER, ATOM = 1, 2, 3, 4  # how tightly the outermost operation binds
Piece = tuple[str, int]

NAMED = {"sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "max", "min"}
WRITTEN = {
    "asin": r"\arcsin",
    "acos": r"\arccos",
    "atan": r"\arctan",
    "log": r"\ln",
    "log2": r"\log_{2}",
    "log10": r"\log_{10}",
    "sigmoid": r"\sigma",
    "gamma": r"\Gamma",
    "lgamma": r"\ln\Gamma",
    "atan2": r"\operatorname{atan2}",
    "digamma": r"\psi",
    "trigamma": r"\psi'",
}
RELATIONS = {"<": "<", "<=": r"\le", ">": ">", ">=": r"\ge", "==": "=", "!=": r"\ne"}
GREEK = {"alpha", "gamma", "delta", "epsilon", "eta", "theta", "kappa", "mu", "nu", "xi", "rho", "sigma", "tau", "phi"}
GREEK |= {"chi", "psi", "omega"}


def formula(bound: Bound, vector: bool, variables: Sequence[str], letter: str = "f") -> str:
    """f(x, y) = ..., with a column of outputs for a vector; only the kind of map where it would be too long."""
    tree = bound.tree
    sizes = tree.sizes()
    m, n = len(tree.roots), len(variables)
    if sum(sizes[root] for root in tree.roots) > LONGEST:
        target = rf"\mathbb{{R}}^{{{m}}}" if vector else r"\mathbb{R}"
        return rf"{symbol(letter)} : \mathbb{{R}}^{{{n}}} \to {target}"
    pieces: dict[int, Piece] = {}
    needed = set(tree.roots)
    for k in range(len(tree.nodes) - 1, -1, -1):
        if k in needed:
            needed.update(tree.nodes[k].args)
    for k in sorted(needed):
        node = tree.nodes[k]
        if node.op in ("sum", "prod"):
            pieces[k] = reduction(tree.nodes[node.args[0]], node.op, pieces, node.args[1])
        else:
            pieces[k] = piece(node, [pieces[a] for a in node.args])
    rows = [pieces[root][0] for root in tree.roots]
    listed = ", ".join(symbol(name) for name in variables) if n <= 4 and tree.base is None else symbol(tree.base or "x")
    right = rows[0] if not vector else r"\begin{pmatrix} " + r" \\ ".join(rows) + r" \end{pmatrix}"
    return f"{symbol(letter)}({listed}) = {right}"


def symbol(name: str) -> str:
    """x0 as x_{0}, alpha as a Greek letter, longer names upright."""
    match = re.fullmatch(r"([A-Za-z]+?)_?(\d*)", name)
    stem, number = (match[1], match[2]) if match else (name.replace("_", r"\_"), "")
    if stem.lower() in GREEK:
        stem = "\\" + stem
    elif len(stem) > 1:
        stem = rf"\mathrm{{{stem}}}"
    return stem + (f"_{{{number}}}" if number else "")


def number(text: str) -> Piece:
    """A literal as typed; 1e-12 as a power of ten."""
    match = re.fullmatch(r"([\d.]+)[eE]([+-]?\d+)", text)
    if match is None:
        return text, ATOM
    power = f"10^{{{int(match[2])}}}"
    return (power, POWER) if match[1] in ("1", "1.", "1.0") else (rf"{match[1]} \cdot {power}", PRODUCT)


def bracket(part: Piece, least: int) -> str:
    text, binds = part
    return text if binds >= least else rf"\left({text}\right)"


def times(a: Piece, b: Piece) -> str:
    left, right = bracket(a, PRODUCT), bracket(b, PRODUCT)
    if right.startswith("-"):
        right = rf"\left({right}\right)"
    dot = right[:1].isdigit() or (right.startswith(r"\frac") and left[-1:].isdigit())
    return left + (r" \cdot " if dot else r" \, " if left[-1:].isalpha() else " ") + right


def piece(node: Node, args: Sequence[Piece]) -> Piece:
    """The LaTeX of one node from that of its arguments."""
    op = node.op
    text = [arg[0] for arg in args]
    if op == "number":
        return number(node.text)
    if op == "pi":
        return r"\pi", ATOM
    if op == "n":
        return "n", ATOM
    if op in ("variable", "item"):
        return (symbol(node.text) if op == "variable" else f"{symbol(node.text)}_{{{text[0]}}}"), ATOM
    if op == "index":
        return node.text, ATOM
    if op == "add":
        return f"{text[0]} + {bracket(args[1], PRODUCT) if text[1].startswith('-') else text[1]}", SUM
    if op == "sub":
        return f"{text[0]} - {bracket(args[1], PRODUCT)}", SUM
    if op == "mul":
        return times(*args), PRODUCT
    if op == "div":
        return rf"\frac{{{text[0]}}}{{{text[1]}}}", POWER
    if op == "neg":
        return f"-{bracket(args[0], PRODUCT)}", SUM
    if op == "pow":
        return f"{bracket(args[0], ATOM)}^{{{text[1]}}}", POWER
    if op == "sqrt":
        return rf"\sqrt{{{text[0]}}}", POWER
    if op == "cbrt":
        return rf"\sqrt[3]{{{text[0]}}}", POWER
    if op == "abs":
        return rf"\left|{text[0]}\right|", ATOM
    if op in RELATIONS:
        return f"{text[0]} {RELATIONS[op]} {text[1]}", SUM
    if op == "where":
        cases = rf"{text[1]} & {text[0]} \\ {text[2]} & \text{{otherwise}}"
        return rf"\begin{{cases}} {cases} \end{{cases}}", SUM
    name = "\\" + op if op in NAMED else WRITTEN.get(op, rf"\operatorname{{{op}}}")
    return rf"{name}\left({', '.join(text)}\right)", POWER


def reduction(index: Node, op: str, pieces: Mapping[int, Piece], body: int) -> Piece:
    """Σ and Π with their bounds."""
    low, high = (pieces[a][0] for a in index.args)
    sign = r"\sum" if op == "sum" else r"\prod"
    return rf"{sign}_{{{index.text}={low}}}^{{{high}}} {bracket(pieces[body], PRODUCT)}", PRODUCT
