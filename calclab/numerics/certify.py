"""Evidence for formulas: the number against a rigorous Arb ball, and against the closed form.

certified: gap + radius <= tolerance · max(largest proven entry, scale). Where it is further off it is suspect, with
the digits that floating point has kept; refuted, if autograd itself is right here and the number is not; undefined
where the derivative does not exist. A truth that half an ulp in the inputs could turn to zero is zero to working
precision, and there a gap of that size is certified too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log10, nan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calclab.core import Ball, Evidence, Exact, Function, Verdict
from calclab.numerics import operators
from calclab.numerics.kinks import kink_notes, without_kinks
from calclab.numerics.tolerance import ZERO, Tolerance, tolerance_of

QUANTITIES = ("value", "gradient", "hessian")
BALL, CLOSED = "Arb ball", "closed form"
EPS = float(np.finfo(np.float64).eps)
Numbers = NDArray[np.float64]
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Reference:
    """Proven numbers for a tensor, all flat: within ``rad`` of ``mid``, and what half an ulp of x does."""

    mid: Numbers
    rad: Numbers
    sensitivity: Callable[[], Numbers]  # asked for only where the bound alone does not pass
    method: str


@dataclass
class Blur:
    """What half an ulp of x does to a derivative, found once for whoever asks; None as long as nobody has."""

    exact: Exact
    x: Tensor
    order: int
    ball: Ball
    found: Numbers | None = None

    def __call__(self) -> Numbers:
        if self.found is None:
            self.found = sensitivity_of(self.exact, self.x, self.order, self.ball)
        return self.found


def derivative(
    function: Function,
    x: Tensor,
    value: Tensor,
    step: int,
    *,
    order: int,
    scale: float = 0.0,
    each: bool = False,
    closed: bool = True,
) -> list[Evidence]:
    """Evidence for the derivative of ``order`` 0, 1 or 2 of a formula; ``value`` has the shape of ``enclose``.

    Against the ball always; against the closed form only when ``closed``, since it costs more and proves less.
    """
    exact = function.exact
    assert exact is not None
    quantity = "jacobian" if order == 1 and not function.scalar else QUANTITIES[order]
    ball = exact.enclose(x, order)
    if order == 2:
        ball = without_kinks(ball, exact.enclose(x, 1))
    sensitivity = Blur(exact, x, order, ball)
    form = exact.closed_form(x, order) if closed else None
    references = [Reference(flat(ball.mid), flat(ball.rad), sensitivity, BALL)]
    if form is not None:
        numbers = flat(form)
        exists = np.where(np.isnan(references[0].mid), nan, numbers)
        references.append(Reference(exists, np.abs(numbers) * EPS / 2, sensitivity, CLOSED))
    missing = np.flatnonzero(np.isnan(references[0].mid)).tolist()
    kinks = kink_notes(exact, x, order, missing, function.variables) if missing else {}
    judge = Judge(tolerance_of(x.dtype), scale, step, kinks, lambda: again(function, x, order))
    numbers = flat(value)
    names = {quantity: np.arange(len(numbers))}
    if each and order == 1 and function.scalar:
        names = {f"∂f/∂{name}": np.array([i]) for i, name in enumerate(function.variables)}
    return [row for ref in references for name, index in names.items() for row in judge.rows(name, numbers, ref, index)]


def gradients(
    function: Function, x: Tensor, values: Tensor, step: int, scales: Sequence[float]
) -> list[list[Evidence]]:
    """Evidence for the gradients (p, n) of a scalar formula at points (p, n), against the ball: as `derivative` gives
    it for each with its scale, but all that simply pass are judged at once.
    """
    exact = function.exact
    assert exact is not None
    if not len(x):
        return []
    balls = [exact.enclose(point, 1) for point in x]
    numbers = flat(values).reshape(values.shape)
    mid, rad = (
        np.stack([flat(part) for part in parts]) for parts in zip(*((b.mid, b.rad) for b in balls), strict=True)
    )
    gaps, bounds = apart(numbers, mid, rad)
    allowed = tolerance_of(x.dtype).certified * np.maximum(largest(mid), scales)
    passed = (bounds <= allowed[:, None]).all(-1)  # never where a number or a bound is not finite
    worst = np.where((mid == 0) & (bounds == 0), -1.0, bounds).argmax(-1)[:, None]
    shown = [np.take_along_axis(part, worst, -1)[:, 0] for part in (numbers, mid, gaps, bounds)]
    rows = [
        [Evidence(step, QUANTITIES[1], BALL, value, truth, gap, bound, tolerance, Verdict.CERTIFIED)]
        for value, truth, gap, bound, tolerance in zip(*(part.tolist() for part in (*shown, allowed)), strict=True)
    ]
    for i in np.flatnonzero(~passed).tolist():
        rows[i] = derivative(function, x[i], values[i], step, order=1, scale=scales[i], closed=False)
    return rows


def apart(numbers: Numbers, mid: Numbers, rad: Numbers) -> tuple[Numbers, Numbers]:
    """How far each number is from its ball's midpoint, infinite where that is not known; and from the truth at most."""
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.where(numbers == mid, 0.0, np.abs(numbers - mid))
    gaps[np.isnan(gaps)] = inf
    return gaps, gaps + rad


def largest(mid: Numbers) -> Numbers:
    """The largest entry (...) of proven numbers (..., n), among those that are finite."""
    return np.abs(mid).max(-1, initial=0.0, where=np.isfinite(mid))


def spectrum(function: Function, quantity: str, numbers: Tensor, ball: Ball, step: int) -> list[Evidence]:
    """Evidence for eigenvalues or singular values against proven ones in the same order."""
    mid = flat(ball.mid)
    reference = Reference(mid, flat(ball.rad), lambda: np.zeros_like(mid), BALL)
    return Judge(tolerance_of(numbers.dtype), 0.0, step, {}, None).rows(
        quantity, flat(numbers), reference, np.arange(len(mid))
    )


@dataclass(frozen=True)
class Judge:
    """Turns entries of a tensor and of its reference into rows; ``recompute`` gives autograd's own numbers."""

    tolerance: Tolerance
    scale: float
    step: int
    kinks: dict[int, str]
    recompute: Callable[[], Numbers] | None

    def rows(self, quantity: str, numbers: Numbers, ref: Reference, index: Index) -> list[Evidence]:
        """One row for the entries ``index`` that exist, the worst of them, and one for those that do not."""
        missing = np.isnan(ref.mid[index])
        if not missing.any():
            return [self.worst(quantity, numbers, ref, index)] if len(index) else []
        found = [self.undefined(quantity, numbers, ref, index[missing])] if ref.method == BALL else []
        if not missing.all():
            found.append(self.worst(quantity, numbers, ref, index[~missing]))
        return found

    def undefined(self, quantity: str, numbers: Numbers, ref: Reference, index: Index) -> Evidence:
        i = int(index[0])
        notes = list(dict.fromkeys(self.kinks.get(int(j), "not defined here") for j in index[:4]))
        number = float(numbers[i])
        return self.evidence(quantity, ref, number, nan, nan, inf, 0.0, Verdict.UNDEFINED, "; ".join(notes))

    def worst(self, quantity: str, numbers: Numbers, ref: Reference, index: Index) -> Evidence:
        allowed = self.tolerance.certified * max(float(largest(ref.mid)), self.scale)
        value, mid, rad = numbers[index], ref.mid[index], ref.rad[index]
        gaps, bounds = apart(value, mid, rad)
        sensitive = np.zeros_like(mid) if (bounds <= allowed).all() else ref.sensitivity()[index]
        zero = (np.abs(mid) <= ZERO * sensitive) & (bounds <= ZERO * sensitive)
        excess = np.where(zero, -1.0, bounds)  # entries that are zero to working precision fail least
        j = int(excess.argmax())
        number, truth, gap, bound = float(value[j]), float(mid[j]), float(gaps[j]), float(bounds[j])
        if not isfinite(float(rad[j])):
            note = "no finite bound could be proven here"
            return self.evidence(quantity, ref, number, truth, gap, bound, allowed, Verdict.INCONCLUSIVE, note)
        if bool(zero[j]):
            note = "" if bound <= allowed else "zero to working precision"
            allowed = max(allowed, float(ZERO * sensitive[j]))
            return self.evidence(quantity, ref, number, truth, gap, bound, allowed, Verdict.CERTIFIED, note)
        if bound <= allowed:
            return self.evidence(quantity, ref, number, truth, gap, bound, allowed, Verdict.CERTIFIED, "")
        verdict, note = self.explain(number, truth, gap, allowed, int(index[j]))
        return self.evidence(quantity, ref, number, truth, gap, bound, allowed, verdict, note)

    def explain(self, number: float, truth: float, gap: float, allowed: float, i: int) -> tuple[Verdict, str]:
        """Suspect or refuted: floating point loses digits here, unless autograd, asked again, does not."""
        if gap <= allowed:
            return Verdict.INCONCLUSIVE, "the proven bound is wider than the tolerance"
        if self.recompute is not None:
            own = float(self.recompute()[i])
            if abs(own - truth) <= min(allowed, gap / 100):
                return Verdict.REFUTED, f"autograd gives {own:.10g} here, and the proven value is {truth:.10g}"
        kind = "float" + str({16: 64, 7: 32}.get(self.tolerance.digits, 16))
        digits = kept(gap, truth, self.tolerance.digits)
        what = f"keeps about {digits} of {self.tolerance.digits} digits" if digits else "keeps no digit"
        what = what if isfinite(number) else f"gives {number}"
        return Verdict.SUSPECT, f"{kind} {what} here; proven value {truth:.10g}"

    def evidence(
        self,
        quantity: str,
        ref: Reference,
        value: float,
        truth: float,
        gap: float,
        bound: float,
        allowed: float,
        verdict: Verdict,
        note: str,
    ) -> Evidence:
        return Evidence(self.step, quantity, ref.method, value, truth, gap, bound, allowed, verdict, note)


def kept(gap: float, truth: float, digits: int) -> int:
    """How many decimal digits a number has right, 0 to ``digits``."""
    if not isfinite(gap) or truth == 0:
        return 0
    return max(0, min(digits, int(-log10(gap / abs(truth))))) if gap else digits


def sensitivity_of(exact: Exact, x: Tensor, order: int, ball: Ball) -> Numbers:
    """How far the true derivative moves when every input moves by half an ulp, to first order; flat.

    Σ_j |∂/∂x_j of the derivative| ulp(x_j)/2, by the exact object itself or from the derivative one order higher.
    """
    own = getattr(exact, "sensitivity", None)
    if own is not None:
        return np.nan_to_num(flat(own(x, order)), nan=0.0, posinf=0.0)
    if order > 1:
        return np.zeros(ball.mid.numel())
    higher = exact.enclose(x, order + 1).mid.detach().to("cpu", torch.float64)
    half_ulp = x.detach().to("cpu", torch.float64).abs() * torch.finfo(x.dtype).eps / 2
    return np.nan_to_num(flat(higher.abs() @ half_ulp), nan=0.0, posinf=0.0)


def again(function: Function, x: Tensor, order: int) -> Numbers:
    """What the float program and autograd give, computed anew; flat."""
    if order == 0:
        return flat(function.call(x))
    dense = operators.dense_jacobian if order == 1 else operators.dense_hessian
    if order == 2 and not function.scalar:
        return np.full(len(function.outputs) * len(x) ** 2, nan)
    return flat(dense(function.call, x))


def flat(tensor: Tensor) -> Numbers:
    """All entries as NumPy's float64: evidence is made of few plain numbers, for which it is quicker."""
    return tensor.detach().to("cpu", torch.float64).reshape(-1).numpy()
