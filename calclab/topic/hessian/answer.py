"""The answer: every number with its bound or error, and in which sense it is meant; of the matrix, and of products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from calclab.core import Answer, Ball, State
from calclab.numerics.kinks import nowhere
from calclab.numerics.krylov import Mean, Pairs
from calclab.numerics.spectrum import Inertia, condition_of_eigenvalues, eigenvalues_of, inertia, symmetric
from calclab.numerics.stationary import ULPS, local_model, stationary
from calclab.numerics.verify import best_known
from calclab.schema.topic import Hessian as Knobs
from calclab.topic import words
from calclab.topic.hessian.condition import (
    Ends,
    condition_bounds,
    condition_of_ends,
    condition_values,
    damped,
    ends,
    of_matrix,
)
from calclab.topic.hessian.layers import columns
from calclab.topic.hessian.problem import WRITTEN, CurvatureProblem
from calclab.topic.hessian.sampling import Bulk
from calclab.topic.hessian.spectrum import outliers
from calclab.topic.hessian.stages import Stage, unpacked, unpacked_mean
from calclab.topic.proven import Proven, proven

SHOWN = 5  # eigenvalues in the sentence
SOUGHT = {  # by the name of the stage
    "point": "the loss and its gradient",
    "edges": "all eigenvalues",
    "bulk": "the density",
    "trace": "the trace",
    "against": "the distance to the other operator",
    "layers": "all layers",
    "slices": "the cuts through the loss",
}
Entries = dict[str, Tensor | str]


# --- with the matrix ---


class Known(NamedTuple):
    """What is best known of the matrix: its eigenvalues (n,), their proof, the matrix (n, n), and how it is known."""

    λ: Tensor
    ball: Ball | None
    matrix: Tensor
    how: str


def answer_with_matrix(problem: CurvatureProblem, knobs: Knobs, state: State) -> Answer:
    """Of all eigenvalues, proven where they can be."""
    f, λ = problem.function, state["eigenvalues"]
    values: Entries = {"value": state["value"], **true(problem, state, "value")}
    rest: Entries = {}
    for key in ("gradient", "hessian") if problem.drawn else ():
        rest |= {key: state[key], **true(problem, state, key)}
    rest |= {"gradient_norm": state["gradient"].norm(), "trace": state["hessian"].trace()}
    latex = [] if f.exact is None else f.exact.derivative_latex(2)
    known = best_eigenvalues(problem, state)
    if known is None:
        values |= {"condition": "undefined", "conditioning": "undefined", "kind": "undefined", "eigenvalues": λ}
        missing = nowhere(problem.gaps(state["raw"]))
        return Answer(f"the {problem.title} of {f.name} {missing}", values | rest, latex)
    if known.how == "measured":
        rest |= {"hessian_measured": known.matrix, "eigenvalues_measured": known.λ}
    condition, found = condition_of_eigenvalues(known.λ, known.ball), inertia(known.λ, known.ball)
    signs = f"{found.negative} negative, {found.zero} zero, {found.positive} positive"
    kind = kind_of_point(problem, state, known.matrix, found)
    values |= condition_values(condition, knobs.threshold)
    values |= {"kind": kind, "eigenvalues": λ, **Proven(λ, known.ball).values("eigenvalues")}
    values |= {"inertia": signs, "curvature": found.curvature, **rest, **condition_bounds(condition)}
    values |= of_matrix(known.λ, found, knobs.damping, proven=known.ball is not None)
    at = f" ({words.listing(f.start)})" if problem.n <= 8 else ""
    how = known.how and f"{known.how} "
    text = (
        f"{f.name} at the point{at}: {kind}; {how}eigenvalue{'s' * (problem.n > 1)} {words.ends(known.λ)} ({signs}); "
        f"{condition.sentence(knobs.threshold)}"
    )
    if problem.network is not None:
        more = network_values(problem, state)
        values |= more
        text += outliers_text(more, problem.classes)
    if not bool(λ.isfinite().all()):
        text += "; autograd gives no finite Hessian here"
    if not problem.written:
        text += f"; the {problem.n} × {problem.n} matrix is not written (up to {WRITTEN} are)"
    return Answer(text, values, latex)


def true(problem: CurvatureProblem, state: State, key: str) -> Entries:
    """What the value, the gradient or the Hessian truly is, where some number of it is not right."""
    f, order = problem.function, ("value", "gradient", "hessian").index(key)
    if order == 2 and problem.kind != "hessian":
        return {}
    return proven(f, f.start, state[key], order).values(key)


def best_eigenvalues(problem: CurvatureProblem, state: State) -> Known | None:
    """None where the matrix does not exist at the point, or is not known there."""
    f, λ, gaps = problem.function, state["eigenvalues"], problem.gaps(state["raw"])
    if gaps and all(gap.exists for gap in gaps.values()):
        H = symmetric(best_known(f, f.start, 2, state["raw"], gaps))
        return Known(eigenvalues_of(H), None, H, "measured")
    ball = None if f.exact is None else f.exact.eigenvalues(f.start)
    if ball is not None and not bool(ball.mid.isfinite().all() & ball.rad.isfinite().all()):
        ball = None
    if gaps or (ball is None and not bool(λ.isfinite().all())):
        return None
    if ball is None:
        return Known(λ, None, state["hessian"], "")
    return Known(torch.where(ball.mid.abs() <= ball.rad, 0.0, ball.mid), ball, state["hessian"], "proven")


def kind_of_point(problem: CurvatureProblem, state: State, H: Tensor, found: Inertia) -> str:
    """What the point is, decided by proven slopes and curvatures where there are such."""
    if problem.kind != "hessian":
        return f"{problem.title}, {found.curvature}"
    x, g = problem.function.start, state["gradient"]
    here = stationary(problem.function, x, local_model(problem.function, x, g, H))
    return found.word if here else f"not stationary, curvature {found.curvature}"


def network_values(problem: CurvatureProblem, state: State) -> dict[str, Tensor]:
    """Further numbers on a network."""
    size = state["hessian"].norm()
    values: dict[str, Tensor] = {"frobenius": size, "diagonal": state["hessian"].diagonal()}
    values |= outlier_values(state["eigenvalues"].flip(0), problem.classes)
    if "against" in state:
        values["distance"] = state["against"] / size
    return values | state.get("own", {})


def outlier_values(λ: Tensor, classes: int) -> dict[str, Tensor]:
    """How many of the largest eigenvalues (m,), descending, stand apart; none where that cannot be told."""
    count = outliers(λ, classes) if classes else None
    return {} if count is None else {"outliers": torch.tensor(count), "classes_less_one": torch.tensor(classes - 1)}


def outliers_text(values: dict[str, Tensor], classes: int) -> str:
    """A part of the sentence."""
    if "classes_less_one" not in values:
        return ""
    count = int(values["outliers"])
    return f"; {count} outlier{'s' * (count != 1)} of {classes} classes"


# --- of products ---


def answer_of_products(
    problem: CurvatureProblem, knobs: Knobs, stages: Sequence[Stage], state: State, layers: Sequence[str]
) -> Answer:
    """What the stages have found; the one that was cut short, by its name "cut" in the state, so far."""
    found, cut = state["found"], state.get("cut")
    values: Entries = {}
    if "point" in found:
        values["value"] = found["point"]["value"]
    if "edges" not in found:
        return Answer(f"{problem.title} of {problem.function.name}: interrupted before anything was found", values)
    pairs, every = unpacked(found["edges"]["pairs"]), unpacked(found["edges"]["every"])
    least = min(float(found[stage]["least"]) for stage in ("edges", "bulk") if stage in found)
    edges = ends(pairs, every, least, positive=problem.kind != "hessian")
    if not bool(pairs.values.isfinite().all()):
        values |= {"condition": "undefined", "conditioning": "undefined", "kind": "undefined"}
        return Answer(f"the {problem.title} of {problem.function.name} is not finite at the point", values)
    condition = condition_of_ends(edges)
    if edges.definite or condition.singular:
        values |= condition_values(condition, knobs.threshold)
    else:
        values["condition"] = f"at least {edges.low:.4g}"
        values["conditioning"] = "ill-conditioned" if edges.low > knobs.threshold else "undecided"
    values["kind"] = kind(problem, found, edges)
    values |= {"eigenvalues": pairs.values, "residuals": pairs.residuals}
    values |= {"curvature": edges.sign, "beyond_top": pairs.upper, "below_bottom": pairs.lower}
    parts = [f"{problem.function.name}: {values['kind']}", extremes(problem, pairs)]
    parts += converged(pairs, knobs.tol) if cut == "edges" else short_of(problem, knobs, found, pairs)
    if "trace" in found:
        trace = unpacked_mean(found["trace"]["trace"])
        values |= {"trace": trace.value, "trace_error": trace.error, "trace_within": trace.half}
        parts.append(traced(knobs, found, trace, cut=cut == "trace"))
        if "square" in found["trace"]:
            values |= norm(unpacked_mean(found["trace"]["square"]))
    bulk = next((stage for stage in stages if isinstance(stage, Bulk)), None)
    if bulk is not None and "bulk" in found:
        values |= spread(bulk, found, edges.scale)
        parts.append(f"{values['inertia']}")
        if "frobenius" not in values:
            values |= norm(unpacked_mean(found["bulk"]["square"]))
    apart = {} if cut == "edges" else outlier_values(pairs.values[: pairs.top], problem.classes)
    values |= apart
    parts += [outliers_text(apart, problem.classes).removeprefix("; ")] if apart else []
    if "against" in found:
        values |= distance(unpacked_mean(found["against"]["square"]), values)
    bounds = condition_bounds(condition)
    values |= {name: entry for name, entry in bounds.items() if isinstance(entry, Tensor) and bool(entry.isfinite())}
    values["condition_positive_low"] = torch.tensor(edges.low_positive, dtype=torch.float64)
    if knobs.damping:
        values |= damped(edges.least, edges.smallest, edges.largest, edges.most, knobs.damping)
    if "trace" in found and "diagonal" in found["trace"]:
        values |= {
            "diagonal": found["trace"]["diagonal"]["value"],
            "diagonal_error": found["trace"]["diagonal"]["error"],
        }
    if "layers" in found:
        values |= columns(found["layers"]["table"])
        values["sharpest_layer"] = layers[int(found["layers"]["table"][:, 0].nan_to_num(nan=-torch.inf).argmax())]
    values |= {"gradient_norm": found["point"]["gradient"].norm(), "products": state["products"]}
    values["products_for_eigenvalues"] = pairs.products
    parts.append(conditions(edges, condition.value))
    parts.append(f"{int(state['products'])} product{'s' * (int(state['products']) != 1)}")
    if cut is not None:
        parts.append(f"interrupted before it had {SOUGHT[cut]}")
    return Answer("; ".join(parts), values)


def converged(pairs: Pairs, tol: float) -> list[str]:
    """How many of the pairs are as near as was asked for."""
    count = int(pairs.converged.sum())
    return [f"{count} of {len(pairs.values)} to tol={tol:g} when it was interrupted"]


def short_of(problem: CurvatureProblem, knobs: Knobs, found: State, pairs: Pairs) -> list[str]:
    """What the eigenvalues lack of what was asked for, and what to type."""
    if not bool(found["edges"]["settled"]):
        more = f"type products={4 * knobs.products}"
        return [f"not all to tol={knobs.tol:g} within products={knobs.products}: {more}"]
    inside = problem.function.inside
    own = inside or problem.function.start.dtype
    least = 100 * torch.finfo(own).eps
    if knobs.tol < least and bool(pairs.residuals.max() > knobs.tol * pairs.values.abs().max()):
        wider = "" if own == torch.float64 or inside else ": type dtype=float64"
        return [f"as near as the rounding of {str(own).removeprefix('torch.')} allows, not to tol={knobs.tol:g}{wider}"]
    return []


def traced(knobs: Knobs, found: State, trace: Mean, *, cut: bool = False) -> str:
    """The trace, how sure it is, and what that is held against."""
    text = f"trace {words.number(trace.value)}"
    if not trace.samples:
        return f"{text}, from the exact diagonal"
    text += f" ± {float(trace.half):.2g} (95 %"
    tol, size = float(knobs.trace_tol or 0), abs(float(trace.value))
    least = float(found["trace"]["least"])
    if least > size:
        text += f"; {float(trace.half) / (2 * least):.1%} of Σ|λ|, about {2 * least:.3g}"
    text += ")"
    if float(trace.half) > 1.001 * tol * max(size, least):
        text += f", not within trace_tol={tol:g}" + (" yet" if cut else f": type products={4 * knobs.products}")
    return text


def extremes(problem: CurvatureProblem, pairs: Pairs) -> str:
    """The eigenvalues found, and how near they are."""
    top, bottom = pairs.values[: pairs.top], pairs.values[pairs.top :]
    near = f"each within {float(pairs.residuals.max()):.2g} of an eigenvalue"
    text = f"{problem.title}'s largest eigenvalue{'s' * (len(top) > 1)} {words.listing(top, SHOWN)}"
    if len(bottom):
        text += f", smallest {words.listing(bottom, SHOWN)}"
    return f"{text}, {near}"


def conditions(edges: Ends, value: float) -> str:
    if edges.scale == 0:
        return "condition number infinite: singular"
    if edges.definite:
        return f"condition number {value:.6g} of |λ|, which is definite"
    return f"condition number of |λ| at least {edges.low:.2g}, of its positive part at least {edges.low_positive:.2g}"


def kind(problem: CurvatureProblem, found: State, edges: Ends) -> str:
    """What the point is, as far as it is certain. Stationary: the gradient is one that a move of x by a few units in
    the last place changes by; a direction of small curvature is not looked at on its own, as it is with the matrix."""
    if problem.kind != "hessian":
        return f"{problem.title}, {edges.sign}"
    x, g = problem.function.start, found["point"]["gradient"]
    rounding = ULPS * torch.finfo(x.dtype).eps * edges.scale * float(x.norm())
    if float(g.norm()) > rounding:
        return f"not stationary, curvature {edges.sign}"
    word = {"indefinite": "saddle", "positive definite": "minimum", "negative definite": "maximum"}
    return word.get(edges.sign, "stationary, and no curvature below zero was found")


def spread(bulk: Bulk, found: State, scale: float) -> Entries:
    """What the density says: how many eigenvalues are of which sign, beyond what cannot be told from zero."""
    density = bulk.density(found)
    n, zero = density.n, max(float(density.resolution), ZERO * scale)
    signs = density.inertia(zero)
    parts = (("negative", signs.negative), ("zero", signs.zero), ("positive", signs.positive))
    text = ", ".join(f"{round(n * float(m.value))} ± {round(n * float(m.half))} {name}" for name, m in parts)
    values: Entries = {
        "inertia": f"about {text} (what lies within ±{zero:.2g}, the density's resolution, counts as zero)"
    }
    for name, m in parts:
        values |= {f"fraction_{name}": m.value, f"fraction_{name}_error": m.error}
    values |= {"inertia_low": n * signs.low, "inertia_high": n * signs.high}
    return {**values, "zero_up_to": torch.tensor(zero), "density_resolution": density.resolution}


ZERO = 1e-9  # of the largest |λ|: the least that is called zero, were the density finer


def norm(square: Mean) -> Entries:
    """‖A‖_F with its standard error and 95 % interval, of tr A²."""
    size = square.value.clamp(min=0).sqrt()
    errors = {"error": square.error, "within": square.half}
    return {"frobenius": size, **{f"frobenius_{name}": error / (2 * size) for name, error in errors.items()}}


def distance(square: Mean, values: Entries) -> Entries:
    """‖A - B‖_F / ‖A‖_F and its standard error."""
    size = values.get("frobenius")
    away = square.value.clamp(min=0).sqrt()
    if not isinstance(size, Tensor):
        return {"distance_frobenius": away}
    return {"distance": away / size, "distance_error": square.error / (2 * away * size)}
