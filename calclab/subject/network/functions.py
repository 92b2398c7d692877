"""A network with its data and loss, as functions: of its parameters (the objective) and of its input (the response)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from calclab.core import Data, Function, Rows
from calclab.errors import UserError
from calclab.network import weights as weight_files
from calclab.network.codes import listed
from calclab.network.loss import Loss
from calclab.network.model_loss import ModelLoss
from calclab.network.probe import mixes, padding
from calclab.network.stateless import Stateless
from calclab.numerics.chunks import windows_of
from calclab.subject.distributed import Call, Share, over_ranks, ranks, shared
from calclab.subject.minibatch import Minibatches
from calclab.subject.network.layers import activations, entries, innermost, modules
from calclab.subject.streamed import summed

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Network:
    """A module, data and loss. θ, (n,), holds the trainable parameters in the module's order, tied ones once.

    The module is in eval mode and is never changed: every call hands it the parameters, and copies of its buffers.
    ``outputs`` names its m outputs; ``notes`` are sentences for the user, those on the data among them. Rows are flat
    here: (d,), d = Π shape. ``inside`` is a smaller type than its own that it computes in.
    """

    name: str
    module: nn.Module
    data: Data
    loss: Loss
    loss_name: str
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    pure: bool = True  # whether a call leaves the module's buffers and attributes as they are, by itself
    training: int = 0  # steps of Adam from the seed's weights to the parameters; 0 where these are as given or drawn
    inside: torch.dtype | None = None

    # --- parameters ---

    def parameters(self) -> dict[str, Tensor]:
        """The trainable parameters by name, detached."""
        return {name: p.detach() for name, p in self.module.named_parameters() if p.requires_grad}

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        return {name: p.shape for name, p in self.parameters().items()}

    @cached_property
    def sizes(self) -> list[int]:
        return [shape.numel() for shape in self.shapes.values()]

    @cached_property
    def cuts(self) -> list[tuple[str, torch.Size | None]]:
        """The shapes of those parameters that are no vectors."""
        return [(name, None if len(shape) == 1 else shape) for name, shape in self.shapes.items()]

    def flatten(self, parameters: Parameters) -> Tensor:
        """θ (n,) of parameters by name."""
        return torch.cat([parameters[name].reshape(-1) for name in self.shapes])

    def unflatten(self, θ: Tensor) -> dict[str, Tensor]:
        """Parameters by name of θ (n,), as views."""
        pieces = zip(self.cuts, θ.split_with_sizes(self.sizes), strict=True)
        return {name: piece if shape is None else piece.view(shape) for (name, shape), piece in pieces}

    def save(self, θ: Tensor, path: str | Path) -> None:
        """Write all parameters and buffers, with θ (n,) as the trainable ones, to a file for ``network.weights=``."""
        given = dict(
            zip((p for p in self.module.parameters() if p.requires_grad), self.unflatten(θ).values(), strict=True)
        )
        weight_files.save({n: given.get(t, t) for n, t in self.module.state_dict(keep_vars=True).items()}, path)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """A name for each entry of θ: hidden.0.weight[1,2]."""
        return tuple(entry for name, shape in self.shapes.items() for entry in entries(name, shape))

    @cached_property
    def held(self) -> Tensor | None:
        """Which entries of θ (n,) are rows of padding, which an embedding keeps fixed; None where none is."""
        rows = padding(self.module)
        if not rows:
            return None
        found = {name: torch.zeros(shape, dtype=torch.bool) for name, shape in self.shapes.items()}
        for name, row in rows.items():
            found[name][row] = True
        return self.flatten(found)

    # --- calls ---

    @cached_property
    def call(self) -> Stateless:
        """What the module returns, (parameters by name, inputs (B, *shape)) to (B, ...)."""
        return Stateless(self.module)

    def evaluate(self, inputs: Tensor, parameters: Parameters | None = None) -> Tensor:
        """Outputs (B, m) for inputs (B, *shape), with the parameters given or the module's own."""
        parameters = self.parameters() if parameters is None else parameters
        result: Tensor = self.call(parameters, inputs)
        return result if result.ndim == 2 else result.reshape(len(result), -1)

    def batch_outputs(self, inputs: Tensor) -> Tensor:
        """Outputs (B, m) for flat rows (B, d)."""
        return self.evaluate(self._shaped(inputs))

    def losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row, (B,), for flat rows (B, d)."""
        return self.row_losses(self.parameters(), self._shaped(inputs), targets)

    @property
    def own_loss(self) -> bool:
        """Whether the module computes its loss itself, of which no function of its outputs is known."""
        return isinstance(self.loss, ModelLoss)

    def row_losses(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each of these rows, (B,); of a weighted mean times its weight."""
        if isinstance(self.loss, ModelLoss):
            return self.loss.each(parameters, inputs, targets)
        return self.loss.rows(self.evaluate(inputs, parameters), targets)

    def value(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of these rows, ()."""
        if isinstance(self.loss, ModelLoss):
            return self.loss.whole(parameters, inputs, targets)
        return self.loss(self.evaluate(inputs, parameters), targets)

    def total(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        """The sum of the losses of these rows, (), each times its weight: what chunks add up to."""
        if isinstance(self.loss, ModelLoss):
            return self.loss.added(parameters, inputs, targets)
        return self.loss.total(self.evaluate(inputs, parameters), targets)

    def amount(self, inputs: Tensor, targets: Tensor) -> float:
        """What `total` is divided by for the loss of these rows: how many they are, what they weigh, of a sum 1."""
        if isinstance(self.loss, ModelLoss):
            return self.loss.weigh(inputs, targets)
        return float(self.loss.amount(targets))

    @cached_property
    def rows(self) -> Tensor:
        """All rows of the data, flat: (B, d)."""
        return self.data.inputs.flatten(1)

    def _shaped(self, rows: Tensor) -> Tensor:
        return rows.reshape(len(rows), *self.data.inputs.shape[1:])

    def mixes(self, data: Data | None = None) -> bool:
        """Whether the outputs or the loss of a row (of ``data``, or of its own) depend on the other rows."""
        return self.own_mixes if data is None or data is self.data else self.mixed(data)

    @cached_property
    def own_mixes(self) -> bool:
        """The same of its own rows, which several ask: they are looked at once."""
        return self.mixed(self.data)

    def mixed(self, data: Data) -> bool:
        return self.loss.rule == "all rows" or mixes(self.evaluate, data)

    # --- functions ---

    def objective(self) -> Function:
        """θ (n,) to the mean loss over all rows (of the loss ``sum``, to the sum)."""
        if not self.shapes:
            raise UserError(f"{self.name} has no trainable parameters. Ask for its inputs instead: topic=jacobian")
        inputs, targets, start = self.data.inputs, self.data.targets, self.flatten(self.parameters())

        if isinstance(inputs, Rows) or isinstance(targets, Rows):
            call = self.streamed(self.data)
        else:
            call = over_ranks(self.name, *self.calls(inputs, targets), start, len(inputs), mean=self.loss.mean)
        title = f"{self.loss_name} of {self.name} on {self.data.name}"
        split = self.split(inputs, targets)
        return Function(title, call, start, self.variables, split=split, held=self.held, inside=self.inside)

    def calls(self, inputs: Tensor, targets: Tensor) -> tuple[Call, Share]:
        """θ (n,) to the loss () of these rows; θ and which of them to the loss of each."""

        def whole(θ: Tensor) -> Tensor:
            return self.value(self.unflatten(θ), inputs, targets)

        def share(θ: Tensor, rows: slice) -> Tensor:
            return self.row_losses(self.unflatten(θ), inputs[rows], targets[rows])

        return whole, share

    def streamed(self, data: Data) -> Call:
        """θ (n,) to the loss () of rows that do not fit in memory: of one window of them at a time."""
        if ranks() > 1:
            raise UserError(
                f"the rows of {data.name} do not fit in memory, which is for one process. Leave torchrun out"
            )
        if self.mixes(data):
            raise UserError(
                f"{self.name} mixes rows (batch statistics?), and those of {data.name} do not fit in memory together. "
                "Take fewer rows, or name more memory"
            )
        weight = 1 / self.amount(data.inputs, data.targets)

        def part(window: slice, θ: Tensor) -> tuple[Tensor, ...]:
            return (weight * self.total(self.unflatten(θ), data.inputs[window], data.targets[window]),)

        def graph(window: slice) -> Tensor:
            with torch.enable_grad():
                return part(window, self.flatten(self.parameters()).requires_grad_())[0]

        pieces = windows_of(graph, data.inputs, data.targets)
        return lambda θ: summed(part, pieces, θ)[0]

    def split(self, inputs: Tensor, targets: Tensor) -> tuple[Call, Call] | None:
        """θ (n,) to the outputs of these rows (B·m,), and those to the loss (): for the Gauss-Newton matrix. None for a
        loss that does not curve, where several processes share the rows, and where these do not fit in memory."""
        if self.loss.name in ("sum", "mae") or self.own_loss or ranks() > 1:
            return None
        if isinstance(inputs, Rows) or isinstance(targets, Rows):
            return None

        def inner(θ: Tensor) -> Tensor:
            return self.evaluate(inputs, self.unflatten(θ)).reshape(-1)

        def outer(y: Tensor) -> Tensor:
            return self.loss(y.reshape(len(inputs), -1), targets)

        return inner, outer

    @property
    def unsplit(self) -> str:
        """Why there is no `split`."""
        if isinstance(self.loss, ModelLoss):
            return f"{self.name} computes its own loss, which is no function of outputs that is known"
        return f"the loss {self.loss_name} does not curve"

    def sampled(self, batch: int, seed: int) -> Minibatches:
        """The objective through ``batch`` rows at a time, in an order that the seed decides.

        Of the loss ``sum`` it is the sum over the rows times B / b, whose mean over the batches is about the whole sum.
        """
        whole, inputs, targets = self.objective(), self.data.inputs, self.data.targets

        def pick(rows: Tensor) -> Function:
            x, t = inputs[rows], targets[rows]
            mean = shared(*self.calls(x, t), len(x), mean=self.loss.mean)
            call = mean if self.loss.mean else lambda θ: len(inputs) / len(x) * mean(θ)
            return replace(whole, call=call, split=self.split(x, t))

        return Minibatches(pick, len(inputs), batch, seed, inputs.device)

    def response(self) -> Function:
        """x (d,) to the outputs (m,), at row 0."""
        return self.row_response(0)

    def row_response(self, row: int) -> Function:
        """x (d,) to the outputs (m,), at the row given."""

        def call(x: Tensor) -> Tensor:
            return self.batch_outputs(x.unsqueeze(0))[0]

        return Function(
            name=f"{self.name} at row {row} of {self.data.name}",
            call=call,
            start=self._row(row),
            variables=self.data.features,
            outputs=self.outputs,
            inside=self.inside,
        )

    def layer_response(self, layer: str, row: int) -> Function:
        """x (d,) to the flattened output of the module called ``layer``, at the row given."""
        if layer not in self.modules:
            raise UserError(f"layer={layer}: {self.name} has the layers {', '.join(name for name, _ in self.layers())}")

        with torch.no_grad():
            found = self.activations(self.data.inputs[:1])
        if layer not in found:
            raise UserError(f"layer={layer} of {self.name} is never called, or gives no tensor. Choose another layer")

        def call(x: Tensor) -> Tensor:
            return self.activations(self._shaped(x.unsqueeze(0)))[layer].reshape(-1)

        return Function(
            name=f"{layer} of {self.name} at row {row} of {self.data.name}",
            call=call,
            start=self._row(row),
            variables=self.data.features,
            outputs=tuple(entries(layer, found[layer].shape[1:])),
            inside=self.inside,
        )

    def _row(self, row: int) -> Tensor:
        if not 0 <= row < len(self.rows):
            raise UserError(f"row={row}: {self.data.name} has the rows 0 to {len(self.rows) - 1}. Type row=0")
        if not self.rows.is_floating_point():
            raise UserError(
                f"the inputs of {self.data.name} are whole numbers, and there is no derivative by them. Ask for one "
                "by the parameters (topic=hessian), or for a layer behind the embedding"
            )
        if self.data.codes:
            raise UserError(
                f"{listed(self.data, self.data.codes)}: the network looks something up by it, and there is no "
                "derivative by a code. Ask for one by the parameters (topic=hessian), or type topic=importance "
                "method='[ablation,permutation]'"
            )
        return self.rows[row].detach().clone()

    # --- layers ---

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All modules by name; the whole goes by the name of the network."""
        return modules(self.module, self.name)

    def activations(self, inputs: Tensor, parameters: Parameters | None = None) -> dict[str, Tensor]:
        """The output of every module called on inputs (B, *shape), by name, in order of completion, on the graph."""
        return activations(self.modules, lambda: self.evaluate(inputs, parameters))

    def layers(self) -> list[tuple[str, nn.Module]]:
        """The modules that do the work, in order of their first call: those that call no further ones."""
        with torch.no_grad():
            called = list(self.activations(self.data.inputs[:1]))
        parts = self.modules
        return [(name, parts[name]) for name in innermost(called, self.name)]
