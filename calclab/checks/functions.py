"""`check_function`: a custom torch.autograd.Function, in all the ways in which torch may call it.

Its derivatives against values, of first and second order, in reverse and forward mode, as of any function; and what
goes wrong in custom functions besides: each input by itself (``needs_input_grad``), each output by itself, inputs and
gradients that are not contiguous or expanded, smaller types, a batch under vmap, a backward pass that writes to what it
saved or was given, an input overwritten unsaid. The numbers of these rows are compared with those of the plain call,
which the first rows have held against values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, nan
from typing import Any

import torch
from torch import Tensor

from calclab.checks.claims import signs
from calclab.checks.derivatives import checked, counts_of
from calclab.checks.judgement import TOLERANCE
from calclab.checks.program import Program, number_tensor, undisturbed, wide
from calclab.checks.result import Check, Finding
from calclab.core import Evidence, Verdict
from calclab.errors import UserError, error_line

ROUNDINGS = 2.0**13  # eps: two programs for one number
SMALLER = (torch.float32, torch.bfloat16)
LANES = 3


@undisturbed()
def check_function(
    function: Any, *inputs: Any, order: int = 2, elsewhere: int = 4, tolerance: float = TOLERANCE
) -> Check:
    """Whether a custom ``autograd.Function`` (or what calls one) is right at ``inputs``, tensors and others.

    Raises UserError where its forward pass raises, or nothing floating goes in or comes out.

    >>> import calclab, torch
    >>> class Square(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * x
    >>> found = calclab.check_function(Square, torch.tensor([1.0, 2.0]))
    >>> found.verdict, found.cause
    ('refuted', 'factor 1/2')
    """
    custom = isinstance(function, type) and issubclass(function, torch.autograd.Function)
    apply = function.apply if custom else function
    if not callable(apply):
        raise UserError(f"check_function is of an autograd.Function, not of a {type(function).__name__}")
    if not inputs:
        raise UserError("no inputs are given. Type check_function(MyFunction, torch.randn(3), ...)")
    name = getattr(function, "__name__", type(function).__name__)
    arguments = inputs
    plain, left_out = differentiable(apply, arguments)
    program = Program(plain, arguments)
    found = checked(
        program, f"derivatives of {name}", order=order, elsewhere=elsewhere, tolerance=tolerance,
        counts=counts_of(program),
    )  # fmt: skip
    notes = [*found.notes, *left_out]
    rows = list(found.findings)
    if program.steady:
        for quantity, look in LOOKS.items():
            try:
                rows += worst_of(look(Calls(plain, apply, program), quantity))
            except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
                notes.append(f"{quantity}: not looked at ({error_line(error)})")
    return Check(found.subject, rows, notes)


def differentiable(apply: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], list[str]]:
    """The function with the outputs alone that are not marked as non-differentiable, and a note on the others."""
    leaves = [a.detach().clone().requires_grad_() * 1 if number_tensor(a) else a for a in arguments]
    try:
        with torch.enable_grad():
            found = apply(*leaves)
    except Exception:
        return apply, []
    if not isinstance(found, tuple | list):
        return apply, []
    kept = [not number_tensor(each) or each.requires_grad for each in found]
    if all(kept) or not any(keep and number_tensor(each) for keep, each in zip(kept, found, strict=True)):
        return apply, []
    names = ", ".join(f"f{k}" for k, keep in enumerate(kept) if not keep)

    def some(*given: Any) -> Any:
        return tuple(each for each, keep in zip(apply(*given), kept, strict=True) if keep)

    return some, [f"{names}: marked as non-differentiable, and left out"]


def worst_of(found: Iterable[Finding]) -> list[Finding]:
    """Of rows about one thing the worst, with how many there are."""
    rows = list(found)
    if not rows:
        return []
    return [
        replace(
            max(rows, key=lambda row: row.badness),
            of=f"{len(rows)} comparison{'s' * (len(rows) > 1)} with the plain call",
        )
    ]


@dataclass
class Calls:
    """The function called with its inputs in one way or another; ``call`` gives differentiable outputs alone."""

    call: Callable[..., Any]
    apply: Callable[..., Any]
    program: Program

    @property
    def inputs(self) -> list[Any]:
        return self.program.inputs(self.program.x)

    @property
    def floating(self) -> list[int]:
        """Which inputs are differentiated by."""
        return [i for i, leaf in enumerate(self.program.leaves) if number_tensor(leaf) and leaf.numel()]

    def outputs(self, leaves: Sequence[Any]) -> list[Tensor]:
        """The outputs with a graph; inputs are copies, since a function may write to them."""
        with torch.enable_grad():
            return self.program(
                [leaf * 1 if isinstance(leaf, Tensor) and leaf.requires_grad else leaf for leaf in leaves]
            )

    def leaves(self, wanted: Sequence[int] | None = None) -> list[Any]:
        """The inputs, those ``wanted`` (all floating) as leaves."""
        wanted = self.floating if wanted is None else wanted
        return [
            leaf.detach().clone().requires_grad_(i in wanted) if number_tensor(leaf) else leaf
            for i, leaf in enumerate(self.inputs)
        ]

    def weights(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """A gradient for each output."""
        made = []
        for k, y in enumerate(outputs):
            u = signs(y.real.detach().reshape(-1), 2 + k)[-1].reshape(y.shape)
            made.append(u.to(y.dtype) * (1 + 0.5j) if y.is_complex() else u)
        return made

    def gradients(self, leaves: Sequence[Any], weights: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Of every leaf that asks for one; zeros where there is none."""
        outputs = self.outputs(leaves)
        weights = self.weights(outputs) if weights is None else weights
        asked = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
        pairs = [(y, u) for y, u in zip(outputs, weights, strict=True) if y.requires_grad]
        found = torch.autograd.grad([y for y, _ in pairs], asked, [u for _, u in pairs], allow_unused=True)
        return [torch.zeros_like(a) if g is None else g for a, g in zip(asked, found, strict=True)]

    def name(self, k: int) -> str:
        return self.program.parts[k].name


def row(
    quantity: str, method: str, name: str, found: Tensor, truth: Tensor, eps: float, cause: str, note: str = ""
) -> Finding:
    """Two tensors that should be the same: the worst entry."""
    if found.shape != truth.shape:
        note = f"the gradient has the shape {tuple(found.shape)}, the input {tuple(truth.shape)}"
        evidence = Evidence(0, quantity, method, nan, nan, inf, inf, 0.0, Verdict.REFUTED, note)
        return Finding(evidence, name, cause)
    a, b = (torch.view_as_real(t.resolve_conj()) if t.is_complex() else t for t in (found.detach(), truth.detach()))
    a, b = a.double().reshape(-1), b.double().reshape(-1)
    finite = a.isfinite() & b.isfinite()
    gaps = torch.where(finite, (a - b).abs(), torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, inf))
    size = float(b[finite].abs().max()) if bool(finite.any()) else 0.0
    i = int(gaps.argmax())
    allowed = eps * size
    good = float(gaps[i]) <= allowed
    verdict = Verdict.CONSISTENT if good else Verdict.REFUTED
    said = "" if good else note or "not what the plain call gives"
    value, reference, gap = float(a[i]), float(b[i]), float(gaps[i])
    evidence = Evidence(0, quantity, method, value, reference, gap, gap, allowed, verdict, said)
    return Finding(evidence, "" if good else name, "" if good else cause, "as the plain call has it")


def eps_of(calls: Calls) -> float:
    return ROUNDINGS * torch.finfo(calls.program.x.dtype).eps


def each_input(calls: Calls, quantity: str) -> Iterator[Finding]:
    """Each input's gradient where it alone is asked for."""
    truth = calls.gradients(calls.leaves())
    if len(truth) < 2:
        return
    for k, i in enumerate(calls.floating):
        (alone,) = calls.gradients(calls.leaves([i]))
        cause = "needs_input_grad: another gradient where the other inputs need none"
        yield row(quantity, "gradients one at a time", calls.name(k), alone, truth[k], eps_of(calls), cause)


def each_output(calls: Calls, quantity: str) -> Iterator[Finding]:
    """Each output used by itself, against zeros for the others."""
    outputs = calls.outputs(calls.leaves())
    if len(outputs) < 2:
        return
    for k in range(len(outputs)):
        leaves = calls.leaves()
        found = calls.outputs(leaves)
        weights = calls.weights(found)
        masked = [u if i == k else torch.zeros_like(u) for i, u in enumerate(weights)]
        truth = calls.gradients(calls.leaves(), masked)
        asked = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
        if not found[k].requires_grad:
            continue
        alone = torch.autograd.grad(found[k], asked, weights[k], allow_unused=True)
        cause = "an output that is not used: its gradient is None, or zeros, and not dealt with"
        for i, g in enumerate(alone):
            g = torch.zeros_like(truth[i]) if g is None else g
            yield row(quantity, f"f{k} alone", calls.name(i), g, truth[i], eps_of(calls), cause)


def strided(t: Tensor) -> Tensor:
    """The same numbers, not contiguous."""
    wide_ = torch.stack([t, t + 1], -1)
    return wide_[..., 0]


def layouts(calls: Calls, quantity: str) -> Iterator[Finding]:
    """Inputs and gradients that are not contiguous, or expanded."""
    truth = calls.gradients(calls.leaves())
    leaves = calls.leaves()
    views = [strided(leaf) if isinstance(leaf, Tensor) and leaf.requires_grad else leaf for leaf in leaves]
    with torch.enable_grad():
        outputs = calls.program(views)
    weights = calls.weights(outputs)
    asked = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    pairs = [(y, u) for y, u in zip(outputs, weights, strict=True) if y.requires_grad]
    found = torch.autograd.grad([y for y, _ in pairs], asked, [u for _, u in pairs], allow_unused=True)
    for k, g in enumerate(found):
        cause = "layout: it takes the memory of its inputs as it lies"
        g = torch.zeros_like(truth[k]) if g is None else g
        yield row(quantity, "inputs not contiguous", calls.name(k), g, truth[k], eps_of(calls), cause)
    gaps = [strided(u) for u in weights]
    for k, g in enumerate(calls.gradients(calls.leaves(), gaps)):
        cause = "layout: it takes the memory of the gradient as it lies"
        yield row(quantity, "gradient not contiguous", calls.name(k), g, truth[k], eps_of(calls), cause)
    ones = [torch.ones_like(u) for u in weights]
    spread = [torch.ones((), dtype=u.dtype, device=u.device).expand(u.shape) for u in weights]
    for k, (g, t) in enumerate(
        zip(calls.gradients(calls.leaves(), spread), calls.gradients(calls.leaves(), ones), strict=True)
    ):
        cause = "layout: it takes an expanded gradient, as .sum() gives, for a contiguous one"
        yield row(quantity, "gradient expanded", calls.name(k), g, t, eps_of(calls), cause)


def in_place(calls: Calls, quantity: str) -> Iterator[Finding]:
    """What is written to: inputs unsaid, what was saved, the gradient handed in."""
    if calls.program.mutates:
        given = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in calls.inputs]
        with torch.no_grad():
            found = calls.apply(*given)
        outputs = found if isinstance(found, tuple | list) else (found,)
        for k, i in enumerate(calls.floating):
            kept = torch.equal(given[i], calls.inputs[i]) or any(y is given[i] for y in outputs)
            if not kept:
                cause = "in place: it writes to an input, and does not say so by mark_dirty"
                yield row(
                    quantity, "inputs as they were", calls.name(k), given[i], calls.inputs[i], 0.0, cause, "overwritten"
                )
    leaves = calls.leaves()
    outputs_ = calls.outputs(leaves)
    weights = calls.weights(outputs_)
    before = [u.clone() for u in weights]
    asked = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    pairs = [(y, u) for y, u in zip(outputs_, weights, strict=True) if y.requires_grad]
    y, u = [one for one, _ in pairs], [one for _, one in pairs]
    first = [
        None if g is None else g.clone() for g in torch.autograd.grad(y, asked, u, retain_graph=True, allow_unused=True)
    ]
    for k, (now, was) in enumerate(zip(weights, before, strict=True)):
        cause = "in place: the backward pass writes to the gradient that it is given"
        yield row(quantity, "gradient handed in as it was", f"gradient of f{k}", now, was, 0.0, cause, "overwritten")
    copies = [b for b, one in zip(before, outputs_, strict=True) if one.requires_grad]
    second = torch.autograd.grad(y, asked, copies, allow_unused=True)
    for k, (a, b) in enumerate(zip(second, first, strict=True)):
        if a is not None and b is not None:
            cause = "in place: the backward pass changes what was saved, and gives another gradient the second time"
            yield row(quantity, "backward twice", calls.name(k), a, b, eps_of(calls), cause)


def linear(calls: Calls, quantity: str) -> Iterator[Finding]:
    """The backward pass is linear in the gradient: B(u + 2v) = B(u) + 2 B(v)."""
    u = calls.weights(calls.outputs(calls.leaves()))
    v = [torch.roll(one.reshape(-1), 1).reshape(one.shape) + 0.3 for one in u]
    both = calls.gradients(calls.leaves(), [a + 2 * b for a, b in zip(u, v, strict=True)])
    one, two = (calls.gradients(calls.leaves(), each) for each in (u, v))
    for k, g in enumerate(both):
        cause = "not linear in the gradient of the output: it is ignored, or clipped"
        yield row(quantity, "B(u + 2v) = B(u) + 2B(v)", calls.name(k), g, one[k] + 2 * two[k], eps_of(calls), cause)


def types(calls: Calls, quantity: str) -> Iterator[Finding]:
    """Smaller types: the same numbers to within their rounding, in the type of the input."""
    if not calls.program.wide:
        return
    for kind in SMALLER:
        leaves = [
            leaf.detach().to(kind).requires_grad_() if number_tensor(leaf) and not leaf.is_complex() else leaf
            for leaf in calls.inputs
        ]
        rounded = [
            leaf.detach().double().requires_grad_() if isinstance(leaf, Tensor) and leaf.requires_grad else leaf
            for leaf in leaves
        ]
        name = str(kind).removeprefix("torch.")
        try:
            outputs = calls.outputs(leaves)
            weights = calls.weights(outputs)
            found = calls.gradients(leaves, weights)
        except (RuntimeError, TypeError):
            continue  # not made for this type
        truth = calls.gradients(rounded, [u.to(wide(u.dtype)) for u in weights])
        allowed = 64 * torch.finfo(kind).eps ** (1 if kind is torch.float32 else 0.75)
        for k, g in enumerate(found):
            cause = f"type: wrong in {name}"
            yield row(quantity, name, calls.name(k), g, truth[k], max(allowed, 1e-4), cause)


def lanes(calls: Calls, quantity: str) -> Iterator[Finding]:
    """A batch under vmap against the same one after the other: values and gradients."""
    where = calls.floating
    factors = [1.0, 0.9, 1.15][:LANES]
    inputs = calls.inputs
    stacked = [torch.stack([inputs[i] * c for c in factors]) for i in where]

    outputs = calls.outputs(calls.leaves())
    weights = [u.detach() for u in calls.weights(outputs)]

    def plain(*given: Tensor) -> Tensor:
        leaves = list(inputs)
        for i, t in zip(where, given, strict=True):
            leaves[i] = t
        found = calls.program(leaves)
        return sum(((u.conj() * y).real.sum() for u, y in zip(weights, found, strict=True)), torch.zeros(()))

    def slope(*given: Tensor) -> tuple[Tensor, ...]:
        return torch.func.grad(plain, argnums=tuple(range(len(where))))(*given)

    values = torch.func.vmap(plain)(*stacked)
    alone = torch.stack([plain(*(t[j] for t in stacked)) for j in range(len(factors))])
    cause = "vmap: rows of a batch get mixed up"
    yield row(
        quantity,
        "values under vmap",
        "a value",
        values,
        alone,
        eps_of(calls),
        cause,
        "not what one call after the other gives",
    )
    found = torch.func.vmap(slope)(*stacked)
    singly = [slope(*(t[j] for t in stacked)) for j in range(len(factors))]
    for k, g in enumerate(found):
        truth = torch.stack([one[k] for one in singly])
        yield row(quantity, "gradients under vmap", calls.name(k), g, truth, eps_of(calls), cause)


Look = Callable[[Calls, str], Iterator[Finding]]
LOOKS: dict[str, Look] = {
    "each input by itself": each_input,
    "each output by itself": each_output,
    "memory layout": layouts,
    "in place": in_place,
    "linearity": linear,
    "other types": types,
    "vmap": lanes,
}
