"""What products with curvature matrices cost, in gradients of the same loss, CPU time of one thread, float32.

    python tests/benchmark/product_cost.py [mlp] [transformer] [resnet]

Digits MLP 64-32-32-10 (tanh, 3,466 parameters, 1,797 rows); a transformer of torch's own layers (2 blocks, width 64,
4 heads, 64 sequences of 16 of 32 tokens, 72,096 parameters); a ResNet-20 with batch normalisation (272,474 parameters,
256 images 3 x 32 x 32). A gradient is torch's own on the plain module; "own" beside it is the lab's, with channels
last. All in turn, the least of several rounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from curvature_problems import RECIPES
from torch import nn
from torch.nn import functional

from calclab.core import Data
from calclab.numerics.lanes import measure_lanes
from calclab.second_order import (
    curvature,
    curves_only_through_the_loss,
    diagonal_gauss_newton,
    gradient_cost,
)
from calclab.subject.network import Network, network

PLACE = {"dtype": torch.float32, "device": "cpu", "seed": 0}


def made(name: str) -> tuple[Network, nn.Module]:
    """A network after some training, and its module."""
    inputs, targets = RECIPES[name].data()
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    torch.manual_seed(0)
    module = RECIPES[name].made()
    names = tuple(map(str, range(inputs[0].numel())))
    classes = tuple(map(str, range(10)))
    if name == "mlp":
        return of(module, Data("digits", inputs, targets, names, classes, True), name, train=60)
    if name == "resnet":
        with torch.no_grad():
            for _ in range(20):
                module(inputs)  # settles the running statistics
        return of(module, Data("images", inputs, targets, names, classes, True), name)
    outputs = tuple(f"{c}.{t}" for c in range(32) for t in range(16))
    data = Data("tokens", inputs, targets, names, outputs, False)
    return of(module, data, name, loss=functional.cross_entropy, train=20)


def of(module: nn.Module, data: Data, name: str, **more: Any) -> tuple[Network, nn.Module]:
    net = network(module, data, name=name, **more, **PLACE)  # type: ignore[arg-type]
    return net, net.module


def cost(work: Callable[[], object], times: int) -> float:
    """Seconds of the processor for one of several calls in a row, as methods make them."""
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


def measure(name: str) -> None:
    net, module = made(name)
    parameters = list(module.parameters())
    n = sum(net.sizes)
    large = name == "resnet"
    blocks, times, rounds = {"mlp": ((8, 16, 32), 5, 12), "transformer": ((8, 16), 1, 6), "resnet": ((4,), 1, 3)}[name]

    def gradient() -> object:
        return torch.autograd.grad(functional.cross_entropy(module(net.data.inputs), net.data.targets), parameters)

    works: dict[str, tuple[int, Callable[[], object]]] = {
        "gradient": (1, gradient),
    }
    V = torch.randn(n, max(blocks), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for kind in ("hessian", "gauss_newton"):
        A = curvature(net, kind, memory=8e9)
        works[f"{kind} alone"] = (1, lambda A=A: A @ V[:, 0])
        for p in blocks if kind == "hessian" or not large else ():
            works[f"{kind} {p}"] = (p, lambda A=A, p=p: A.with_lanes(p) @ V[:, :p])
        if kind == "hessian":
            print(f"{name}: {n} parameters, lanes {A.lanes} by bytes, {measure_lanes(A)} by measuring")
    if name != "transformer":
        works["diagonal of G"] = (1, lambda: diagonal_gauss_newton(net))
    least = dict.fromkeys(works, float("inf"))
    least["own gradient"] = float("inf")
    for _ in range(rounds):
        least["own gradient"] = min(least["own gradient"], gradient_cost(net, rounds=1))
        for what, (p, work) in works.items():
            least[what] = min(least[what], cost(work, times) / p)
    one = least["gradient"]
    print(f"  piecewise affine: {curves_only_through_the_loss(net)}; a gradient takes {1e3 * one:.2f} ms")
    for what, seconds in least.items():
        print(f"  {what:22} {seconds / one:6.2f}   ({seconds / least['own gradient']:.2f} own)")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ("mlp", "transformer", "resnet"):
        measure(name)
