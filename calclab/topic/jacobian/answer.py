"""The sentence and the numbers of an answer: of one Jacobian, of many, and of layers.

Of layers: whether the gradient vanishes or explodes on its way to the input, and where conditioning is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from calclab.core import Answer, Function, State
from calclab.numerics.kinks import filled, nowhere
from calclab.numerics.spectrum import condition_of_singular_values, rank
from calclab.numerics.verify import known
from calclab.topic import words
from calclab.topic.hessian import condition_bounds, condition_values
from calclab.topic.jacobian import lipschitz, measures
from calclab.topic.jacobian.evidence import proven
from calclab.topic.jacobian.lipschitz import Bound
from calclab.topic.jacobian.problem import ByInput, JacobianProblem
from calclab.topic.proven import Proven
from calclab.topic.proven import proven as proven_numbers
from calclab.topic.tape import trend

Found = dict[str, Tensor | str]

ENCLOSED = 1000  # points at which kinks are looked for, at most


def of_point(
    problem: JacobianProblem,
    state: State,
    way: str,
    threshold: float,
    stretch: Bound | None,
    held: Tensor | None,
    *,
    batch: int | None,
    written: bool,
) -> Answer:
    """At a single point, of J with all its singular values; ``held`` is what it is known to be. Of a ``batch`` of rows
    it has four axes. ``written``: its entries are among the numbers."""
    f, J, σ = problem.function(0), state["jacobian"][0], state["own.singular_values"][0]
    array = J if batch is None else J.reshape(batch, -1, batch, J.shape[1] // batch)
    value, slopes = state["value"][0], J[0] if f.scalar else J
    rest: Found = {"value": value, **said(f, value[0] if f.scalar else value, 0).values("value")}
    rest["frobenius_norm"] = J.norm()
    if written:
        rest |= {"jacobian": array, **said(f, slopes, 1).values("jacobian")}
    if held is not None:
        rest["weight"] = held.reshape(array.shape)
    rest["way"] = way
    latex = [] if f.exact is None else f.exact.derivative_latex(1)
    ball = None if f.scalar else proven(f)
    gaps = known(f, f.start, 1, J) if ball is None and plain(problem) else {}
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
    values = {"rank": torch.as_tensor(found), **condition_values(condition, threshold)}
    values |= {"singular_values": float_σ, **Proven(float_σ, ball).values("singular_values")}
    values |= {"spectral_norm": float_σ[0], "median_singular_value": float_σ.median()}
    values |= {"shape": words.shape(array), **rest}
    values |= condition_bounds(condition)
    text = (
        f"the Jacobian of {f.name} has shape {words.shape(array)} and rank {found} of {len(σ)}; "
        f"singular value{'s' * (len(σ) > 1)} {words.ends(σ)}; {condition.sentence(threshold)}"
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
    text += bracket(stretch, float(float_σ[0]), values)
    if not bool(J.isfinite().all()):
        text += f"; these are the {'measured' if measured else 'proven'} values: the float program gives none here"
    if not written:
        text += f"; its {J.numel():,} entries are not written"
    return Answer(text, values, latex)


def of_largest(problem: JacobianProblem, state: State, way: str, stretch: Bound | None) -> Answer:
    """At a single point, the largest singular value only."""
    (m, n), σ, residual = problem.shape, state["own.spectral_norm"][0], state["own.residual"][0]
    values: Found = {
        "spectral_norm": σ,
        "residual": residual,
        "shape": str((m, n)),
        "value": state["value"][0],
        "way": way,
    }
    name = problem.function(0).name
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
    text += bracket(stretch, float(σ), values)
    return Answer(text, values)


def of_points(problem: JacobianProblem, state: State, way: str, threshold: float, stretch: Bound | None) -> Answer:
    """Over all points."""
    σ = state["all.spectral_norm"]
    count = len(σ)  # an interrupted scan has not looked at all
    looked_at = f" of {problem.count:,}" if count < problem.count else ""
    at, m_n = int(σ.nan_to_num(nan=-1.0).argmax()) + problem.first, problem.shape
    rows = measures.quantiles(σ)
    unit = "row" if not problem.function(0).exact and " at row " in problem.function(0).name else "point"
    values: Found = {
        "points": torch.tensor(count),
        "shape": str((count, *m_n)),
        "way": way,
        "spectral_norm": rows[-1],
        "largest_at": torch.tensor(at),
        "median_spectral_norm": rows[3],
        "least_spectral_norm": rows[0],
        "spectral_norms": rows,
    }
    text = (
        f"{count:,}{looked_at} Jacobians of {title(problem)}, each {m_n[0]} × {m_n[1]}: spectral norm "
        f"{words.number(rows[0])} to {words.number(rows[-1])}, median {words.number(rows[3])}, the largest at {unit} "
        f"{at}"
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
            ill = int(((κ > threshold) & (r == full)).sum())
            text += f", {ill:,} above {threshold:g}" if ill else ""
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
    text += bracket(stretch, float(rows[-1]), values)
    missing = int(σ.isnan().sum())
    text += f"; not finite at {missing:,}" if missing else ""
    if way != "straight" and count <= ENCLOSED:  # those are smooth
        kinks = sum(not exists(problem.function(k)) for k in range(count))
        values["undefined"] = torch.tensor(kinks)
        text += f"; does not exist at {kinks:,} (a kink or an infinite slope)" if kinks else ""
    return Answer(text, values)


def title(problem: JacobianProblem) -> str:
    return problem.function(0).name.partition(" at row ")[0]


def bracket(stretch: Bound | None, seen: float, values: Found) -> str:
    """Between what the Lipschitz constant of a network lies; also put among the values."""
    if stretch is None or seen != seen:
        return ""
    values["lipschitz_low"] = torch.tensor(seen, dtype=torch.float64)
    if not stretch.missing:
        values["lipschitz_high"] = torch.tensor(stretch.constant, dtype=torch.float64)
        values["layer_norms"] = torch.tensor(list(stretch.norms.values()), dtype=torch.float64)
    return f"; {lipschitz.sentence(seen, stretch)}"


def said(f: Function, numbers: Tensor, order: int) -> Proven:
    """The value or the Jacobian at the start of ``f``, proven where it can be."""
    return proven_numbers(f, f.start, numbers, order)


def plain(problem: JacobianProblem) -> bool:
    """Whether it is a function's: of a network nothing is measured."""
    return isinstance(problem, ByInput) and problem.module is None


def exists(f: Function) -> bool:
    """Whether nothing speaks against a Jacobian here: autograd gives numbers at kinks too."""
    return f.exact is None or not bool(f.exact.enclose(f.start, 1).mid.isnan().any())


# --- of layers ---


def of_layers(names: Sequence[str], weighted: Sequence[int], state: State, threshold: float, *, ends: bool) -> Answer:
    """Of all layers; ``ends``: the last of them gives the outputs."""
    tails = torch.stack([tail.median() for tail in state["tails"]])
    word, factor = trend(weighted, tails)
    values: dict[str, Tensor | str] = {"layers": torch.tensor(len(names)), "word": word, "gradient_norms": tails}
    text = f"{len(names)} layer{'s' * (len(names) > 1)}: the gradient is {word}"
    if factor is not None:
        first, last = weighted[0], weighted[-1]
        values["factor"] = factor
        text += (
            f" (factor {words.number(factor)} per layer, ‖∂y/∂a‖ from {words.number(tails[last])} at {names[last]} "
            f"to {words.number(tails[first])} at {names[first]})"
        )
    if "singular_values" in state:
        σ = state["singular_values"]
        κ, lost = state["seen.condition"], state["seen.lost"]
        at = int(lost.argmax())
        values |= {
            "condition": κ[-1],
            "conditions": κ,
            "lost": lost,
            "most_lost_at": names[at],
            "spectral_norm": σ[:, 0].median(),
            "median_singular_value": σ.median(),
            "singular_values": σ.median(0).values,
        }
        end = "the outputs" if ends else names[-1]
        text += (
            f"; condition number from the input to {end} {words.number(κ[-1])} "
            f"({verdict(float(κ[-1]), threshold, σ)}), most of it lost at {names[at]} (a factor of "
            f"{words.number(10 ** lost[at])}); median singular value {words.number(σ.median())}"
        )
    elif "head" in state:
        κ = state["seen.condition"]
        text += f"; condition number from the input to {names[len(κ) - 1]}, the last looked at, {words.number(κ[-1])}"
        values["conditions"] = κ
    else:
        text += "; the way from the input is too large to be formed"
    return Answer(text, values)


def verdict(κ: float, threshold: float, σ: Tensor) -> str:
    if κ >= 0.99 / (σ.shape[1] * torch.finfo(σ.dtype).eps):
        return "singular to working precision"
    return "well-conditioned" if κ <= threshold else "ill-conditioned"
