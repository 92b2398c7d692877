"""A network that is a chain of linear layers and activations: found, held against autograd, gone through by hand.

With x_0 the row and, for each link l, z_l = x_{l-1} W_lᵀ + b_l and x_l = φ_l(z_l), a pull e on the outputs goes back by

    δ_l = e φ_l'(z_l),    ∂/∂W_l = δ_lᵀ x_{l-1},    ∂/∂b_l = Σ δ_l,    e <- δ_l W_l

(backpropagation: Rumelhart, Hinton and Williams 1986). Everything is a matrix product over all rows at once, so that a
chain needs neither a graph nor autograd's bookkeeping; `r_operator` differentiates these lines once more. Rows go in
tiles that stay in the processor's cache. What the modules say of themselves is not trusted: on a few rows the outputs
and a random pull must be autograd's, to 1e-3, or the network is treated as any other.

>>> import calclab
>>> from calclab.second_order.graph import subject
>>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
>>> loss = calclab.loss(net, "mse", (torch.randn(5, 2), torch.randn(5, 1)))
>>> found = chain(subject(loss, loss.data, None, tuple(loss.shapes)))
>>> [(link.weight, len(link.bends)) for link in found.links]
[('0.weight', 1), ('2.weight', 0)]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calclab.numerics.jacobian.layers import entrywise, passes, sequence
from calclab.second_order.activation_derivatives import twice
from calclab.second_order.graph import Subject, filled, pull

LANES = 16  # columns that share a pass, at most:
CACHE = 2**19  # bytes of a change of one layer's rows, which are to stay in the cache; rows go in tiles
TILE = 256  # rows of a tile, at least
FEW = 8  # rows on which a chain is held against autograd

Slope = Callable[[Tensor, slice], Tensor]  # outputs (b, m) of the rows of a window to the loss's gradient there (b, m)


@dataclass(frozen=True)
class Link:
    """A linear layer and the activations behind it. ``weight`` and ``bias`` are names of parameters."""

    layer: nn.Linear
    weight: str
    bias: str | None
    bends: tuple[nn.Module, ...]


@dataclass(frozen=True)
class Chain:
    """What stands before the first linear layer, and all links."""

    before: tuple[nn.Module, ...]
    links: tuple[Link, ...]

    @property
    def width(self) -> int:
        """Of the widest layer, inputs aside."""
        return max(link.layer.out_features for link in self.links)

    @property
    def numbers(self) -> int:
        """That are kept of one row, at most."""
        return sum(link.layer.in_features + 4 * link.layer.out_features for link in self.links)

    def lanes(self, itemsize: int) -> int:
        """How many columns share a pass: as many as let a tile stay in the cache, in bytes of ``itemsize`` a number."""
        return max(1, min(LANES, CACHE // (TILE * self.width * itemsize)))

    def tile(self, columns: int, itemsize: int) -> int:
        """How many rows stay in the cache with so many columns."""
        return max(TILE, CACHE // (columns * self.width * itemsize))

    def forward(self, about: Subject, window: slice) -> tuple[Twice, Tensor]:
        """The rows of a window through all links: what each keeps, and the outputs (N, m)."""
        kept: Twice = []
        y, _, _ = bend(self.before, about.data.inputs[window])
        x = y.flatten(1)
        for link in self.links:
            W = about.parameters.get(link.weight, link.layer.weight).detach()
            b = None if link.bias is None else about.parameters.get(link.bias, link.layer.bias).detach()
            y, slope, second = bend(link.bends, x @ W.T if b is None else torch.addmm(b, x, W.T))
            kept.append((Kept(x, W, slope), second))
            x = y
        return kept, x

    def squares(self, kept: Twice, columns: Tensor) -> dict[str, Tensor]:
        """Σ_b Σ_s of squared gradients of the rows by each parameter, for pulls ``columns`` (N, s, m) on the outputs:
        a row's is δ xᵀ."""
        found: dict[str, Tensor] = {}
        for link, (one, _) in zip(reversed(self.links), reversed(kept), strict=True):
            δ = columns if one.slope is None else columns * one.slope[:, None]
            squared = δ.square().sum(dim=1)
            found[link.weight] = squared.T @ one.x.square()
            if link.bias is not None:
                found[link.bias] = squared.sum(dim=0)
            columns = (δ.reshape(-1, δ.shape[2]) @ one.W).view(*δ.shape[:2], -1)
        return found


def chain(about: Subject) -> Chain | None:
    """The chain that the network is; None where it is something else, or where a parameter serves two layers, or where
    a few rows' gradient is not autograd's (a detach between two layers leaves no other trace).

    Only `nn.Linear` itself counts, not a class made of it, and of activations those that work entry by entry and have
    no parameters of their own. Every parameter asked for must belong to one of the links.
    """
    module = about.network.module
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    try:
        layers = sequence(module, module, about.data.inputs[:1].clone())
    except (ValueError, RuntimeError):  # batch statistics of one row
        return None
    if layers is None or any(len(shared) > 1 for shared in names.values()):
        return None
    before: list[nn.Module] = []
    links: list[Link] = []
    for layer in layers:
        own = layer.module
        if type(own) is nn.Linear and len(layer.before) == 1:
            bias = None if own.bias is None else names[id(own.bias)][0]
            links.append(Link(own, names[id(own.weight)][0], bias, ()))
        elif (entrywise(own) or passes(own)) and next(own.parameters(), None) is None:
            if links:
                link = links.pop()
                links.append(Link(link.layer, link.weight, link.bias, (*link.bends, own)))
            else:
                before.append(own)
        else:
            return None
    called = [id(link.layer) for link in links]
    held = {name for link in links for name in (link.weight, link.bias)}
    if not links or len(set(called)) < len(called) or not held.issuperset(about.names):
        return None
    found = Chain(tuple(before), tuple(links))
    try:
        return found if agrees(about, found) else None
    except (RuntimeError, NotImplementedError):  # an activation without a second derivative
        return None


def agrees(about: Subject, chain: Chain) -> bool:
    """Whether some pull on the outputs of a few rows gives the gradient that autograd has, parameter by parameter."""
    about, row = about.some(FEW), slice(0, FEW)
    with torch.enable_grad():
        leaves = about.leaves()
        y = about.outputs(leaves, row)
    column = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(y)
    true = dict(zip(about.names, filled(pull([y], leaves, [column]), leaves, leaves, batched=False), strict=True))
    with torch.no_grad():
        kept, found = chain.forward(about, row)
        kept = back(kept, column)
    own: dict[str, Tensor] = {}
    for link, (one, _) in zip(chain.links, kept, strict=True):
        assert one.δ is not None
        own |= {link.weight: one.δ.T @ one.x} | ({} if link.bias is None else {link.bias: one.δ.sum(dim=0)})
    pairs = [(found, y.detach()), *((own[name], g) for name, g in true.items())]
    return all(bool((left - right).abs().max() <= 1e-3 * right.abs().max()) for left, right in pairs)


def bend(modules: Sequence[nn.Module], z: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y = φ(z), φ' and φ'' (N, o) of activations one after the other; None for ones, and for zeros.

    ReLU and tanh are written out, since they are what most chains have; at 0, ReLU has slope 0, as autograd's has.
    """
    modules = [module for module in modules if not passes(module)]
    if not modules:
        return z, None, None
    if len(modules) == 1 and type(modules[0]) is nn.ReLU:
        y = torch.relu(z)
        return y, (y > 0).to(z.dtype), None
    if len(modules) == 1 and type(modules[0]) is nn.Tanh:
        y = torch.tanh(z)
        first = 1 - y.square()
        return y, first, -2 * y * first
    return twice(nn.Sequential(*modules), z)


@dataclass(frozen=True)
class Kept:
    """What a link keeps of the rows: x (N, i), W (o, i), φ' (N, o), and for the Hessian δ and e φ'' (N, o)."""

    x: Tensor
    W: Tensor
    slope: Tensor | None
    δ: Tensor | None = None
    bent: Tensor | None = None

    def of(self, tile: slice) -> Kept:
        return Kept(self.x[tile], self.W, *(None if t is None else t[tile] for t in (self.slope, self.δ, self.bent)))


Twice = list[tuple[Kept, Tensor | None]]  # of each link, what is kept and φ''


def back(kept: Twice, e: Tensor) -> Twice:
    """The same with what the gradient e (N, m) of the loss leaves at each link on its way back."""
    found: Twice = []
    for one, second in reversed(kept):
        δ = e if one.slope is None else e * one.slope
        found.append((Kept(one.x, one.W, one.slope, δ, None if second is None else e * second), None))
        e = δ @ one.W
    return found[::-1]
