"""Mini-batches in a seeded order. What step k sees depends on the seed and on k alone: a run that goes on sees it too.

An epoch is one permutation of the rows, cut into pieces of ``batch`` rows; the last piece is what is left. Every epoch
has a permutation of its own, drawn on the CPU, and so the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from calclab.core import Function
from calclab.errors import UserError

STREAM = 1  # sets these draws apart from others of the same seed


@dataclass(frozen=True, eq=False)
class Minibatches:
    """An objective seen through ``batch`` of its ``count`` rows at a time.

    ``pick`` takes row numbers (b,), on the device of the data, to the mean loss over these rows as a function of θ.
    """

    pick: Callable[[Tensor], Function]
    count: int
    batch: int
    seed: int
    device: torch.device
    drawn: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)  # the epoch last asked for

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= self.count:
            raise UserError(
                f"batch={self.batch}: there are {self.count} rows to learn from. Type batch={min(64, self.count)}, "
                "or batch=null for all of them at every step"
            )

    @property
    def steps_per_epoch(self) -> int:
        """⌈count / batch⌉: from step k = e · steps_per_epoch on, epoch e is seen."""
        return -(-self.count // self.batch)

    def rows(self, k: int) -> Tensor:
        """The numbers of the rows of step k: (batch,), or fewer at the end of an epoch."""
        epoch, place = divmod(k, self.steps_per_epoch)
        pieces = self.drawn.get(epoch)
        if pieces is None:
            pieces = torch.split(self.permutation(epoch), self.batch)
            self.drawn.clear()
            self.drawn[epoch] = pieces
        return pieces[place]

    def permutation(self, epoch: int) -> Tensor:
        """The order of the rows in an epoch, (count,)."""
        words = np.random.SeedSequence(self.seed, spawn_key=(STREAM, epoch)).generate_state(1, np.uint64)
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(int(words[0])))
        return order.to(self.device)

    def at(self, k: int) -> Function:
        """θ (n,) to the mean loss over the rows of step k."""
        return self.pick(self.rows(k))
