"""Products for a chain of linear layers and activations by hand: Pearlmutter's R-operator (1994) in matrix products.

Of y = φ(z), z = x Wᵀ + b, pulled on by e, with δ = e φ'(z), a change (V, v) of (W, b) and dx of x makes

    dz = dx Wᵀ + x Vᵀ + v,  dy = φ' dz      on the way forward, and on the way back, from de on,
    dδ = de φ' + e φ'' dz,  dδᵀ x + δᵀ dx   of which the second is the product's part of W, and Σ dδ that of b,
    de = dδ W + δ V                         for the layer before.

Without e and δ it is the product with a Gauss-Newton matrix. What does not depend on the change is computed once; then
nothing is left but matrix products, which take all columns at once: x, δ are the same for all of them, and so is W. On
the digits MLP a product costs half of what it does through autograd's graph.

Changes of rows hold their columns second, (N, p, ·).

The cost of p columns is three matrix products a layer for the Gauss-Newton matrix and five for the Hessian, each with p
times the rows; the memory is x, φ', δ and e φ'' of every layer. `chain.chain` says which networks these are.

>>> import calclab
>>> from calclab.second_order import curvature, value_and_gradient
>>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
>>> loss = calclab.loss(net, "mse", (torch.randn(8, 2), torch.randn(8, 1)))
>>> θ, v = torch.randn(2, 13, dtype=torch.float64)
>>> change = value_and_gradient(loss, at=θ + 1e-5 * v)[1] - value_and_gradient(loss, at=θ - 1e-5 * v)[1]
>>> torch.allclose(curvature(loss, at=θ) @ v, change / 2e-5, atol=1e-7)
True
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from calclab.second_order.chain import Chain, Kept, Link, Slope, back
from calclab.second_order.graph import Apply, Factor, Subject
from calclab.second_order.outputs import Middle


def chain_graph(about: Subject, chain: Chain, window: slice, factor: Factor, slope: Slope | None) -> Apply:
    """Products of the rows of a window: with Jᵀ M J for M of ``factor``, and, where ``slope`` gives the gradient of the
    loss in the outputs, with the Hessian."""
    with torch.no_grad():
        kept, y = chain.forward(about, window)
        if slope is not None:
            kept = back(kept, slope(y, window))
    return Products(about, chain, window, [one for one, _ in kept], y, factor)


class Products:
    """Changes of the chosen parameters, (p, ...) or one, to the product's parts: an ``Apply``."""

    def __init__(
        self, about: Subject, chain: Chain, window: slice, kept: list[Kept], y: Tensor, factor: Factor
    ) -> None:
        self.names, self.chain, self.links, self.kept = about.names, chain, chain.links, kept
        self.y, self.window, self.factor = y, window, factor
        self.tiles: dict[int, list[tuple[list[Kept], Middle]]] = {}
        chosen = set(self.names)
        wanted = [link.weight in chosen or link.bias in chosen for link in self.links]
        self.first = wanted.index(True)  # nothing changes before it

    def tiled(self, columns: int) -> list[tuple[list[Kept], Middle]]:
        """The rows in tiles that stay in the cache."""
        total = len(self.y)
        size = min(total, self.chain.tile(columns, self.y.element_size()))
        if size not in self.tiles:
            bounds = [*range(0, total, size), total]
            start = self.window.start
            self.tiles = {
                size: [
                    ([one.of(slice(a, b)) for one in self.kept], self.factor(self.y[a:b], slice(start + a, start + b)))
                    for a, b in pairwise(bounds)
                ]
            }
        return self.tiles[size]

    def __call__(self, changes: list[Tensor], batched: bool) -> list[Tensor]:
        given = {name: v if batched else v[None] for name, v in zip(self.names, changes, strict=True)}
        with torch.no_grad():
            moves = [self.move(link, given) for link in self.links]
            for kept, middle in self.tiled(len(next(iter(given.values())))):
                self.add(kept, middle, moves)
        found: dict[str, Tensor] = {}
        for link, move in zip(self.links, moves, strict=True):
            if move is not None:
                found |= move.parts(link)
        return [found[name] if batched else found[name][0] for name in self.names]

    def move(self, link: Link, given: dict[str, Tensor]) -> Move | None:
        V, v = given.get(link.weight), given.get(link.bias or "")
        return None if V is None and v is None else Move(V, v, link.layer.weight.shape)

    def add(self, kept: list[Kept], middle: Middle, moves: list[Move | None]) -> None:
        """Add what the rows of a tile make of the changes."""
        dx: Tensor | None = None
        passed: list[tuple[Tensor | None, Tensor]] = []  # dx and dz of each link from the first changed one on
        for one, move in zip(kept[self.first :], moves[self.first :], strict=True):
            dz = None if move is None else move.forward(one.x)
            if dx is not None:
                dz = through(dx, one.W.T, dz)
            assert dz is not None
            passed.append((dx, dz))
            dx = dz if one.slope is None else scaled(dz, one.slope, own=one.bent is None)
        assert dx is not None
        de = middle(dx[:, 0])[:, None] if dx.shape[1] == 1 else torch.vmap(middle, 1, 1)(dx)
        last = len(kept) - 1
        for k in range(last, self.first - 1, -1):
            one, move, (dx, dz) = kept[k], moves[k], passed[k - self.first]
            dδ = de if one.slope is None else scaled(de, one.slope, own=k < last)
            if one.bent is not None:
                dδ.addcmul_(one.bent[:, None], dz)
            if move is not None:
                move.back(one, dδ, dx)
            if k > self.first:
                de = through(dδ, one.W, None if move is None or one.δ is None else move.pull(one.δ))


class Move:
    """A change of a linear layer, V (p, o, i) and v (p, o), one of them or both, and its part of the product."""

    def __init__(self, V: Tensor | None, v: Tensor | None, shape: torch.Size) -> None:
        given = v if V is None else V
        assert given is not None
        self.p, (self.o, self.i) = len(given), shape
        self.V, self.v = given.new_zeros(self.p, *shape) if V is None else V, v
        self.over = self.V.reshape(self.p * self.o, self.i).T
        self.under: Tensor | None = None  # V as (o, p·i)
        self.direct: Tensor | None = None  # Σ dδᵀ x, (p·o, i)
        self.cross: Tensor | None = None  # Σ δᵀ dx, (o, p·i)
        self.bias: Tensor | None = None  # Σ dδ, (p, o)

    def forward(self, x: Tensor) -> Tensor:
        """x Vᵀ + v, (N, p, o)."""
        dz = (x @ self.over).view(len(x), self.p, self.o)
        return dz if self.v is None else dz.add_(self.v)

    def pull(self, δ: Tensor) -> Tensor:
        """δ V, (N, p, i)."""
        if self.under is None:
            self.under = self.V.transpose(0, 1).reshape(self.o, self.p * self.i)
        return (δ @ self.under).view(len(δ), self.p, self.i)

    def back(self, one: Kept, dδ: Tensor, dx: Tensor | None) -> None:
        """Add dδᵀ x + δᵀ dx, and Σ dδ."""
        left = dδ.reshape(len(dδ), self.p * self.o).T
        self.direct = left @ one.x if self.direct is None else self.direct.addmm_(left, one.x)
        self.bias = dδ.sum(dim=0) if self.bias is None else self.bias.add_(dδ.sum(dim=0))
        if dx is not None and one.δ is not None:
            right = dx.reshape(len(dx), self.p * self.i)
            self.cross = one.δ.T @ right if self.cross is None else self.cross.addmm_(one.δ.T, right)

    def parts(self, link: Link) -> dict[str, Tensor]:
        """The product's parts of the layer's parameters, (p, ...)."""
        assert self.direct is not None
        assert self.bias is not None
        weight = self.direct.view(self.p, self.o, self.i)
        if self.cross is not None:
            weight = weight + self.cross.view(self.o, self.p, self.i).transpose(0, 1)
        return {link.weight: weight} if link.bias is None else {link.weight: weight, link.bias: self.bias}


def scaled(x: Tensor, slope: Tensor, own: bool) -> Tensor:
    """x (N, p, o) times φ' (N, o), in place where ``own`` says that nobody else needs x."""
    return x.mul_(slope[:, None]) if own else x * slope[:, None]


def through(x: Tensor, M: Tensor, add: Tensor | None) -> Tensor:
    """x (N, p, a) M (a, b), and ``add`` (N, p, b), which is used up."""
    flat = x.reshape(-1, x.shape[2])
    if add is None:
        return (flat @ M).view(*x.shape[:2], -1)
    add.view(-1, add.shape[2]).addmm_(flat, M)
    return add
