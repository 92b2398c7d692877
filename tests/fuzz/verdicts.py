"""What calclab said of a case beside the truth: whatever is wrong, in words.

Kinds: *wrong* (a number called certified that is not the true one, or a sentence that contradicts the truth), *miss* (a
proven bound without the truth in it), *refuted* (nothing in a formula is ever refuted), *missing* (a derivative is said
not to exist, and does).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import mpmath
from asked import Row, Said
from grammar import Case, Tree
from mpmath import mp, mpf
from truth import UNKNOWN, Slope, Truth, truth

CLOSE = mpf(10) ** -9  # what is certified is within 1e-10
KNOWN = mpf(10) ** -22  # the truth itself
LEAST = mpf(5e-324)
LARGEST = mpf(1.7976931348623157e308)
Finding = tuple[str, str]  # kind, words
ABSENT = re.compile("kink|not defined|does not exist|jump|ends here")  # what only a proof may say
OPEN = ("undefined", "unknown", "inconclusive")  # directions that claim nothing
GOOD = ("certified", "consistent")
BALL = "Arb ball"


def judge(case: Case, said: Said) -> list[Finding]:
    """Everything that is wrong, each once."""
    with mp.workprec(400):
        found = [*rows(case, said), *proven(case, said), *SENTENCES.get(case.topic, nothing)(case, said)]
    return list(dict.fromkeys(found))


def whole(case: Case) -> list[Tree]:
    """The trees of the outputs; of links that of their composition."""
    if not case.links:
        return list(case.trees)
    tree = case.trees[0]
    for outer in case.trees[1:]:
        tree = composed(outer, tree)
    return [tree]


def composed(outer: Tree, inner: Tree) -> Tree:
    if outer[0] == "x":
        return inner
    return tuple(composed(part, inner) if isinstance(part, tuple) else part for part in outer)


@cache
def known(tree: Tree, x: tuple[float, ...]) -> Truth:
    return truth(tree, x)


# --- numbers --------------------------------------------------------------------------------------------------------


def entries(quantity: str, truths: Sequence[Truth], names: Sequence[str]) -> list[Slope]:
    """The true numbers of a quantity, flat, in the order of calclab's tensors; empty for what is not known here."""
    if quantity == "value":
        return [t.value for t in truths]
    if quantity in ("gradient", "jacobian"):
        return [g for t in truths for g in t.gradient]
    if quantity.startswith("∂f/∂") and quantity[4:] in names:
        return [truths[0].gradient[names.index(quantity[4:])]]
    if quantity in ("hessian", "second partials", "mixed partials"):
        H, n = truths[0].hessian, len(names)
        return [H[max(i, j)][min(i, j)] for i in range(n) for j in range(n)]
    return []


def asked_at(case: Case, said: Said, row: Row) -> tuple[list[Tree], tuple[float, ...], bool] | None:
    """The trees and the point that a row speaks of; the last says whether it may also be of the composition."""
    if row.step not in said.points:
        return None
    if case.links:
        return [case.trees[row.step]], tuple(said.points[row.step]), row.step == len(case.trees) - 1
    return list(case.trees), tuple(said.points[row.step]), False


def rows(case: Case, said: Said) -> Iterator[Finding]:
    for row in said.rows:
        if row.verdict == "refuted":
            yield "refuted", words(row)
        place = asked_at(case, said, row)
        if place is None:
            continue
        trees, x, also = place
        names = ["h"] * len(x) if case.links and row.step else list(case.names)
        choices = [entries(row.quantity, [known(tree, x) for tree in trees], names)]
        if also and row.step:
            choices.append(entries(row.quantity, [known(tree, case.at) for tree in whole(case)], list(case.names)))
        complaints = [list(of_row(row, choice, case.topic == "descent")) for choice in choices]
        yield from min(complaints, key=len)


def of_row(row: Row, truths: list[Slope], scaled: bool) -> Iterator[Finding]:
    """A row tells one number of a tensor, the worst: the complaint stands if it is true of no entry."""
    if not truths:
        return
    if row.verdict == "undefined":
        if ABSENT.search(row.note) and all(t.exists for t in truths):
            yield "missing", f"{words(row)}; it exists: {', '.join(map(shown, truths[:4]))}"
        return
    if any(t.exists is None for t in truths):
        return
    if row.verdict == "certified" and not any(right(row.value, t, row.tolerance, scaled) for t in truths):
        yield "wrong", f"{words(row)}; truth {', '.join(map(shown, truths[:4]))}"
    if row.method == BALL and math.isfinite(row.bound) and math.isfinite(row.value):
        inside = [t.exists and abs(row.value - t.value) <= mpf(row.bound) * (1 + CLOSE) + near(truths) for t in truths]
        if not any(inside):
            yield "miss", f"{words(row)}; bound {row.bound:.3g}; truth {', '.join(map(shown, truths[:4]))}"


def near(truths: Sequence[Slope]) -> Any:
    """What the truth may be off by."""
    return KNOWN * max((abs(t.value) for t in truths if t.exists), default=mpf(0))


def right(number: float, slope: Slope, tolerance: float, scaled: bool = False) -> bool:
    """Whether a number that is called certified is the true one, to 1e-9 of it. Of zero, and in a descent, whose
    gradients are measured by the first, to the stated ``tolerance``.
    """
    if not slope.exists or not math.isfinite(number):
        return False
    allowed = tolerance if scaled or slope.value == 0 else 0.0
    return bool(abs(mpf(number) - slope.value) <= max(CLOSE * abs(slope.value), mpf(allowed), LEAST))


def words(row: Row) -> str:
    note = f" ({row.note})" if row.note else ""
    return f"{row.quantity} = {row.value:.10g} is {row.verdict}{note}, {row.method} {row.reference:.10g}"


def shown(slope: Slope) -> str:
    if slope.exists:
        return str(mpmath.nstr(slope.value, 10))
    if slope.sides:
        return "sides " + " and ".join("none" if s is None else str(mpmath.nstr(s, 8)) for s in slope.sides)
    return "none" if slope.exists is False else "not known"


def proven(case: Case, said: Said) -> Iterator[Finding]:
    """The balls at the start, entry by entry."""
    truths = [known(tree, case.at) for tree in whole(case)]
    if case.links and any(t.value.exists is None for t in truths):
        return
    for name, (mid, rad) in said.balls.items():
        true = eigenvalues(truths[0], len(case.at)) if name == "eigenvalues" else entries(name, truths, case.names)
        if true is None:
            continue
        for k, (t, m, r) in enumerate(zip(true, flat(mid), flat(rad), strict=True)):
            if math.isnan(m) or not math.isfinite(r) or t.exists is None:
                continue
            if t.exists is False and t.sides is None and name == "value":
                yield "miss", f"ball {name}[{k}] = {m!r} ± {r!r} where there is no value"
            elif t.exists is False and t.sides is not None:
                yield "miss", f"ball {name}[{k}] = {m!r} ± {r!r} at a kink: {shown(t)}"
            elif t.exists and math.isfinite(m) and abs(mpf(m) - t.value) > mpf(r) * (1 + CLOSE) + near(true):
                yield "miss", f"ball {name}[{k}] = {m!r} ± {r!r}; truth {shown(t)}"


def flat(values: Any) -> list[float]:
    return [v for part in values for v in flat(part)] if isinstance(values, list) else [values]


def eigenvalues(t: Truth, n: int) -> list[Slope] | None:
    """Ascending; None where an entry is not known."""
    if any(not h.exists for row in t.hessian for h in row):
        return None
    H = mpmath.matrix(n, n)
    for i in range(n):
        for j in range(n):
            H[i, j] = t.hessian[max(i, j)][min(i, j)].value
    if not any(H):
        return [Slope(mpf(0), True)] * n
    with mp.workprec(2000):
        λ = sorted(mpmath.eigsy(H, eigvals_only=True))
        size = max(map(abs, λ))
        # The entries are right to 25 digits: what is smaller than that is not known.
        return [Slope(v, True) if abs(v) > size * mpf(10) ** -20 or n == 1 else UNKNOWN for v in λ]


# --- sentences ------------------------------------------------------------------------------------------------------


def nothing(case: Case, said: Said) -> Iterator[Finding]:
    yield from ()


def derivative(case: Case, said: Said) -> Iterator[Finding]:
    direction, t = said.values.get("direction"), known(case.trees[0], case.at).gradient[0]
    if t.exists:
        beyond = abs(t.value) > LARGEST
        true = "stay" if t.value == 0 else "decrease x" if t.value > 0 else "increase x"
        if ABSENT.search(said.sentence):
            yield "missing", f"'{said.sentence}'; truth {shown(t)}"
        elif direction not in (true, *OPEN) and not beyond and not (abs(t.value) < LEAST and direction == "stay"):
            yield "wrong", f"'{said.sentence}', direction {direction}; truth {shown(t)}"
    elif t.sides is not None and None not in t.sides and direction not in OPEN and settled_by(said, "∂f/∂x"):
        yield "wrong", f"'{said.sentence}', direction {direction}; truth {shown(t)}"


def settled_by(said: Said, quantity: str) -> bool:
    """Whether the evidence for a quantity calls it good."""
    found = [row.verdict for row in said.rows if row.quantity == quantity]
    return bool(found) and all(verdict in GOOD for verdict in found)


def partial(case: Case, said: Said) -> Iterator[Finding]:
    t = known(case.trees[0], case.at)
    for name, slope in zip(case.names, t.gradient, strict=True):
        if slope.exists and f"∂f/∂{name}: does not exist" in said.sentence:
            yield "missing", f"'{said.sentence}'; ∂f/∂{name} is {shown(slope)}"
    if "mixed_partials" in said.values:
        printed = said.values["mixed_partials"]
        yield from tensor(said, ("second partials", "mixed partials"), printed, entries("hessian", [t], case.names))


def tensor(said: Said, quantities: Sequence[str], printed: Any, truths: list[Slope]) -> Iterator[Finding]:
    """Every entry of a tensor of which all evidence is good."""
    checks = [row for row in said.rows if row.quantity in quantities]
    if not checks or any(row.verdict not in GOOD for row in checks):
        return
    allowed = max(row.tolerance for row in checks)
    for k, (number, t) in enumerate(zip(flat(printed), truths, strict=True)):
        if t.exists and not right(number, t, allowed):
            yield "wrong", f"{quantities[0]}[{k}] = {number!r} is called good; truth {shown(t)}"


def hessian(case: Case, said: Said) -> Iterator[Finding]:
    t = known(case.trees[0], case.at)
    λ = eigenvalues(t, len(case.at))
    if λ is None or any(not g.exists for g in t.gradient) or any(v.exists is None for v in λ):
        return
    yield from tensor(said, ("hessian",), said.values["hessian"], entries("hessian", [t], case.names))
    kind = str(said.values.get("kind", ""))
    negative, zero, positive = (
        sum(f(v.value) for v in λ) for f in (lambda v: v < 0, lambda v: v == 0, lambda v: v > 0)
    )
    told = f"kind '{kind}', inertia '{said.values.get('inertia')}'"
    truths = f"gradient {', '.join(map(shown, t.gradient))}; eigenvalues {', '.join(map(shown, λ))}"
    if "inertia" in said.values and all(abs(v.value) < LARGEST and (abs(v.value) > LEAST or not v.value) for v in λ):
        listed = f"{negative} negative, {zero} zero, {positive} positive"
        if said.values["inertia"] != listed and settled_by(said, "eigenvalues"):
            yield "wrong", f"{told}; truth {truths}"
    for word, wrong in (("minimum", negative), ("maximum", positive), ("saddle", not (negative and positive))):
        if kind == word and (wrong or far(case.at, t, λ)):
            yield "wrong", f"{told}; truth {truths}"


def far(x: Sequence[float], t: Truth, λ: list[Slope]) -> bool:
    """Whether no stationary point can be meant: Newton's step is longer than what x could be rounded by."""
    if all(abs(g.value) < LEAST for g in t.gradient):
        return False
    stiffest = max(abs(v.value) for v in λ)
    away = mpmath.sqrt(sum(g.value**2 for g in t.gradient)) / stiffest if stiffest else mpf("inf")
    return bool(away > mpf(10) ** -6 + 64 * max(mpf(math.ulp(v)) for v in x))


def settles(tree: Tree, x: tuple[float, ...]) -> bool:
    """Whether a walk that stops here has come to a flat minimum, saddle or maximum such as that of |x|^3: Newton's step
    is short, halves the slope, and the next is shorter."""
    at, steps, slopes = x, [], []
    for _ in range(2):
        t = known(tree, at)
        entries = [*t.gradient, *(h for row in t.hessian for h in row)]
        if any(not entry.exists for entry in entries):
            return False
        n = len(at)
        H = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                H[i, j] = t.hessian[max(i, j)][min(i, j)].value
        try:
            step = mpmath.lu_solve(H, mpmath.matrix([-g.value for g in t.gradient]))
        except ZeroDivisionError:
            return False
        steps.append(max(map(abs, step)))
        slopes.append(max(abs(g.value) for g in t.gradient))
        if any(abs(move) > mpf("0.01") * (1 + abs(v)) for move, v in zip(step, at, strict=True)):
            return False
        at = tuple(float(v + move) for v, move in zip(at, step, strict=True))
    return bool(slopes[1] <= slopes[0] / 2 and steps[1] <= mpf("0.9") * steps[0])


def descent(case: Case, said: Said) -> Iterator[Finding]:
    last = max(said.points, default=0)
    x = tuple(said.points.get(last, case.at))
    word = said.values.get("ended")
    if word not in ("minimum", "maximum", "saddle") or not all(map(math.isfinite, x)):
        return
    t = known(case.trees[0], x)
    λ = eigenvalues(t, len(x))
    if λ is None or any(not g.exists for g in t.gradient) or any(v.exists is None for v in λ):
        return
    negative, positive = any(v.value < 0 for v in λ), any(v.value > 0 for v in λ)
    wrong = {"minimum": negative, "maximum": positive, "saddle": not (negative and positive)}[word]
    if wrong or (far(x, t, λ) and not settles(case.trees[0], x)):
        truths = f"gradient {', '.join(map(shown, t.gradient))}; eigenvalues {', '.join(map(shown, λ))}"
        yield "wrong", f"ended '{word}' at {x}; truth {truths}"


SENTENCES = {"derivative": derivative, "partial": partial, "hessian": hessian, "descent": descent}
