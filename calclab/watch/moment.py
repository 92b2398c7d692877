"""What a look at a training is given, a `Moment`, and what it finds: readings, evidence, events.

A `Look` is a function of a moment. It computes with ``moment.loss``, and with what the moment holds; it changes nothing
of the training's, writes nowhere, and knows neither clock nor budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from math import nan
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from calclab.core import Evidence
from calclab.watch.objective import Objective

Named = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Reading:
    """A number that was read at a step, and how far from the truth it can be, as far as that is known.

    ``name`` is its tag: a group and a name in it, such as "noise/scale" or "layers/gradient_norm/fc1". ``error`` is a
    half width in the units of ``value``, and ``by`` says of what kind it is: "standard error", "residual", "rounding".
    NaN is one that is not known.
    """

    name: str
    value: float
    error: float = nan
    by: str = ""
    step: int = -1  # filled in by the watch


@dataclass(frozen=True)
class Event:
    """Something told in words when it happens. ``kind``: "good", "doubtful" or "bad" news, or nothing of these.

    ``name`` is what happened in a word or two ("nonfinite/data", "loss grows"), ``place`` the layer or the parameter,
    and ``numbers`` are those that the text tells.
    """

    text: str
    kind: str = ""
    step: int = -1  # filled in by the watch
    name: str = ""
    place: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


Found = Reading | Evidence | Event


@dataclass(frozen=True)
class Group:
    """The numbers of an optimizer's parameter group: its rate as the step took it, and all others as they are."""

    lr: float
    knobs: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """What the optimizer was given, by the names of the parameters, and the step that it made of it.

    ``gradient`` is the one that it took (after clipping and unscaling), without the parameters that had none. The
    tensors are those of this moment: what is to be kept for the next has to be copied.
    """

    before: Named  # the weights that the step started from, copies
    gradient: Named  # copies, dense, in the dtype of the parameters
    rates: Mapping[str, float]


@dataclass(frozen=True)
class Moment:
    """A training as it is right after a step of its optimizer.

    ``parameters`` are those trained (they need a gradient, and the optimizer has them): detached views of the weights
    after the step, by name, never to be written to. A tied one has the first of its names. ``taken`` is the optimizer's
    step, where one was seen since the last look; ``previous`` the gradient of the step before, where it was kept.
    ``batches`` are those of the step, several where gradients were accumulated, none where ``watch.step()`` got none.
    """

    step: int
    model: nn.Module  # without the wrappers of DataParallel, DDP and torch.compile
    optimizer: torch.optim.Optimizer
    objective: Objective
    batches: Sequence[Any]
    parameters: Named
    groups: Mapping[str, Group]  # by the name of each parameter
    taken: Step | None = None
    previous: Named | None = None
    seed: int = 0
    memory: dict[str, Any] = field(default_factory=dict)  # what a look of the name keeps from one moment to the next

    @property
    def rates(self) -> dict[str, float]:
        """The learning rate of each parameter, as the step took it."""
        return {name: group.lr for name, group in self.groups.items()}

    def loss(self, parameters: Named | None = None, batch: Any = None, draw: int = 0) -> Tensor:
        """The training's loss () at ``parameters`` (None: those of the moment) on ``batch`` (None: the mean over the
        batches of the step), on autograd's graph where a parameter given needs a gradient.

        The model is in the mode that it trains in. What it draws, dropout say, is the same at each call with the same
        ``draw``, so that the loss is a function; what it remembers, such as running means, is thrown away.
        """
        parameters = self.parameters if parameters is None else parameters
        if batch is not None:
            return self._alone(parameters, batch, draw)
        if not self.batches:
            raise RuntimeError("the moment has no batch")
        losses = [self._alone(parameters, part, draw + i) for i, part in enumerate(self.batches)]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def _alone(self, parameters: Named, batch: Any, draw: int) -> Tensor:
        torch.manual_seed((self.seed + 1_000_003 * self.step + draw) % 2**63)
        return self.objective(parameters, batch)

    def leaves(self) -> dict[str, Tensor]:
        """The parameters as fresh leaves that need a gradient: no hook of the user's hangs on them."""
        return {name: p.detach().requires_grad_() for name, p in self.parameters.items()}

    @cached_property
    def here(self) -> dict[str, Tensor]:
        """The gradient of `loss` at the moment's parameters; zero where the loss does not depend on one."""
        leaves = self.leaves()
        with torch.enable_grad():
            found = torch.autograd.grad(
                self.loss(leaves), list(leaves.values()), allow_unused=True, materialize_grads=True
            )
        return dict(zip(leaves, found, strict=True))


@dataclass(frozen=True)
class Training:
    """What attends every step is given at the start. ``names`` are those of the parameters that the optimizer has, by
    identity. Within a block of ``lent()`` the model may be called; ``spent`` is told the seconds that a hook took."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    names: Mapping[int, str]
    objective: Objective
    lent: Callable[[], AbstractContextManager[None]]
    spent: Callable[[float], Any]


class Look(Protocol):
    """Something that is looked at. ``cost`` is what a look is expected to cost, in training steps, until it has been
    measured. ``name`` is what ``quantities=`` calls it.

    Optional: ``every``, a cadence of its own in steps (1: at each step); ``batch``, that it needs one; ``step``, that
    it needs ``moment.taken``, and ``previous``, that it needs ``moment.previous`` (copies, made for looks that ask).

    One that has ``attach(training)`` attends it: ``each(batches, step, loss)`` is asked for events after every step,
    ``heard(readings, step)`` after every look, ``detach()`` at the end.
    """

    @property
    def name(self) -> str: ...

    @property
    def cost(self) -> float: ...

    def take(self, moment: Moment) -> Sequence[Found]: ...
