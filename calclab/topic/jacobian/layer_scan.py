"""Layer after layer: how each stretches its own input, and what is left of the input and of the gradient there.

Step k is layer k, a_k = layer_k(z_k). J_k = ∂a_k/∂z_k is the layer's own Jacobian, H_k = ∂a_k/∂x that of all layers up
to it, T_k = ∂y/∂a_k that of all after it. κ(H_k) / κ(H_{k-1}) tells where conditioning is lost (of as many directions
as come through the narrowest layer), ‖T_k‖ where the gradient vanishes or explodes. Of several rows medians are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor, nn

from calclab.core import Answer, Evidence, Function, Labels, Picture, State, Values
from calclab.errors import UserError
from calclab.numerics import operators
from calclab.numerics.agreement import identity
from calclab.numerics.jacobian import Map, golub_kahan, jacobians, of_module, plan, products
from calclab.numerics.jacobian.coloured import tangent
from calclab.numerics.jacobian.layers import entrywise, passes, scale
from calclab.numerics.jacobian.steps import hooked
from calclab.numerics.verify import check_jacobian
from calclab.subject.network import Network
from calclab.subject.network.embedding import sentences
from calclab.topic import words
from calclab.topic.base import Method
from calclab.topic.jacobian import answer, evidence, measures, pictures
from calclab.topic.jacobian.route import Route
from calclab.topic.tape import Tape

FORMED = 2**22  # entries, of all rows together, up to which a layer's Jacobian is formed


@dataclass(frozen=True)
class LayerScan(Method):
    """k runs over the modules without children, in order of execution, at rows ``row`` to ``row`` + ``rows`` - 1."""

    subject: Network
    row: int
    rows: int
    threshold: float
    seed: int

    @cached_property
    def inputs(self) -> Tensor:
        return self.subject.data.inputs[self.row : self.row + self.rows]

    @cached_property
    def route(self) -> Route:
        return Route(self.subject, self.row, self.inputs)

    def refuse(self) -> None:
        """UserError for a network without layers that can be followed."""
        _ = self.tape

    @property
    def tape(self) -> Tape:
        """The layers with what went in and out, for the rows looked at."""
        return self.route.tape

    @cached_property
    def weighted(self) -> list[int]:
        """The layers with a weight matrix: those that count in the factor per layer."""
        return [i for i, leaf in enumerate(self.tape.modules) if any(p.ndim > 1 for p in leaf.parameters(False))]

    @property
    def steps(self) -> int:
        return len(self.tape.names) - 1

    @property
    def evidence_steps(self) -> int:
        return 2 * min(self.steps + 1, 8)

    def notes(self) -> Sequence[str]:
        notes = sentences(self.subject)
        if not self.tape.sequential:
            notes.append(
                f"{self.subject.name} is no plain sequence of layers: the way from the input to each is by reverse mode"
            )
        if left := self.route.left_out:
            notes.append(
                f"left out: {words.listing(left)}, which take or give several tensors, or do not depend on the input"
            )
        return notes

    def init(self) -> State:
        """‖T_k‖_F (B,) of every layer, by one backward pass for each output."""
        x = self.inputs.detach().clone().requires_grad_()
        with torch.enable_grad():
            tape, y = self.route.recorded(x)
        squares = x.new_zeros(len(tape.outputs), len(x))
        if not y.requires_grad:
            raise UserError(
                f"{self.subject.name} loses the way from its input: the outputs are computed without autograd. Type "
                "by=parameters, or compute them with torch alone"
            )
        for column in y.unbind(1):
            found = torch.autograd.grad(
                column.sum(), tape.outputs, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            squares = squares + torch.stack([g.flatten(1).square().sum(1) for g in found])
        return {"tails": squares.sqrt()}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        new = dict(state)
        local = self.local(k)
        values = {f"own_{name}": value.median() for name, value in local.items()}
        values["gradient_norm"] = state["tails"][k].median()
        new.pop("head", None)
        head = self.head(state.get("head"), k)
        if head is not None:
            new["head"] = head
            σ = measures.singular(head)
            r = self.narrowest
            κ = conditions(σ[:, :r])
            values |= {"forward_norm": σ[:, 0].median(), "condition": κ.median()}
            before = state.get("condition")
            values["lost"] = (κ.log10() - (0 if before is None else before.log10())).median()
            new["condition"] = κ
            if k == self.steps:
                new["singular_values"] = σ[:, :r]
        kept = {name: torch.cat([state[f"seen.{name}"], v[None]]) if k else v[None] for name, v in values.items()}
        new |= {f"seen.{name}": value for name, value in kept.items()}
        if k == self.steps:
            values |= {
                f"{name}s": value for name, value in kept.items() if name in ("gradient_norm", "lost", "condition")
            }
        return new, values

    @property
    def width(self) -> int:
        return prod(self.inputs.shape[1:])

    @cached_property
    def narrowest(self) -> int:
        """r: so many directions can come through. κ(H_k) = σ_1 / σ_r is of these at every layer."""
        sizes = [prod(a.shape[1:]) for a in self.tape.outputs]
        return min([self.width, *(sizes if self.tape.sequential else (len(self.subject.outputs),))])

    def leaf(self, k: int) -> tuple[Map, Tensor]:
        """Layer k as a map of its own input, and those inputs (B, n_k)."""
        z = self.tape.inputs[k].detach()
        return of_module(self.tape.modules[k], z[0]), z.flatten(1)

    def local(self, k: int) -> dict[str, Tensor]:
        """Of J_k, for each row (B,): the norm, and κ where it is formed."""
        f, z = self.leaf(k)
        module = self.tape.modules[k]
        if passes(module):
            one = z.new_ones(len(z))
            return {"norm": one, "condition": one}
        if len(z) * f.outputs * f.inputs <= FORMED:
            σ = measures.singular(jacobians(f, z, plan(f, len(z), kept=True)))
            return {"norm": σ[:, 0], "condition": conditions(σ)}
        made = products(f, z)
        maker = torch.Generator(device=z.device).manual_seed(self.seed)
        start = torch.randn(1, f.inputs, generator=maker, dtype=z.dtype, device=z.device).expand(len(z), -1)
        return {"norm": golub_kahan(made.push, made.pull, start, f.outputs, tol=1e-6).values[:, 0]}

    def head(self, before: Tensor | None, k: int) -> Tensor | None:
        """H_k (B, w_k, d); None where it is too large, or the one before it was."""
        rows, width = len(self.inputs), prod(self.tape.outputs[k].shape[1:])
        if rows * width * self.width > FORMED:
            return None
        if not self.tape.sequential:
            return self.by_reverse(k)
        if k == 0:
            f, z = self.leaf(0)
            return jacobians(f, z, plan(f, len(z), kept=True))
        if before is None:
            return None
        return torch.stack([self.pushed(H, b, k) for b, H in enumerate(before)])

    def pushed(self, H: Tensor, b: int, k: int) -> Tensor:
        """J_k H for H (w, d) of row b: its columns as tangents through the layer."""
        module, z = self.tape.modules[k], self.tape.inputs[k][b : b + 1].detach()
        if type(module) is nn.Linear and z.ndim == 2 and not hooked(module):
            return module.weight.detach() @ H
        t = H.T.reshape(H.shape[1], *z.shape[1:])
        local = (nn.Conv1d, nn.Conv2d, nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d)
        known = type(module) in local or entrywise(module) or passes(module) or scale(module) is not None
        if known and not hooked(module):
            with torch.no_grad():
                return tangent(module, z, t)[1].reshape(len(t), -1).T
        f, flat = self.leaf(k)
        return jacobians(f, flat[b : b + 1], plan(f, kept=True))[0] @ H

    def by_reverse(self, k: int) -> Tensor:
        """H_k by a backward pass from every entry of a_k."""
        x = self.inputs.detach().clone().requires_grad_()
        with torch.enable_grad():
            tape, _ = self.route.recorded(x)
            a = tape.outputs[k].flatten(1)
        columns = a.sum(0).unbind()
        found = [operators.pullback(column, x)[0].flatten(1) for column in columns]
        return torch.stack(found, 1)

    def verify(self, state: State, k: int) -> list[Evidence]:
        f, z = self.leaf(k)
        name = self.tape.names[k]
        function = Function(name, f.call, z[0], words.count(f.inputs), words.count(f.outputs))
        rows = []
        if f.outputs * f.inputs <= FORMED:
            J = jacobians(f, z[:1], plan(f, kept=True))[0].detach()
            rows += evidence.adjoint(function, J, k, self.seed)
        if k == self.steps and "head" in state:
            whole, H = self.route.whole(), state["head"][0]
            auto = operators.dense_jacobian(whole.call, whole.start).reshape(H.shape)
            allowed = 2**13 * torch.finfo(H.dtype).eps * self.rounding()
            rows.append(
                identity("jacobian", "product of the layers = autodiff of the whole", H, auto, k, tolerance=allowed)
            )
            rows += check_jacobian(whole, whole.start, H, k)
        return rows

    def rounding(self) -> float:
        """The size that rounding in the product of the layers is relative to: the largest ‖H_k‖ ‖T_k‖ on the way."""
        tails = float(self.init()["tails"][:, 0].max())
        whole = self.route.whole()
        return max(tails, float(operators.dense_jacobian(whole.call, whole.start).norm()))

    def answer(self, state: State) -> Answer:
        return answer.of_layers(self.tape.names, self.weighted, state, self.threshold, ends=self.route.ends)

    def labels(self) -> Labels:
        return pictures.labels_of_layers(self.tape.names)

    def pictures(self) -> Sequence[Picture]:
        rows = len(self.inputs)
        formed = all(rows * prod(a.shape[1:]) * self.width <= FORMED for a in self.tape.outputs)
        return pictures.of_layers(formed)


def conditions(σ: Tensor) -> Tensor:
    """κ = σ_1 / σ_r (B,), at most what rounding leaves of it: 1 / (r eps)."""
    least = σ.shape[1] * torch.finfo(σ.dtype).eps
    return 1 / (σ[:, -1] / σ[:, 0].clamp(min=torch.finfo(σ.dtype).tiny)).clamp(min=least)
