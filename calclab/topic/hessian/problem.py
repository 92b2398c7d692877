"""What curvature is asked of: a function of the variables chosen, of the rows chosen, and the operator A asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from calclab.core import Data, Function, Rows
from calclab.errors import UserError
from calclab.numerics import operators
from calclab.numerics.kinks import Gap
from calclab.numerics.krylov import Control
from calclab.numerics.operators import LinearOperator, hessian
from calclab.numerics.verify import known
from calclab.second_order import (
    choose,
    curvature,
    curves_only_through_the_loss,
    diagonal_gauss_newton,
    positions,
    value_and_gradient,
)
from calclab.second_order.gradient import windows_of
from calclab.second_order.graph import subject
from calclab.subject.distributed import Call, ranks
from calclab.subject.network import Network
from calclab.subject.network.layers import layer_of

DRAWN = 64  # larger matrices are not drawn
WRITTEN = 2000  # still larger ones are not written; their eigenvalues always are


@dataclass(frozen=True)
class CurvatureProblem:
    """``function`` of the n variables chosen; ``kind`` says which operator (n, n) stands for its curvature.

    ``network`` is what it is of, on the rows looked at; ``parameters`` are the patterns that chose the variables;
    ``memory`` is the bytes that graphs are to keep to. ``lanes`` is how many columns share a pass; None leaves it to
    the operator, whose rule goes by its layers and their sizes. The rule has been measured (tests/benchmark); a run
    times nothing, so that the same command gives the same bits (``numerics.lanes.measure_lanes`` serves a user's own).
    """

    function: Function
    kind: str
    network: Network | None
    parameters: tuple[str, ...] | None
    memory: float | None
    lanes: int | None
    seed: int

    @property
    def n(self) -> int:
        return len(self.function.start)

    @property
    def drawn(self) -> bool:
        """Whether the matrix is small enough to be drawn."""
        return self.n <= DRAWN

    @property
    def written(self) -> bool:
        """Whether the matrix is small enough to be written."""
        return self.n <= WRITTEN

    @property
    def title(self) -> str:
        """What A is, in words."""
        return TITLES[self.kind]

    @property
    def symbol(self) -> str:
        """What A is, in a letter."""
        return SYMBOLS[self.kind]

    @cached_property
    def A(self) -> LinearOperator:  # noqa: N802  as the field calls it
        return self.operator(self.kind)

    @property
    def chunked(self) -> bool:
        """Whether the rows are taken in chunks by this process alone."""
        return self.network is not None and ranks() == 1

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The parameters chosen."""
        assert self.network is not None, "a network's only"
        return choose(self.network, self.parameters)

    def operator(self, kind: str, layer: str | None = None) -> LinearOperator:
        """A of any kind, of the variables chosen or of those in a layer."""
        f = self.function
        if not self.chunked or self.network is None:
            return hessian(f.call, f.start, lanes=self.lanes) if layer is None else self.A.sub(self.places(layer))
        names = self.named if layer is None else [name for name in self.named if layer_of(name) == layer]
        return curvature(self.network, kind, parameters=names, memory=self.memory, seed=self.seed, lanes=self.lanes)

    def value_and_gradient(self) -> tuple[Tensor, Tensor]:
        """f () and ∇f (n,) in A's dtype."""
        if self.chunked and self.network is not None:
            value, g = value_and_gradient(self.network, parameters=self.named, memory=self.memory)
        else:
            value, g = operators.value_and_gradient(self.function.call, self.function.start)
        return value.to(self.A.dtype), g.to(self.A.dtype)

    def gaps(self, H: Tensor) -> dict[int, Gap]:
        """What is known of a function's second derivatives that are not proven: autograd gives numbers at kinks too."""
        if self.kind != "hessian" or self.network is not None:
            return {}
        return known(self.function, self.function.start, 2, H)

    @cached_property
    def has_diagonal(self) -> bool:
        """Whether diag A is that of the Gauss-Newton matrix, which the gradients of the rows give exactly."""
        if self.kind not in ("hessian", "gauss_newton") or not self.has_rows or self.network is None:
            return False
        return self.kind == "gauss_newton" or curves_only_through_the_loss(self.network)

    @property
    def has_rows(self) -> bool:
        """Whether every row has a gradient of its own, and the loss curves."""
        network = self.network
        if network is None or not self.chunked or self.function.split is None:
            return False
        return not network.mixes()

    def exact_diagonal(self) -> Tensor:
        """diag G (n,)."""
        assert self.network is not None, "a network's only"
        return diagonal_gauss_newton(self.network, parameters=self.named, memory=self.memory)

    @cached_property
    def control(self) -> Control | None:
        """The Gauss-Newton matrix with its trace, to be subtracted from the Hessian while its trace is sampled."""
        if self.kind != "hessian" or not self.has_rows:
            return None
        diagonal = self.exact_diagonal()
        return Control(self.operator("gauss_newton"), diagonal.sum().cpu(), diagonal)

    @cached_property
    def owners(self) -> list[str]:
        """The layer of each variable chosen."""
        assert self.network is not None, "a network's only"
        return [layer_of(name) for name in self.named for _ in range(self.network.shapes[name].numel())]

    def layers(self) -> tuple[str, ...]:
        """The layers that have some of the variables."""
        return tuple(dict.fromkeys(self.owners))

    def places(self, layer: str) -> Tensor:
        """Where the variables of a layer are among those chosen, (p,)."""
        at = [i for i, owner in enumerate(self.owners) if owner == layer]
        return torch.tensor(at, device=self.function.start.device)

    @property
    def classes(self) -> int:
        """Of a network that classifies; 0 otherwise."""
        data = None if self.network is None else self.network.data
        return len(data.classes) if data is not None and data.classification else 0


TITLES = {
    "hessian": "Hessian",
    "gauss_newton": "Gauss-Newton matrix",
    "fisher": "Fisher matrix",
    "empirical_fisher": "empirical Fisher matrix",
    "gradient_covariance": "gradient covariance",
}


SYMBOLS = {"hessian": "H", "gauss_newton": "G", "fisher": "F", "empirical_fisher": "F̂", "gradient_covariance": "C"}


def curvature_problem(
    subject: Function | Network,
    kind: str,
    parameters: Sequence[str] | None,
    rows: int | None,
    held_out: bool,
    memory: float | None,
    lanes: int | None,
    seed: int,
) -> CurvatureProblem:
    """What the knobs ask for; UserError where it cannot be had."""
    if not isinstance(subject, Network):
        asked = {"operator": kind != "hessian", "parameters": parameters is not None, "rows": rows is not None}
        asked |= {"held_out": held_out, "memory": memory is not None}
        for name, given in asked.items():
            if given:
                raise UserError(f"{name} goes with a network: {subject.name} is a function. Leave {name} out")
        return CurvatureProblem(subject.objective(), kind, None, None, None, lanes, seed)
    memory = None if memory is None else memory * 1e9
    network = replace(subject, data=taken(subject.data, rows, held_out))
    function = network.objective() if ranks() > 1 else in_chunks(network, memory)
    if ranks() > 1 and (kind != "hessian" or parameters is not None):
        raise UserError(f"operator={kind} of chosen parameters is for one process. Leave torchrun out")
    if kind == "gauss_newton" and function.split is None:
        raise UserError(f"operator=gauss_newton: {network.unsplit}. Type operator=hessian")
    if parameters is None:
        return CurvatureProblem(function, kind, network, None, memory, lanes, seed)
    patterns = tuple(parameters)
    at = positions(network, choose(network, patterns))
    return CurvatureProblem(restricted(function, at), kind, network, patterns, memory, lanes, seed)


def in_chunks(network: Network, memory: float | None) -> Function:
    """The loss of all rows, a chunk at a time where ``memory`` wants it: one chunk's graph is held, and made again on
    the way back."""
    function, data = network.objective(), network.data
    if isinstance(data.inputs, Rows) or isinstance(data.targets, Rows):
        return function  # which goes through them by itself
    windows = windows_of(subject(network, network.data, None, choose(network, None)), None, memory)
    if len(windows) == 1:
        return function
    parts = [network.calls(data.inputs[window], data.targets[window])[0] for window in windows]
    amounts = [network.amount(data.inputs[window], data.targets[window]) for window in windows]
    weights = [amount / sum(amounts) if network.loss.mean else 1.0 for amount in amounts]

    def call(x: Tensor) -> Tensor:
        value = x.new_zeros(())
        for part, weight in zip(parts, weights, strict=True):
            graph = torch.is_grad_enabled() and x.requires_grad
            value = value + weight * (again(part, x) if graph else part(x))
        return value

    return replace(function, call=call)


def again(part: Call, x: Tensor) -> Tensor:
    """A part whose graph is made again on the way back; it is held where torch.func is at work in the network."""
    try:
        value: Tensor = checkpoint(part, x, use_reentrant=False)
    except RuntimeError:
        return part(x)
    return value


def taken(data: Data, rows: int | None, held_out: bool) -> Data:
    """The rows held out, or the first ``rows``, or both."""
    if held_out:
        if data.held_out is None:
            raise UserError("held_out=true: no rows are held out. Type data.held_out=0.2 too")
        data = data.held_out
    if rows is None:
        return data
    if rows > len(data.inputs):
        raise UserError(
            f"rows={rows}: there are {len(data.inputs)} rows. Type rows={len(data.inputs)}, or leave it out"
        )
    return data.take(torch.arange(rows))


def restricted(function: Function, at: Tensor) -> Function:
    """The function of the variables at places ``at`` (p,), the others staying where they start."""
    start = function.start

    def whole(x: Tensor) -> Tensor:
        return start.index_copy(0, at, x)

    def call(x: Tensor) -> Tensor:
        return function.call(whole(x))

    split = None
    if function.split is not None:
        inner, outer = function.split
        split = (lambda x: inner(whole(x)), outer)
    names = tuple(function.variables[i] for i in at.tolist())
    name = f"{function.name}, {len(at)} of {len(start)} parameters"
    held = None if function.held is None else function.held[at]
    return Function(name, call, start[at].clone(), names, split=split, held=held, inside=function.inside)
