"""The chain rule through the layers of a network: forward values, backward signals, and the gradients they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.func import functional_call

from calclab.core import Answer, Bars, Curves, Evidence, Graph, Labels, Line, Picture, Said, State, Table, Values
from calclab.errors import UserError
from calclab.numerics.agreement import identity
from calclab.numerics.verify import check_gradient
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.base import Method
from calclab.topic.chain.dataflow import flows
from calclab.topic.tape import Tape, record, trend

SMALL = 400  # activations with at most so many entries (rows × units) are written, larger ones told by their norm
NODES = ("norm of the output", "bound", "norm of the signal", "gap to the one by hand")
EDGES = ("factor", "factor bound", "factor back", "factor back bound")
FOLLOWED = 40  # layers, at most, of which a graph can be read
SHOWN = 12  # layers in the table, at most
ENTRIES = 10_000  # a gradient with more entries is told by its norm only


@dataclass(frozen=True)
class Layers(Method):
    """Step k is layer k, from the inputs to the loss: a_k = layer_k(a_{k-1}), all rows at once.

    The backward signal is δ_k = ∂loss/∂a_k, of the shape of a_k, by one backward pass of the whole. Where the network
    is a plain sequence of modules the same comes by hand: δ_{k-1} = J_kᵀ δ_k, each layer differentiated on its own.
    """

    subject: Network

    @cached_property
    def tape(self) -> Tape:
        """The layers, found by one pass over two rows; none of TorchScript."""
        with torch.no_grad():
            return record(self.subject, self.subject.parameters(), self.subject.data.inputs[:2])[0]

    def refuse(self) -> None:
        """UserError where there are no layers, or none from which the loss is computed."""
        if self.subject.own_loss:
            raise UserError(
                f"the loss is {self.subject.name}'s own, and topic=chain needs one of its outputs. Give one, as in "
                "calclab.loss(model, torch.nn.CrossEntropyLoss(), data), or ask for topic=partial"
            )
        if not self.tape.names:
            raise UserError(f"{self.subject.name} has no layers that can be followed. Ask for topic=partial instead")

    @cached_property
    def links(self) -> tuple[tuple[int, int], ...]:
        """Which layer takes what which other gave, by number: 0 are the inputs, then the layers, then the loss."""
        if len(self.tape.names) > FOLLOWED:
            return ()
        parameters = {name: p.detach().requires_grad_() for name, p in self.subject.parameters().items()}
        x = differentiable(self.subject.data.inputs[:2])
        return flows(*record(self.subject, parameters, x), x)

    @cached_property
    def own(self) -> list[list[str]]:
        """The parameters of each layer, by their full names."""
        every = self.subject.parameters()
        prefixes = [f"{path}." if path else "" for path in self.tape.paths]
        return [
            [f"{prefix}{name}" for name, _ in leaf.named_parameters() if f"{prefix}{name}" in every]
            for prefix, leaf in zip(prefixes, self.tape.modules, strict=True)
        ]

    @cached_property
    def weighted(self) -> list[int]:
        """The layers with a weight matrix: the ones that count in the factor per layer."""
        shapes = self.subject.parameters()
        return [i for i, own in enumerate(self.own) if any(shapes[name].ndim > 1 for name in own)]

    @property
    def steps(self) -> int:
        return len(self.tape.names) - 1

    @property
    def evidence_steps(self) -> int:
        return 2 * (self.steps + 1)  # every one of them

    def init(self) -> State:
        network = self.subject
        x = differentiable(network.data.inputs)
        parameters = {name: p.detach().clone().requires_grad_() for name, p in network.parameters().items()}
        tape, result = record(network, parameters, x)
        loss = network.loss(result, network.data.targets)
        for k, others in enumerate(tape.others):
            tape.outputs[k] = used(loss, tape.outputs[k], others)
        wanted = [x, *tape.outputs, *parameters.values()]
        found = slopes(loss, wanted)
        split = 1 + len(tape.outputs)
        signals, gradients = found[:split], dict(zip(parameters, found[split:], strict=True))
        state: State = {
            "loss": loss.detach(),
            "forward": torch.stack([a.detach().norm() for a in tape.outputs]),
            "backward": torch.stack([δ.norm() for δ in signals[1:]]),
            "inputs": torch.stack([x.detach().double().norm(), signals[0].double().norm()]),
            **{f"gradient.{name}": g for name, g in gradients.items()},
        }
        for k, (a, δ) in enumerate(zip(tape.outputs, signals[1:], strict=True)):
            if a.numel() <= SMALL:
                state |= {f"a.{k}": a.detach(), f"δ.{k}": δ}
        if tape.sequential:
            state |= {f"auto.{k}": δ for k, δ in enumerate(signals)}
            state |= self.by_hand(tape, parameters, result)
        return state

    def by_hand(self, tape: Tape, parameters: dict[str, Tensor], result: Tensor) -> State:
        """The signals hand.k = ∂loss/∂a_{k-1} and each layer's gradients, from the loss down, one layer at a time."""
        outputs = result.detach().requires_grad_()
        (δ,) = torch.autograd.grad(self.subject.loss(outputs, self.subject.data.targets), outputs)
        hand: State = {}
        shapes = [self.subject.data.inputs.shape, *(a.shape for a in tape.outputs)]
        for k in reversed(range(len(tape.outputs))):
            leaf = tape.modules[k]
            z = differentiable(tape.inputs[k])
            prefix = f"{tape.paths[k]}." if tape.paths[k] else ""
            inner = {name.removeprefix(prefix): parameters[name].detach().requires_grad_() for name in self.own[k]}
            a = functional_call(leaf, inner, (z.clone(),))
            pulled = slopes(a, [z, *inner.values()], δ.reshape(a.shape))
            δ = hand[f"hand.{k}"] = pulled[0].reshape(shapes[k])
            hand |= {f"hand.{k}.{name}": g for name, g in zip(self.own[k], pulled[1:], strict=True)}
        return hand

    def step(self, state: State, k: int) -> tuple[State, Values]:
        values: dict[str, Tensor] = {"forward_norm": state["forward"][k], "backward_norm": state["backward"][k]}
        if self.own[k]:
            values["gradient_norm"] = torch.cat([state[f"gradient.{name}"].flatten() for name in self.own[k]]).norm()
        if k < self.steps:
            values["ratio"] = state["backward"][k] / state["backward"][k + 1]
        if f"a.{k}" in state:
            values[f"forward.{self.tape.names[k]}"] = state[f"a.{k}"].flatten(1)
            values[f"backward.{self.tape.names[k]}"] = state[f"δ.{k}"].flatten(1)
        if k == self.steps:
            values |= {"forward_norms": state["forward"], "backward_norms": state["backward"]}
            values |= self.tables(state) if self.links else {}
        return dict(state), values

    def tables(self, state: State) -> Values:
        """What stands in the graph: norms of outputs and of signals, and by which factor a signal changes on its way
        back through a layer, where it has no other way."""
        forward = torch.stack([state["inputs"][0], *state["forward"].double(), state["loss"].double()])
        backward = torch.stack([state["inputs"][1], *state["backward"].double(), torch.ones_like(state["inputs"][0])])
        gaps = torch.full_like(forward, torch.nan)
        for k in range(len(self.tape.names)):
            if f"hand.{k}" in state and state[f"auto.{k}"].is_floating_point():
                gaps[k] = (state[f"hand.{k}"] - state[f"auto.{k}"]).norm()
        unknown = torch.full_like(forward, torch.nan)
        tails = [tail for tail, _ in self.links]
        factor = [backward[a] / backward[b] if tails.count(a) == 1 and b < len(forward) - 1 else unknown[0]
                  for a, b in self.links]  # fmt: skip
        edges = torch.stack([torch.stack([part, unknown[0], part, unknown[0]]) for part in factor])
        return {"nodes": torch.stack([forward, unknown, backward, gaps], 1), "edges": edges}

    def verify(self, state: State, k: int) -> list[Evidence]:
        evidence, name = [], self.tape.names[k]
        method = "hand-made chain rule = autodiff"
        if f"hand.{k}" in state:
            signal = (f"∂loss/∂(input of {name})", state[f"hand.{k}"], state[f"auto.{k}"])
            what = [signal] if signal[1].is_floating_point() else []
            what += [(f"∂loss/∂{p}", state[f"hand.{k}.{p}"], state[f"gradient.{p}"]) for p in self.own[k]]
            if len(set(self.tape.paths)) < len(self.tape.paths):
                what = [signal]  # a layer used twice gets its gradient from both places
            evidence = [identity(quantity, method, hand, auto, k) for quantity, hand, auto in what]
        if k == self.steps:
            objective = self.subject.objective()
            gradient = self.subject.flatten({name: state[f"gradient.{name}"] for name in self.subject.parameters()})
            evidence += check_gradient(objective, objective.start, gradient, k)
        return evidence

    def answer(self, state: State) -> Answer:
        names, b = self.tape.names, state["backward"]
        word, factor = trend(self.weighted, b)
        values: dict[str, Tensor | str] = {"loss": state["loss"], "word": word}
        if factor is not None:
            values["factor"] = factor
        values |= {"forward_norms": state["forward"], "backward_norms": b}
        small = [name for own in self.own for name in own if state[f"gradient.{name}"].numel() <= ENTRIES]
        values |= {f"∂loss/∂{name}": state[f"gradient.{name}"] for name in small}
        for k, own in enumerate(self.own):
            if own:
                grads = torch.cat([state[f"gradient.{name}"].flatten() for name in own])
                values[f"gradient_norm of {names[k]}"] = grads.norm()
        gaps = [
            (state[f"hand.{k}"] - state[f"auto.{k}"]).abs().max() for k in range(len(names)) if f"hand.{k}" in state
        ]
        lines: list[Said] = [Line("loss", words.number(state["loss"]), "loss"), self.table(state)]
        if len(names) > SHOWN:
            lines.append(Line("...", f"{len(names)} layers in all"))
        if gaps:
            by_hand = f"agrees with autodiff within {words.number(torch.stack(gaps).max())}"
            values = {"loss": values["loss"], "gap": torch.stack(gaps).max(), **values}
        else:
            by_hand = "no product by hand: that is for networks that are a plain sequence of modules"
        lines.append(Line("by hand", by_hand, "gap" if gaps else ""))
        signal = f"the backward signal is {word} over {len(names)} layers"
        if factor is not None:
            first, last = self.weighted[0], self.weighted[-1]
            signal = f"the backward signal is {word} over {len(self.weighted)} layers with weights"
            signal += f", by a factor of {words.number(factor)} a layer"
            way = f"{words.number(b[last])} at {names[last]} to {words.number(b[first])} at {names[first]}"
            lines.append(Line("‖∂loss/∂a‖", f"from {way}", "backward_norms"))
        return Answer(signal, values, (), lines)

    def table(self, state: State) -> Table:
        """The layers: how large what they give is, the signal that comes back, and the gradient it leaves."""
        rows = []
        for k, name in enumerate(self.tape.names[:SHOWN]):
            own = [state[f"gradient.{p}"].flatten() for p in self.own[k]]
            left = words.number(torch.cat(own).norm()) if own else ""
            rows.append((name, words.number(state["forward"][k]), words.number(state["backward"][k]), left))
        return Table("layers", ("layer", "‖a‖", "‖∂loss/∂a‖", "gradient"), rows)

    def labels(self) -> Labels:
        names = tuple(self.tape.names)
        labels: dict[str, tuple[Sequence[str], ...]] = {"forward_norms": (names,), "backward_norms": (names,)}
        rows = words.count(len(self.subject.data.inputs))
        for name, a in zip(names, self.tape.outputs, strict=True):
            width = a[0].numel()
            if len(rows) * width <= SMALL:
                labels |= {f"{way}.{name}": (rows, words.count(width)) for way in ("forward", "backward")}
        every = ("inputs", *names, "loss")
        along = tuple(f"{every[a]} to {every[b]}" for a, b in self.links)
        return labels | {"step": (names,), "nodes": (every, NODES), "edges": (along, EDGES)}

    def graph(self) -> Graph:
        layers = zip(self.tape.names, self.tape.modules, self.tape.outputs, strict=True)
        x = self.subject.data.inputs
        joints = (("inputs", size(x)), *((name, f"{type(leaf).__name__} → {size(a)}") for name, leaf, a in layers))
        return Graph("graph", "nodes", "edges", (*joints, ("loss", "")), self.links, norms=True)

    def pictures(self) -> Sequence[Picture]:
        return [
            *([self.graph()] if self.links else []),
            Curves("signals", ("forward_norm", "backward_norm", "gradient_norm"), axis="layer"),
            Bars("backward_norms", "backward_norms"),
        ]


def size(a: Tensor) -> str:
    """The shape of one row of an output: 32, 8 × 4 × 4."""
    return " × ".join(map(str, a.shape[1:])) or "1"


def differentiable(x: Tensor) -> Tensor:
    """A copy of x that autograd follows; of codes there is no derivative."""
    return x.detach().clone().requires_grad_(x.is_floating_point())


def slopes(y: Tensor, wanted: Sequence[Tensor], δ: Tensor | None = None) -> list[Tensor]:
    """∂y/∂t for each tensor, of y () or times δ of the shape of y; zeros where autograd sees no way from it to y, as
    under no_grad or from codes."""
    moving = [tensor for tensor in wanted if tensor.requires_grad]
    found = iter(torch.autograd.grad(y, moving, δ, allow_unused=True, materialize_grads=True) if moving else ())
    return [next(found) if tensor.requires_grad else torch.zeros_like(tensor) for tensor in wanted]


def used(loss: Tensor, first: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Which of a layer's outputs the loss depends on: of a recurrent layer all states, or the last alone."""
    if not others or not loss.requires_grad:
        return first
    moving = [tensor for tensor in (first, *others) if tensor.requires_grad]
    found = torch.autograd.grad(loss, moving, allow_unused=True, retain_graph=True) if moving else ()
    return next((tensor for tensor, g in zip(moving, found, strict=True) if g is not None), first)
