"""Is this the Hessian of *my* objective? What a second derivative that is not usually is instead.

-H                  the sign (a Laplace covariance negated)          H⁻¹, -H⁻¹    a covariance, negated
n H, H/n            a sum where the objective is a mean              H + c I      damping, a prior
Jᵀ H_out J          Gauss-Newton: the curvature of the network is left out (Schraudolph 2002)
∇f ∇fᵀ              the outer product of the gradient (an empirical Fisher matrix)
diag H, |H|         its diagonal; the absolute eigenvalues
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from calclab.checks.cause import cause, fits
from calclab.checks.claims import Claim
from calclab.checks.search import Look
from calclab.core import Evidence
from calclab.numerics.agreement import compare
from calclab.numerics.gauss_newton import gauss_newton

Split = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]  # f = outer ∘ inner
SEED = 20_165
TRIED = (1.0, -1.0, 0.5, 2.0)


def curvature_cause(look: Look, gradient: Tensor, split: Split | None, counts: Sequence[tuple[str, int]] = ()) -> str:
    """The probable cause of a wrong second derivative; ``gradient`` (n,) is that of the objective at the point."""
    return next(patterns(look, gradient, split, counts), "") or cause(look, counts)


def patterns(look: Look, gradient: Tensor, split: Split | None, counts: Sequence[tuple[str, int]]) -> Iterator[str]:
    n = len(gradient)
    factors = [*TRIED, *(float(k) for _, k in counts), *(1.0 / k for _, k in counts if k)]
    if split is not None:
        yield from relatives(look, split, factors)
    if look.claimed.shape != (n, n):
        return
    order = torch.tensor(look.index).argsort()
    H, M, b = (part[order].T for part in (look.claimed, look.found, look.bound))
    gap = float((H - M).abs().nan_to_num(0, 0, 0).max())
    if fits(H, -M, b, gap):
        yield "sign: it is the negative of the Hessian"
    if bool(M.isfinite().all()) and float(torch.linalg.cond(M)) < 1e8:
        inverse = torch.linalg.inv(M)
        loose = b * float(inverse.abs().max()) ** 2
        if fits(H, inverse, loose, gap):
            yield "inverse: it is the inverse of the Hessian (a covariance)"
        if fits(H, -inverse, loose, gap):
            yield "inverse and sign: it is the negated inverse of the Hessian (a covariance with the other sign)"
    if n > 1:
        c = (H - M).diagonal().mean()
        if fits(H - M, c * torch.eye(n).to(M), b, gap):
            yield f"{float(c):.6g}·I is added: damping, or a prior"
        if fits(H, M.diagonal().diag(), b, gap):
            yield "only the diagonal of the Hessian"
        outer = torch.outer(gradient, gradient)
        k = float((H * outer).sum() / outer.square().sum().clamp(min=1e-300))
        if bool(outer.any()) and fits(H, k * outer, b, gap):
            yield "the outer product of the gradient (an empirical Fisher matrix), not the Hessian"
        values, vectors = torch.linalg.eigh(((M + M.T) / 2).nan_to_num(0, 0, 0))
        if fits(H, (vectors * values.abs()) @ vectors.T, b, gap):
            yield "the absolute eigenvalues of the Hessian: it is indefinite, what is given is not"
        if fits(H, M.triu(), b, gap) or fits(H, M.tril(), b, gap):
            yield "only one triangle of the Hessian"
        if not fits(H, H.T, 0 * b, 1e-6 * float(H.abs().max())):
            yield f"not symmetric, as a Hessian is{'; ' * bool(cause(look, counts))}{cause(look, counts)}"
        given = torch.linalg.eigvalsh(((H + H.T) / 2).nan_to_num(0, 0, 0))
        small = 1e-9 * float(values.abs().max())
        if float(values[0]) < -small and float(given[0]) > -small and not cause(look, counts).startswith("sign"):
            yield "positive semidefinite, where the Hessian is not: a Gauss-Newton or Fisher matrix?"


def relatives(look: Look, split: Split, factors: Sequence[float]) -> Iterator[str]:
    """Whether what is given is the Gauss-Newton matrix of the same objective, along two directions."""
    x = look.question.x
    maker = torch.Generator().manual_seed(SEED)
    directions = torch.randn(2, len(x), generator=maker, dtype=torch.float64).to(x)
    G = gauss_newton(*split, x).matmat(directions.T).T
    given = look.question.given(directions)
    if given.shape != G.shape:
        G = G @ look.question.weights.T if look.question.weights is not None else G
    truth = look.question.values(torch.cat([x + 1e-5 * directions, x - 1e-5 * directions]))
    truth = (truth[:2] - truth[2:]) / 2e-5
    size = float(G.norm())
    if given.shape != G.shape or float((truth - G).norm()) <= 1e-5 * size:
        return  # the objective's Hessian is its Gauss-Newton matrix: nothing is told by that
    for c in dict.fromkeys(factors):
        if float((given - c * G).norm()) <= 1e-6 * abs(c) * size:
            times = "" if c == 1 else f", times {c:.6g}"
            yield (
                f"the Gauss-Newton matrix of this objective{times}, not its Hessian: "
                "the curvature of the inner map is left out"
            )


def structure(claim: Claim, x: Tensor) -> list[Evidence]:
    """Rows that need no differences: a Hessian is symmetric and linear, ⟨u, Hv⟩ = ⟨v, Hu⟩ and H(u + 2v) = Hu + 2Hv."""
    if claim.whole is None:
        return []
    maker = torch.Generator().manual_seed(SEED)
    u, v = torch.randn(2, len(x), generator=maker, dtype=torch.float64).to(x)
    Hu, Hv, both = claim.whole(x, u), claim.whole(x, v), claim.whole(x, u + 2 * v)
    size = float(Hu.norm() * v.norm())
    w = torch.sign(u) * v.abs()
    return [
        compare(claim.quantity, "symmetry: ⟨u, Hv⟩ = ⟨v, Hu⟩", [u @ Hv], [v @ Hu], x.dtype, 0, size),
        compare(claim.quantity, "linear: H(u + 2v) = Hu + 2Hv", [w @ both], [w @ (Hu + 2 * Hv)], x.dtype, 0, size),
    ]
