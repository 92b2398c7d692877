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

import torch
from torch import Tensor, nn
from torch.nn import functional

from calclab.core import Data
from calclab.curvature import (
    curvature,
    curves_only_through_the_loss,
    diagonal_gauss_newton,
    gradient_cost,
)
from calclab.data.bundled import digits
from calclab.function.network import Network, network
from calclab.numerics.lanes import measure_lanes

PLACE = {"dtype": torch.float32, "device": "cpu", "seed": 0}


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.first(x)))
        return functional.relu(self.norm2(self.second(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        sizes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.body = nn.Sequential(*(Block(*size) for size in sizes))
        self.output = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.body(self.stem(x)).mean((2, 3)))
        return result


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(32, 64)
        self.position = nn.Parameter(0.02 * torch.randn(16, 64))
        layer = nn.TransformerEncoderLayer(64, 4, 128, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.output = nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.encoder(self.embedding(x) + self.position)).transpose(1, 2)
        return result


def made(name: str) -> tuple[Network, nn.Module]:
    """A network after some training, and its module."""
    generator = torch.Generator().manual_seed(1)
    if name == "mlp":
        data = digits(standardize=False, held_out=0.0, rows=None, **PLACE)  # type: ignore[arg-type]
        data = Data("digits", data.inputs.flatten(1), data.targets, data.features, data.classes, True)
        torch.manual_seed(0)
        module: nn.Module = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10))
        net = network(module, data, name=name, train=60, **PLACE)  # type: ignore[arg-type]
    elif name == "resnet":
        prototypes = functional.interpolate(torch.randn(10, 3, 8, 8, generator=generator), size=32, mode="bilinear")
        classes = torch.randint(10, (256,), generator=generator)
        images = prototypes[classes] + 0.7 * torch.randn(256, 3, 32, 32, generator=generator)
        labels = tuple(map(str, range(10)))
        data = Data("images", images, classes, tuple(map(str, range(3072))), labels, True)
        torch.manual_seed(0)
        module = ResNet20()
        with torch.no_grad():
            for _ in range(20):
                module(images)  # settles the running statistics
        net = network(module, data, name=name, **PLACE)  # type: ignore[arg-type]
    else:
        chain = torch.softmax(3 * torch.randn(32, 32, generator=generator), 1)
        tokens = torch.randint(32, (64, 17), generator=generator)
        for t in range(16):
            tokens[:, t + 1] = torch.multinomial(chain[tokens[:, t]], 1, generator=generator)[:, 0]
        names = tuple(f"token.{t}" for t in range(16))
        outputs = tuple(f"{c}.{t}" for c in range(32) for t in range(16))
        data = Data("tokens", tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), names, outputs, False)
        torch.manual_seed(0)
        module = Tokens()
        net = network(module, data, name=name, loss=functional.cross_entropy, train=20, **PLACE)  # type: ignore[arg-type]
    return net, net.module


def cost(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(name: str) -> None:
    net, module = made(name)
    parameters = list(module.parameters())
    n = sum(net.sizes)
    large = name == "resnet"
    blocks = (4,) if large else (8, 16, 32)

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
    for _ in range(3 if large else 12):
        least["own gradient"] = min(least["own gradient"], gradient_cost(net, rounds=1))
        for what, (p, work) in works.items():
            least[what] = min(least[what], cost(work) / p)
    one = least["gradient"]
    print(f"  piecewise affine: {curves_only_through_the_loss(net)}; a gradient takes {1e3 * one:.2f} ms")
    for what, seconds in least.items():
        print(f"  {what:22} {seconds / one:6.2f}   ({seconds / least['own gradient']:.2f} own)")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ("mlp", "transformer", "resnet"):
        measure(name)
