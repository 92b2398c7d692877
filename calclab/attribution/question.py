"""All that a method asks of: rows, target, baselines, and the network as an engine, counted and kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from calclab.attribution.chain import Chain
from calclab.attribution.look import Look
from calclab.attribution.model import Model
from calclab.attribution.target import Target, Which

PASS = 2**20  # numbers in flight through a chain at once: what a core's cache holds of them


class Engine(Protocol):
    """The network in a space that x is taken to by an affine map; see ``Chain`` and ``Whole``."""

    numbers: int
    width: int
    bent: tuple[str, ...]

    def lift(self, points: Tensor) -> Tensor: ...

    def push(self, change: Tensor) -> Tensor: ...

    def pull(self, g: Tensor) -> Tensor: ...

    def effects(self, change: Tensor, features: slice, onto: Tensor | None = None) -> Tensor: ...

    def outputs(self, z: Tensor, which: Which) -> Tensor: ...

    def values(self, z: Tensor, which: Which, target: Target) -> Tensor: ...

    def gradients(self, z: Tensor, which: Which, target: Target) -> Tensor: ...


@dataclass
class Question:
    """``rows`` (B, d) with outputs (B, m) and t (B,); ``baselines`` (K, 1 or B, d); ``reference`` (R, d)."""

    look: Look
    target: Target
    rows: Tensor
    baselines: Callable[[], Tensor]
    reference: Callable[[], Tensor]
    labels: Tensor | None
    loss: Callable[[Tensor, Tensor], Tensor] | None
    seed: int
    memory: float
    forwards: int = 0
    gradients_taken: int = 0
    notes: list[str] = field(default_factory=list)

    @cached_property
    def engine(self) -> Engine:
        return self.look.engine

    @property
    def model(self) -> Model:
        return self.look.model

    @property
    def outputs(self) -> Tensor:
        return self.look.outputs

    @cached_property
    def score(self) -> Tensor:
        return self.target.values(self.outputs, slice(0, len(self.rows)))

    @property
    def bytes(self) -> float:
        return self.memory * 2**20

    @property
    def points(self) -> int:
        """How many points go at once, under the memory limit."""
        most = self.bytes / (self.engine.numbers * self.rows.element_size())
        if isinstance(self.engine, Chain):
            most = min(most, PASS / self.engine.numbers)
        return max(1, int(most))

    @property
    def forward_points(self) -> int:
        """How many points go at once where nothing has to go back."""
        return 2 * self.points

    def lots(self, each: int = 1, at_least: int = 1) -> Iterator[slice]:
        """The rows in lots, of each of which ``each`` points go at once."""
        size = max(at_least, self.points // max(1, each))
        for low in range(0, len(self.rows), size):
            yield slice(low, min(low + size, len(self.rows)))

    def generator(self) -> torch.Generator:
        return torch.Generator(self.rows.device).manual_seed(self.seed)

    # --- the network ---

    def answers(self, z: Tensor, which: Which) -> Tensor:
        """Outputs (..., b, m) at lifted points (..., b, h), which are used up."""
        self.forwards += z.numel() // z.shape[-1]
        return self.engine.outputs(z, which)

    def values(self, z: Tensor, which: Which) -> Tensor:
        """t (..., b) at lifted points (..., b, h), which are used up."""
        self.forwards += z.numel() // z.shape[-1]
        return self.engine.values(z, which, self.target)

    def gradients(self, z: Tensor, which: Which) -> Tensor:
        """∂t/∂z (..., b, h) at lifted points, which are used up."""
        self.gradients_taken += z.numel() // z.shape[-1]
        return self.engine.gradients(z, which, self.target)
