"""The sentence and the numbers of an answer: of one Jacobian, and of many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from calclab.core import Answer, Function, State
from calclab.numerics.kinks import filled, nowhere
from calclab.numerics.spectrum import condition_of_singular_values, rank
from calclab.numerics.verify import known
from calclab.topic import words
from calclab.topic.hessian import condition_bounds, condition_values
from calclab.topic.jacobian import lipschitz, measures
from calclab.topic.jacobian.asked import ByInput
from calclab.topic.jacobian.evidence import proven
from calclab.topic.proven import Proven
from calclab.topic.proven import proven as proven_numbers

if TYPE_CHECKING:
    from calclab.topic.jacobian.points import PointScan

Found = dict[str, Tensor | str]

ENCLOSED = 1000  # points at which kinks are looked for, at most


def one(scan: PointScan, state: State) -> Answer:
    """At a single point."""
    if not scan.forms:
        return largest(scan, state)
    f, J, σ = scan.asked.function(0), state["jacobian"][0], state["own.singular_values"][0]
    array = J if scan.batch is None else J.reshape(scan.batch, -1, scan.batch, J.shape[1] // scan.batch)
    value, slopes = state["value"][0], J[0] if f.scalar else J
    rest: Found = {"value": value, **said(f, value[0] if f.scalar else value, 0).values("value")}
    rest["frobenius_norm"] = J.norm()
    if scan.small:
        rest |= {"jacobian": array, **said(f, slopes, 1).values("jacobian")}
    if scan.weight is not None:
        rest["weight"] = scan.blocks(scan.weight).reshape(array.shape)
    rest["way"] = scan.plan.way
    latex = [] if f.exact is None else f.exact.derivative_latex(1)
    ball = None if f.scalar else proven(f)
    gaps = known(f, f.start, 1, J) if ball is None and plain(scan) else {}
    full = filled(said(f, slopes, 1).best.reshape(J.shape).to(J.dtype), gaps)
    measured = bool(gaps) and all(gap.exists for gap in gaps.values()) and bool(full.isfinite().all())
    if measured:
        rest["jacobian_measured"] = full
        σ = torch.linalg.svdvals(full)
    if ball is None and not measured and (gaps or not bool(J.isfinite().all())):
        values: Found = {"rank": "undefined", "condition": "undefined", "conditioning": "undefined"}
        values["shape"] = words.shape(array)
        return Answer(f"the Jacobian of {f.name} {nowhere(gaps)}", {**values, "singular_values": σ, **rest}, latex)
    float_σ = σ
    if ball is not None:
        σ = torch.where(ball.mid.abs() <= ball.rad, 0.0, ball.mid)
    condition = condition_of_singular_values(σ, ball)
    found = rank(σ, tuple(J.shape)) if ball is None else int((σ > 0).sum())
    values = {"rank": torch.as_tensor(found), **condition_values(condition, scan.threshold)}
    values |= {"singular_values": float_σ, **Proven(float_σ, ball).values("singular_values")}
    values |= {"spectral_norm": float_σ[0], "median_singular_value": float_σ.median()}
    values |= {"shape": words.shape(array), **rest}
    values |= condition_bounds(condition)
    text = (
        f"the Jacobian of {f.name} has shape {words.shape(array)} and rank {found} of {len(σ)}; "
        f"singular value{'s' * (len(σ) > 1)} {words.ends(σ)}; {condition.sentence(scan.threshold)}"
    )
    if J.shape[0] == J.shape[1] and len(J) > 1:
        sign = state["own.orientation"][0] if found == len(J) else torch.zeros(())
        proof = None if f.exact is None else f.exact.orientation(f.start)  # a proof, however few digits are left
        sign = sign if proof is None else torch.tensor(proof)
        volume = state["own.log_abs_det"][0]
        values |= {"log_abs_det": volume, "orientation": measures.orientation(sign)}
        if ball is not None:
            volume = σ.log().sum()
        text += f"; log|det| {words.number(volume)}, orientation {measures.orientation(sign)}"
    text += bracket(scan, float(float_σ[0]), values)
    if not bool(J.isfinite().all()):
        text += f"; these are the {'measured' if measured else 'proven'} values: the float program gives none here"
    if not scan.small:
        text += f"; its {J.numel():,} entries are not written"
    return Answer(text, values, latex)


def largest(scan: PointScan, state: State) -> Answer:
    """At a single point, the largest singular value only."""
    (m, n), σ, residual = scan.shape, state["own.spectral_norm"][0], state["own.residual"][0]
    values: Found = {
        "spectral_norm": σ,
        "residual": residual,
        "shape": str((m, n)),
        "value": state["value"][0],
        "way": scan.plan.way,
    }
    name = scan.asked.function(0).name
    if not bool(σ.isfinite()):
        return Answer(f"the Jacobian of {name}, of shape ({m}, {n}), is not finite at the point", values)
    text = (
        f"the Jacobian of {name} has shape ({m}, {n}); largest singular value {words.number(σ)} ± {float(residual):.1g}"
    )
    if "own.frobenius_norm" in state:
        norm = state["own.frobenius_norm"][0]
        values |= {"frobenius_norm": norm, "stable_rank": (norm / σ) ** 2, "nonzero": state["nonzero"]}
        text += (
            f"; Frobenius norm {words.number(norm)}; {int(state['nonzero']):,} of its {m * n:,} entries can be nonzero"
        )
    text += bracket(scan, float(σ), values)
    return Answer(text, values)


def many(scan: PointScan, state: State) -> Answer:
    """Over all points."""
    σ, count = state["all.spectral_norm"], scan.asked.count
    at, m_n = int(σ.nan_to_num(nan=-1.0).argmax()) + scan.asked.first, scan.shape
    rows = measures.quantiles(σ)
    unit = "row" if not scan.asked.function(0).exact and " at row " in scan.asked.function(0).name else "point"
    values: Found = {
        "points": torch.tensor(count),
        "shape": str((count, *m_n)),
        "way": scan.plan.way,
        "spectral_norm": rows[-1],
        "largest_at": torch.tensor(at),
        "median_spectral_norm": rows[3],
        "least_spectral_norm": rows[0],
        "spectral_norms": rows,
    }
    text = (
        f"{count:,} Jacobians of {title(scan)}, each {m_n[0]} × {m_n[1]}: spectral norm {words.number(rows[0])} to "
        f"{words.number(rows[-1])}, median {words.number(rows[3])}, the largest at {unit} {at}"
    )
    if "all.condition" in state:
        κ, r = state["all.condition"], state["all.rank"]
        full = min(m_n)
        conditions = measures.conditions(κ, r, full)
        deficient = int((r < full).sum())
        values |= {
            "conditions": conditions,
            "median_condition": conditions[3],
            "rank_deficient": torch.tensor(deficient),
        }
        values |= {"median_singular_values": measures.quantiles(state["all.singular_values"])[3]}
        if full > 1 and bool((r == full).any()):
            text += f"; condition number {words.number(conditions[0])} to {words.number(conditions[-1])}"
            text += f", median {words.number(conditions[3])}"
            ill = int(((κ > scan.threshold) & (r == full)).sum())
            text += f", {ill:,} above {scan.threshold:g}" if ill else ""
        if deficient:
            text += f"; {deficient:,} of less than full rank {full}"
        if "all.orientation" in state and full > 1:
            sign = state["all.orientation"]
            values["preserved"], values["reversed"] = (sign > 0).sum(), (sign < 0).sum()
            text += f"; orientation preserved at {int((sign > 0).sum()):,} and reversed at {int((sign < 0).sum()):,}"
    else:
        residuals = state["all.residual"]
        there = ~residuals.isnan()
        values["residual"] = residuals[there].max() if bool(there.any()) else residuals[0]
        text += f"; residuals up to {float(values['residual']):.1g}"
    if "squares" in state:
        values["sensitivity"] = (state["squares"] / count).sqrt()
    text += bracket(scan, float(rows[-1]), values)
    missing = int(σ.isnan().sum())
    text += f"; not finite at {missing:,}" if missing else ""
    if scan.plan.way != "straight" and count <= ENCLOSED:  # those are smooth
        kinks = sum(not exists(scan.asked.function(k)) for k in range(count))
        values["undefined"] = torch.tensor(kinks)
        text += f"; does not exist at {kinks:,} (a kink or an infinite slope)" if kinks else ""
    return Answer(text, values)


def title(scan: PointScan) -> str:
    return scan.asked.function(0).name.partition(" at row ")[0]


def bracket(scan: PointScan, seen: float, values: Found) -> str:
    """Between what the Lipschitz constant of a network lies; also put among the values."""
    if scan.stretch is None or seen != seen:
        return ""
    values["lipschitz_low"] = torch.tensor(seen, dtype=torch.float64)
    if not scan.stretch.missing:
        values["lipschitz_high"] = torch.tensor(scan.stretch.constant, dtype=torch.float64)
        values["layer_norms"] = torch.tensor(list(scan.stretch.norms.values()), dtype=torch.float64)
    return f"; {lipschitz.sentence(seen, scan.stretch)}"


def said(f: Function, numbers: Tensor, order: int) -> Proven:
    """The value or the Jacobian at the start of ``f``, proven where it can be."""
    return proven_numbers(f, f.start, numbers, order)


def plain(scan: PointScan) -> bool:
    """Whether it is a function's: of a network nothing is measured."""
    return isinstance(scan.asked, ByInput) and scan.asked.module is None


def exists(f: Function) -> bool:
    """Whether nothing speaks against a Jacobian here: autograd gives numbers at kinks too."""
    return f.exact is None or not bool(f.exact.enclose(f.start, 1).mid.isnan().any())
