"""The answer of a scan without the matrix: every number with its bound or error, and in which sense it is meant."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from calclab.core import Answer, State
from calclab.numerics.krylov import Mean, Pairs
from calclab.numerics.stationary import ULPS
from calclab.schema.topic import Hessian as Knobs
from calclab.topic import words
from calclab.topic.hessian import senses
from calclab.topic.hessian.bulk import Bulk
from calclab.topic.hessian.layers import columns
from calclab.topic.hessian.looked import Looked
from calclab.topic.hessian.senses import Ends
from calclab.topic.hessian.stages import Stage, unpacked

SHOWN = 5  # eigenvalues in the sentence


def answer(looked: Looked, knobs: Knobs, stages: Sequence[Stage], state: State, layers: Sequence[str]) -> Answer:
    """What the stages that have ended found."""
    found = state["found"]
    values: dict[str, Tensor | str] = {}
    if "point" in found:
        values["value"] = found["point"]["value"]
    if "edges" not in found:
        return Answer(f"{looked.title} of {looked.function.name}: ended before anything was found", values)
    pairs, every = unpacked(found["edges"]["pairs"]), unpacked(found["edges"]["every"])
    least = min(float(found[stage]["least"]) for stage in ("edges", "bulk") if stage in found)
    edges = senses.ends(pairs, every, least, positive=looked.kind != "hessian")
    if not bool(pairs.values.isfinite().all()):
        values |= {"condition": "undefined", "conditioning": "undefined", "kind": "undefined"}
        return Answer(f"the {looked.title} of {looked.function.name} is not finite at the point", values)
    condition = senses.condition_of_ends(edges)
    if edges.definite or condition.singular:
        values |= senses.condition_values(condition, knobs.threshold)
    else:
        values["condition"] = f"at least {edges.low:.4g}"
        values["conditioning"] = "ill-conditioned" if edges.low > knobs.threshold else "undecided"
    values["kind"] = kind(looked, found, edges)
    values |= {"eigenvalues": pairs.values, "residuals": pairs.residuals}
    values |= {"curvature": edges.sign, "beyond_top": pairs.upper, "below_bottom": pairs.lower}
    parts = [f"{looked.function.name}: {values['kind']}", extremes(looked, pairs)]
    parts += short_of(looked, knobs, found, pairs)
    if "trace" in found:
        trace = mean_of(found["trace"]["trace"])
        values |= {"trace": trace.value, "trace_error": trace.error, "trace_within": trace.half}
        parts.append(traced(knobs, found, trace))
        if "square" in found["trace"]:
            values |= norm(mean_of(found["trace"]["square"]))
    bulk = next((stage for stage in stages if isinstance(stage, Bulk)), None)
    if bulk is not None and "bulk" in found:
        values |= spread(bulk, found, edges.scale)
        parts.append(f"{values['inertia']}")
        if "frobenius" not in values:
            values |= norm(mean_of(found["bulk"]["square"]))
    count = senses.outliers(pairs.values[: pairs.top], looked.classes) if looked.classes else None
    if count is not None:
        values |= {"outliers": torch.tensor(count), "classes_less_one": torch.tensor(looked.classes - 1)}
        parts.append(f"{count} outlier{'s' * (count != 1)} of {looked.classes} classes")
    if "against" in found:
        values |= distance(mean_of(found["against"]["square"]), values)
    bounds = senses.condition_bounds(condition)
    values |= {name: entry for name, entry in bounds.items() if isinstance(entry, Tensor) and bool(entry.isfinite())}
    values["condition_positive_low"] = torch.tensor(edges.low_positive, dtype=torch.float64)
    if knobs.damping:
        values |= senses.damped(edges.least, edges.smallest, edges.largest, edges.most, knobs.damping)
    if "trace" in found and "diagonal" in found["trace"]:
        values |= {
            "diagonal": found["trace"]["diagonal"]["value"],
            "diagonal_error": found["trace"]["diagonal"]["error"],
        }
    if "layers" in found:
        values |= columns(found["layers"]["table"])
        values["sharpest_layer"] = layers[int(found["layers"]["table"][:, 0].argmax())]
    values |= {"gradient_norm": found["point"]["gradient"].norm(), "products": state["products"]}
    values["products_for_eigenvalues"] = pairs.products
    parts.append(conditions(edges, condition.value))
    parts.append(f"{int(state['products'])} products")
    return Answer("; ".join(parts), values)


def short_of(looked: Looked, knobs: Knobs, found: State, pairs: Pairs) -> list[str]:
    """What the eigenvalues lack of what was asked for, and what to type."""
    if not bool(found["edges"]["settled"]):
        more = f"type products={4 * knobs.products}"
        return [f"not all to tol={knobs.tol:g} within products={knobs.products}: {more}"]
    own = looked.function.start.dtype
    least = 100 * torch.finfo(own).eps
    if knobs.tol < least and bool(pairs.residuals.max() > knobs.tol * pairs.values.abs().max()):
        wider = "" if own == torch.float64 else ": type dtype=float64"
        return [f"as near as the rounding of {str(own).removeprefix('torch.')} allows, not to tol={knobs.tol:g}{wider}"]
    return []


def traced(knobs: Knobs, found: State, trace: Mean) -> str:
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
        text += f", not within trace_tol={tol:g}: type products={4 * knobs.products}"
    return text


def extremes(looked: Looked, pairs: Pairs) -> str:
    """The eigenvalues found, and how near they are."""
    top, bottom = pairs.values[: pairs.top], pairs.values[pairs.top :]
    near = f"each within {float(pairs.residuals.max()):.2g} of an eigenvalue"
    text = f"{looked.title}'s largest eigenvalue{'s' * (len(top) > 1)} {words.listing(top, SHOWN)}"
    if len(bottom):
        text += f", smallest {words.listing(bottom, SHOWN)}"
    return f"{text}, {near}"


def conditions(edges: Ends, value: float) -> str:
    if edges.scale == 0:
        return "condition number infinite: singular"
    if edges.definite:
        return f"condition number {value:.6g} of |λ|, which is definite"
    return f"condition number of |λ| at least {edges.low:.2g}, of its positive part at least {edges.low_positive:.2g}"


def kind(looked: Looked, found: State, edges: Ends) -> str:
    """What the point is, as far as it is certain. Stationary: the gradient is one that a move of x by a few units in
    the last place changes by; a direction of small curvature is not looked at on its own, as it is with the matrix."""
    if looked.kind != "hessian":
        return f"{looked.title}, {edges.sign}"
    x, g = looked.function.start, found["point"]["gradient"]
    rounding = ULPS * torch.finfo(x.dtype).eps * edges.scale * float(x.norm())
    if float(g.norm()) > rounding:
        return f"not stationary, curvature {edges.sign}"
    word = {"indefinite": "saddle", "positive definite": "minimum", "negative definite": "maximum"}
    return word.get(edges.sign, "stationary, and no curvature below zero was found")


def spread(bulk: Bulk, found: State, scale: float) -> dict[str, Tensor | str]:
    """What the density says: how many eigenvalues are of which sign, beyond what cannot be told from zero."""
    density = bulk.density(found)
    n, zero = density.n, max(float(density.resolution), ZERO * scale)
    signs = density.inertia(zero)
    parts = (("negative", signs.negative), ("zero", signs.zero), ("positive", signs.positive))
    text = ", ".join(f"{round(n * float(m.value))} ± {round(n * float(m.half))} {name}" for name, m in parts)
    values: dict[str, Tensor | str] = {
        "inertia": f"about {text} (what lies within ±{zero:.2g}, the density's resolution, counts as zero)"
    }
    for name, m in parts:
        values |= {f"fraction_{name}": m.value, f"fraction_{name}_error": m.error}
    values |= {"inertia_low": n * signs.low, "inertia_high": n * signs.high}
    return {**values, "zero_up_to": torch.tensor(zero), "density_resolution": density.resolution}


ZERO = 1e-9  # of the largest |λ|: the least that is called zero, were the density finer


def norm(square: Mean) -> dict[str, Tensor | str]:
    """‖A‖_F with its standard error and 95 % interval, of tr A²."""
    size = square.value.clamp(min=0).sqrt()
    errors = {"error": square.error, "within": square.half}
    return {"frobenius": size, **{f"frobenius_{name}": error / (2 * size) for name, error in errors.items()}}


def distance(square: Mean, values: dict[str, Tensor | str]) -> dict[str, Tensor | str]:
    """‖A - B‖_F / ‖A‖_F and its standard error."""
    size = values.get("frobenius")
    away = square.value.clamp(min=0).sqrt()
    if not isinstance(size, Tensor):
        return {"distance_frobenius": away}
    return {"distance": away / size, "distance_error": square.error / (2 * away * size)}


def mean_of(state: State) -> Mean:
    return Mean(**{**state, "samples": int(state["samples"])})
