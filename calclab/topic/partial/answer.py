"""The answer: every partial derivative by name, of a formula proven where it can be, of a network by its layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from calclab.core import Answer, Function, Line, Said, State, Table, Verdict
from calclab.numerics.agreement import worst
from calclab.numerics.kinks import Gap
from calclab.numerics.operators import value_and_gradient
from calclab.numerics.verify import check_hessian, known
from calclab.topic import words
from calclab.topic.partial.parameters import ENTRIES, Parameters
from calclab.topic.proven import Proven, proven, shaky

SHOWN = 12  # layers in the table, at most
LISTED = 8  # partial derivatives, at most, in lines
FEW = 16  # variables up to which it is said what their rounding does
Entries = dict[str, Tensor | str]


def answer_of_function(f: Function, state: State) -> Answer:
    """Of a formula or a callable, by its variables."""
    gradient = {f"∂f/∂{name}": state["gradient"][i] for i, name in enumerate(f.variables)}
    text, lines = told(f, state)
    return Answer(text, {**derivatives(f, state, {}), **gradient}, latex(f), lines)


def answer_of_network(f: Function, state: State, chosen: Parameters) -> Answer:
    """Of the loss ``f`` of a network, by its parameters."""
    norms = {layer: chosen.layer_norm(state, layer) for layer in chosen.layers}
    size = state["gradient"].norm()
    first: Entries = {"gradient_norm": size, **{f"gradient_norm of {layer}": norm for layer, norm in norms.items()}}
    largest = max(norms, key=lambda layer: float(norms[layer].nan_to_num(nan=-1.0)))
    rows = [
        (layer, words.number(norm), words.listing(f"{n} {words.shape(p)}" for n, p in chosen.of_layer(layer).items()))
        for layer, norm in list(norms.items())[:SHOWN]
    ]
    lines: list[Said] = [Line("loss", words.number(state["value"]), "value")]
    lines.append(Table("gradient", ("layer", "norm", "parameters"), rows))
    if len(norms) > SHOWN:
        lines.append(Line("layers", f"{len(norms)} in all, of which the first {SHOWN} are shown"))
    text = f"gradient norm {words.number(size)}, the most of it in {largest}" if len(norms) > 1 else ""
    return Answer(
        text or f"gradient norm {words.number(size)}",
        {**derivatives(f, state, first), **by_parameter(state, chosen)},
        latex(f),
        lines,
    )


def latex(f: Function) -> list[str]:
    return [] if f.exact is None else f.exact.derivative_latex(1)


def derivatives(f: Function, state: State, first: Entries) -> Entries:
    """Value, gradient and second partials, with what is proven where a number is not right; ``first`` come before the
    gradient."""
    g = state["gradient"]
    values: Entries = {"value": state["value"], **proven(f, f.start, state["value"], 0).values("value"), **first}
    if len(g) <= ENTRIES:
        values |= {"gradient": g, **proven(f, f.start, g, 1).values("gradient")}
    values["gradient_norm"] = g.norm()
    if "mixed_partials" in state:
        H = state["mixed_partials"]
        values |= {"mixed_partials": H, **proven(f, f.start, H, 2).values("mixed_partials")}
        values["asymmetry"] = (H - H.T).abs().max()
    return values


def by_parameter(state: State, chosen: Parameters) -> Entries:
    """Shapes and gradients of the parameters, beside the sums of the inputs' columns."""
    sums = chosen.network.rows.sum(0)  # ∂(sum of the outputs)/∂W of a linear layer, one row for each output
    weight = next((p for p in chosen.network.parameters().values() if p.ndim > 1), sums)
    values: Entries = {"column_sums": sums.expand_as(weight) if weight.shape[1:] == sums.shape else sums}
    for name in chosen.tensors:
        values[f"shape of {name}"] = words.shape(state[f"grad.{name}"])
        if name in chosen.written:
            values[f"grad.{name}"] = state[f"grad.{name}"]
    return values


# --- what is said of a function ---


def told(f: Function, state: State) -> tuple[str, list[Said]]:
    """Headline and lines."""
    g = state["gradient"]
    gaps = known(f, f.start, 1, value_and_gradient(f.call, f.start)[1])
    value, slopes = proven(f, f.start, state["value"], 0), proven(f, f.start, g, 1)
    lines: list[Said] = [Line(words.called("f", f.start), value.text(), "value")]
    partials = [partial_line(name, slopes, i, gaps.get(i)) for i, name in enumerate(f.variables[:LISTED])]
    lines += partials
    if len(g) > LISTED:
        lines.append(Line("...", f"{len(g)} partial derivatives in all"))
    if len(g) <= FEW:
        looks = [(f"∂f/∂{name}", slopes, 1, i) for i, name in enumerate(f.variables)]
        lines += shaky(f, f.start, [("f", value, 0, 0), *looks])
    kinks = any(gap.exists is False for gap in gaps.values())
    if "mixed_partials" in state and not kinks:
        H = state["mixed_partials"]
        lines.append(symmetry(f, H))
        lines += words.matrix("H", proven(f, f.start, H, 2).best, f.variables, f.variables, "mixed_partials")
    return headline(f, slopes.best, [gap for gap in gaps.values() if not gap.exists]), lines


def headline(f: Function, g: Tensor, lost: Sequence[Gap]) -> str:
    """The gradient (n,) as a direction: where f falls fastest, and by how much."""
    at = f" at {words.point(f.start)}" if words.point(f.start) else ""
    size = g.norm()
    if lost or not bool(size.isfinite()):
        return (
            f"{len(lost) or 'some'} of {len(g)} partial derivatives {'does' if len(lost) == 1 else 'do'} not exist{at}"
        )
    if not bool(size):
        return f"the gradient vanishes{at}"
    if len(g) == 1 or len(g) > words.WRITTEN:
        return f"gradient norm {words.number(size)}{at}"
    way = words.listing(f"{float(entry) + 0.0:.3g}" for entry in -g / size)
    return f"f falls fastest along ({way}){at}, at the rate {words.number(size)}"


def partial_line(variable: str, slopes: Proven, i: int, gap: Gap | None) -> Line:
    """∂f/∂x; ``gap`` says what is known where nothing is proven."""
    label = f"∂f/∂{variable}"
    if gap is None:
        return Line(label, slopes.text(i), label)
    return Line(label, gap.number, label) if gap.exists else Line(label, gap.text, kind="doubtful")


def symmetry(f: Function, H: Tensor) -> Line:
    """How well the mixed partials (n, n) of both orders agree: which says nothing of the diagonal, nor that they are
    right where a program forgets how it got its gradient."""
    label = "second partials"
    if not bool(H.isfinite().all()):
        return Line(label, unfinished(f, H), kind="doubtful")
    gap = float((H - H.T).abs().max())
    text = "∂²f/∂xᵢ∂xⱼ = ∂²f/∂xⱼ∂xᵢ " + ("to the last digit" if gap == 0 else f"within {words.number(gap)}")
    match worst(check_hessian(f, f.start, H, 0)):
        case Verdict.REFUTED:
            return Line(label, f"refuted: they are not the slopes of the gradient, though {text}", kind="bad")
        case Verdict.SUSPECT:
            return Line(label, "they have lost their digits: the proven ones are in the evidence", kind="doubtful")
    return Line(label, text)


def unfinished(f: Function, H: Tensor) -> str:
    """What to say where not all second partials are numbers."""
    gaps = known(f, f.start, 2, H)
    lost = next((gap for gap in gaps.values() if not gap.exists), None)
    if lost is not None:
        word = "do not all exist" if lost.exists is False else "are not all known"
        return f"they {word} here: {lost.note}"
    if gaps:
        return "they are not all finite here, and were measured from both sides: see the evidence"
    return "they are not all finite here"
