"""Where the walks of a comparison start: one point a seed, the first the subject's own.

Other starts of a function are uniform over its domain; without one x₀ + (1 + |x₀|) ε, entry by entry with ε ~ N(0, 1).
Those of a network are its own weights, shuffled within each parameter: for weights drawn independently that is another
draw of their law, whatever the law is, and what was set to zeros or ones stays so.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from calclab.core import Function
from calclab.numerics.operators import loss_and_gradient
from calclab.subject.network import Network

TRIES = 100  # for a start where the function is finite


def starts(subject: Function | Network, function: Function, seeds: int, seed: int) -> Tensor:
    """(S, n); the first entries do not depend on how many there are. ``function`` is the subject's objective."""
    x = function.start
    generator = torch.Generator(x.device).manual_seed(seed)
    draw = shuffler(subject) if isinstance(subject, Network) else drawer(function)
    found = [x]
    for _ in range(seeds - 1):
        new = draw(generator)
        for _ in range(TRIES - 1):
            value, gradient = loss_and_gradient(function, new)
            if bool(value.isfinite() & gradient.isfinite().all()):
                break
            new = draw(generator)
        found.append(new)
    return torch.stack(found)


def law(subject: Function | Network, function: Function) -> str:
    """In words, where the other starts come from."""
    if isinstance(subject, Network):
        return "its weights, shuffled within each parameter"
    if function.domain is not None:
        return f"drawn uniformly from the domain of {function.name}"
    return "drawn around its start, normally, with deviations 1 + |x|"


def drawer(function: Function) -> Callable[[torch.Generator], Tensor]:
    x = function.start
    if function.domain is None:
        return lambda generator: x + (1 + x.abs()) * noise(torch.randn, x, generator)
    low, high = function.domain.to(x).unbind(-1)
    return lambda generator: low + (high - low) * noise(torch.rand, x, generator)


def noise(kind: Callable[..., Tensor], like: Tensor, generator: torch.Generator) -> Tensor:
    return kind(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def shuffler(network: Network) -> Callable[[torch.Generator], Tensor]:
    parameters = network.parameters()

    def draw(generator: torch.Generator) -> Tensor:
        return network.flatten(
            {
                name: p.reshape(-1)[torch.randperm(p.numel(), device=p.device, generator=generator)].reshape(p.shape)
                for name, p in parameters.items()
            }
        )

    return draw
