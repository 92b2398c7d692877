"""Claims: numbers and words that a study promises, held against what its run found.

    claims:
      - {quantity: value, equals: 19}
      - {quantity: direction, equals: increase w}                       # a word of the answer
      - {quantity: eigenvalues, equals: ['(3-sqrt(2))/2', '(3+sqrt(2))/2']}  # formulas, entry by entry
      - {quantity: x, steps: all, equals: ['1-0.8**k', '2*(1-0.8**k)']}   # at every step k that was logged
      - {quantity: jacobian, same_as: weight}                             # another quantity of the same run
      - {quantity: gradient_norm, at_most: 0.01}
      - {quantity: edge, mean_from: 16000, equals: 1, within: 0.03}       # on average over the steps from 16000 on

A quantity is a name of the topic's answer, a logged value (its last row), or status, steps, verdict (the worst of
all evidence) or "verdict of <quantity>".
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from calclab.core import Answer, Claim, Column, Columns, Evidence, Outcome
from calclab.errors import UserError
from calclab.numerics.agreement import worst
from calclab.subject.formula import evaluate
from calclab.text import shortened

KINDS = ("equals", "same_as", "at_most", "at_least")
KEYS = ("quantity", "steps", "within", "mean_from", *KINDS)
WITHIN = 1e-12
CALL = re.compile(r"\w\(")  # of a function: a formula, and no word of an answer
EXAMPLE = "Type for example claims='[{quantity: loss, at_most: 0.1}]'"


def check_form(claims: Sequence[Any]) -> None:
    """Raise UserError for a claim that cannot be held against any run; asked before the run."""
    for claim in claims:
        if wrong := fault(claim):
            raise UserError(f"claim {shortened(str(claim))}: {wrong}. {EXAMPLE}")


def fault(claim: Any) -> str:
    """What is wrong with the form of a claim; "" where nothing is."""
    if not isinstance(claim, Mapping) or "quantity" not in claim or sum(kind in claim for kind in KINDS) != 1:
        return f"a claim names a quantity and one of {', '.join(KINDS)}"
    for key in claim:
        if key not in KEYS:
            return f"no such key {key}. There are: {', '.join(KEYS)}"
    every = "steps" in claim
    if every and claim["steps"] != "all":
        return "steps can only be all; without it the last step counts"
    if every and ("mean_from" in claim or "same_as" in claim):
        return f"steps: all goes with a bound, not with {'mean_from' if 'mean_from' in claim else 'same_as'}"
    if not isinstance(claim["quantity"], str):
        return "the quantity is a name"
    if "within" in claim and not (is_number(claim["within"]) and claim["within"] >= 0):
        return "within is a number >= 0"
    if "mean_from" in claim and not (isinstance(claim["mean_from"], int) and is_number(claim["mean_from"])):
        return "mean_from is the number of a step"
    if "same_as" in claim:
        return "" if isinstance(claim["same_as"], str) else "same_as names another quantity"
    try:
        evaluate(bound(claim), {"k": 1.0} if every else {})
    except UserError as error:
        word = isinstance(claim.get("equals"), str) and not every and not CALL.search(claim["equals"])
        return "" if word else str(error).rstrip(".")
    return ""


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_claims(
    claims: Sequence[Mapping[str, Any]], answer: Answer, columns: Columns, outcome: Outcome
) -> list[Claim]:
    """One Claim for each entry of ``claims``, in order; ``columns`` is all that was logged."""
    last = {name: column.data[-1] for name, column in columns.items() if len(column.steps)}
    found: dict[str, Tensor | str] = {
        **last,
        **answer.values,
        "status": outcome.status.word,
        **verdicts(outcome.evidence),
        "steps": torch.tensor(float(outcome.steps)),
    }
    return [check(claim, found, columns) for claim in claims]


def verdicts(rows: Sequence[Evidence]) -> dict[str, str]:
    """The worst verdict of the evidence, and that of each quantity, as words."""
    of: dict[str, list[Evidence]] = {"verdict": list(rows)} if rows else {}
    for row in rows:
        of.setdefault(f"verdict of {row.quantity}", []).append(row)
    return {name: worst(those).word for name, those in of.items()}


def check(claim: Mapping[str, Any], found: Mapping[str, Tensor | str], columns: Columns) -> Claim:
    name = claim["quantity"]
    text = describe(claim)
    for wanted in (name, claim.get("same_as", name)):
        if wanted not in found:
            near = difflib.get_close_matches(wanted, list(found), n=1)
            told = f"nothing of the name {wanted}{f' (did you mean {near[0]}?)' if near else ''}"
            return Claim(text, show(claim), told, False)
    if claim.get("steps") == "all":
        return check_all(claim, columns)
    value = found[name] if "mean_from" not in claim else mean(columns.get(name), int(claim["mean_from"]))
    if isinstance(value, str):
        return Claim(
            text,
            show(claim),
            value,
            value == str(found[claim["same_as"]] if "same_as" in claim else claim.get("equals")),
        )
    value = value.detach().cpu().double()
    if "same_as" in claim:
        other = found[claim["same_as"]]
        if isinstance(other, str):
            return Claim(text, show(claim), f"{listing(value)}, and {claim['same_as']} is {other}", False)
        expected = other.detach().cpu().double()
    else:
        try:
            expected = evaluate(bound(claim), {})
        except UserError:  # a word, and the quantity is a number
            return Claim(text, show(claim), listing(value), False)
    return Claim(text, show(claim), listing(value), holds(claim, value, expected))


def mean(column: Column | None, first: int) -> Tensor | str:
    """The mean of what was logged from step ``first`` on."""
    rows = [] if column is None else [i for i, k in enumerate(column.steps) if k >= first]
    return "nothing logged there" if column is None or not rows else column.data[rows].double().mean(dim=0)


def check_all(claim: Mapping[str, Any], columns: Columns) -> Claim:
    """The claim at every step k at which the quantity was logged; the first miss is shown."""
    text = describe(claim)
    if claim["quantity"] not in columns:
        return Claim(text, show(claim), "not logged step by step", False)
    column = columns[claim["quantity"]]
    for k, value in zip(column.steps, column.data.double(), strict=True):
        if not holds(claim, value, evaluate(bound(claim), {"k": float(k)})):
            return Claim(text, show(claim), f"{listing(value)} at step {k}", False)
    return Claim(text, show(claim), f"so at all {len(column.steps)} steps", True)


def holds(claim: Mapping[str, Any], value: Tensor, expected: Tensor) -> bool:
    """Whether every entry agrees within ``within``, relative to the larger of 1 and what is expected."""
    value, expected = squeeze(value), squeeze(expected)
    if expected.shape != value.shape and (expected.ndim or "equals" in claim or "same_as" in claim):
        return False
    if "at_most" in claim:
        return bool((value <= expected).all())
    if "at_least" in claim:
        return bool((value >= expected).all())
    allowed = float(claim.get("within", WITHIN)) * expected.abs().clamp(min=1)
    return bool(((value - expected).abs() <= allowed).all())


def squeeze(value: Tensor) -> Tensor:
    """A one-entry tensor as a number, so that a study need not write brackets around it."""
    return value.reshape(()) if value.numel() == 1 else value


def bound(claim: Mapping[str, Any]) -> Any:
    return next(claim[kind] for kind in KINDS if kind in claim)


def describe(claim: Mapping[str, Any]) -> str:
    kind = next(kind for kind in KINDS if kind in claim)
    words = {"equals": "is", "same_as": "is the same as", "at_most": "is at most", "at_least": "is at least"}
    every = " at every step" if claim.get("steps") == "all" else ""
    if "mean_from" in claim:
        every = f" on average from step {claim['mean_from']} on"
    return f"{claim['quantity']} {words[kind]} {bound(claim)}{every}"


def show(claim: Mapping[str, Any]) -> str:
    return str(bound(claim))


def listing(value: Tensor) -> str:
    """A tensor in six digits, nested as it is."""
    if value.ndim == 0:
        return f"{float(value):.6g}"
    return (
        "[" + ", ".join(listing(entry) for entry in value) + "]"
        if value.numel() <= 64
        else f"shape {tuple(value.shape)}"
    )
