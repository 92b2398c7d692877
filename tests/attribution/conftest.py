"""Networks to attribute to: modules in chains, functions, branches, images, sets of inputs."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional


def chain(activation: nn.Module, *sizes: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation]
    return nn.Sequential(*layers[:-1]).double()


class Residual(nn.Module):
    """Branches that are added, a ReLU called as a function, an unused multiplication by a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 7), nn.Linear(7, 7), nn.Linear(7, 3)
        self.register_buffer("scale", torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.a(x))
        h = h + functional.leaky_relu(self.b(h), 0.2) * self.scale
        return self.c(torch.clamp(h, -0.3, 0.8)) + torch.maximum(h[:, :3], 0.4 * h[:, 3:6].abs())


class Image(nn.Module):
    """Convolution, batch normalisation, ReLU, max-pooling."""

    def __init__(self, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU()
        self.pool = pool or nn.MaxPool2d(3, stride=2, padding=1)
        self.out = nn.Linear(36, 3)
        drawn = torch.Generator().manual_seed(0)
        self.norm.running_mean.uniform_(-0.3, 0.3, generator=drawn)
        self.norm.running_var.uniform_(0.5, 2, generator=drawn)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.pool(self.relu(self.norm(self.conv(x)))).flatten(1))


class Two(nn.Module):
    """Two inputs and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        h = torch.tanh(self.a(x) + self.b(y))
        return {"sum": h.sum(1), "each": h}


class Words(nn.Module):
    """Whole numbers, an embedding, and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(11, 4), nn.Linear(4, 2)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        return self.out((torch.tanh(self.table(words)) * mask[..., None]).sum(1))


def made(net: nn.Module, seed: int = 0) -> nn.Module:
    """Weights drawn anew from the seed, float64, eval."""
    torch.manual_seed(seed)
    for m in net.modules():
        if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding):
            m.reset_parameters()
    return net.double().eval()


def rows(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="session")
def nets() -> SimpleNamespace:
    """The networks and what makes them (tests are no package that could be imported from)."""
    return SimpleNamespace(chain=chain, made=made, rows=rows, Residual=Residual, Image=Image, Two=Two, Words=Words)
