"""`check`: is this derivative right? Of a function by autograd, or as somebody wrote it down; first and second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from calclab.checks.claims import (
    Claim,
    autograd,
    forward_mode,
    gradient_given,
    gradient_map,
    hessian_given,
    product_given,
    second_order,
)
from calclab.checks.curvature import Split, structure
from calclab.checks.judgement import TOLERANCE
from calclab.checks.networks import batch_program
from calclab.checks.program import Part, Program, undisturbed
from calclab.checks.result import Check, Finding
from calclab.checks.survey import Survey, points
from calclab.core import Function, Verdict
from calclab.errors import UserError, error_line
from calclab.numerics.certify import derivative
from calclab.subject.formula import formula as formula_of
from calclab.subject.network import Network

PROOF = "every entry proven by an Arb ball"
MANY = 64  # variables that have names of their own


def checked(
    program: Program,
    subject: str,
    *,
    gradient: Any = None,
    hessian: Any = None,
    product: Any = None,
    order: int = 2,
    elsewhere: int = 4,
    tolerance: float = TOLERANCE,
    counts: Sequence[tuple[str, int]] = (),
    split: Split | None = None,
) -> Check:
    """The check of a program: of what is given, or where nothing is, of autograd."""
    if not 0 < tolerance < 1:
        raise UserError(f"tolerance={tolerance}: a relative error between 0 and 1. Type tolerance=1e-6")
    survey, notes = Survey(program, tolerance, elsewhere, counts, split), list(program.notes)
    rows: list[Finding] = []
    second = hessian is not None or product is not None
    if elsewhere < 0:
        raise UserError(f"elsewhere={elsewhere}: a count of points, 0 or more. Type elsewhere=4")
    first = None if gradient is None else gradient_given(program, gradient)
    if first is None and not program.numpy:
        first = autograd(program)
    if first is not None:
        rows += survey.rows(first)
    elif not second:
        raise UserError("autograd cannot follow a function of arrays: give gradient=, or a function of tensors")
    wrong = any(row.verdict is Verdict.REFUTED for row in rows)
    if second:
        gradients = gradient_map(program, None if wrong else first)
        given = [] if hessian is None else [hessian_given(program, hessian, gradients)]
        given += [] if product is None else [product_given(program, product, gradients)]
        for claim in given:
            rows += survey.rows(claim, rows)
            rows += [Finding(row, of=row.method) for row in structure(claim, program.x)]
    if gradient is None and not second:
        claims, said = by_autograd(program, 1 if wrong else order)
        notes += said
        for claim in claims:
            rows += survey.rows(claim, rows)
    if program.mutates:
        notes.append("the function writes to its inputs: in place")
    return Check(subject, rows, notes)


def by_autograd(program: Program, order: int) -> tuple[list[Claim], list[str]]:
    """What autograd gives beyond reverse mode, and notes on what it does not."""
    claims: list[Claim] = []
    notes: list[str] = []
    if order > 1:
        claims, notes = second_order(program)
    try:
        program.pushed(program.x, torch.ones_like(program.x))
        claims.append(forward_mode(program))
    except Exception as error:
        notes.append(f"forward mode: not looked at, autograd has none ({error_line(error)})")
    return claims, notes


@undisturbed()
def check(
    subject: Any,
    at: Any = None,
    *,
    gradient: Any = None,
    hessian: Any = None,
    product: Any = None,
    criterion: Callable[..., Any] | None = None,
    order: int = 2,
    elsewhere: int = 4,
    tolerance: float = TOLERANCE,
) -> Check:
    """Whether derivatives are right: those that autograd gives of ``subject``, or those given.

    ``subject`` is a function of tensors (or of NumPy arrays, if ``at`` has those), ``at`` its argument or a tuple of
    them; or a formula as text; or what `formula`, `function` or `loss` made, at its own point; or a module, ``at`` a
    batch: (inputs, targets) with a ``criterion``, else what its forward takes. Everything floating is moved, in float64
    where the program can compute in it. Modules and arguments are left as they are.

    ``gradient``, ``hessian`` and ``product`` (v, or the arguments and v, to Hv) are values or functions of the same
    arguments, of the shape of ``at`` or as matrices; formulas where the subject is one. Without any of them reverse
    mode, forward mode and, for ``order`` 2, double backward are looked at. ``elsewhere`` counts other points (other
    signs, a tenth, four times) at which a derivative that is right here may be wrong. ``tolerance`` is relative.

    The measured numbers come of values of the function alone (`checks.slopes`); those of second derivatives of a
    gradient that has been found right. Raises UserError where there is nothing to differentiate, or what is given
    raises or has another shape.

    >>> import calclab, torch
    >>> x = torch.tensor([1.0, 2.0])
    >>> calclab.check(lambda x: (x**3).sum(), x).verdict
    'consistent'
    >>> found = calclab.check(lambda x: (x**3).sum(), x, gradient=lambda x: 6 * x**2)
    >>> found.verdict, found.place, found.cause
    ('refuted', '∂f/∂x[0]', 'factor 2: twice as large')
    >>> calclab.check(lambda x: (x**3).sum(), x, hessian=lambda x: -6 * x.diag()).cause
    'sign: it is the negative of the Hessian'
    >>> calclab.check("x**2*y", [1, 2], gradient=["2*x*y", "x**2"]).verdict
    'certified'
    """
    settings: dict[str, Any] = {"order": order, "elsewhere": elsewhere, "tolerance": tolerance}
    given: dict[str, Any] = {"gradient": gradient, "hessian": hessian, "product": product}
    if isinstance(subject, nn.Module) and (criterion is not None or any(p.requires_grad for p in subject.parameters())):
        if at is None:
            raise UserError("a module needs a batch: check(module, (inputs, targets), criterion=torch.nn.MSELoss())")
        found = batch_program(subject, at, criterion)
        result = checked(found.program, found.title, counts=found.counts, split=found.split, **given, **settings)
        return found.located(result)
    if isinstance(subject, str):
        subject = formula_of(expr=subject, at=at, variables=None, domain=None, minima=None, n=None, name="formula",
                             dtype=torch.float64, device="cpu")  # fmt: skip
    if isinstance(subject, Network):
        found_parts = [Part(name, tuple(shape), torch.float64, 0, 0) for name, shape in subject.shapes.items()]
        function = subject.objective()
        program = Program(function.call, (function.start,))
        program.labels = tuple(laid(found_parts))
        rows = [("rows", len(subject.data.inputs))]
        split = subject.split(subject.rows, subject.data.targets)
        return checked(
            program, f"derivatives of the loss of {subject.name}", counts=rows, split=split, **given, **settings
        )
    if isinstance(subject, Function):
        return of_function(subject, given, settings)
    if not callable(subject):
        raise UserError(f"check is of a function, a formula or a module, not of a {type(subject).__name__}")
    if at is None:
        raise UserError("no point is given. Type check(f, torch.tensor([1.0, 2.0]))")
    arguments = at if isinstance(at, tuple) else (at,)
    program = Program(subject, tuple(map(tensor, arguments)))
    name = getattr(subject, "__name__", type(subject).__name__)
    return checked(program, f"derivatives of {name}", counts=counts_of(program), **given, **settings)


def counts_of(program: Program) -> list[tuple[str, int]]:
    """Numbers that a mean may have divided by: rows and entries of what goes in."""
    rows = {leaf.shape[0] for leaf in program.leaves if isinstance(leaf, Tensor) and leaf.ndim > 1}
    return [("rows", n) for n in sorted(rows)] + [("entries", program.n)]


def laid(parts: Sequence[Part]) -> Iterator[Part]:
    """Parts end to end."""
    start = 0
    for part in parts:
        yield replace(part, start=start, stop=start + prod(part.shape))
        start += prod(part.shape)


def of_function(function: Function, given: dict[str, Any], settings: dict[str, Any]) -> Check:
    """The check of what the lab knows as a function: of a formula a proof where it decides, and where not, differences,
    which tell the cause."""
    program = Program(function.call, (function.start,))
    if program.n <= MANY:
        program.labels = tuple(laid([Part(name, (), torch.float64, 0, 0) for name in function.variables]))
    given = {key: texts(function, value, key) for key, value in given.items()}
    title = f"derivatives of {function.name}"
    rows = proven(function, program, given, settings["elsewhere"]) if given["product"] is None else []
    here = [row.verdict for row in rows if row.evidence.step == 0]
    there = {row.verdict for row in rows if row.evidence.step}
    if here and set(here) == {Verdict.CERTIFIED} and there <= {Verdict.CERTIFIED, Verdict.UNDEFINED}:
        return Check(title, rows)
    return checked(program, title, split=function.split, **given, **settings)


def proven(function: Function, program: Program, given: dict[str, Any], count: int) -> list[Finding]:
    """A formula's rows: each entry against its Arb ball."""
    if function.exact is None:
        return []
    asked = [(1, gradient_given(program, given["gradient"]))] if given["gradient"] is not None else []
    if given["hessian"] is not None:
        asked.append((2, hessian_given(program, given["hessian"], gradient_map(program, None))))
    if not asked:
        asked.append((1, autograd(program)))
    rows: list[Finding] = []
    for order, claim in asked:
        if claim.dense is None:
            return []
        for number, x in enumerate(
            [function.start, *(points(function.start, count) if claim.varies and count else [])]
        ):
            try:
                numbers = claim.dense(x)
            except UserError:
                if number == 0:
                    raise
                continue
            shaped = numbers[0] if order == 1 and function.scalar else numbers
            found = derivative(function, x, shaped, number, order=order)
            rows += [Finding(replace(row, quantity=claim.quantity), of=PROOF) for row in found]
    return rows


def texts(function: Function, given: Any, what: str) -> Any:
    """Formulas given as derivatives of a formula, as a function of its variables; anything else as it is."""
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not listed:
        return given
    rows = [entry for row in listed for entry in (row if isinstance(row, list | tuple) else [row])]
    if not any(isinstance(entry, str) for entry in rows):
        return given
    try:
        found = formula_of(
            expr=[str(entry) for entry in rows], at=function.start.tolist(), variables=function.variables, domain=None,
            minima=None, n=None, name=what, dtype=torch.float64, device="cpu",
        )  # fmt: skip
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    return found.call


def tensor(given: Any) -> Any:
    """Plain numbers as a tensor."""
    if isinstance(given, float | int | list) and not isinstance(given, bool):
        try:
            return torch.tensor(given, dtype=torch.float64)
        except (TypeError, ValueError):
            return given
    return given


__all__ = ["Check", "check"]
