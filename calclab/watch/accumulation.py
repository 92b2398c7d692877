"""For callbacks: the batches of an optimizer step, as a framework hands them out, one by one and before the step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from calclab.watch.given import checked_numbers, looks
from calclab.watch.objective import nested
from calclab.watch.watch import Watch


class Accumulation:
    """The batches since the optimizer's last step, and their losses. Where the coming step is one to look at they are
    copies; else only the dicts and lists are, for a step that turns out to be amiss.

    A step is what the optimizer does, and not what a trainer counts: a GradScaler passes over some.
    """

    def __init__(self, watch: Watch, optimizer: Optimizer) -> None:
        self.watch = watch
        self.held: list[Any] = []
        self.losses: list[Tensor] = []
        self.stepped = False
        self.hook = optimizer.register_step_post_hook(self.after)

    def after(self, *_: Any) -> None:
        self.stepped = True

    def add(self, batch: Any) -> None:
        """A batch that the trainer is about to take."""
        self.held.append(fresh(batch) if self.watch.due else nested(batch, lambda tensor: tensor))

    def gave(self, loss: Any) -> None:
        """The share that the batch added last has in the loss of the step; None where it has no part in it."""
        if loss is None:
            del self.held[-1:]
        else:
            self.losses.append(loss.detach())

    def look(self) -> None:
        """Where the optimizer has stepped since the last time, look at the step."""
        if self.stepped:
            held, losses = self.held, self.losses
            self.held, self.losses, self.stepped = [], [], False
            self.watch.step(held or None, loss=torch.stack(losses).sum() if losses else None)

    def close(self) -> None:
        self.hook.remove()
        self.watch.close()


def checked(every: Any, budget: Any, quantities: Any) -> dict[str, Any]:
    """Options of a Watch that is made when a training begins, refused before it."""
    checked_numbers(every, budget)
    return {"every": every, "budget": budget, "quantities": looks(quantities)}


def fresh(batch: Any) -> Any:
    """A copy, for those who take labels out of a dict or write to a tensor; what knows no copy is handed on as it is.

    >>> batch = {"x": [1.0], "labels": [0]}
    >>> fresh(batch).pop("labels"), sorted(batch)
    ([0], ['labels', 'x'])
    """
    try:
        return copy.deepcopy(batch)
    except Exception:  # of a class's own __deepcopy__, or of a tensor on autograd's graph
        return batch
