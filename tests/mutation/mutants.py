"""What may be changed in the code, and a sample of it.

Mutants are Cosmic Ray's: one operator at one place of a parsed file. Of its operators those are taken whose changes a
person could make (``<`` for ``<=``, a sign, a number off by one, a condition turned round); ``+`` for ``<<`` only
crashes. Two more are added: a term or factor dropped, and a branch never taken. Annotations and decorators are left
alone.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import OPERATOR_PROVIDERS, get_operator
from cosmic_ray.work_item import MutationSpec

PACKAGES = (
    "numerics",
    "second_order",
    "attribution",
    "optimizer",
    "subject/formula",
    "topic",
    "checkpoint.py",
    "archive",
)

CORE = (
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("FloorDiv_Mul", "Mod_FloorDiv", "BitOr_BitAnd", "BitAnd_BitOr")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_Gt", "LtE_GtE", "Gt_Lt", "GtE_LtE", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceUnaryOperator_{pair}" for pair in ("Delete_Not", "Delete_USub", "Delete_Invert")),
    *("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer"),
    *("NumberReplacer", "ZeroIterationForLoop"),
)


class TermDropped(Operator):
    """``a + b`` becomes ``a``, ``a * b`` becomes ``a``: for every operand but the first."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type in ("arith_expr", "term"):
            for operator, operand in zip(node.children[1::2], node.children[2::2], strict=True):
                yield operator.start_pos, operand.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        del node.children[2 * index + 1 : 2 * index + 3]
        return node

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


class BranchSkipped(Operator):
    """``if condition:`` becomes ``if False:``."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "if_stmt":
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.children[1] = parso.parse(" False")
        return node

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


OPERATOR_PROVIDERS["lab"] = {"TermDropped": TermDropped, "BranchSkipped": BranchSkipped}
OPERATORS = (*(f"core/{name}" for name in CORE), "lab/TermDropped", "lab/BranchSkipped")


@dataclass(frozen=True, eq=False)
class Mutant:
    """A changed file: ``before`` and ``after`` are the lines that differ, ``lines`` those of the statement."""

    package: str
    spec: MutationSpec
    source: str
    before: str
    after: str
    lines: range


def files(root: Path, package: str) -> list[Path]:
    place = root / "calclab" / package
    return [place] if place.suffix else sorted(place.rglob("*.py"))


def left_alone(node: Any) -> bool:
    """Whether a node belongs to an annotation or a decorator."""
    while node.parent is not None:
        parent = node.parent
        if parent.type in ("annassign", "decorator"):
            return (
                parent.type == "decorator"
                or "=" not in [child.get_code().strip() for child in parent.children]
                or (node is parent.children[1])
            )
        if parent.type == "tfpdef" or (parent.type == "param" and getattr(parent, "annotation", None) is node):
            return True
        if parent.type == "funcdef" and parent.annotation is node:
            return True
        node = parent
    return False


def places(path: Path) -> dict[tuple[Any, Any], list[tuple[str, int, Any]]]:
    """(start, end) -> the changes that can be made there: operator, occurrence, node."""
    found: dict[tuple[Any, Any], list[tuple[str, int, Any]]] = {}
    nodes = list(ast_nodes(get_ast_from_path(path)))
    for name in OPERATORS:
        operator = get_operator(name)()
        occurrence = 0
        for node in nodes:
            for start, end in operator.mutation_positions(node):
                if start < end and not left_alone(node):
                    found.setdefault((start, end), []).append((name, occurrence, node))
                occurrence += 1
    return found


def statement(node: Any, end: int) -> range:
    """The lines from the beginning of the node's statement, or of its header, to its own end."""
    while node.parent is not None and node.type != "simple_stmt" and not node.type.endswith(("_stmt", "funcdef")):
        node = node.parent
    return range(node.start_pos[0], end + 1)


def made(root: Path, package: str, path: Path, place: tuple[Any, Any], change: tuple[str, int, Any]) -> Mutant | None:
    """The mutant; None where the change is none, or not Python."""
    name, occurrence, node = change
    text = path.read_text()
    try:
        source = mutate_code(text, get_operator(name)(), occurrence)
        if source is None or ast.dump(ast.parse(source)) == ast.dump(ast.parse(text)):
            return None
    except (SyntaxError, AttributeError):  # Cosmic Ray's ExceptionReplacer knows no dotted name
        return None
    old, new = text.splitlines(), source.splitlines()
    first = next(i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    last = next(i for i, (a, b) in enumerate(zip(reversed(old), reversed(new), strict=False)) if a != b)
    before, after = old[first : len(old) - last], new[first : len(new) - last]
    if "TYPE_CHECKING" in before[0]:
        return None
    spec = MutationSpec(
        module_path=path.relative_to(root),
        operator_name=name,
        occurrence=occurrence,
        start_pos=place[0],
        end_pos=place[1],
        definition_name=ASTQuery(node).get_definition_name(),
    )
    flat = [" ".join(line.strip() for line in part) for part in (before, after)]
    return Mutant(package, spec, source, *flat, statement(node, place[1][0]))


def sample(root: Path, packages: tuple[str, ...], number: int, least: int, seed: int) -> list[Mutant]:
    """``number`` mutants of the packages under ``root``, at least ``least`` of each, by size beyond that.

    Every place in the code is equally likely, and none comes twice.
    """
    there: dict[str, list[tuple[Path, tuple[Any, Any], list[tuple[str, int, Any]]]]] = {
        package: [(path, place, found) for path in files(root, package) for place, found in places(path).items()]
        for package in packages
    }
    whole, spare = sum(map(len, there.values())), max(0, number - least * len(packages))
    mutants = []
    for package, choices in there.items():
        wanted = least + round(spare * len(choices) / whole)
        generator = random.Random(f"{package} {seed}")  # a larger sample holds the smaller one
        generator.shuffle(choices)
        taken = 0
        for path, place, found in choices:
            mutant = made(root, package, path, place, generator.choice(found))
            if mutant is not None:
                mutants.append(mutant)
                taken += 1
            if taken == wanted:
                break
    return mutants
