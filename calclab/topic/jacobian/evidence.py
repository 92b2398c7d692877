"""Evidence for a Jacobian at a point: proofs for formulas; for all, forward against reverse mode and differences."""

from __future__ import annotations

from math import isfinite

import torch
from torch import Tensor

from calclab.core import Ball, Evidence, Function, Verdict
from calclab.numerics import certify, operators
from calclab.numerics.agreement import beside, identity
from calclab.numerics.differences import richardson
from calclab.numerics.jacobian import Products
from calclab.numerics.tolerance import tolerance_of
from calclab.numerics.verify import check_gradient, check_jacobian, check_singular_values, check_value, rounded
from calclab.topic.rounding import slack


def of_matrix(f: Function, value: Tensor, J: Tensor, σ: Tensor | None, k: int, seed: int) -> list[Evidence]:
    """For f(x) (m,), J (m, n) and its singular values, at the start of ``f``."""
    x = f.start
    evidence = check_value(f, x, value[0] if f.scalar else value, k)
    slopes = check_gradient(f, x, J[0], k) if f.scalar else check_jacobian(f, x, J, k)
    evidence += slopes
    if not f.scalar and σ is not None and bool(J.isfinite().all()):
        evidence += check_singular_values(f, x, σ, k)
    if f.exact is not None and not bool(J.isfinite().all()):
        return evidence  # modes overflow each in its own way: what is true here is said by the proof
    return evidence + (adjoint(f, J, k, seed) if f.exact is None else beside(slopes, adjoint(f, J, k, seed)))


def adjoint(f: Function, J: Tensor, k: int, seed: int) -> list[Evidence]:
    """⟨u, Jv⟩ = ⟨Jᵀu, v⟩ with Jv by forward and Jᵀu by reverse mode, for seeded u and v of unit length."""
    call, x = f.call, f.start
    u, v, maker = directions(x, J.shape[0], J.shape[1], seed)
    operator = operators.jacobian(call, x)
    forward = pushed(f, v, operator).to(J.dtype)  # a callable of the user's may promote a float32
    left, right = u @ forward, (operator.T @ u) @ v
    norm = float(J.norm())  # of the terms in ⟨u, Jv⟩: their sum may cancel
    known = slack(f, x, J, 1, norm)
    allowed = tolerance_of(x.dtype).identity * norm if known is None else known
    near = x + torch.randn(len(x), generator=maker, dtype=x.dtype, device=x.device) * x.abs().clamp(min=1) / 8
    beside = float((operators.jacobian(call, near).T @ u).norm())  # where J vanishes, its terms cancel: their size
    allowed += 64 * tolerance_of(x.dtype).eps * beside if isfinite(beside) else 0.0
    rows = [
        identity("⟨u, Jv⟩ = ⟨Jᵀu, v⟩", "forward against reverse mode", left, right, k, tolerance=allowed),
        identity("Jv", "forward mode = matrix", forward, J @ v, k, tolerance=allowed),
    ]
    return rounded(f, rows)


def of_triplet(
    f: Function, made: Products, σ: Tensor, u: Tensor, v: Tensor, residual: Tensor, k: int, seed: int
) -> list[Evidence]:
    """For the largest singular value alone: Jv = σu by forward mode; products against each other; a proof for formulas
    whose singular values can be proven, and differences for all others.

    σ is within ``residual`` of a singular value, so that so much is forgiven.
    """
    if not bool(σ.isfinite()):
        return [identity("largest singular value", "products with vectors", σ, σ, k, note="not finite here")]
    x, m, n = f.start, len(u), len(v)
    evidence, ball = [], proven(f)
    if ball is not None:
        first = Ball(ball.mid[:1], ball.rad[:1])
        evidence = certify.spectrum(f, "largest singular value", σ[None], first, k)
        if evidence[0].verdict is not Verdict.CERTIFIED:
            return evidence  # digits are lost, of other programs' numbers as well
    operator = operators.jacobian(f.call, x)
    allowed = tolerance_of(x.dtype).identity * float(σ) + 2 * float(residual)
    forward = pushed(f, v, operator)
    evidence.append(identity("largest singular value: Jv = σu", "forward mode", forward, σ * u, k, tolerance=allowed))
    if ball is None:
        slope, error = richardson(lambda p: f.call(p).reshape(-1), x, v)
        rough = 10 * float(error.norm()) + allowed + tolerance_of(x.dtype).resolve * float(σ)
        evidence.append(identity("largest singular value: Jv = σu", "Richardson", slope, σ * u, k, tolerance=rough))
    a, b, _ = directions(x, m, n, seed)
    own = tolerance_of(x.dtype).identity * float(σ)
    left, right = a @ pushed(f, b, operator), made.pull(a[None])[0] @ b
    evidence.append(identity("⟨u, Jv⟩ = ⟨Jᵀu, v⟩", "forward against reverse mode", left, right, k, tolerance=own))
    return rounded(f, evidence)


def proven(f: Function) -> Ball | None:
    """Proven singular values of a formula, descending; None of other functions, and where they could not be proven."""
    ball = None if f.exact is None else f.exact.singular_values(f.start)
    return ball if ball is not None and bool((ball.mid.isfinite() & ball.rad.isfinite()).all()) else None


def pushed(f: Function, v: Tensor, operator: operators.LinearOperator) -> Tensor:
    """Jv (m,) by forward mode."""
    try:
        return torch.func.jvp(f.call, (f.start,), (v,))[1].reshape(-1)
    except (RuntimeError, NotImplementedError):  # an operation without a forward rule: reverse over reverse
        return operator @ v


def directions(x: Tensor, m: int, n: int, seed: int) -> tuple[Tensor, Tensor, torch.Generator]:
    maker = torch.Generator(device=x.device).manual_seed(seed)
    u, v = (torch.randn(size, generator=maker, dtype=x.dtype, device=x.device) for size in (m, n))
    return u / u.norm(), v / v.norm(), maker
