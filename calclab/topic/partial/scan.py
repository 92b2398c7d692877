"""Every partial derivative at a point, at one look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Answer, Evidence, Function, Labels, Picture, State, Values
from calclab.errors import UserError
from calclab.numerics.operators import NoSecondDerivative, dense_hessian, hessian, value_and_gradient
from calclab.subject.network import Network
from calclab.subject.network.layers import layer_of
from calclab.topic import words
from calclab.topic.base import OneLook
from calclab.topic.partial.answer import answer_of_function, answer_of_network
from calclab.topic.partial.evidence import check_first, check_second
from calclab.topic.partial.parameters import Parameters, as_matrix
from calclab.topic.partial.pictures import labels, pictures

MIXED = 64  # the most variables for which all mixed second partials are formed


@dataclass(frozen=True, kw_only=True)
class Partial(schema.topic.Partial, OneLook):
    """The gradient g_i = ∂f/∂x_i, (n,), at the start; k = 0 is the only point.

    With at most 64 variables the second partials ∂²f/∂x_i∂x_j are formed too, (n, n), *not* symmetrised: each row is
    differentiated on its own, so their symmetry (Schwarz) is evidence. For a network f is the mean loss over all rows.
    """

    subject: Function | Network

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse()

    def refuse(self) -> None:
        """UserError for a vector function, and for a layer that is not there: now, and not at the first step."""
        if self.layer is None:
            self.function.objective()
        elif not isinstance(self.subject, Network):
            raise UserError(f"layer={self.layer}: {self.subject.name} is a function and has no layers. Leave layer out")
        elif self.chosen is not None and not self.chosen.tensors:
            layers = sorted({layer_of(name) for name in self.subject.parameters()})
            raise UserError(
                f"layer={self.layer}: {self.subject.name} has no layer of this name with parameters. "
                + words.nearest(self.layer, layers)
            )

    @cached_property
    def function(self) -> Function:
        return self.subject.objective()

    @cached_property
    def chosen(self) -> Parameters | None:
        """Of a network: the parameters to show."""
        return Parameters(self.subject, self.layer) if isinstance(self.subject, Network) else None

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
        f, chosen = self.function, self.chosen
        value, g = value_and_gradient(f.call, f.start)
        new: State = {"value": value, "gradient": g}
        values: dict[str, Tensor] = {"value": value, "gradient_norm": g.norm()}
        if chosen is None:
            values["gradient"] = g
        else:
            gradients = chosen.network.unflatten(g)
            new |= {f"grad.{name}": gradients[name] for name in chosen.tensors}
            values["layer_norms"] = torch.stack([chosen.layer_norm(new, layer) for layer in chosen.layers])
            values |= {f"grad.{name}": as_matrix(new[f"grad.{name}"]) for name in chosen.written}
        if self.mixed:
            H = dense_hessian(f.call, f.start)
            new["mixed_partials"] = values["mixed_partials"] = H
            values["asymmetry"] = (H - H.T).abs().max()
        return new, values

    def verify(self, state: State, k: int) -> list[Evidence]:
        f = self.function
        first = check_first(f, state["value"], state["gradient"], k, each=self.chosen is None)
        return first + (check_second(f, state["mixed_partials"], k) if self.mixed else [])

    def answer(self, state: State) -> Answer:
        if self.chosen is None:
            return answer_of_function(self.function, state)
        return answer_of_network(self.function, state, self.chosen)

    def labels(self) -> Labels:
        return labels(self.function.variables, self.chosen, mixed=self.mixed)

    def pictures(self) -> Sequence[Picture]:
        return pictures(self.function, self.chosen, mixed=self.mixed)
