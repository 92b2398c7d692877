"""The layers on the way from the input to the outputs: those that depend on it, and the map to the last of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor

from calclab.core import Function
from calclab.errors import UserError
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.tape import Tape, record


@dataclass(frozen=True)
class Route:
    """A network from row ``row`` of its data on, whose ``inputs`` are (B, *shape)."""

    network: Network
    row: int
    inputs: Tensor

    @cached_property
    def tape(self) -> Tape:
        """The layers with what went in and out; UserError where none depends on the input."""
        x = self.inputs.detach().clone()
        with torch.enable_grad():
            tape, _ = self.recorded(x.requires_grad_() if x.is_floating_point() else x)
        if not tape.names:
            raise UserError(
                f"{self.network.name} has no layers that can be followed: none has a derivative by the input. "
                "Type by=input or by=parameters"
            )
        inputs, outputs = ([t.detach() for t in part] for part in (tape.inputs, tape.outputs))
        return replace(tape, inputs=inputs, outputs=outputs)

    def recorded(self, x: Tensor) -> tuple[Tape, Tensor]:
        """Of x (B, *shape) on the graph: the layers that take one tensor which depends on x, and the outputs (B, m)."""
        tape, y = record(self.network, self.network.parameters(), x)
        sides = zip(tape.inputs, tape.outputs, tape.alone, tape.others, strict=True)
        kept = [
            i
            for i, (z, a, alone, others) in enumerate(sides)
            if alone and not others and z.requires_grad and a.requires_grad and len(z) == len(a) == len(x)
        ]
        names = ("names", "paths", "modules", "inputs", "outputs", "alone", "others")
        parts: dict[str, Any] = {name: [getattr(tape, name)[i] for i in kept] for name in names}
        return Tape(**parts, sequential=tape.sequential and len(kept) == len(tape.names)), y

    @cached_property
    def left_out(self) -> list[str]:
        """The layers that are no map from one tensor, which depends on the input, to one."""
        with torch.no_grad():
            every, _ = record(self.network, self.network.parameters(), self.inputs.detach().clone())
        return [name for name in every.names if name not in self.tape.names]

    @cached_property
    def ends(self) -> bool:
        """Whether the last layer gives the outputs, and nothing is done to them after it."""
        last = self.tape.outputs[-1].flatten(1)
        y = self.network.evaluate(self.inputs)
        return last.shape == y.shape and torch.equal(last, y)

    def whole(self) -> Function:
        """The first row to what the last layer gives."""
        if self.ends:
            return self.network.row_response(self.row)
        start, shape = self.inputs[0].detach().reshape(-1), self.inputs.shape[1:]

        def call(x: Tensor) -> Tensor:
            tape, _ = record(self.network, self.network.parameters(), x.reshape(1, *shape))
            return tape.outputs[tape.names.index(self.tape.names[-1])].reshape(-1)

        width = prod(self.tape.outputs[-1].shape[1:])
        return Function(self.tape.names[-1], call, start, self.network.data.features, words.count(width))
