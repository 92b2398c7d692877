"""Curvature matrices of a network's loss as operators, for data of any size.

The loss is the mean (or sum) over all rows; so are the matrices, whatever the chunks. A chunk computes in the dtype of
the run, and chunks are added up in float64.

    hessian              1/B Σ ∇²ℓ_b
    gauss_newton         1/B Σ J_bᵀ H_b J_b, H_b the Hessian of ℓ_b in the outputs (Schraudolph 2002)
    fisher               the same with draws from the network's own prediction for H_b (Martens 2020, section 5)
    empirical_fisher     1/B Σ g_b g_bᵀ, g_b = ∇ℓ_b (Kunstner et al. 2019 on how it differs)
    gradient_covariance  1/B Σ (g_b - ḡ)(g_b - ḡ)ᵀ, ḡ the mean, of sums as well

Of a loss that is a sum, 1/B is left out in all but the last.

Assumptions: the loss is a mean or a sum over rows that do not know of each other, but for the Hessian, which takes any;
for gauss_newton to be semidefinite, it is convex in the outputs; for fisher, it is a likelihood. For cross-entropy and
squared errors E fisher = gauss_newton (Martens 2020). A product costs two to four gradients; k columns
side by side cost less than k products, and no more memory than named.

>>> import calclab
>>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
>>> loss = calclab.loss(net, "mse", (torch.randn(8, 2), torch.randn(8, 1)))
>>> I = torch.eye(13, dtype=torch.float64)
>>> H, G = curvature(loss) @ I, curvature(loss, "gauss_newton") @ I
>>> torch.allclose(H, H.T), bool((torch.linalg.eigvalsh(G) > -1e-12).all())
(True, True)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from calclab.core import Data
from calclab.core.values import wide
from calclab.errors import UserError
from calclab.network.model_loss import of_outputs
from calclab.numerics.chunks import Chunks, enough, graph_bytes, limits, plan
from calclab.numerics.linear import LinearOperator
from calclab.numerics.operators import twice
from calclab.second_order import outputs
from calclab.second_order.chain import Chain, chain
from calclab.second_order.gradient import total
from calclab.second_order.graph import (
    Apply,
    Subject,
    backward_is_linear,
    convolves,
    factor_graph,
    hessian_graph,
    rows_graph,
    subject,
)
from calclab.second_order.kernels import QuickTwice
from calclab.second_order.laned import laned_linear
from calclab.second_order.r_operator import chain_graph
from calclab.second_order.subset import choose
from calclab.subject.network import Network

KINDS = ("hessian", "gauss_newton", "fisher", "empirical_fisher", "gradient_covariance")
LANES = 64  # the most columns in one pass where nobody says how many,
BYTES = 2**25  # and what passes through the graph for all of them together, about;
FEW = 8  # fewer than so many are slower together than one by one


def curvature(
    network: Network,
    kind: str = "hessian",
    *,
    at: Tensor | None = None,
    parameters: Sequence[str] | None = None,
    data: Data | None = None,
    rows: int | None = None,
    memory: float | None = None,
    seed: int = 0,
    samples: int = 1,
    lanes: int | None = None,
) -> LinearOperator:
    """The matrix ``kind`` of the network's loss at θ = ``at`` (n,) (None: its own parameters), as an operator.

    ``parameters`` names those it is by: parameters, layers or patterns of such (None: all); the operator is (k, k)
    with k their entries, in θ's order. ``data`` are other rows, such as ``network.data.held_out``. ``rows`` is the most
    in one chunk, ``memory`` the bytes to keep to, ``lanes`` how many columns share a pass (None: by the bytes that
    pass through; one where there are convolutions, which are slower together). ``seed`` and ``samples`` (of a row)
    belong to fisher, whose draws are made once.

    Raises UserError for a kind or a parameter that is not there, for a number below 1, where one row does not fit the
    memory, and where the matrix is one of rows and the network mixes them.
    """
    if kind not in KINDS:
        raise UserError(f"{kind}: the curvature matrices are {', '.join(KINDS)}. Type hessian")
    for name, number in (("rows", rows), ("samples", samples), ("lanes", lanes)):
        if number is not None and number < 1:
            raise UserError(f"{name}={number}: at least one is needed. Type {name}=1, or leave it out")
    own = network.data if data is None else data
    about = subject(network, own, at, choose(network, parameters))
    count = len(own.inputs)
    links = None if network.loss.rule == "all rows" or network.own_loss else chain(about)
    if kind != "hessian" and network.own_loss:
        of_outputs()
    mixed = links is None and network.mixes(own)
    if mixed and kind != "hessian":
        raise UserError(
            f"{network.name} mixes rows (batch statistics?): a row has no gradient of its own, and there is no {kind}. "
            "Ask for the hessian"
        )
    noise = None
    if kind == "fisher":
        with torch.no_grad():
            y = about.outputs(about.leaves(), slice(0, 1))
        noise = outputs.noise(network.loss, count, y.shape[1], samples, y, seed)
    if links is None:
        straight = kind == "hessian" or backward_is_linear(about, partial(middle, about, "gauss_newton", None))
        build = partial(graph, about, kind, noise, straight)
        sizes = graph_bytes(partial(build, many=False), count)
    else:
        build = partial(by_hand, about, links, kind, noise)
        sizes = 0.0, float(links.numbers * own.inputs.element_size())
    memory, rows = limits(memory, rows, own.inputs, own.targets)
    enough(sizes, count, memory, mixed)
    chunks = plan(sizes, count, rows, memory, mixed)
    how = (about, build, chunks, links is not None)
    product = Covariance(*how, 1 / count) if kind == "gradient_covariance" else Product(*how, about.weight)
    if lanes is None and links is not None:
        lanes = links.lanes(product.compute.itemsize)
    elif lanes is None:
        lanes = min(LANES, BYTES // max(1, chunks.bytes))
        lanes = 1 if lanes < FEW or convolves(network) else lanes
    return product.operator(lanes)


def graph(about: Subject, kind: str, noise: Tensor | None, straight: bool, window: slice, many: bool) -> Apply:
    """The graph of the rows of a window, for one column or for many; ``straight`` says that its backward pass can be
    differentiated."""
    if not straight:
        return rows_graph(about, window, partial(middle, about, kind, noise))
    with QuickTwice(), laned_linear() if many else nullcontext():
        if kind == "hessian":
            return hessian_graph(about, window)
        return factor_graph(about, window, partial(middle, about, kind, noise))


def by_hand(about: Subject, links: Chain, kind: str, noise: Tensor | None, window: slice, many: bool) -> Apply:
    """The same for a chain, without a graph; ``many`` makes no difference."""

    def slope(y: Tensor, rows: slice) -> Tensor:
        return outputs.slopes(about.network.loss, y, about.data.targets[rows])[:, :, 0]

    return chain_graph(about, links, window, partial(middle, about, kind, noise), slope if kind == "hessian" else None)


def middle(about: Subject, kind: str, noise: Tensor | None, y: Tensor, window: slice) -> outputs.Middle:
    """What stands between J and Jᵀ, given the outputs y (b, m) of the rows of a window.

    H_b for hessian and gauss_newton, D_b D_bᵀ for the others: D_b are draws (fisher), or the row's own slope
    (empirical_fisher and gradient_covariance).
    """
    loss, targets = about.network.loss, about.data.targets[window]
    if kind in ("hessian", "gauss_newton"):
        return outputs.hessian(loss, y, targets)
    if noise is not None:
        return outputs.through(outputs.draws(loss, y, noise[window]))
    return outputs.through(outputs.slopes(loss, y, targets))


class Product:
    """V (k, p) to the matrix times V: chunk after chunk, in each ``lanes`` columns after the other."""

    def __init__(self, about: Subject, build: partial[Apply], chunks: Chunks, alike: bool, weight: float) -> None:
        self.about, self.build, self.chunks, self.weight = about, build, chunks, weight
        self.alike = alike  # whether one graph serves one column and many
        self.shapes = [about.parameters[name].shape for name in about.names]
        self.sizes = [shape.numel() for shape in self.shapes]
        first = about.parameters[about.names[0]]
        self.compute, self.device = first.dtype, first.device
        self.dtype = wide(first.device)
        self.graphs: dict[tuple[bool, int], Apply] = {}  # by whether for many columns, and by chunk

    def operator(self, lanes: int) -> LinearOperator:
        k = sum(self.sizes)
        by = partial(self.product, lanes=lanes)
        return LinearOperator((k, k), by, by, True, self.dtype, self.device, lanes=lanes, laned=self.operator)

    def each(self, many: bool) -> Iterator[Apply]:
        """The graphs of the chunks, one after the other; those that are not kept live until the next is asked for."""
        many = many and not self.alike
        for i, window in enumerate(self.chunks.windows):
            if (many, i) in self.graphs:
                yield self.graphs[many, i]
                continue
            if not self.chunks.both:
                self.graphs.pop((not many, i), None)
            made = self.build(window, many=many)
            if i < self.chunks.kept:
                self.graphs[many, i] = made
            yield made
            del made

    def product(self, V: Tensor, lanes: int) -> Tensor:
        """The result (k, p) in the operator's dtype: chunks are added up in it, whatever a chunk computes in."""
        result = torch.zeros(V.shape[1], V.shape[0], dtype=self.dtype, device=self.device)
        columns = V.T.to(self.compute)
        lanes = min(lanes, self.chunks.lanes)
        with twice():
            self.add_all(result, columns, lanes)
        return (result * self.weight).T

    def add_all(self, result: Tensor, columns: Tensor, lanes: int) -> None:
        """Add what all chunks make of columns (p, k)."""
        for apply in self.each(min(lanes, len(columns)) > 1):
            for first in range(0, len(columns), lanes):
                self.add(result[first : first + lanes], apply, columns[first : first + lanes])

    def add(self, result: Tensor, apply: Apply, block: Tensor) -> None:
        """Add what one chunk makes of columns (p, k) to ``result`` (p, k)."""
        if len(block) > 1:
            try:
                found = apply(self.split(block), True)
            except (RuntimeError, NotImplementedError):  # an operation that cannot be batched, or no memory
                pass
            else:
                result += torch.cat([part.reshape(len(block), -1) for part in found], dim=1)
                return
        for row, v in zip(result, block, strict=True):
            found = apply([part[0] for part in self.split(v[None])], False)
            row += torch.cat([part.reshape(-1) for part in found])

    def split(self, block: Tensor) -> list[Tensor]:
        """(p, k) as a change (p, ...) of each parameter."""
        parts = block.split_with_sizes(self.sizes, dim=1)
        return [part.reshape(len(block), *shape) for part, shape in zip(parts, self.shapes, strict=True)]


class Covariance(Product):
    """The second moment of the rows' gradients less that of their mean: 1/B Σ g gᵀ - ḡ ḡᵀ.

    The difference is taken of products with V, not of matrices; where ḡ is far larger than what the rows differ by,
    digits are lost to it. ḡ is computed once, at the first product.
    """

    mean: Tensor | None = None

    def product(self, V: Tensor, lanes: int) -> Tensor:
        if self.mean is None:
            self.mean = total(self.about, self.chunks.windows, self.dtype)[1] / len(self.about.data.inputs)
        return super().product(V, lanes) - torch.outer(self.mean, self.mean @ V.to(self.dtype))
