"""The answer: every number with its bound or error, and in which sense it is meant; of the matrix, and of products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from calclab.core import Answer, Ball, Line, Said, State
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
    known, at = best_eigenvalues(problem, state), words.point(f.start)
    if known is None:
        values |= {"condition": "undefined", "conditioning": "undefined", "kind": "undefined", "eigenvalues": λ}
        missing = nowhere(problem.gaps(state["raw"]))
        return Answer(f"the {problem.title} {missing}", values | rest, latex, point_lines(problem, state))
    if known.how == "measured":
        rest |= {"hessian_measured": known.matrix, "eigenvalues_measured": known.λ}
    condition, found = condition_of_eigenvalues(known.λ, known.ball), inertia(known.λ, known.ball)
    signs = f"{found.negative} negative, {found.zero} zero, {found.positive} positive"
    kind = kind_of_point(problem, state, known.matrix, found)
    values |= condition_values(condition, knobs.threshold)
    values |= {"kind": kind, "eigenvalues": λ, **Proven(λ, known.ball).values("eigenvalues")}
    values |= {"inertia": signs, "curvature": found.curvature, **rest, **condition_bounds(condition)}
    values |= of_matrix(known.λ, found, knobs.damping, proven=known.ball is not None)
    how = f" ({known.how})" if known.how else ""
    lines: list[Said] = [
        Line("eigenvalues", f"{words.ends(known.λ)}{how}", "eigenvalues"),
        Line("signs", ", ".join(part for part in signs.split(", ") if not part.startswith("0 "))),
        Line("condition", condition.text(knobs.threshold), "condition"),
        Line("trace", words.number(known.matrix.trace()), "trace"),
    ]
    if problem.network is not None:
        more = network_values(problem, state)
        values |= more
        lines += outlier_lines(more, problem.classes)
    lines += point_lines(problem, state)
    entries = known.matrix if known.ball is None else best_matrix(problem, state)
    lines += words.matrix(problem.symbol, entries, f.variables, f.variables, "hessian")
    if not bool(λ.isfinite().all()):
        lines.append(Line("note", "autograd gives no finite Hessian here", kind="doubtful"))
    if not problem.written:
        lines.append(Line("matrix", f"{problem.n} × {problem.n}, which is not written (up to {WRITTEN} are)"))
    return Answer(f"{headline(kind, at)}, {values['conditioning']}", values, latex, lines)


def headline(kind: str, at: str) -> str:
    """What the point is."""
    where = f" at {at}" if at else ""
    names = {"minimum": "a minimum", "maximum": "a maximum", "saddle": "a saddle point"}
    names["degenerate"] = "a degenerate point (flat to second order)"
    if kind in names:
        return names[kind] + where
    return kind.replace("not stationary, curvature", f"not stationary{where}: curvature")


def point_lines(problem: CurvatureProblem, state: State) -> list[Said]:
    """The value and the gradient at the point."""
    f, g = problem.function, state["gradient"]
    true_value, true_slopes = proven(f, f.start, state["value"], 0), proven(f, f.start, g, 1)
    label = "loss" if problem.network is not None else words.called("f", f.start)
    listed = f"({words.listing(true_slopes.best)}), " if problem.n <= words.WRITTEN and problem.network is None else ""
    return [
        *part(problem),
        Line(label, true_value.text(), "value"),
        Line("gradient", f"{listed}norm {words.number(true_slopes.best.norm())}", "gradient_norm"),
    ]


def part(problem: CurvatureProblem) -> list[Said]:
    """Of which parameters it is, where not of all."""
    name, network = problem.function.name, problem.network
    return [Line("of", name)] if network is not None and name != network.name else []


def best_matrix(problem: CurvatureProblem, state: State) -> Tensor:
    """The matrix (n, n), of a formula's Hessian as it is proven."""
    f, H = problem.function, state["hessian"]
    return proven(f, f.start, H, 2).best if problem.kind == "hessian" else H


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


def outlier_lines(values: Entries | dict[str, Tensor], classes: int) -> list[Line]:
    """How many eigenvalues stand apart, where that can be told."""
    if "classes_less_one" not in values:
        return []
    return [Line("outliers", f"{int(values['outliers'])} eigenvalues stand apart, of {classes} classes", "outliers")]


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
        return Answer("nothing was found before it was interrupted", values)
    pairs, every = unpacked(found["edges"]["pairs"]), unpacked(found["edges"]["every"])
    least = min(float(found[stage]["least"]) for stage in ("edges", "bulk") if stage in found)
    edges = ends(pairs, every, least, positive=problem.kind != "hessian")
    if not bool(pairs.values.isfinite().all()):
        values |= {"condition": "undefined", "conditioning": "undefined", "kind": "undefined"}
        return Answer(f"the {problem.title} is not finite at the point", values)
    condition = condition_of_ends(edges)
    if edges.definite or condition.singular:
        values |= condition_values(condition, knobs.threshold)
    else:
        values["condition"] = f"at least {edges.low:.4g}"
        values["conditioning"] = "ill-conditioned" if edges.low > knobs.threshold else "undecided"
    values["kind"] = kind(problem, found, edges)
    values |= {"eigenvalues": pairs.values, "residuals": pairs.residuals}
    values |= {"curvature": edges.sign, "beyond_top": pairs.upper, "below_bottom": pairs.lower}
    lines: list[Said] = extremes(pairs)
    lines += converged(pairs, knobs.tol) if cut == "edges" else short_of(problem, knobs, found, pairs)
    lines.append(Line("condition", conditions(edges, condition.value), "condition"))
    if "trace" in found:
        trace = unpacked_mean(found["trace"]["trace"])
        values |= {"trace": trace.value, "trace_error": trace.error, "trace_within": trace.half}
        lines.append(Line("trace", traced(knobs, found, trace, cut=cut == "trace"), "trace"))
        if "square" in found["trace"]:
            values |= norm(unpacked_mean(found["trace"]["square"]))
    bulk = next((stage for stage in stages if isinstance(stage, Bulk)), None)
    if bulk is not None and "bulk" in found:
        values |= spread(bulk, found, edges.scale)
        lines.append(Line("signs", str(values["inertia"])))
        if "frobenius" not in values:
            values |= norm(unpacked_mean(found["bulk"]["square"]))
    apart = {} if cut == "edges" else outlier_values(pairs.values[: pairs.top], problem.classes)
    values |= apart
    lines += outlier_lines(apart, problem.classes)
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
    if "sharpest_layer" in values:
        lines.append(Line("sharpest layer", str(values["sharpest_layer"])))
    label = "loss" if problem.network is not None else "f"
    lines += [*part(problem), Line(label, words.number(found["point"]["value"]), "value")]
    lines.append(Line("gradient", f"norm {words.number(found['point']['gradient'].norm())}", "gradient_norm"))
    lines.append(Line("products", f"{int(state['products'])} with the {problem.title}"))
    if cut is not None:
        lines.append(Line("cut short", f"interrupted before it had {SOUGHT[cut]}", kind="doubtful"))
    largest = pairs.values[0] if pairs.top else pairs.values[-1]
    which = "largest" if pairs.top else "smallest"
    return Answer(f"{headline(str(values['kind']), '')}; {which} eigenvalue {words.number(largest)}", values, (), lines)


def converged(pairs: Pairs, tol: float) -> list[Said]:
    """How many of the pairs are as near as was asked for."""
    text = f"{int(pairs.converged.sum())} of {len(pairs.values)} to tol={tol:g} when it was interrupted"
    return [Line("converged", text, kind="doubtful")]


def short_of(problem: CurvatureProblem, knobs: Knobs, found: State, pairs: Pairs) -> list[Said]:
    """What the eigenvalues lack of what was asked for, and what to type."""
    if not bool(found["edges"]["settled"]):
        more = f"type products={4 * knobs.products}"
        text = f"not all to tol={knobs.tol:g} within products={knobs.products}: {more}"
        return [Line("converged", text, kind="doubtful")]
    inside = problem.function.inside
    own = inside or problem.function.start.dtype
    least = 100 * torch.finfo(own).eps
    if knobs.tol < least and bool(pairs.residuals.max() > knobs.tol * pairs.values.abs().max()):
        wider = "" if own == torch.float64 or inside else ": type dtype=float64"
        text = f"as near as the rounding of {str(own).removeprefix('torch.')} allows, not to tol={knobs.tol:g}{wider}"
        return [Line("converged", text, kind="doubtful")]
    return []


def traced(knobs: Knobs, found: State, trace: Mean, *, cut: bool = False) -> str:
    """The trace, how sure it is, and what that is held against."""
    text = words.number(trace.value)
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


def extremes(pairs: Pairs) -> list[Said]:
    """The eigenvalues found at either end, and how near they are."""
    top, bottom = pairs.values[: pairs.top], pairs.values[pairs.top :]
    near = f"within {float(pairs.residuals.max()):.2g} of an eigenvalue"
    found: list[Said] = []
    for name, end in (("largest", top), ("smallest", bottom)):
        if len(end):
            several = len(end) > 1
            text = f"{words.listing(end, SHOWN)}, {'each ' * several}{near}"
            found.append(Line(f"{name} eigenvalue{'s' * several}", text, "eigenvalues"))
    return found


def conditions(edges: Ends, value: float) -> str:
    if edges.scale == 0:
        return "infinite: singular"
    if edges.definite:
        return f"{value:.6g} of |λ|, which is definite"
    return f"of |λ| at least {edges.low:.2g}, of its positive part at least {edges.low_positive:.2g}"


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
