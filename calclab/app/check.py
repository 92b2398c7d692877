"""``calclab check``: whether derivatives are right, of a function in a module of yours, or of a formula.

    calclab check my.module:f --at '[1,2]'                                 autograd's, first and second
    calclab check my.module:f --at '[1,2]' --gradient my.module:gradient   yours; also --hessian, --product
    calclab check 'x**2*y' --at '[1,2]' --gradient '[2*x*y, x**2]'         a formula, and its gradient by hand
    calclab check my.module:MyFunction --at '[1,2]' '[3,4]'                an autograd.Function, in all its ways

Exit status: 0 right (or what cannot be told, which is said), 3 refuted, 2 a mistake.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Sequence
from typing import Any

from calclab.errors import UserError, error_line
from calclab.text import quoted

DOTTED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
WRONG = 3


def main(words: Sequence[str]) -> int:
    """Check what ``words`` name, print what came of it, and return the exit status."""
    parser = argparse.ArgumentParser(
        "calclab check", description="Whether derivatives are right: held against values of the function alone.",
        epilog="exit status: 0 right, or cannot be told; 3 refuted; 2 a mistake",
    )  # fmt: skip
    parser.add_argument("subject", help="my.module:f, a class of torch.nn.Module or autograd.Function, or a formula")
    parser.add_argument("--at", nargs="+", default=[], metavar="NUMBERS", help="the point: '[1,2]', a list an argument")
    for name, meaning in (("gradient", "of f"), ("hessian", "(n, n)"), ("product", "v, or the arguments and v, to Hv")):
        parser.add_argument(f"--{name}", metavar="F", help=f"yours: my.module:g, numbers, or formulas ({meaning})")
    parser.add_argument("--order", type=int, choices=(1, 2), default=2, help="how often to differentiate (%(default)s)")
    parser.add_argument("--elsewhere", type=int, default=4, metavar="N", help="other points to look at (%(default)s)")
    parser.add_argument("--tolerance", type=float, default=1e-6, help="relative (%(default)s)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="of the point (%(default)s)")
    asked = parser.parse_args(words)
    if asked.elsewhere < 0:
        raise UserError(f"--elsewhere {asked.elsewhere}: a count, 0 or more. Type --elsewhere 4")
    if not asked.at:
        raise UserError(f"no point is given. Type calclab check {quoted(asked.subject)} --at '[1,2]'")
    points = [numbers(word, "--at") for word in asked.at]
    return answered(asked, points)


def answered(asked: argparse.Namespace, points: list[Any]) -> int:
    """The check itself, which needs torch."""
    import torch

    from calclab.checks.derivatives import check
    from calclab.checks.functions import check_function
    from calclab.terminal import show

    settings: dict[str, Any] = {name: getattr(asked, name) for name in ("order", "elsewhere", "tolerance")}
    given = {name: theirs(getattr(asked, name), f"--{name}") for name in ("gradient", "hessian", "product")}
    kind = getattr(torch, asked.dtype)
    if not DOTTED.fullmatch(asked.subject):
        if len(points) > 1:
            raise UserError("a formula has one point: --at '[1,2]'")
        found = check(asked.subject, points[0], **given, **settings)
    else:
        subject = found_at(asked.subject, "the subject")
        at = tuple(torch.tensor(point, dtype=kind) for point in points)
        if isinstance(subject, type) and issubclass(subject, torch.autograd.Function):
            if any(value is not None for value in given.values()):
                raise UserError(
                    "an autograd.Function has its own backward pass: leave out --gradient, --hessian, --product"
                )
            found = check_function(subject, *at, **settings)
        else:
            if isinstance(subject, type):
                subject = instance(subject, asked.subject)
            found = check(subject, at if len(at) > 1 else at[0], **given, **settings)
    show(found.lines)
    return WRONG if found.verdict == "refuted" else 0


def numbers(word: str, flag: str) -> Any:
    """A number or a list of them, as typed."""
    try:
        found = ast.literal_eval(word)
        flat = leaves(found)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        flat = []
    if not flat or any(isinstance(leaf, bool) or not isinstance(leaf, int | float) for leaf in flat):
        raise UserError(f"{flag} {quoted(word)}: numbers are needed. Type {flag} '[1,2]'")
    if not even(found):
        raise UserError(f"{flag} {quoted(word)}: its rows have different lengths")
    return found


def leaves(found: Any) -> list[Any]:
    return [leaf for part in found for leaf in leaves(part)] if isinstance(found, list | tuple) else [found]


def even(found: Any) -> bool:
    """Whether lists within lists are of one shape."""
    if not isinstance(found, list | tuple):
        return True
    shapes = {shape(part) for part in found}
    return len(shapes) == 1 and all(map(even, found))


def shape(found: Any) -> tuple[int, ...]:
    return (len(found), *(shape(found[0]) if found else ())) if isinstance(found, list | tuple) else ()


def theirs(word: str | None, flag: str) -> Any:
    """What was given for a derivative: a function by its path, numbers, or formulas."""
    if word is None:
        return None
    if DOTTED.fullmatch(word):
        return found_at(word, flag)
    try:
        return numbers(word, flag)
    except UserError:
        return formulas(word)


def formulas(word: str) -> list[str]:
    """``[2*x*y, x**2]`` cut at the commas that stand in no brackets of their own."""
    inner = word.strip()
    if inner[:1] == "[" and inner[-1:] == "]":
        inner = inner[1:-1]
    parts, depth = [""], 0
    for char in inner:
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            parts.append("")
        elif not (char in "[]" and depth <= 1):
            parts[-1] += char
    cut = [part.strip().strip("'\"") for part in parts]
    return [piece for part in cut for piece in (part.split(",") if "(" not in part else [part])]


def found_at(path: str, what: str) -> Any:
    """The object at ``my.module:name``; UserError where it is not, or importing raises."""
    from importlib import import_module

    module_name, _, name = path.partition(":")
    try:
        found: Any = import_module(module_name)
    except Exception as error:
        raise UserError(f"{what} {path}: importing {module_name} raised {error_line(error)}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            from calclab.schema.catalogue import close

            near = close(part, [known for known in dir(found) if not known.startswith("_")])
            raise UserError(
                f"{what} {path}: {module_name} has no {name}." + (f" Type {module_name}:{near}" if near else "")
            )
        found = getattr(found, part)
    return found


def instance(found: type, path: str) -> Any:
    """A module of a class, made without arguments."""
    try:
        return found()
    except Exception as error:
        raise UserError(
            f"{path}: making it without arguments raised {error_line(error)}. Name a function that makes it"
        ) from error
