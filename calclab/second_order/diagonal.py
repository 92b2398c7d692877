"""The diagonal of the Gauss-Newton matrix, exactly: diag G = 1/B Σ_b Σ_s (J_bᵀ S_b)²_s with S_b S_bᵀ = H_b.

Column s of all rows is one backward pass to the outputs of the layers. Of linear layers, convolutions and
normalisations the rows' squared gradients follow from what goes in and what comes back (Dangel et al. 2020, BackPACK);
for a linear layer no row's gradient is ever formed. All other parameters take the rows' gradients themselves, by vmap,
or row by row where an operation knows no vmap.

Why it is exact: G_b = J_bᵀ S_b S_bᵀ J_b, so that its k-th diagonal entry is Σ_s (J_bᵀ S_b)²_ks, a sum of squares with
nothing to estimate. S_b has as many columns as the loss has curved directions: one a class, one an output. The cost is
so many backward passes over the rows, against n products for the diagonal of an operator. Where
`affine.curves_only_through_the_loss` says so this is the diagonal of the Hessian, too.

Assumed: rows that do not know of each other (no batch statistics), and a loss that is convex in the outputs; UserError
says otherwise.

>>> import calclab
>>> from calclab.second_order import curvature, diagonal_gauss_newton
>>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)).double()
>>> loss = calclab.loss(net, "cross_entropy", (torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 1, 0])))
>>> G = curvature(loss, "gauss_newton") @ torch.eye(17, dtype=torch.float64)
>>> torch.allclose(diagonal_gauss_newton(loss), G.diagonal())
True
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from calclab.core import Data
from calclab.core.values import wide
from calclab.errors import UserError
from calclab.numerics.chunks import MEMORY, graph_bytes, limits, plan
from calclab.second_order import outputs
from calclab.second_order.affine import curves_only_through_the_loss
from calclab.second_order.capture import Seen, known_layers, row_gradients, watched
from calclab.second_order.chain import Chain, chain
from calclab.second_order.graph import Subject, filled, pull, subject
from calclab.second_order.subset import choose
from calclab.subject.network import Network

__all__ = ["curves_only_through_the_loss", "diagonal_gauss_newton", "trace_gauss_newton"]

NUMBERS = 2**24  # of rows' gradients that are held at once, where they are formed


def diagonal_gauss_newton(
    network: Network,
    *,
    at: Tensor | None = None,
    parameters: Sequence[str] | None = None,
    data: Data | None = None,
    rows: int | None = None,
    memory: float | None = None,
) -> Tensor:
    """diag G (k,) by the chosen parameters, in float64; a mean or a sum over the rows, as the loss is.

    ``at``, ``parameters``, ``data``, ``rows`` and ``memory`` as in `operators.curvature`. A chain of linear layers goes
    by hand, layers of a known kind in closed form, all else by rows. Raises UserError where rows are mixed, where the
    loss is not convex in the outputs, and where a network writes over what a layer was given.
    """
    own = network.data if data is None else data
    if network.mixes(own):
        raise UserError(f"{network.name} mixes rows (batch statistics?): there is no derivative of a row by itself")
    names = choose(network, parameters)
    about = subject(network, own, at, names)
    memory, rows = limits(memory, rows, own.inputs, own.targets)
    if (links := chain(about)) is not None:
        return about.weight * by_hand(about, links, rows)
    layers = known_layers(about)
    closed = {f"{name}.{p}".lstrip("."): (name, p) for name, layer in layers.items() for p in ("weight", "bias")}
    others = tuple(name for name in names if name not in closed)
    dtype = wide(own.inputs.device)
    found = {name: torch.zeros(network.shapes[name], dtype=dtype, device=own.inputs.device) for name in names}
    if layers:
        chunks = plan(graph_bytes(partial(forward, about), len(own.inputs)), len(own.inputs), rows, memory)
        together = max(1, int((MEMORY if memory is None else memory) / (2 * max(1, chunks.bytes))))
        for window in chunks.windows:
            for name, squares in by_layer(about, layers, window, together).items():
                if name in found:
                    found[name] += squares
    if others:
        for name, squares in by_row(Subject(network, about.data, about.parameters, others), rows).items():
            found[name] += squares
    return about.weight * torch.cat([found[name].reshape(-1) for name in names])


def trace_gauss_newton(network: Network, **given: object) -> Tensor:
    """tr G (), with the arguments of ``diagonal_gauss_newton``."""
    return diagonal_gauss_newton(network, **given).sum()  # type: ignore[arg-type]


def by_hand(about: Subject, links: Chain, rows: int | None) -> Tensor:
    """The sum over the rows (k,) for a chain: all columns of S go back at once, a tile of rows after the other."""
    columns = about.outputs([about.parameters[name] for name in about.names], slice(0, 1)).shape[1]
    count, size = len(about.data.inputs), links.tile(columns, about.data.inputs.element_size())
    size = size if rows is None else min(size, rows)
    found: dict[str, Tensor] = {}
    for first, last in pairwise([*range(0, count, size), count]):
        window = slice(first, last)
        with torch.no_grad():
            kept, y = links.forward(about, window)
            squares = links.squares(kept, outputs.root(about.network.loss, y, about.data.targets[window]).mT)
        for name, value in squares.items():
            found[name] = found[name] + value if name in found else value.to(wide(value.device))
    return torch.cat([found[name].reshape(-1) for name in about.names])


def forward(about: Subject, window: slice) -> Tensor:
    """The outputs (b, m) of a window's rows on their graph, whose bytes are measured by it."""
    with torch.enable_grad():
        return about.outputs(about.leaves(), window)


def by_layer(about: Subject, layers: dict[str, torch.nn.Module], window: slice, together: int) -> dict[str, Tensor]:
    """Squared gradients of the rows of a window, summed over them and over the columns of S, by parameter; the pulls of
    ``together`` columns are held at once."""
    with torch.enable_grad(), watched(layers) as calls:
        y = about.outputs(about.leaves(), window)
    seen: dict[str, Seen] = {name: called[0] for name, called in calls.items()}
    if not all(call.intact for call in seen.values()):
        raise UserError(f"{about.network.name} writes over the input of a layer. Use operations that are not in place")
    S = outputs.root(about.network.loss, y, about.data.targets[window])
    found: dict[str, Tensor] = {}
    targets = [call.output for call in seen.values()]
    for columns in torch.split(S, together, dim=2):
        pulls = [filled(pull([y], targets, [column]), targets, targets, False) for column in columns.unbind(2)]
        for (name, call), δ in zip(seen.items(), zip(*pulls, strict=True), strict=True):
            for own, squares in row_gradients(call, torch.stack(δ)).items():
                full = f"{name}.{own}".lstrip(".")
                found[full] = found[full] + squares if full in found else squares
    return found


def by_row(about: Subject, rows: int | None) -> dict[str, Tensor]:
    """The same over all rows, from the rows' gradients: some (``rows`` at most) at a time by vmap, or one by one."""
    count = len(about.data.inputs)
    size = sum(about.parameters[name].numel() for name in about.names)
    m = about.outputs([about.parameters[name] for name in about.names], slice(0, 1)).shape[1]
    together = max(1, min(count if rows is None else rows, NUMBERS // (size * m)))
    found: dict[str, Tensor] = {}
    for first, last in pairwise([*range(0, count, together), count]):
        squares = rows_squared(about, slice(first, last))
        found = {name: found[name] + value if name in found else value for name, value in squares.items()}
    return found


def rows_squared(about: Subject, window: slice) -> dict[str, Tensor]:
    """Σ_b Σ_s (J_bᵀ S_b)² of the rows of a window by parameter, in float64: a vjp of each row, all under one vmap."""
    leaves = {name: about.parameters[name].detach() for name in about.names}
    with torch.no_grad():
        y = about.outputs(list(leaves.values()), window)
    S = outputs.root(about.network.loss, y, about.data.targets[window])

    def pulled(row: Tensor, columns: Tensor) -> dict[str, Tensor]:
        """Σ_s (J_bᵀ S_b)² of one row, columns (m, s)."""

        def response(given: dict[str, Tensor]) -> Tensor:
            return about.network.evaluate(row[None], {**about.parameters, **given})[0]

        back = torch.func.vjp(response, leaves)[1]
        (found,) = torch.vmap(back, in_dims=1)(columns)
        return {name: g.square().sum(dim=0) for name, g in found.items()}

    try:
        found = torch.vmap(pulled)(about.data.inputs[window], S)
        return {name: g.sum(dim=0).to(torch.float64) for name, g in found.items()}
    except (RuntimeError, NotImplementedError):  # an operation without a batching rule: recurrent layers
        return one_by_one(about, window, S)


def one_by_one(about: Subject, window: slice, S: Tensor) -> dict[str, Tensor]:
    """The same by a backward pass for each row and column of S (b, m, s): for operations that vmap does not know."""
    found: dict[str, Tensor] = {}
    for i, row in enumerate(range(window.start, window.stop)):
        with torch.enable_grad():
            leaves = about.leaves()
            y = about.outputs(leaves, slice(row, row + 1))
        for s in range(S.shape[2]):
            column = S[i : i + 1, :, s]
            for name, g in zip(about.names, filled(pull([y], leaves, [column]), leaves, leaves, False), strict=True):
                found[name] = found[name] + g.square() if name in found else g.square()
    return found
