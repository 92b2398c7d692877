"""J as the product of layer Jacobians, J = J_L ... J_2 J_1: no products with unit vectors, no autograd.

    J = S_p W_p S_{p-1} ... W_1 S_0,    S_k = diag φ_k'(z_k)

A linear layer's Jacobian is its weight, shared by all points; an activation's is diagonal, one for each point. The
order of multiplication is the one with the fewest multiplications (the matrix chain: Cormen et al. 2009, section 15.2,
O(p³) for p layers), of which forward mode (from the right) and reverse mode (from the left) are two: for the widths
784-64-64-10 it is reverse mode, for 2-64-64-784 forward. One large product serves all points wherever only what is to
the left of a weight differs from point to point.

By the parameters ∂f/∂W_k = δ_k ⊗ a_{k-1} and ∂f/∂b_k = δ_k, with δ_k = S_p W_p ... W_{k+1} S_k.

>>> from calclab.numerics.jacobian.layers import Layer
>>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
>>> layers = [Layer(str(k), m, (), ()) for k, m in enumerate(net)]
>>> split, cost = order(layers)
>>> split, cost  # of (1, 3) by (3, 2): 1·3·2
({(0, 1): 0}, 6)
>>> x = torch.randn(4, 2)
>>> J = product(factors(layers, x), split)
>>> bool((J - torch.vmap(torch.func.jacrev(net))(x)).abs().max() < 1e-6)
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from calclab.numerics.jacobian.layers import Layer, entrywise, passes, scale, slopes


def chains(layers: Sequence[Layer] | None) -> bool:
    """Whether every layer's Jacobian is a weight or a diagonal."""
    return bool(layers) and all(linear(layer) or diagonal(layer) for layer in layers or ())


def linear(layer: Layer) -> bool:
    return type(layer.module) is nn.Linear and len(layer.before) == 1


def diagonal(layer: Layer) -> bool:
    """Whether the layer's Jacobian is diagonal: an activation, batch normalisation of rows (B, C) by kept statistics,
    or what hands on its input."""
    module = layer.module
    return passes(module) or entrywise(module) or (scale(module) is not None and len(layer.before) == 1)


@dataclass
class Factors:
    """f at the points, and J = S_p W_p ... S_1 W_1 S_0 there: weights (a, b), scales (B, w), (1, w) or None (ones).

    ``inputs`` are what went into each linear layer, (B, b); ``value`` is f (B, m). ``scratch`` is memory to use again:
    fresh pages cost a third of the product of two matrices of 512 × 512.
    """

    value: Tensor
    weights: list[Tensor] = field(default_factory=list)
    scales: list[Tensor | None] = field(default_factory=lambda: [None])
    inputs: list[Tensor] = field(default_factory=list)
    modules: list[nn.Linear] = field(default_factory=list)
    scratch: dict[int, Tensor] = field(default_factory=dict)

    def scaled(self, matrix: Tensor, scale: Tensor, place: int) -> Tensor:
        """matrix × scale (B, a, b), in memory that the next block of points uses again."""
        points = scale.shape[0] if matrix.ndim == 2 else matrix.shape[0]
        shape = (points, *matrix.shape[-2:])
        size = points * matrix.shape[-2] * matrix.shape[-1]
        kept = self.scratch.get(place)
        if kept is None or len(kept) < size or kept.dtype != matrix.dtype or kept.device != matrix.device:
            kept = self.scratch[place] = matrix.new_empty(size)
        return torch.mul(matrix, scale, out=kept[:size].view(shape))


def factors(layers: Sequence[Layer], x: Tensor, scratch: dict[int, Tensor] | None = None) -> Factors:
    """The factors at the points x (B, n): one forward pass, each layer's slope with its value."""
    found = Factors(x, scratch={} if scratch is None else scratch)
    with torch.no_grad():
        for layer in layers:
            module, z = layer.module, found.value
            if isinstance(module, nn.Linear):
                found.weights.append(module.weight.detach())
                found.scales.append(None)
                found.inputs.append(z)
                found.modules.append(module)
                found.value = module(z)
            elif not passes(module):
                if entrywise(module):
                    found.value, slope = slopes(module, z)
                else:
                    constant = scale(module)
                    assert constant is not None
                    found.value, slope = module(z), constant[None]
                before = found.scales[-1]
                found.scales[-1] = slope if before is None else before * slope
    return found


def order(layers: Sequence[Layer]) -> tuple[dict[tuple[int, int], int], int]:
    """Where to split the weights i..j for the fewest multiplications, and how many those are for one point.

    cost(i, j) = min over k of cost(i, k) + cost(k + 1, j) + n_i n_{k+1} n_{j+1},    n the widths
    """
    weights = [layer.module.weight for layer in layers if isinstance(layer.module, nn.Linear)]
    sizes = [weights[0].shape[1], *(w.shape[0] for w in weights)] if weights else []
    cost = {(i, i): 0 for i in range(len(weights))}
    split: dict[tuple[int, int], int] = {}
    for span in range(1, len(weights)):
        for i in range(len(weights) - span):
            j = i + span
            ways = [(cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            cost[i, j], split[i, j] = min(ways)
    return split, cost.get((0, len(weights) - 1), 0)


def product(found: Factors, split: dict[tuple[int, int], int], out: Tensor | None = None) -> Tensor:
    """J (B, m, n) of the factors, into ``out`` where it is given."""
    points, last = len(found.value), len(found.weights) - 1
    if last < 0:
        diagonal_ = found.scales[0]
        ones = torch.ones_like(found.value) if diagonal_ is None else diagonal_.expand(points, -1)
        return written(torch.diag_embed(ones), out)
    ends = found.scales[0] is None and found.scales[-1] is None
    J = between(found, split, 0, last, out if ends else None)
    if J is out:
        return J
    if found.scales[-1] is not None:
        J = found.scales[-1].unsqueeze(-1) * J
    if found.scales[0] is not None:
        J = J * found.scales[0].unsqueeze(-2)
    return written(J.expand(points, *J.shape[-2:]), out)


def between(found: Factors, split: dict[tuple[int, int], int], i: int, j: int, out: Tensor | None = None) -> Tensor:
    """W_j S ... S W_i, (a, b) where no scale lies between, else (B, a, b)."""
    if i == j:
        return found.weights[i]
    k = split[i, j]
    left, right = between(found, split, k + 1, j), between(found, split, i, k)
    inner = found.scales[k + 1]
    if inner is not None:
        if left.ndim > right.ndim or (left.ndim == right.ndim and left.shape[-2] <= right.shape[-1]):
            left = found.scaled(left, inner.unsqueeze(-2), k)
        else:
            right = found.scaled(right, inner.unsqueeze(-1), k)
    if left.ndim == 3 and right.ndim == 2:  # one large product instead of one for each point
        flat = None if out is None or len(out) != len(left) else out.view(-1, right.shape[1])
        result = torch.mm(left.reshape(-1, left.shape[2]), right, out=flat)
        return out if out is not None and flat is not None else result.view(len(left), -1, right.shape[1])
    return torch.matmul(left, right)


def written(J: Tensor, out: Tensor | None) -> Tensor:
    return J if out is None else out.copy_(J)


def by_parameters(
    layers: Sequence[Layer], x: Tensor, wanted: Sequence[Tensor], split: dict[tuple[int, int], int]
) -> tuple[Tensor, Tensor]:
    """f (B, m) and ∂f/∂θ (B, m, P), θ the parameters ``wanted`` one after the other: of a linear layer
    ∂f/∂W = δ ⊗ a and ∂f/∂b = δ, with a what goes in and δ = ∂f/∂(W a + b).
    """
    found = factors(layers, x)
    points, outputs = len(x), found.value.shape[1]
    place, total = {}, 0
    for parameter in wanted:
        place[id(parameter)] = total
        total += parameter.numel()
    J = x.new_zeros(points, outputs, total)
    for k, module in enumerate(found.modules):
        δ = after(found, split, k)
        for parameter, part in ((module.weight, None), (module.bias, δ)):
            if parameter is None or id(parameter) not in place:
                continue
            first = place[id(parameter)]
            block = J[:, :, first : first + parameter.numel()]
            if part is not None:
                block += part
            else:
                a, b = parameter.shape
                block.view(points, outputs, a, b).addcmul_(δ.unsqueeze(-1), found.inputs[k][:, None, None, :])
    return found.value, J


def after(found: Factors, split: dict[tuple[int, int], int], k: int) -> Tensor:
    """δ (B, m, w) = S_p W_p ... W_{k+1} S_k: the outputs by what linear layer k gives."""
    points, last = len(found.value), len(found.weights) - 1
    if k == last:
        ones = found.value.new_ones(1, found.weights[k].shape[0])
        own = found.scales[k + 1]
        return torch.diag_embed(ones if own is None else own).expand(points, -1, -1)
    rest = Factors(found.value, found.weights[k + 1 :], found.scales[k + 1 :])
    shifted = {(i - k - 1, j - k - 1): s - k - 1 for (i, j), s in split.items() if i > k}
    return product(rest, shifted)


def holds(layers: Sequence[Layer], wanted: Sequence[Tensor]) -> bool:
    """Whether every parameter wanted that the layers have belongs to a linear one: ``by_parameters`` knows no other."""
    own = {id(p) for layer in layers if isinstance(layer.module, nn.Linear) for p in layer.module.parameters()}
    other = {id(p) for layer in layers if not isinstance(layer.module, nn.Linear) for p in layer.module.parameters()}
    return chains(layers) and not any(id(p) in other - own for p in wanted)
