"""Every partial derivative at a point: of a formula by its variables, of a network's loss by its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Answer, Bars, Evidence, Function, Heatmap, Labels, Picture, State, Values, Verdict
from calclab.errors import UserError
from calclab.numerics.agreement import identity, worst
from calclab.numerics.kinks import Gap
from calclab.numerics.operators import NoSecondDerivative, dense_hessian, hessian, value_and_gradient
from calclab.numerics.verify import check_gradient, check_hessian, check_value, known
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.base import OneLook
from calclab.topic.parameters import as_matrix, ends_of, layer_of
from calclab.topic.proven import Proven, proven, shaky
from calclab.topic.rounding import slack

FEW = 16  # variables up to which it is said what their rounding does
MIXED = 64  # the most variables for which all mixed second partials are formed
DRAWN = 8  # gradients of so many weights are drawn; all are written
ENTRIES = 10_000  # a gradient with more entries is told by its shape and norm only


@dataclass(frozen=True, kw_only=True)
class Partial(schema.topic.Partial, OneLook):
    """The gradient g_i = ∂f/∂x_i, (n,), at the start; k = 0 is the only point.

    With at most 64 variables the second partials ∂²f/∂x_i∂x_j are formed too, (n, n), *not* symmetrised: each row is
    differentiated on its own, so their symmetry (Schwarz) is evidence. For a network f is the mean loss over all rows.
    """

    subject: Function | Network

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer is None:
            self.function.objective()  # refuses a vector function now and not at the first step
        elif not isinstance(self.subject, Network):
            raise UserError(f"layer={self.layer}: {self.subject.name} is a function and has no layers. Leave layer out")
        elif not self.parameters:
            layers = sorted({layer_of(name) for name in self.subject.parameters()})
            raise UserError(
                f"layer={self.layer}: {self.subject.name} has no layer of this name with parameters. "
                + words.nearest(self.layer, layers)
            )

    @cached_property
    def function(self) -> Function:
        return self.subject.objective()

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """Of a network: the parameters to show, by name."""
        if not isinstance(self.subject, Network):
            return {}
        layer = self.layer
        every = self.subject.parameters()
        return {name: p for name, p in every.items() if layer is None or f"{name}.".startswith(f"{layer}.")}

    @cached_property
    def mixed(self) -> bool:
        """Whether second partials are formed: of a few variables, where torch has them."""
        return 2 <= len(self.function.start) <= MIXED and not self.missing

    @cached_property
    def missing(self) -> str:
        """Why torch has no second derivatives of a callable or a network; empty where it has, as one product shows."""
        f = self.function
        if f.exact is not None or f.start.is_meta:
            return ""
        try:
            hessian(f.call, f.start, lanes=1) @ torch.ones_like(f.start)
        except NoSecondDerivative as refusal:
            return str(refusal)
        return ""

    def notes(self) -> Sequence[str]:
        few = 2 <= len(self.function.start) <= MIXED
        return [f"second partials are left out: {self.missing}"] if few and self.missing else []

    def step(self, state: State, k: int) -> tuple[State, Values]:
        f = self.function
        value, g = value_and_gradient(f.call, f.start)
        new: State = {"value": value, "gradient": g}
        values: dict[str, Tensor] = {"value": value, "gradient_norm": g.norm()}
        if isinstance(self.subject, Network):
            gradients = self.subject.unflatten(g)
            new |= {f"grad.{name}": gradients[name] for name in self.parameters}
            values["layer_norms"] = torch.stack([self.layer_norm(new, layer) for layer in self.layers])
            values |= {f"grad.{name}": as_matrix(new[f"grad.{name}"]) for name in self.logged}
        else:
            values["gradient"] = g
        if self.mixed:
            H = dense_hessian(f.call, f.start)
            new["mixed_partials"] = values["mixed_partials"] = H
            values["asymmetry"] = (H - H.T).abs().max()
        return new, values

    def verify(self, state: State, k: int) -> list[Evidence]:
        f, g = self.function, state["gradient"]
        evidence = check_value(f, f.start, state["value"], k)
        evidence += check_gradient(f, f.start, g, k, each=not isinstance(self.subject, Network))
        if self.mixed:
            H = state["mixed_partials"]
            evidence += [replace(row, quantity="second partials") for row in check_hessian(f, f.start, H, k)]
            if f.exact is not None and bool(H.isfinite().all()):  # of a callable it is among them already
                tolerance = slack(f, f.start, H, 2)
                evidence.append(identity("mixed partials", "symmetry: f_ij = f_ji", H, H.T, k, tolerance=tolerance))
        return evidence

    def answer(self, state: State) -> Answer:
        f, g = self.function, state["gradient"]
        values: dict[str, Tensor | str] = {"value": state["value"]}
        values |= proven(f, f.start, state["value"], 0).values("value")
        if isinstance(self.subject, Network):
            values |= {"gradient_norm": g.norm()}
            values |= {f"gradient_norm of {layer}": self.layer_norm(state, layer) for layer in self.layers}
        if len(g) <= ENTRIES:
            values |= {"gradient": g, **proven(f, f.start, g, 1).values("gradient")}
        values["gradient_norm"] = g.norm()
        latex = [] if f.exact is None else f.exact.derivative_latex(1)
        if self.mixed:
            H = state["mixed_partials"]
            values |= {"mixed_partials": H, **proven(f, f.start, H, 2).values("mixed_partials")}
            values["asymmetry"] = (H - H.T).abs().max()
        if isinstance(self.subject, Network):
            values |= self.network_values(state)
            sentence = self.network_sentence(state)
        else:
            values |= {f"∂f/∂{name}": g[i] for i, name in enumerate(f.variables)}
            sentence = self.function_sentence(state)
        return Answer(sentence, values, latex)

    @cached_property
    def gaps(self) -> dict[int, Gap]:
        """What is known of partial derivatives that are not proven, by variable."""
        f = self.function
        return known(f, f.start, 1, value_and_gradient(f.call, f.start)[1])

    def function_sentence(self, state: State) -> str:
        f, g = self.function, state["gradient"]
        value, slopes = proven(f, f.start, state["value"], 0), proven(f, f.start, g, 1)
        partials = [partial_text(name, slopes, i, self.gaps.get(i)) for i, name in enumerate(f.variables)]
        text = f"f({words.listing(f.start)}) = {value.text()}; {words.listing(partials)}"
        if len(g) <= FEW:
            looks = [(f"∂f/∂{name}", slopes, 1, i) for i, name in enumerate(f.variables)]
            text += shaky(f, f.start, [("f", value, 0, 0), *looks])
        kinks = any(gap.exists is False for gap in self.gaps.values())
        return f"{text}; {self.symmetry(state)}" if self.mixed and not kinks else text

    def symmetry(self, state: State) -> str:
        """How well the mixed partials of both orders agree: which says nothing of the diagonal, nor that they are
        right where a program forgets how it got its gradient."""
        f, H = self.function, state["mixed_partials"]
        if not bool(H.isfinite().all()):
            return self.unfinished(H)
        gap = float((H - H.T).abs().max())
        how = "are equal to the last digit" if gap == 0 else f"agree within {words.number(gap)}"
        told = f"mixed partials ∂²f/∂xᵢ∂xⱼ and ∂²f/∂xⱼ∂xᵢ {how}"
        match worst(check_hessian(f, f.start, H, 0)):
            case Verdict.REFUTED:
                return f"{told}, but the second partials are refuted: they are not the slopes of the gradient"
            case Verdict.SUSPECT:
                return f"{told}, but second partials have lost their digits: the proven ones are in the evidence"
        return told

    def unfinished(self, H: Tensor) -> str:
        """What to say where not all second partials are numbers."""
        f = self.function
        gaps = known(f, f.start, 2, H)
        lost = next((gap for gap in gaps.values() if not gap.exists), None)
        if lost is not None:
            word = "do not all exist" if lost.exists is False else "are not all known"
            return f"second partials {word} here: {lost.note}"
        if gaps:
            return "second partials are not all finite here, and were measured from both sides: see the evidence"
        return "second partials are not all finite here"

    # --- networks ---

    @cached_property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer_of(name) for name in self.parameters))

    @property
    def logged(self) -> list[str]:
        return [name for name, p in self.parameters.items() if p.numel() <= ENTRIES]

    def layer_norm(self, state: State, layer: str) -> Tensor:
        """The norm of the gradients of all parameters of one layer."""
        parts = [state[f"grad.{name}"].flatten() for name in self.parameters if layer_of(name) == layer]
        return torch.cat(parts).norm()

    def network_values(self, state: State) -> dict[str, Tensor | str]:
        assert isinstance(self.subject, Network)
        sums = self.subject.rows.sum(0)  # ∂(sum of the outputs)/∂W of a linear layer, one row for each output
        first = next((p for p in self.subject.parameters().values() if p.ndim > 1), sums)
        values: dict[str, Tensor | str] = {
            "column_sums": sums.expand_as(first) if first.shape[1:] == sums.shape else sums
        }
        for name in self.parameters:
            values[f"shape of {name}"] = words.shape(state[f"grad.{name}"])
            if name in self.logged:
                values[f"grad.{name}"] = state[f"grad.{name}"]
        return values

    def network_sentence(self, state: State) -> str:
        shapes = [f"{name} {words.shape(p)}" for name, p in self.parameters.items()]
        norms = [f"{layer} {words.number(self.layer_norm(state, layer))}" for layer in self.layers]
        return (
            f"loss {words.number(state['value'])}; gradient of {words.listing(shapes)}; "
            f"gradient norm {words.number(state['gradient'].norm())}, by layer: {words.listing(norms)}"
        )

    # --- labels and pictures ---

    def labels(self) -> Labels:
        variables = self.function.variables
        labels: dict[str, tuple[Sequence[str], ...]] = {}
        if self.mixed:
            labels["mixed_partials"] = (variables, variables)
        if not isinstance(self.subject, Network):
            return labels | {"gradient": (variables,)}
        ends = ends_of(self.subject)
        for name in self.logged:
            matrix = as_matrix(self.parameters[name])
            labels[f"grad.{name}"] = tuple(
                names if len(names) == size else words.count(size)
                for names, size in zip(ends[name], matrix.shape, strict=False)
            )
        return labels | {"layer_norms": (self.layers,)}

    def pictures(self) -> Sequence[Picture]:
        if not isinstance(self.subject, Network):
            mixed = [Heatmap("mixed_partials", "mixed_partials")] if self.mixed else []
            return [Bars("gradient", "gradient"), *mixed]
        matrices = [f"grad.{name}" for name in self.logged if self.parameters[name].ndim > 1]
        return [Bars("layer_norms", "layer_norms"), *(Heatmap(name, name) for name in matrices[:DRAWN])]


def partial_text(variable: str, slopes: Proven, i: int, gap: Gap | None) -> str:
    """∂f/∂x = 5; ``gap`` says what is known where nothing is proven."""
    return f"∂f/∂{variable} {f'= {slopes.text(i)}' if gap is None else gap.text}"
