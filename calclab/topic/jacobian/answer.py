"""The sentence and the numbers of an answer: of one Jacobian, of many, and of layers.

Of layers: whether the gradient vanishes or explodes on its way to the input, and where conditioning is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from calclab.core import Answer, Function, Line, Said, State
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
        values |= {"singular_values": σ, **rest}
        return Answer(f"the Jacobian {nowhere(gaps)}", values, latex, at_point(f, value))
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
    lines: list[Said] = [Line("singular values", words.ends(σ), "singular_values")]
    lines.append(Line("condition", condition.text(threshold), "condition"))
    if J.shape[0] == J.shape[1] and len(J) > 1:
        sign = state["own.orientation"][0] if found == len(J) else torch.zeros(())
        proof = None if f.exact is None else f.exact.orientation(f.start)  # a proof, however few digits are left
        sign = sign if proof is None else torch.tensor(proof)
        volume = state["own.log_abs_det"][0]
        values |= {"log_abs_det": volume, "orientation": measures.orientation(sign)}
        if ball is not None:
            volume = σ.log().sum()
        lines.append(
            Line("log|det|", f"{words.number(volume)}, orientation {measures.orientation(sign)}", "log_abs_det")
        )
    lines += bracket(stretch, float(float_σ[0]), values)
    lines += at_point(f, value)
    rows = f.outputs or words.count(J.shape[0]) if not f.scalar else (f.name,)
    lines += words.matrix(
        "J", full if measured else said(f, slopes, 1).best.reshape(J.shape), rows, f.variables, "jacobian"
    )
    if not bool(J.isfinite().all()):
        kind = "measured" if measured else "proven"
        lines.append(Line("note", f"these are the {kind} values: the float program gives none here", kind="doubtful"))
    if not written:
        lines.append(Line("matrix", f"{J.numel():,} entries, which are not written"))
    text = f"{shape_text(J)} of rank {found}{' (full)' if found == len(σ) else f' of {len(σ)}'}"
    return Answer(f"{text}, {values['conditioning']}", values, latex, lines)


def at_point(f: Function, value: Tensor) -> list[Said]:
    """The value at the point, where it is short."""
    shown = said(f, value[0] if f.scalar else value, 0)
    texts = [shown.text(i) for i in range(shown.best.numel())] if value.numel() <= words.WRITTEN else []
    listed = texts[0] if len(texts) == 1 else f"({', '.join(texts)})"
    return [Line(words.called("f", f.start), listed, "value")] if texts else []


def shape_text(J: Tensor) -> str:
    return f"a {J.shape[0]} × {J.shape[1]} Jacobian"


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
    if not bool(σ.isfinite()):
        return Answer(f"the {m} × {n} Jacobian is not finite at the point", values)
    lines: list[Said] = [Line("largest σ", f"{words.number(σ)} ± {float(residual):.1g}", "spectral_norm")]
    if "own.frobenius_norm" in state:
        norm = state["own.frobenius_norm"][0]
        values |= {"frobenius_norm": norm, "stable_rank": (norm / σ) ** 2, "nonzero": state["nonzero"]}
        lines.append(Line("Frobenius norm", words.number(norm), "frobenius_norm"))
        lines.append(Line("entries", f"{int(state['nonzero']):,} of {m * n:,} can be nonzero"))
    lines += [*bracket(stretch, float(σ), values)]
    return Answer(f"a {m} × {n} Jacobian that stretches by up to {words.number(σ)}", values, (), lines)


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
    spread = f"{words.number(rows[0])} to {words.number(rows[-1])}, median {words.number(rows[3])}"
    lines: list[Said] = [Line("spectral norm", f"{spread}, the largest at {unit} {at}", "spectral_norms")]
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
            text = f"{words.number(conditions[0])} to {words.number(conditions[-1])}"
            text += f", median {words.number(conditions[3])}"
            ill = int(((κ > threshold) & (r == full)).sum())
            lines.append(Line("condition", text + (f", {ill:,} above {threshold:g}" if ill else ""), "conditions"))
        if deficient:
            lines.append(Line("rank", f"{deficient:,} of less than full rank {full}", "rank_deficient"))
        if "all.orientation" in state and full > 1:
            sign = state["all.orientation"]
            values["preserved"], values["reversed"] = (sign > 0).sum(), (sign < 0).sum()
            text = f"preserved at {int((sign > 0).sum()):,} and reversed at {int((sign < 0).sum()):,}"
            lines.append(Line("orientation", text))
    else:
        residuals = state["all.residual"]
        there = ~residuals.isnan()
        values["residual"] = residuals[there].max() if bool(there.any()) else residuals[0]
        lines.append(Line("residuals", f"up to {float(values['residual']):.1g}", "residual"))
    if "squares" in state:
        values["sensitivity"] = (state["squares"] / count).sqrt()
    lines += [*bracket(stretch, float(rows[-1]), values)]
    missing = int(σ.isnan().sum())
    if missing:
        lines.append(Line("not finite", f"at {missing:,} {unit}s", kind="doubtful"))
    if way != "straight" and count <= ENCLOSED:  # those are smooth
        kinks = sum(not exists(problem.function(k)) for k in range(count))
        values["undefined"] = torch.tensor(kinks)
        if kinks:
            text = f"does not exist at {kinks:,} (a kink or an infinite slope)"
            lines.append(Line("undefined", text, "undefined", "doubtful"))
    size = f"{count:,}{looked_at} Jacobians, each {m_n[0]} × {m_n[1]}"
    return Answer(f"{size}: they stretch by up to {words.number(rows[-1])}", values, (), lines)


def bracket(stretch: Bound | None, seen: float, values: Found) -> list[Said]:
    """Between what the Lipschitz constant of a network lies; also put among the values."""
    if stretch is None or seen != seen:
        return []
    values["lipschitz_low"] = torch.tensor(seen, dtype=torch.float64)
    if not stretch.missing:
        values["lipschitz_high"] = torch.tensor(stretch.constant, dtype=torch.float64)
        values["layer_norms"] = torch.tensor(list(stretch.norms.values()), dtype=torch.float64)
    return [Line("Lipschitz constant", lipschitz.text(seen, stretch))]


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
    text = f"the gradient is {word} over {len(names)} layer{'s' * (len(names) > 1)}"
    lines: list[Said] = []
    if factor is not None:
        first, last = weighted[0], weighted[-1]
        values["factor"] = factor
        text += f", by a factor of {words.number(factor)} a layer"
        way = f"{words.number(tails[last])} at {names[last]} to {words.number(tails[first])} at {names[first]}"
        lines.append(Line("‖∂y/∂a‖", f"from {way}", "gradient_norms"))
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
        end, judged = "the outputs" if ends else names[-1], verdict(float(κ[-1]), threshold, σ)
        lines += [
            Line("condition", f"{words.number(κ[-1])} from the input to {end}: {judged}", "condition"),
            Line("most lost at", f"{names[at]}, a factor of {words.number(10 ** lost[at])}", "lost"),
            Line("median σ", words.number(σ.median()), "median_singular_value"),
        ]
    elif "head" in state:
        κ = state["seen.condition"]
        reached = f"from the input to {names[len(κ) - 1]}, the last looked at"
        lines.append(Line("condition", f"{words.number(κ[-1])} {reached}", "conditions"))
        values["conditions"] = κ
    else:
        lines.append(Line("condition", "not known: the way from the input is too large to be formed"))
    return Answer(text, values, (), lines)


def verdict(κ: float, threshold: float, σ: Tensor) -> str:
    if κ >= 0.99 / (σ.shape[1] * torch.finfo(σ.dtype).eps):
        return "singular to working precision"
    return "well-conditioned" if κ <= threshold else "ill-conditioned"
