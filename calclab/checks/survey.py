"""The rows of evidence: each claim at the point given, and at others where a derivative right here may be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, isfinite, nan
from time import perf_counter

import torch
from torch import Tensor

from calclab.checks import slopes
from calclab.checks.cause import cause
from calclab.checks.claims import Claim
from calclab.checks.curvature import Split, curvature_cause
from calclab.checks.judgement import Judged
from calclab.checks.program import Program, entry_name, same
from calclab.checks.result import GOOD, Finding
from calclab.checks.search import EACH, SAMPLE, Look, Question, given_by, glance, look
from calclab.core import Evidence, Verdict
from calclab.errors import UserError, error_line, origin
from calclab.numerics import taylor

SEED = 20_164
SECONDS = 4.0  # that looking at every entry by itself may take
ROUNDING = 16.0  # times what a given derivative scatters by: rounding explains no more
TOLD = (RuntimeError, NotImplementedError, UserError)  # what torch raises for what it cannot do, and users
SWEPT, FULL = 28, 3  # points that are glanced at, and how often one may be looked at in full
PROBE = 6  # entries of many that are looked at by themselves at other points


def asked(
    claim: Claim, x: Tensor, point: int, tolerance: float, most: int, sample: int = SAMPLE
) -> tuple[Look | None, Finding]:
    """Look at a claim at x, and say what came of it."""
    try:
        dense = None if claim.dense is None else claim.dense(x)
    except Exception as error:
        if isinstance(error, UserError) and point == 0:
            raise
        if not isinstance(error, TOLD) and not origin(error):
            raise
        return None, failed(claim, point, error)
    if dense is not None:
        given = given_by(dense)
    else:
        product = claim.product
        assert product is not None

        def given(directions: Tensor) -> Tensor:
            return torch.stack([product(x, d) for d in directions])

    question = Question(
        claim.quantity, claim.method, x, claim.values, given, claim.columns, dense, point, claim.weights
    )
    try:
        seen = look(question, tolerance=tolerance, most=most, sample=sample)
    except Exception as error:
        if isinstance(error, UserError) and point == 0:
            raise
        if not isinstance(error, TOLD) and not origin(error):
            raise
        return None, failed(claim, point, error)
    return seen, finding(claim, seen, tolerance)


def failed(claim: Claim, point: int, error: Exception) -> Finding:
    """A row of what raised."""
    note, nothing = f"it raised {error_line(error)}", (nan, nan, inf, inf, 0.0)
    return Finding(Evidence(point, claim.quantity, claim.method, *nothing, Verdict.INCONCLUSIVE, note))


def finding(claim: Claim, seen: Look, tolerance: float) -> Finding:
    worst = seen.worst
    row = evidence(claim, worst, seen.question.point, tolerance)
    alone = worst in seen.rows
    place = entry(claim, worst) if alone else "along a seeded direction"
    return Finding(row, place, "", seen.of)


def evidence(claim: Claim, judged: Judged, point: int, tolerance: float) -> Evidence:
    size = max(abs(judged.given), abs(judged.measured))
    allowed = tolerance * size if isfinite(size) else 0.0
    return Evidence(
        point, claim.quantity, claim.method, judged.given, judged.measured, judged.gap, judged.bound, allowed,
        judged.verdict, judged.note,
    )  # fmt: skip


def entry(claim: Claim, judged: Judged) -> str:
    """The name of a number: the variable, and of several outputs which."""
    variable = entry_name(claim.columns, judged.direction)
    if claim.order == 2:
        return f"∂²f/∂{entry_name(claim.rows, judged.output)}∂{variable}" if claim.rows else f"∂²f/∂{variable}∂·"
    if not claim.rows or (claim.rows[-1].stop == 1):
        return f"∂f/∂{variable}"
    return f"∂{entry_name(claim.rows, judged.output)}/∂{variable}"


def points(x: Tensor, count: int) -> Tensor:
    """Other points (count, n): every sign turned, random signs, a tenth and four times as far from 0, ..."""
    maker = torch.Generator().manual_seed(SEED)
    size = torch.where(x == 0, torch.ones_like(x), x.abs())
    found = [-x] if bool(x.any()) else []
    while len(found) < count:
        drawn = (0.5 + 1.5 * torch.rand(len(x), generator=maker, dtype=torch.float64)).to(x)
        signs = (torch.randint(0, 2, (len(x),), generator=maker) * 2 - 1).to(x)
        one = size * drawn * signs
        found += [one, -1.3 * one, 0.1 * one.flip(0).sign() * one.abs(), 4 * one]
    return torch.stack(found[:count])


@dataclass(frozen=True)
class Survey:
    """How claims about a program are looked at: ``counts`` are numbers that a reduction may have divided by, ``split``
    says what the Gauss-Newton matrix is made of."""

    program: Program
    tolerance: float
    elsewhere: int
    counts: Sequence[tuple[str, int]] = ()
    split: Split | None = None

    @cached_property
    def seconds(self) -> float:
        """What a value costs."""
        begun = perf_counter()
        for _ in range(3):
            self.program.value(self.program.x)
        return (perf_counter() - begun) / 3

    def rows(self, claim: Claim, before: Sequence[Finding] = ()) -> Iterator[Finding]:
        """The rows of a claim, at x and elsewhere. A second derivative is measured by differences of the gradient, and
        refuted only where the rows ``before`` have found that right."""
        x = self.program.x
        doubted = {row.evidence.step: row.verdict for row in before if row.verdict not in GOOD}
        doubted = doubted if claim.order == 2 else {}
        each = self.seconds * 2 * slopes.FIRST * (4 if claim.order == 2 else 1)
        most = max(EACH, min(4096, int(SECONDS / max(each, 1e-9)))) if claim.dense is not None else EACH
        seen, row = asked(claim, x, 0, self.tolerance, most)
        row = self.explained(claim, seen, row)
        if row.verdict is Verdict.REFUTED and 0 in doubted:
            note = "it is measured by differences of the gradient, which is not known to be right here"
            row = replace(row, evidence=replace(row.evidence, verdict=Verdict.INCONCLUSIVE, note=note), cause="")
        yield row
        if not claim.varies or row.verdict is Verdict.REFUTED or seen is None or not self.program.steady:
            return
        few = self.elsewhere if self.program.n <= EACH else min(self.elsewhere, 2)
        for number, point in enumerate(points(x, few), 1):
            if number in doubted or not bool(self.program.value(point).isfinite().all()):
                continue
            again, other = asked(claim, point, number, self.tolerance, EACH, PROBE)
            if other.verdict is Verdict.REFUTED and again is not None:
                other = self.explained(claim, again, other)
                other = replace(other, where=f" at x = {shown(point)}")
            if other.verdict is Verdict.REFUTED and again is not None:
                one, two = seen.question.dense, again.question.dense
                if one is not None and two is not None and same(one, two):
                    other = replace(other, cause="stale: the same numbers as at the point before")
                tail = "; right at the point given, and only wrong for some inputs"
                tail = tail if row.verdict is Verdict.CONSISTENT else ""
                other = replace(other, cause=(other.cause or "another branch") + tail)
            yield other
            if other.verdict is Verdict.REFUTED:
                return
        yield from self.swept(claim, row, few)

    def swept(self, claim: Claim, here: Finding, few: int) -> Iterator[Finding]:
        """Many further points along one direction each, and where that is off, the entries: a wrong one."""
        if claim.dense is None or claim.order == 2 or not self.elsewhere or self.program.n > EACH:
            return
        looks = 0
        for number, point in enumerate(points(self.program.x, SWEPT)[few:], few + 1):
            if looks >= FULL or not bool(self.program.value(point).isfinite().all()):
                continue
            try:
                dense = claim.dense(point)
            except UserError:
                continue
            question = Question(
                claim.quantity, claim.method, point, claim.values, given_by(dense), claim.columns, dense, number
            )
            if not glance(question, self.tolerance):
                continue
            looks += 1
            seen, row = asked(claim, point, number, self.tolerance, EACH)
            row = self.explained(claim, seen, row)
            if row.verdict is Verdict.REFUTED:
                tail = "; right at the point given, and only wrong for some inputs" * (
                    here.verdict is Verdict.CONSISTENT
                )
                yield replace(row, where=f" at x = {shown(point)}", cause=(row.cause or "another branch") + tail)
                return

    def explained(self, claim: Claim, seen: Look | None, row: Finding) -> Finding:
        """A refuted row with its cause, unless the rounding of what was given explains it."""
        if row.verdict is not Verdict.REFUTED or seen is None:
            return row
        if not self.program.steady:
            note = "the function gives another value at every call"
            return replace(row, evidence=replace(row.evidence, verdict=Verdict.INCONCLUSIVE, note=note))
        worst = seen.worst
        if claim.dense is not None and claim.varies and worst.relative < 1e-2 and worst in seen.rows:
            own = float(rounding(claim.dense, seen.question.x)[worst.output, worst.direction])
            if worst.gap <= ROUNDING * own:
                note = f"the derivative given scatters by {own:.1g} from one float to the next: rounding explains it"
                return replace(row, evidence=replace(row.evidence, verdict=Verdict.SUSPECT, note=note))
        if claim.order == 2 and claim.whole is not None:
            base = slopes.scales(seen.question.x)
            g = self.program.pulled(seen.question.x, base.new_ones(1, 1)) if not self.program.numpy else base[None] * 0
            return replace(row, cause=curvature_cause(seen, g[0], self.split, self.counts))
        return replace(row, cause=cause(seen, self.counts))


def rounding(dense: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(m, n): how far the numbers of a derivative given scatter between neighbouring points."""
    step = torch.finfo(x.dtype).eps ** (2 / 3) * torch.where(x == 0, torch.ones_like(x), x.abs())
    return taylor.scatter(torch.stack([dense(x + i * step) for i in range(slopes.NEAR + 1)]))


def shown(x: Tensor) -> str:
    few = ", ".join(f"{v:.6g}" for v in x[:6].tolist())
    return f"[{few}{', ...' if len(x) > 6 else ''}]"
