"""A command line that was refused, as it was probably meant: every mistake is answered by the line to type.

Asked only once a line has been refused, so that a right one costs nothing here and is never changed. A line is put
right in rounds, because one mistake hides another: the shape of its words (`shapes`), then the options of groups
(`options`; files and classes in their place, `subjects`), then the names of knobs (`names`) and their `values`, then
formulas. Nothing is composed, and nothing of the user's is imported.
"""

from __future__ import annotations

from collections.abc import Sequence

from calclab.app.commands import COMMANDS, program
from calclab.app.correction import names, options, shapes, values
from calclab.errors import UserError
from calclab.text import quoted, shortened

ROUNDS = 6
LONG = 400  # characters of a line to type; of a longer one its changed words alone
TOLD = 260  # characters of what was wrong
SERVICES = ("--info", "-i", "--shell-completion", "-sc", "--hydra-help")


def corrected(words: Sequence[str], mistake: UserError) -> UserError:
    """What to say of a line that was refused with ``mistake``: the same, where nothing better is known."""
    if any(word.partition("=")[0] in SERVICES or not word.isprintable() for word in words):
        return mistake
    right, reasons = put_right(words, formulas="ormula" in str(mistake))
    if any(word.startswith("function.expr=") and word not in words for word in right):
        right = put_right(right)[0]
    if not reasons or right == list(words):
        return mistake
    line = typed([*program(), *(right or ["help"])])
    if len(line) > LONG:
        line = typed([word for word in right if word not in words])
    if len(line) > LONG:
        return mistake
    return UserError(f"{shortened(' '.join(reasons), TOLD)} Type {line}")


def put_right(words: Sequence[str], formulas: bool = True) -> tuple[list[str], list[str]]:
    """The words as they were probably meant, and what was wrong with them, a sentence each; without ``formulas`` these
    are left as they are: to read one is dear where torch is not there yet."""
    stages = (shapes.joined, options.chosen, names.named, *([values.written] if formulas else []))
    right, told = list(words), []
    said: set[str] = set()
    for _ in range(ROUNDS):
        reasons: list[str] = []
        for stage in stages:
            if not reasons:
                right = stage(right, reasons)
        for reason in reasons:
            why = reason.rpartition(": ")[2]
            if why not in said:
                told.append(reason)
            said.add(why)
        if not reasons or (right and right[0] in COMMANDS):
            break
    return right, told


def typed(words: Sequence[str]) -> str:
    """The words as a shell takes them, quotes around values and not around names."""
    pairs = (word.partition("=") for word in words)
    return " ".join(f"{quoted(name)}={quoted(value)}" if equals and value else quoted(name + equals)
                    for name, equals, value in pairs)  # fmt: skip
