"""What a rule has used besides one gradient a step: counted in its state, so that it is saved with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from calclab.core import Rule, State


def counter(x: Tensor) -> Tensor:
    """Nothing used yet, on the device of x."""
    return torch.zeros((), dtype=torch.int64, device=x.device)


class Counting:
    """A rule whose state has a `counter` called ``spent``."""

    def spent(self, state: State) -> int:
        """In gradients: a Hessian counts as n, a trial of a step length as one."""
        return int(state["spent"])


def spent(rule: Rule, state: State) -> int:
    """The further evaluations that a rule has used, if it uses any."""
    count: Callable[[State], int] | None = getattr(rule, "spent", None)
    return 0 if count is None else count(state)
