"""What a scan hands on: states, values by name, and columns of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]  # names to tensors, or to further states
Values = Mapping[str, Tensor]
Labels = Mapping[str, tuple[Sequence[str], ...]]  # of a value: the names along each of its axes


@dataclass(frozen=True)
class Column:
    """Values of one name over a block of steps: ``data`` is (len(steps), *shape of the value), on the CPU."""

    steps: Sequence[int]
    data: Tensor


Columns = Mapping[str, Column]

# Names of values of rank 2 that are histograms, (bins, 3): from, to, how many. They are for boards, and in no CSV.
HISTOGRAM = "histogram/"


def wide(device: torch.device) -> torch.dtype:
    """The widest type that the device has: the one in which numbers are added up."""
    return torch.float32 if device.type == "mps" else torch.float64
