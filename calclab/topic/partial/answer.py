"""The answer: every partial derivative by name, of a formula proven where it can be, of a network by its layers."""

from __future__ import annotations

from torch import Tensor

from calclab.core import Answer, Function, State, Verdict
from calclab.numerics.agreement import worst
from calclab.numerics.kinks import Gap
from calclab.numerics.operators import value_and_gradient
from calclab.numerics.verify import check_hessian, known
from calclab.topic import words
from calclab.topic.partial.parameters import ENTRIES, Parameters
from calclab.topic.proven import Proven, proven, shaky

FEW = 16  # variables up to which it is said what their rounding does
Entries = dict[str, Tensor | str]


def answer_of_function(f: Function, state: State) -> Answer:
    """Of a formula or a callable, by its variables."""
    gradient = {f"∂f/∂{name}": state["gradient"][i] for i, name in enumerate(f.variables)}
    return Answer(sentence(f, state), {**derivatives(f, state, {}), **gradient}, latex(f))


def answer_of_network(f: Function, state: State, chosen: Parameters) -> Answer:
    """Of the loss ``f`` of a network, by its parameters."""
    norms = {layer: chosen.layer_norm(state, layer) for layer in chosen.layers}
    size = state["gradient"].norm()
    first: Entries = {"gradient_norm": size, **{f"gradient_norm of {layer}": norm for layer, norm in norms.items()}}
    shapes = [f"{name} {words.shape(p)}" for name, p in chosen.tensors.items()]
    by_layer = [f"{layer} {words.number(norm)}" for layer, norm in norms.items()]
    text = (
        f"loss {words.number(state['value'])}; gradient of {words.listing(shapes)}; "
        f"gradient norm {words.number(size)}, by layer: {words.listing(by_layer)}"
    )
    return Answer(text, {**derivatives(f, state, first), **by_parameter(state, chosen)}, latex(f))


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


# --- the sentence on a function ---


def sentence(f: Function, state: State) -> str:
    g = state["gradient"]
    gaps = known(f, f.start, 1, value_and_gradient(f.call, f.start)[1])
    value, slopes = proven(f, f.start, state["value"], 0), proven(f, f.start, g, 1)
    partials = [partial_text(name, slopes, i, gaps.get(i)) for i, name in enumerate(f.variables)]
    text = f"f({words.listing(f.start)}) = {value.text()}; {words.listing(partials)}"
    if len(g) <= FEW:
        looks = [(f"∂f/∂{name}", slopes, 1, i) for i, name in enumerate(f.variables)]
        text += shaky(f, f.start, [("f", value, 0, 0), *looks])
    kinks = any(gap.exists is False for gap in gaps.values())
    return f"{text}; {symmetry(f, state['mixed_partials'])}" if "mixed_partials" in state and not kinks else text


def partial_text(variable: str, slopes: Proven, i: int, gap: Gap | None) -> str:
    """∂f/∂x = 5; ``gap`` says what is known where nothing is proven."""
    return f"∂f/∂{variable} {f'= {slopes.text(i)}' if gap is None else gap.text}"


def symmetry(f: Function, H: Tensor) -> str:
    """How well the mixed partials (n, n) of both orders agree: which says nothing of the diagonal, nor that they are
    right where a program forgets how it got its gradient."""
    if not bool(H.isfinite().all()):
        return unfinished(f, H)
    gap = float((H - H.T).abs().max())
    how = "are equal to the last digit" if gap == 0 else f"agree within {words.number(gap)}"
    text = f"mixed partials ∂²f/∂xᵢ∂xⱼ and ∂²f/∂xⱼ∂xᵢ {how}"
    match worst(check_hessian(f, f.start, H, 0)):
        case Verdict.REFUTED:
            return f"{text}, but the second partials are refuted: they are not the slopes of the gradient"
        case Verdict.SUSPECT:
            return f"{text}, but second partials have lost their digits: the proven ones are in the evidence"
    return text


def unfinished(f: Function, H: Tensor) -> str:
    """What to say where not all second partials are numbers."""
    gaps = known(f, f.start, 2, H)
    lost = next((gap for gap in gaps.values() if not gap.exists), None)
    if lost is not None:
        word = "do not all exist" if lost.exists is False else "are not all known"
        return f"second partials {word} here: {lost.note}"
    if gaps:
        return "second partials are not all finite here, and were measured from both sides: see the evidence"
    return "second partials are not all finite here"
