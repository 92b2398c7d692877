"""J V and Jᵀ U at many points at once, each point with a vector of its own: all that a spectrum needs.

    chain     layer by layer: v ↦ S_p W_p ... W_1 S_0 v, and back
    straight  with the formula's own J
    kept      on one graph: u ↦ Jᵀ u is a backward pass, and linear in u, so that v ↦ J v is *its* backward pass

The last is the double-backward trick (Townsend 2017): no operation needs a forward rule, and the graph serves any
number of vectors. A product costs about one pass through the network.

>>> from calclab.numerics.jacobian.maps import of_module
>>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Softmax(1)).double()
>>> x, V, U = torch.randn(4, 3).double(), torch.randn(4, 3).double(), torch.randn(4, 2).double()
>>> made = products(of_module(net, x[0]), x)
>>> bool(((made.push(V) * U).sum(1) - (V * made.pull(U)).sum(1)).abs().max() < 1e-15)  # ⟨Jv, u⟩ = ⟨v, Jᵀu⟩
True
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from calclab.numerics.jacobian import chain
from calclab.numerics.jacobian.maps import Map

Product = Callable[[Tensor], Tensor]


class Products(NamedTuple):
    """``push`` takes V (B, n) to J V (B, m), ``pull`` U (B, m) to Jᵀ U (B, n); ``value`` is f (B, m), which was
    computed on the way."""

    push: Product
    pull: Product
    value: Tensor


def products(f: Map, x: Tensor) -> Products:
    """At the points x (B, n), linearised once; zeros for what does not depend on x."""
    if chain.chains(f.layers):
        return chained(f, x)
    if f.straight is not None:
        value, J = f.straight(x)
        return Products(lambda V: (J @ V.unsqueeze(-1))[..., 0], lambda U: (U.unsqueeze(-2) @ J)[..., 0, :], value)
    return kept(f, x)


def chained(f: Map, x: Tensor) -> Products:
    """Layer by layer: a product with a weight serves all points."""
    found = chain.factors(f.layers or (), x)
    scales, weights = found.scales, found.weights

    def push(V: Tensor) -> Tensor:
        if scales[0] is not None:
            V = V * scales[0]
        for W, s in zip(weights, scales[1:], strict=True):
            V = V @ W.T
            V = V if s is None else V * s
        return V

    def pull(U: Tensor) -> Tensor:
        for W, s in zip(reversed(weights), reversed(scales[1:]), strict=True):
            U = (U if s is None else U * s) @ W
        return U if scales[0] is None else U * scales[0]

    return Products(push, pull, found.value)


def kept(f: Map, x: Tensor) -> Products:
    """On one graph. u ↦ Jᵀu is linear, so that J v is its own backward pass (Townsend 2017)."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        y = f.rows(leaf) if f.rows is not None else torch.stack([f.call(point) for point in leaf])
        cotangent = torch.zeros_like(y, requires_grad=True)
        pulled = None
        if y.requires_grad:
            (pulled,) = torch.autograd.grad(y, leaf, cotangent, create_graph=True, allow_unused=True)

    def push(V: Tensor) -> Tensor:
        if pulled is None or not pulled.requires_grad:
            return torch.zeros_like(y)
        (g,) = torch.autograd.grad(pulled, cotangent, V, retain_graph=True, allow_unused=True)
        return torch.zeros_like(y) if g is None else g

    def pull(U: Tensor) -> Tensor:
        if not y.requires_grad:
            return torch.zeros_like(x)
        (g,) = torch.autograd.grad(y, leaf, U, retain_graph=True, allow_unused=True)
        return torch.zeros_like(x) if g is None else g

    return Products(push, pull, y.detach())
