"""`check`: is this derivative right? Of a function by autograd, or as somebody wrote it down; first and second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from calclab.checks import slopes
from calclab.checks.cause import cause
from calclab.checks.judgement import TOLERANCE, Judged
from calclab.checks.program import Part, Program, entry_name, flat, same
from calclab.checks.result import Check, Finding
from calclab.checks.search import EACH, SAMPLE, Look, Question, given_by, look
from calclab.core import Evidence, Verdict
from calclab.errors import UserError, error_line
from calclab.numerics import taylor

SEED = 20_163
ROWS = 64  # outputs of which each has a row of the Jacobian; of more, weighted sums are looked at
WEIGHTS = 4
SECONDS = 4.0  # that looking at every entry by itself may take
ROUNDING = 16.0  # times what a given derivative scatters by: rounding explains no more
DIFFERENCES, GRADIENTS = "differences of values", "differences of the gradient"
PROBE = 6  # entries of many that are looked at by themselves at other points


@dataclass
class Claim:
    """A derivative that somebody gives: ``values`` of the map by points, ``dense`` its matrix at a point, or
    ``product`` the direction it is taken along; ``rows`` and ``columns`` name its sides."""

    quantity: str
    method: str
    values: slopes.Values
    dense: Callable[[Tensor], Tensor] | None
    product: Callable[[Tensor, Tensor], Tensor] | None
    rows: Sequence[Part]
    columns: Sequence[Part]
    order: int = 1
    varies: bool = True  # whether the claim can be asked elsewhere


def asked(
    claim: Claim, x: Tensor, point: int, tolerance: float, most: int, sample: int = SAMPLE
) -> tuple[Look | None, Finding]:
    """Look at a claim at x, and say what came of it."""
    try:
        dense = None if claim.dense is None else claim.dense(x)
    except UserError:
        raise
    except Exception as error:
        return None, failed(claim, point, error)
    if dense is not None:
        given = given_by(dense)
    else:
        product = claim.product
        assert product is not None

        def given(directions: Tensor) -> Tensor:
            return torch.stack([product(x, d) for d in directions])

    question = Question(claim.quantity, claim.method, x, claim.values, given, claim.columns, dense, point)
    try:
        seen = look(question, tolerance=tolerance, most=most, sample=sample)
    except UserError:
        raise
    except Exception as error:
        return None, failed(claim, point, error)
    return seen, finding(claim, seen, tolerance)


def failed(claim: Claim, point: int, error: Exception) -> Finding:
    verdict = Verdict.INCONCLUSIVE
    row = Evidence(
        point,
        claim.quantity,
        claim.method,
        torch.nan,
        torch.nan,
        torch.inf,
        torch.inf,
        0.0,
        verdict,
        f"it raised {error_line(error)}",
    )
    return Finding(row)


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


# --- what autograd says ---


def autograd(program: Program) -> Claim:
    """The first derivative by reverse mode."""
    name = "gradient" if program.scalar else "jacobian"
    if program.m <= ROWS:
        return Claim(name, DIFFERENCES, program.values, jacobian_of(program), None, program.outputs, program.labels)
    U = weights(program, WEIGHTS)
    sums = (Part("weighted sum of outputs", (WEIGHTS,), torch.float64, 0, WEIGHTS),)
    return Claim(
        name, DIFFERENCES, lambda points: program.values(points) @ U.T, lambda x: program.pulled(x, U), None, sums,
        program.labels,
    )  # fmt: skip


def jacobian_of(program: Program) -> Callable[[Tensor], Tensor]:
    return lambda x: program.pulled(x, torch.eye(program.m, dtype=x.dtype, device=x.device))


def weights(program: Program, count: int) -> Tensor:
    """Weights of the outputs (count, m)."""
    return signs(program.x.new_empty(program.m), count)


def signs(like: Tensor, count: int) -> Tensor:
    """Rows (count, len(like)) of seeded numbers of either sign, none small."""
    maker = torch.Generator().manual_seed(SEED)
    drawn = 0.5 + torch.rand(count, len(like), generator=maker, dtype=torch.float64)
    return (drawn * (torch.randint(0, 2, drawn.shape, generator=maker) * 2 - 1)).to(like)


def forward_mode(program: Program) -> Claim:
    """The first derivative by forward mode."""
    U = None if program.m <= ROWS else weights(program, WEIGHTS)
    rows = program.outputs if U is None else (Part("weighted sum of outputs", (WEIGHTS,), torch.float64, 0, WEIGHTS),)

    def values(points: Tensor) -> Tensor:
        found = program.values(points)
        return found if U is None else found @ U.T

    def product(x: Tensor, d: Tensor) -> Tensor:
        found = program.pushed(x, d)
        return found if U is None else U @ found

    return Claim("forward mode", DIFFERENCES, values, None, product, rows, program.labels)


class Twice:
    """The gradient of L(f(x)), L(y) = u·y + ½ c·y², as a map of its own, and its derivative by double backward. With
    c = 0 it is the plain second derivative; with c the derivative passes through the gradient of the outputs too."""

    def __init__(self, program: Program, *, squared: bool) -> None:
        self.program = program
        self.few = program.n <= EACH
        self.sums = signs(program.x, WEIGHTS)
        self.u = torch.ones_like(program.x[:1]) if program.scalar else weights(program, 1)[0]
        self.c = self.u.flip(0) / program.value(program.x).abs().clamp(min=1) if squared else torch.zeros_like(self.u)

    def gradient(self, x: Tensor) -> Tensor:
        leaf, y = self.program.graph(x)
        if not y.requires_grad:
            return torch.zeros_like(x)
        found = torch.autograd.grad(y, leaf, self.u + self.c * y.detach(), allow_unused=True)[0]
        return torch.zeros_like(x) if found is None else found.detach()

    def values(self, points: Tensor) -> Tensor:
        found = torch.stack([self.gradient(point) for point in points])
        return found if self.few else found @ self.sums.T

    def _kept(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        leaf, y = self.program.graph(x)
        with torch.enable_grad():
            scalar = (self.u * y + self.c * y * y / 2).sum()
            found = torch.autograd.grad(scalar, leaf, create_graph=True, allow_unused=True)[0]
        return None if found is None or not found.requires_grad else (leaf, found)

    def dense(self, x: Tensor) -> Tensor:
        """Rows ∇(∇L)_i, (n, n)."""
        kept = self._kept(x)
        if kept is None:
            return x.new_zeros(len(x), len(x))
        leaf, g = kept
        rows = [torch.autograd.grad(g[i], leaf, retain_graph=True, allow_unused=True)[0] for i in range(len(x))]
        return torch.stack([torch.zeros_like(x) if row is None else row.detach() for row in rows])

    def product(self, x: Tensor, d: Tensor) -> Tensor:
        kept = self._kept(x)
        if kept is None:
            return torch.zeros_like(x)
        leaf, g = kept
        found = torch.autograd.grad(g, leaf, d, allow_unused=True)[0]
        found = torch.zeros_like(x) if found is None else found.detach()
        return found if self.few else self.sums @ found

    def claim(self, quantity: str) -> Claim:
        parts = self.program.labels
        return Claim(
            quantity, GRADIENTS, self.values, self.dense if self.few else None, None if self.few else self.product,
            parts if self.few else (), parts, order=2,
        )  # fmt: skip


def second_order(program: Program) -> tuple[list[Claim], str]:
    """The second derivatives that autograd gives; else why it gives none."""
    try:
        for squared in (False, True):
            Twice(program, squared=squared).product(program.x, torch.ones_like(program.x))
    except Exception as error:
        return [], f"second derivative: not looked at, autograd gives none ({error_line(error)})"
    return [
        Twice(program, squared=False).claim("second derivative"),
        Twice(program, squared=True).claim("second derivative of a squared output"),
    ], ""


# --- what is given ---


def gradient_given(program: Program, gradient: Any) -> Claim:
    """A gradient, or Jacobian, as a value or a function of the arguments."""

    def dense(x: Tensor) -> Tensor:
        found = gradient
        if callable(gradient):
            leaves = program.inputs(x)
            if program.numpy:
                leaves = [leaf.numpy() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            try:
                found = gradient(*pytree.tree_unflatten(leaves, program.spec))
            except Exception as error:
                raise UserError(f"the gradient given raised {error_line(error)}") from error
        return numbers(found, program.m, program.n, program, "gradient")

    name = "gradient" if program.scalar else "jacobian"
    return Claim(
        f"the {name} given",
        DIFFERENCES,
        program.values,
        dense,
        None,
        program.outputs,
        program.labels,
        varies=callable(gradient),
    )


def numbers(found: Any, m: int, n: int, program: Program, what: str) -> Tensor:
    """What was given as a matrix (m, n) of the type of x."""
    leaves = [leaf for leaf in pytree.tree_leaves(found) if leaf is not None]
    try:
        tensors = [leaf.detach() if isinstance(leaf, Tensor) else torch.as_tensor(leaf) for leaf in leaves]
    except Exception as error:
        raise UserError(
            f"the {what} given is a {type(found).__name__}, and no numbers ({error_line(error)})"
        ) from error
    several = len(tensors) == len(program.parts) > 1 and m > 1
    if several:  # a Jacobian for each input
        blocks = [flat([t], program.x.dtype).reshape(m, -1) for t in tensors]
        count = sum(block.shape[1] for block in blocks)
        if count == n:
            return torch.cat(blocks, 1).to(program.x.device)
    row = flat(tensors, program.x.dtype).to(program.x.device) if tensors else program.x.new_zeros(0)
    if row.numel() != m * n:
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors) or "nothing"
        wanted = f"({n},)" if m == 1 else f"({m}, {n})"
        raise UserError(
            f"the {what} given has the shape {shapes}; a derivative of this function has {m * n} numbers, {wanted}"
        )
    return row.reshape(m, n)


# --- elsewhere ---


def points(x: Tensor, count: int) -> Tensor:
    """Other points (count, n): every sign turned, random signs, a tenth and ten times as far from 0, ..."""
    maker = torch.Generator().manual_seed(SEED)
    size = torch.where(x == 0, torch.ones_like(x), x.abs())
    found = [-x] if bool(x.any()) else []
    while len(found) < count:
        drawn = (0.5 + 1.5 * torch.rand(len(x), generator=maker, dtype=torch.float64)).to(x)
        signs = (torch.randint(0, 2, (len(x),), generator=maker) * 2 - 1).to(x)
        one = size * drawn * signs
        found += [one, -1.3 * one, 0.1 * one.flip(0).sign() * one.abs(), 10 * one]
    return torch.stack(found[:count])


def run(
    program: Program,
    claims: Sequence[Claim],
    *,
    tolerance: float,
    elsewhere: int,
    counts: Sequence[tuple[str, int]] = (),
) -> Iterator[Finding]:
    """The rows of all claims, at x and elsewhere."""
    x = program.x
    begun = perf_counter()
    for _ in range(3):
        program.value(x)
    cost = (perf_counter() - begun) / 3
    for claim in claims:
        each = cost * 2 * slopes.FIRST * (4 if claim.order == 2 else 1)
        most = max(EACH, min(4096, int(SECONDS / max(each, 1e-9)))) if claim.dense is not None else EACH
        seen, row = asked(claim, x, 0, tolerance, most)
        row = explained(program, claim, seen, row, counts)
        yield row
        if not claim.varies or not elsewhere or row.verdict is Verdict.REFUTED or seen is None:
            continue
        few = elsewhere if program.n <= EACH else min(elsewhere, 2)
        for number, point in enumerate(points(x, few), 1):
            value = program.value(point)
            if not bool(value.isfinite().all()):
                continue
            again, other = asked(claim, point, number, tolerance, EACH, PROBE)
            if other.verdict is Verdict.REFUTED and again is not None:
                stale = (
                    again.question.dense is not None
                    and seen.question.dense is not None
                    and same(again.question.dense, seen.question.dense)
                )
                said = "stale: the same numbers as at the point before" if stale else cause(again, counts)
                other = explained(program, claim, again, replace(other, cause=said), counts)
                tail = (
                    ""
                    if row.verdict is not Verdict.CONSISTENT
                    else "; right at the point given, and only wrong for some inputs"
                )
                other = replace(other, cause=(other.cause or "another branch") + tail, where=f" at x = {shown(point)}")
            yield other
            if other.verdict is Verdict.REFUTED:
                break


def explained(
    program: Program, claim: Claim, seen: Look | None, row: Finding, counts: Sequence[tuple[str, int]]
) -> Finding:
    """A refuted row with its cause, unless the rounding of what was given explains it."""
    if row.verdict is not Verdict.REFUTED or seen is None:
        return row
    if not program.steady:
        note = "the function gives another value at every call"
        return replace(row, evidence=replace(row.evidence, verdict=Verdict.INCONCLUSIVE, note=note))
    if claim.dense is not None and claim.varies and seen.worst.relative < 1e-2:
        worst, dense = seen.worst, claim.dense
        scatter = rounding(dense, seen.question.x)
        if seen.worst in seen.rows:
            own = float(scatter[worst.output, worst.direction])
            if worst.gap <= ROUNDING * own:
                note = (
                    f"the derivative given scatters by {own:.1g} from one float to the next: rounding explains the gap"
                )
                return replace(row, evidence=replace(row.evidence, verdict=Verdict.SUSPECT, note=note))
    return replace(row, cause=row.cause or cause(seen, counts))


def rounding(dense: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(m, n): how far the numbers of a derivative given scatter between neighbouring points."""
    step = torch.finfo(x.dtype).eps ** (2 / 3) * torch.where(x == 0, torch.ones_like(x), x.abs())
    return taylor.scatter(torch.stack([dense(x + i * step) for i in range(slopes.NEAR + 1)]))


def shown(x: Tensor) -> str:
    few = ", ".join(f"{v:.6g}" for v in x[:6].tolist())
    return f"[{few}{', ...' if len(x) > 6 else ''}]"


def checked(
    program: Program,
    subject: str,
    *,
    gradient: Any = None,
    order: int = 2,
    elsewhere: int = 4,
    tolerance: float = TOLERANCE,
    counts: Sequence[tuple[str, int]] = (),
    more: Sequence[Claim] = (),
) -> Check:
    """The check of a program."""
    notes = list(program.notes)
    claims: list[Claim] = []
    if gradient is not None:
        claims.append(gradient_given(program, gradient))
    elif not more:
        if program.numpy:
            raise UserError("autograd cannot follow a function of arrays: give gradient=, or a function of tensors")
        claims.append(autograd(program))
        if order > 1:
            found, why = second_order(program)
            claims += found
            notes += [why] if why else []
        try:
            program.pushed(program.x, torch.ones_like(program.x))
            claims.append(forward_mode(program))
        except Exception as error:
            notes.append(f"forward mode: not looked at, autograd has none ({error_line(error)})")
    rows = list(run(program, [*claims, *more], tolerance=tolerance, elsewhere=elsewhere, counts=counts))
    if program.mutates:
        notes.append("the function writes to its inputs: in place")
    return Check(subject, rows, notes)


def check(
    subject: Callable[..., Any],
    at: Any,
    *,
    gradient: Any = None,
    order: int = 2,
    elsewhere: int = 4,
    tolerance: float = TOLERANCE,
) -> Check:
    """Whether the derivatives of a function are right: those that autograd gives, or ``gradient``.

    ``subject`` takes tensors (or NumPy arrays, if ``at`` has those) and gives tensors; ``at`` is its argument, or a
    tuple of them. Everything floating is moved, by parts of float64 where the program can compute in it.
    ``gradient`` is a value, or a function of the same arguments: of the shape of ``at``, or a Jacobian (m, n). Without
    it reverse mode, forward mode and, for ``order`` 2, double backward are looked at. ``elsewhere`` counts other points
    (other signs, a tenth, ten times) at which a derivative that is right here may be wrong. ``tolerance`` is relative.
    Raises UserError where there is nothing to differentiate, or the function raises.

    >>> import calclab, torch
    >>> x = torch.tensor([1.0, 2.0])
    >>> calclab.check(lambda x: (x**3).sum(), x).verdict
    'consistent'
    >>> found = calclab.check(lambda x: (x**3).sum(), x, gradient=lambda x: 6 * x**2)
    >>> found.verdict, found.place, found.cause
    ('refuted', '∂f/∂x[0]', 'factor 2: twice as large')
    """
    arguments = at if isinstance(at, tuple) else (at,)
    program = Program(subject, tuple(map(tensor, arguments)))
    name = getattr(subject, "__name__", type(subject).__name__)
    return checked(
        program, f"derivatives of {name}", gradient=gradient, order=order, elsewhere=elsewhere, tolerance=tolerance
    )


def tensor(given: Any) -> Any:
    """Plain numbers as a tensor."""
    if isinstance(given, float | int | list) and not isinstance(given, bool):
        try:
            return torch.tensor(given, dtype=torch.float64)
        except (TypeError, ValueError):
            return given
    return given


__all__ = ["Check", "check"]
