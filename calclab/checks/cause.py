"""What a wrong derivative looks like: the probable cause, from the numbers given and those measured.

Each pattern is held against all entries that were looked at, with their bounds. A single factor in all entries is told
as what it is (a sign, 2, the number of rows); a factor in one entry alone says only that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from calclab.checks.search import Look

SHARE = 1e-3  # of the largest gap that a pattern is to explain: what it may leave


def fits(a: Tensor, b: Tensor, bound: Tensor, gap: float) -> bool:
    """Whether a is b, to within the bounds and a small share of the ``gap`` that this is to explain."""
    return bool(((a - b).abs() <= 2 * bound.nan_to_num(0, 0, 0) + SHARE * gap).all())


def cause(look: Look, counts: Sequence[tuple[str, int]] = ()) -> str:
    """The probable cause in a few words; empty where nothing is recognized. ``counts`` are numbers that a reduction may
    have divided by, each with what it counts."""
    if not bool(look.refuted.any()):
        return ""
    wrong = look.refuted
    g, m, b = look.claimed[wrong], look.found[wrong], look.bound[wrong]
    gap = float((g - m).abs().nan_to_num(0, 0, 0).max())
    said = next(patterns(look, gap, g, m, b, counts), "")
    few = int(wrong.sum())
    total = int(((look.claimed != 0) | (look.found.abs() > look.bound)).sum())
    parts = {
        part.name
        for k, row in zip(look.index, wrong, strict=True)
        if bool(row.any())
        for part in look.question.parts
        if part.start <= k < part.stop
    }
    if len(look.question.parts) > 1 and len(parts) == 1:
        where = f"only in {next(iter(parts))}"
    elif few < total and few <= 3:
        where = f"only in {few} of the {total} entries looked at"
    else:
        where = ""
    return "; ".join(filter(None, (said, where)))


def patterns(
    look: Look, gap: float, g: Tensor, m: Tensor, b: Tensor, counts: Sequence[tuple[str, int]]
) -> Iterator[str]:
    """What fits, the surest first; g, m, b are given, measured and bound in the wrong entries."""
    if bool((g == 0).all()):
        yield "detached: zero gradient where the function changes "
        "(detach, no_grad, .data, .item, or a new tensor on the way)"
    if bool((m.abs() <= b + 1e-9 * g.abs()).all()):
        yield "the function stands still here, and the derivative does not (a straight-through estimate?)"
    yield from factors(gap, g, m, b, counts)
    yield from conjugate(look, gap)
    yield from transposed(look, gap)
    yield from shuffled(look, gap)
    yield from term(look, gap)


def factors(gap: float, g: Tensor, m: Tensor, b: Tensor, counts: Sequence[tuple[str, int]]) -> Iterator[str]:
    """One factor in all wrong entries."""
    i = int(m.abs().nan_to_num(0).argmax())
    if float(m[i]) == 0:
        return
    c = float(g[i] / m[i])
    several = len(g) > 1
    sure = float(b[i] / m[i].abs())
    if fits(g, -m, b, gap):
        yield "sign: it is the negative"
    if not fits(g, c * m, b, gap):
        return
    for name, n in counts:
        for factor, said in (
            (float(n), f"{name} times too large: a sum where the function has a mean"),
            (1 / n, f"{name} times too small: a mean where the function has a sum"),
        ):
            if n > 2 and abs(c - factor) <= (1e-6 + sure) * factor:
                yield said.replace(name, f"{n} ({name})", 1)
    simple = Fraction(c).limit_denominator(12)
    near = abs(c - float(simple)) <= (1e-6 + 2 * sure) * abs(c) and simple != 0
    if near and simple != 1 and (several or simple in (2, Fraction(1, 2), -2, Fraction(-1, 2), -1)):
        yield "factor 2: twice as large" if simple == 2 else f"factor {simple}"
    if several and abs(c - 1) > 1e-12:
        yield f"one factor everywhere: {c:.9g}"


def conjugate(look: Look, gap: float) -> Iterator[str]:
    """Complex parts with the sign of the imaginary ones turned."""
    odd = [
        any(part.complex and (k - part.start) % 2 for part in look.question.parts if part.start <= k < part.stop)
        for k in look.index
    ]
    if any(odd):
        sign = torch.where(torch.tensor(odd), -1.0, 1.0).to(look.found)[:, None]
        if fits(look.claimed, sign * look.found, look.bound, gap):
            yield "conjugate: the imaginary parts have the other sign (torch's gradient is ∂/∂re + i ∂/∂im)"


def transposed(look: Look, gap: float) -> Iterator[str]:
    """A part's derivative laid out along the other axis; a Jacobian with rows for columns."""
    dense, found, bound = look.question.dense, look.found, look.bound
    if dense is None:
        return
    m, n = dense.shape
    if m > 1 and len(look.index) == n:
        J = found.T
        turned = dense.reshape(n, m).T if m != n else dense.T
        if fits(turned, J, bound.T, gap):
            yield "transposed: rows and columns change places"
    for part in look.question.parts:
        here = [i for i, k in enumerate(look.index) if part.start <= k < part.stop]
        if len(part.shape) != 2 or part.complex or min(part.shape) < 2 or len(here) < 3:
            continue
        r, c = part.shape
        block = dense[:, part.start : part.stop].reshape(m, c, r).transpose(1, 2).reshape(m, -1)
        at = [look.index[i] - part.start for i in here]
        if bool(look.refuted[here].any()) and fits(block[:, at].T, found[here], bound[here], gap):
            yield f"transposed: {part.name} has its rows and columns changed"


def shuffled(look: Look, gap: float) -> Iterator[str]:
    """The right numbers in other places."""
    whole = look.question.dense is not None and len(look.index) == look.question.dense.shape[1]
    if not whole or look.claimed.shape[1] != 1 or len(look.index) < 2:
        return
    order = torch.tensor(look.index).argsort()
    g, m, b = (t[order, 0] for t in (look.claimed, look.found, look.bound))
    if fits(g, m.flip(0), b, gap):
        yield "in reverse order: the right numbers, the other way round"
    if fits(g.sort().values, m.sort().values, b.max().expand_as(b), gap):
        yield "in another order: the right numbers in other places"


def term(look: Look, gap: float) -> Iterator[str]:
    """A difference that is a multiple of something known: x, a constant."""
    if look.claimed.shape[1] != 1 or len(look.index) < 3:
        return
    x = look.question.x[look.index]
    difference, b = (look.claimed - look.found)[:, 0], look.bound[:, 0]
    for name, v in (("x", x), ("1", torch.ones_like(x)), ("sign(x)", x.sign()), ("x²", x * x), ("1/x", 1 / x)):
        if not bool(v.isfinite().all()) or not bool(v.any()):
            continue
        c = float(difference @ v / (v @ v))
        clear = abs(c) * float(v.abs().max()) > 100 * float(b.nan_to_num(0, 0, 0).max())
        if clear and fits(difference, c * v, b, gap) and (len(look.index) > 3 or name == "x"):
            more = f"missing: {-c:.6g}" if c < 0 else f"too much: {c:.6g}"
            yield f"a term is {more}·{name}" + (" (the gradient of a penalty c·‖x‖²/2)" if name == "x" else "")
    wrong = look.refuted
    if int(wrong.sum()) > 1:
        yield "a term is missing, or too much: the difference is no factor"


__all__ = ["cause"]
