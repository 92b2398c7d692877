"""Evidence for a curvature: of a matrix proofs, symmetry and its decomposition; of numbers that came of products alone
differences of gradients, symmetry, residuals, and the truth where it can be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import torch
from torch import Tensor

from calclab.core import Evidence, Function, State, Verdict
from calclab.numerics.agreement import identity
from calclab.numerics.differences import Call, richardson
from calclab.numerics.krylov import Mean, Pairs, Probes
from calclab.numerics.krylov.student import quantile
from calclab.numerics.operators import LinearOperator, value_and_gradient
from calclab.numerics.spectrum import eigenvalues_of, symmetric
from calclab.numerics.tolerance import RICHARDSON, tolerance_of
from calclab.numerics.verify import check_eigenvalues, check_gradient, check_hessian, rounded
from calclab.topic.hessian.problem import CurvatureProblem
from calclab.topic.hessian.stages import unpacked, unpacked_mean
from calclab.topic.rounding import slack

TRUTH = 400  # variables up to which the matrix is formed as evidence
LEVELS = 6  # steps of the difference quotients: each costs two gradients
CLOSE = (2.0**-24, 3)  # the first step, and how many, in which hardly a ReLU goes on or off: float64 has the digits
CLOSER = tuple(2.0**-k for k in (12, 18, 24, 30, 36))  # first steps, where the first of all may have been too large


def check_matrix(problem: CurvatureProblem, state: State, k: int) -> list[Evidence]:
    """Of a matrix (n, n) with its eigenvalues."""
    f, x = problem.function, problem.function.start
    raw, H, λ, V = (state[key] for key in ("raw", "hessian", "eigenvalues", "eigenvectors"))
    evidence = check_gradient(f, x, state["gradient"], k)
    if problem.kind != "hessian":
        evidence.append(identity("matrix", "symmetry: A = Aᵀ", raw, raw.T, k))
        evidence.append(identity("matrix", "A = V diag(λ) Vᵀ", H, (V * λ) @ V.T, k))
        rounding = 16 * float(len(λ) * torch.finfo(λ.dtype).eps * λ.abs().max())
        lowest = identity("matrix", "no eigenvalue is negative", λ.clamp(max=0), 0 * λ, k, tolerance=rounding)
        return [*evidence, lowest]
    evidence += check_hessian(f, x, raw, k)
    if not bool(raw.isfinite().all()):
        return evidence
    if f.exact is not None:  # otherwise it is among the checks already
        evidence.append(identity("hessian", "symmetry: H = Hᵀ", raw, raw.T, k, tolerance=slack(f, x, raw, 2)))
    evidence.append(identity("hessian", "H = V diag(λ) Vᵀ", H, (V * λ) @ V.T, k))
    return evidence if problem.gaps(raw) else evidence + check_eigenvalues(f, x, λ, k)


def check_products(
    problem: CurvatureProblem, found: State, names: Sequence[str], seed: int, k: int, *, whole: bool = True
) -> list[Evidence]:
    """Of what the stages have ``found``; ``names`` are those of the eigenvalues looked for. Unless ``whole``, of a scan
    that was interrupted: by few products, and a pair may be near another eigenvalue than the one wanted."""
    f, A, pairs = problem.function, problem.A, unpacked(found["edges"]["pairs"])
    if not bool(pairs.values.isfinite().all()) or not len(pairs.values):
        return []
    dtype = f.start.dtype
    smallest = f.inside or dtype
    rows = [symmetry(A, dtype, seed, k), orthonormal(pairs, k), residual(A, pairs, smallest, k)]
    if not whole:
        return rounded(f, rows)
    if problem.kind == "hessian":
        for i in sorted({0, len(pairs.values) - 1}):
            at = (pairs.values[i], pairs.vectors[:, i], pairs.residuals[i])
            rows.append(along(f, *at, names[i] if i < len(names) else "λ", k))
    trace = unpacked_mean(found["trace"]["trace"]) if "trace" in found else None
    if problem.n <= TRUTH:
        rows += truth(A, pairs, smallest, trace, k)
    if trace is not None and trace.samples == 0 and "bulk" in found:
        sampled = unpacked_mean(found["bulk"]["trace"])
        rows.append(of_trace("the exact diagonal against random vectors", float(trace.value), sampled, k))
    return rounded(f, rows)


def symmetry(A: LinearOperator, dtype: torch.dtype, seed: int, k: int) -> Evidence:
    """⟨u, A v⟩ = ⟨A u, v⟩ for two random vectors; ``dtype`` is what products are computed in."""
    generator = torch.Generator(A.device).manual_seed(seed)
    U = torch.randn(A.shape[1], 2, dtype=A.dtype, device=A.device, generator=generator)
    U = U / U.norm(dim=0)
    AU = A @ U
    size = float(AU.norm(dim=0).max())
    rule = tolerance_of(dtype)
    left, right = U[:, 0] @ AU[:, 1], AU[:, 0] @ U[:, 1]
    return identity("operator", "⟨u, Av⟩ = ⟨Au, v⟩", left, right, k, tolerance=rule.identity * size)


def orthonormal(pairs: Pairs, k: int) -> Evidence:
    """VᵀV = I: no eigenvalue was found twice."""
    V = pairs.vectors
    gram = V.T @ V
    slack = tolerance_of(V.dtype).identity
    return identity("eigenvectors", "VᵀV = I", gram, torch.eye(len(gram)).to(gram), k, tolerance=slack)


def along(function: Function, λ: Tensor, v: Tensor, bound: Tensor, name: str, k: int) -> Evidence:
    """λ = vᵀHv against extrapolated differences of v·∇f along v: what the quadratic model says of the loss itself.

    Where they settle on something else, the steps may have been too large: a norm of almost nothing but zeros bends
    within 1e-9. So smaller ones are taken. One that confirms λ decides; only two that agree refute it.
    """
    x, number = function.start, float(λ)
    v = v.to(x)

    def slope(p: Tensor) -> Tensor:
        return value_and_gradient(function.call, p)[1] @ v

    h = 1e-2 if x.dtype == torch.float64 else 5e-2
    rule, size = tolerance_of(x.dtype), max(abs(number), float(bound))
    found, error = richardson(slope, x, v, h, levels=LEVELS)
    if x.dtype == torch.float64 and not RICHARDSON * float(error) <= rule.resolve * size:
        found, error = richardson(slope, x, v, CLOSE[0], levels=CLOSE[1])
    off = RICHARDSON * float(error)
    gap = abs(number - float(found))
    allowed = off + rule.refute * size + float(bound)
    row = Evidence(
        k, name, "differences of gradients along v", number, float(found), gap, off, allowed, Verdict.CONSISTENT
    )
    sharp = off <= rule.resolve * size
    if not isfinite(gap):
        return remark(row, Verdict.UNDEFINED, "not finite")
    if gap > allowed:
        return closer(row, slope, x, v, float(bound), sharp=sharp)
    return row if sharp else remark(row, Verdict.INCONCLUSIVE, "the differences do not settle well enough to tell")


def closer(row: Evidence, slope: Call, x: Tensor, v: Tensor, bound: float, *, sharp: bool) -> Evidence:
    """The row of a number that the differences contradict, after a look at smaller steps; ``sharp`` says whether those
    taken so far have settled well."""
    rule, size, looks = tolerance_of(x.dtype), max(abs(row.value), bound), [(row.reference, row.bound)]
    for h in CLOSER:
        limit, error = (float(part) for part in richardson(slope, x, v, h, levels=CLOSE[1]))
        off = RICHARDSON * error
        if not off <= rule.resolve * max(size, abs(limit)):
            continue
        gap, allowed = abs(row.value - limit), off + rule.refute * size + bound
        if gap <= allowed:
            found = replace(row, reference=limit, gap=gap, bound=off, tolerance=allowed)
            return remark(found, Verdict.CONSISTENT, f"at steps of {h:.1g}: further out the slope bends away")
        looks.append((limit, off))
    (one, one_off), (other, other_off) = looks[-2:] if len(looks) > 1 else looks * 2
    agree = abs(one - other) <= one_off + other_off + 10 * rule.refute * max(abs(one), abs(other))
    if agree or not sharp:
        return remark(row, Verdict.REFUTED if sharp else Verdict.INCONCLUSIVE, "the differences settle elsewhere")
    return remark(row, Verdict.INCONCLUSIVE, "the differences do not settle: the slope bends within the smallest steps")


def remark(row: Evidence, verdict: Verdict, note: str) -> Evidence:
    return Evidence(**{**vars(row), "verdict": verdict, "note": note})


def residual(A: LinearOperator, pairs: Pairs, dtype: torch.dtype, k: int) -> Evidence:
    """‖A v - λ v‖ of the first pair, by one more product."""
    v, λ = pairs.vectors[:, 0], pairs.values[0]
    v = v.to(A.dtype)
    again = (A @ v - λ.to(v) * v).double().norm().cpu()
    said = pairs.residuals[0]
    slack = tolerance_of(dtype).identity * float(pairs.values.abs().max())
    gap = float(again - said)
    good = float(again) <= float(said) + slack
    verdict = Verdict.CONSISTENT if good else Verdict.REFUTED
    return Evidence(
        k, "residual", "‖Av - λv‖ by one more product", float(said), float(again), gap, float(said), slack, verdict
    )


def truth(A: LinearOperator, pairs: Pairs, dtype: torch.dtype, trace: Mean | None, k: int) -> list[Evidence]:
    """Eigenvalues and trace of the matrix, where it is small enough: each within its bound.

    A residual says how near *an* eigenvalue is. That it is the k-th is only said up to what the search for missed ones
    left open (``upper``, ``lower``): several closer together than the tolerance asked for are not told apart.
    """
    H = symmetric(A.dense().double().cpu())
    λ = eigenvalues_of(H)
    exact = torch.cat([λ.flip(0)[: pairs.top], λ[: len(pairs.values) - pairs.top]])
    gaps = (pairs.values - exact).abs()
    rounding = (64 if dtype == A.dtype else 1) * torch.finfo(dtype).eps * float(λ.abs().max())
    i = int((gaps - pairs.residuals).argmax())
    allowed = float(pairs.residuals[i]) + rounding
    verdict = Verdict.CONSISTENT if float(gaps[i]) <= allowed else Verdict.REFUTED
    numbers = (float(pairs.values[i]), float(exact[i]), float(gaps[i]))
    row = Evidence(k, "eigenvalues", "those of the matrix", *numbers, float(pairs.residuals[i]), allowed, verdict)
    if verdict is Verdict.REFUTED and in_another_place(pairs, λ, exact, rounding):
        note = f"{numbers[0]:.6g} is one of them, but not in this place: there is {numbers[1]:.6g}. Type a smaller tol"
        row = remark(row, Verdict.INCONCLUSIVE, note)
    rows = [row]
    return rows if trace is None else [*rows, of_trace("the diagonal of the matrix", float(H.trace()), trace, k)]


def in_another_place(pairs: Pairs, λ: Tensor, exact: Tensor, rounding: float) -> bool:
    """Whether every number is within its residual of one of the eigenvalues λ (n,), and those that belong in its place,
    ``exact``, are no further out than the search left open."""
    nearest = (pairs.values[:, None] - λ).abs().amin(1)
    top, bottom = exact[: pairs.top], exact[pairs.top :]
    reach = pairs.values + pairs.residuals + rounding, pairs.values - pairs.residuals - rounding
    open_up = pairs.upper if bool(pairs.upper.isfinite()) else -pairs.upper.abs()
    open_down = pairs.lower if bool(pairs.lower.isfinite()) else pairs.lower.abs()
    return bool(
        (nearest <= pairs.residuals + rounding).all()
        and (top <= torch.maximum(reach[0][: pairs.top], open_up)).all()
        and (bottom >= torch.minimum(reach[1][pairs.top :], open_down)).all()
    )


def of_trace(method: str, exact: float, trace: Mean, k: int) -> Evidence:
    """An estimate against the trace itself: one in twenty lies outside its own interval, one in a million of so few
    samples outside of ``far`` of them."""
    value, half = float(trace.value), float(trace.half)
    freedom = max(1, min(trace.samples, Probes.probes) - 1)
    far = quantile(freedom, 1 - 1e-6) / quantile(freedom, 0.95)
    gap = abs(value - exact)
    slack = 1e-9 * abs(exact)
    verdict = Verdict.CONSISTENT if gap <= half + slack else Verdict.INCONCLUSIVE
    note = "" if gap <= half + slack else "outside its 95 % interval, as one in twenty is"
    if gap > far * half + slack:
        verdict, note = Verdict.REFUTED, "far outside its 95 % interval"
    return Evidence(k, "trace", method, value, exact, gap, half, half, verdict, note)
