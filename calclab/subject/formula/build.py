"""``formula(...)``: a Function from text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from calclab.core import Function
from calclab.errors import UserError
from calclab.subject.formula.bind import bind
from calclab.subject.formula.exact import FormulaExact
from calclab.subject.formula.parse import parse
from calclab.subject.formula.tensors import Program
from calclab.subject.formula.text import short, split
from calclab.subject.formula.tree import Tree


def formula(
    *,
    name: str = "formula",
    expr: str | Sequence[str] | None,
    at: float | Sequence[float] | None = None,
    n: int | None = None,
    variables: Sequence[str] | None = None,
    domain: Sequence[Any] | None = None,
    minima: Sequence[Any] | None = None,
    source: str = "",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Function:
    """The function written in ``expr``; a list of texts makes it vector-valued.

    Variables are ordered by number when all are x0, x1, ... or x[i], else alphabetically, unless ``variables`` names
    them. ``at`` is the start; all ones when it is not given. Where the text speaks of n or of x[i], ``n`` sets the
    dimension (else the length of ``at`` does), and a shorter ``at`` is repeated: [-1.2, 1] for n = 5 is
    [-1.2, 1, -1.2, 1, -1.2]. ``domain`` is [low, high] for all variables or one pair for each; ``minima`` is a list
    of points, repeated in the same way.
    """
    if expr is None:
        raise UserError("No formula is given. Type for example function.expr='x**2 + y**2' function.at='[1, 2]'")
    if isinstance(expr, str | int | float):
        texts = split(expr) if isinstance(expr, str) else [repr(expr)]
        vector = len(texts) > 1 or (isinstance(expr, str) and expr.strip().startswith("["))
    else:
        vector, texts = True, list(expr)
    tree = parse(texts, None if variables is None else names_of(variables))
    return assemble(
        name, tree, vector, at=at, n=n, domain=domain, minima=minima, source=source, dtype=dtype, device=device
    )


def assemble(
    name: str,
    tree: Tree,
    vector: bool,
    *,
    at: float | Sequence[float] | None,
    n: int | None,
    domain: Sequence[Any] | None,
    minima: Sequence[Any] | None,
    source: str,
    dtype: torch.dtype,
    device: torch.device | str,
    outputs: tuple[str, ...] | None = None,
    letter: str = "f",
) -> Function:
    """A Function from a tree: the dimension, the start, the torch program and the exact side."""
    start = None if at is None else numbers(at, "at")
    variables = dimension(name, tree, None if start is None else len(start), n)
    bound = bind(tree, variables)
    start = [1.0] * len(variables) if start is None else repeat(start, len(variables))
    x = torch.tensor(start, dtype=dtype, device=device)
    return Function(
        name=name,
        call=Program(bound, vector, x.dtype, x.device),
        start=x,
        variables=variables,
        outputs=(outputs or tuple(f"f{k}" for k in range(len(tree.roots)))) if vector else (),
        domain=None if domain is None else x.new_tensor(pairs(domain, len(variables))),
        minima=None if minima is None else x.new_tensor([repeat(numbers(p, "minima"), len(x)) for p in minima]),
        source=source,
        exact=FormulaExact(bound, vector, variables, letter),
    )


def dimension(name: str, tree: Tree, given: int | None, n: int | None) -> tuple[str, ...]:
    """The names of the variables, once their number is settled by the formula, ``n`` and the length of ``at``."""
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 100_000):
        raise UserError(f"function.n={n}: n is a whole number from 1 to 100000. Type for example function.n=5")
    named = len(tree.variables)
    if not (tree.sized or any(node.op == "item" for node in tree.nodes)):
        count = max(named, n or 0)
        if n is not None and n != named and not numbered(tree):
            raise UserError(f"n={n}, but {name} has the {named} variables {short(', '.join(tree.variables), 60)}.")
        if n is not None and n < named:
            raise UserError(f"n={n}, but {name} uses {tree.variables[-1]}; type function.n={named} or leave n out.")
        if named == 0:
            count = max(count, given or 1)
        if given is not None and given != count:
            listed = short(", ".join(tree.variables), 60)
            raise UserError(
                f"at has {given} number{'s' * (given != 1)}, but {name} has {count} variable{'s' * (count != 1)} "
                f"({listed}). Type function.at='[{', '.join(['1.0'] * min(count, 6))}{', ...' * (count > 6)}]'"
            )
        return tree.variables if count == named else tuple(f"{base(tree)}{k}" for k in range(count))
    if n is not None and given is not None and given > n:
        raise UserError(f"at has {given} numbers, but n={n}. Type function.n={given}, or a shorter function.at")
    count = n or given or max(named, 2)
    if tree.variables and not numbered(tree):
        if count != named and (n is not None or given is not None):
            raise UserError(
                f"{name} has {named} variables ({', '.join(tree.variables)}), and {count} are asked for by n or at."
            )
        return tree.variables
    if count < named:
        raise UserError(f"{name} uses {tree.variables[-1]}, so it needs n >= {named}, and {count} is given by n or at.")
    return tuple(f"{base(tree)}{k}" for k in range(count))


def base(tree: Tree) -> str:
    return tree.base or "x"


def numbered(tree: Tree) -> bool:
    """Whether the variables are x0, x1, ...: then there may be more of them than the text names."""
    return all(name == f"{base(tree)}{k}" for k, name in enumerate(tree.variables))


def names_of(variables: Sequence[str]) -> tuple[str, ...]:
    names = (variables,) if isinstance(variables, str) else tuple(str(v) for v in variables)
    if len(set(names)) != len(names) or not names:
        raise UserError(f"variables={list(names)}: give each variable once, as in function.variables='[x, y]'")
    return names


def numbers(values: Any, key: str) -> list[float]:
    """A number or a sequence of numbers, as a list of finite floats."""
    if isinstance(values, Tensor):
        values = values.tolist()
    entries = [values] if isinstance(values, int | float) else values
    fine = not isinstance(entries, str) and isinstance(entries, Sequence) and len(entries) > 0
    if not fine or any(isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) for v in entries):
        raise UserError(
            f"{key}={short(str(values))}: {key} is a list of finite numbers. "
            f"Type for example function.{key}='[1.0, 2.0]'"
        )
    return [float(v) for v in entries]


def repeat(values: list[float], length: int) -> list[float]:
    if len(values) > length:
        raise UserError(f"{values} has {len(values)} numbers, and the function has {length} variables.")
    return [values[k % len(values)] for k in range(length)]


def pairs(domain: Sequence[Any], length: int) -> list[list[float]]:
    """[low, high] for every variable, from one pair or a list of pairs."""
    each = [domain] if len(domain) == 2 and not isinstance(domain[0], Sequence) else list(domain)
    rows = [numbers(pair, "domain") for pair in each]
    if any(len(row) != 2 or row[0] >= row[1] for row in rows) or len(rows) not in (1, length):
        raise UserError(
            f"domain={short(str(list(domain)))}: give [low, high], or one such pair for each of {length} variables."
        )
    return rows * length if len(rows) == 1 else rows
