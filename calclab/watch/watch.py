"""A training watched from its own loop: what is due is looked at, what is found is kept, logged and told."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from calclab.core import Evidence
from calclab.errors import UserError, error_line
from calclab.watch.logs import Log, logs
from calclab.watch.moment import Event, Found, Look, Moment, Reading
from calclab.watch.objective import Criterion, LossOf, Objective, batches
from calclab.watch.schedule import Clock, Schedule
from calclab.watch.steps import Steps, groups
from calclab.watch.untouched import untouched

if TYPE_CHECKING:
    import pandas as pd

LOOKS = {  # what ``quantities`` may name, and the class that looks
    "norms": "calclab.watch.norms:Norms",
    "noise": "calclab.watch.noise:Noise",
    "sharpness": "calclab.watch.curvature:Sharpness",
    "preconditioned": "calclab.watch.curvature:Preconditioned",
    "batch_sharpness": "calclab.watch.curvature:BatchSharpness",
    "blocks": "calclab.watch.curvature:Blocks",
    "spectrum": "calclab.watch.curvature:Spectrum",
}
USUAL = ("norms", "noise")
ATTEMPTS = 3  # failures in a row after which a look is given up
told = logging.getLogger("calclab.watch")


class Watch:
    """Looks at a training in any loop of PyTorch's, and leaves it bit for bit as it is.

    Call ``step`` after ``optimizer.step()`` with the batch that the step was made on. ``model``, ``criterion`` and
    ``optimizer`` are those of the loop, whose loss is criterion(model(inputs), targets); where it is something else,
    give ``loss``, a function of (model, batch). A model that says its own loss needs neither. Wrappers of DataParallel,
    DistributedDataParallel, torch.compile and Accelerate are looked through.

    ``quantities`` are looked at every ``every`` steps, but no more often than ``budget`` allows: 0.05 is 5 % of the
    training time, measured; None leaves all to ``every``, without a clock. ``log`` takes what is found while it is
    found: a SummaryWriter, a folder for ``calclab report``, a callable of (step, {tag: number}), or several in a list.
    ``start`` steps were taken before, of a training that is taken up again.

    Raises UserError for what is no module, optimizer, or quantity, and where the optimizer trains none of the model's
    parameters. What goes wrong while it looks is told once, and the training goes on.

    >>> import calclab, torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    >>> criterion, optimizer = torch.nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with calclab.Watch(model, criterion, optimizer, every=5, budget=None) as watch:
    ...     for _ in range(10):
    ...         x = torch.randn(16, 4)
    ...         y = x.sum(1, keepdim=True)
    ...         optimizer.zero_grad()
    ...         criterion(model(x), y).backward()
    ...         optimizer.step()
    ...         watch.step((x, y))
    >>> sorted(set(watch.values.step))
    [5, 10]
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        every: int = 50,
        budget: float | None = 0.05,
        log: Any = None,
        quantities: Sequence[str | Look] = USUAL,
        loss: LossOf | None = None,
        start: int = 0,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.model = whole(model)
        self.criterion, self.loss = checked_loss(criterion, loss)
        self.optimizer = inner_optimizer(optimizer)
        checked_numbers(every, budget)
        self.names = names_of(self.model, self.optimizer)
        self.looks = list(looks(quantities))
        own = {look.name: int(cadence) for look in self.looks if (cadence := getattr(look, "every", None))}
        self.schedule = Schedule({look.name: look.cost for look in self.looks}, every, budget, own, clock)
        self.logs: list[Log] = list(logs(log))
        self.count = start  # calls of ``step``, and the steps before the first
        self.events: list[Event] = []
        self.evidence: list[Evidence] = []
        self._blocks: list[tuple[int, list[Reading]]] = []
        self._failures: dict[str, int] = {}
        self._memory: dict[str, dict[str, Any]] = {look.name: {} for look in self.looks}
        self._due: list[str] = []
        self._previous: dict[str, Tensor] | None = None
        me = weakref.ref(self)
        self._steps: Steps | None = Steps(
            self.optimizer, self.names, lambda: "" if (watch := me()) is None else watch._wanted(), self.schedule.inside
        )
        self._due = self.schedule.due(start + 1)

    # --- in the loop ---

    @property
    def due(self) -> bool:
        """Whether the coming step is one for which ``step`` needs the batches."""
        return any(getattr(self._named(name), "batch", False) for name in self._due)

    def step(self, batch: Any = None, *, at: int | None = None) -> None:
        """Look at the training after a step on ``batch``; of an accumulated step, a list of its batches.

        ``at`` is the number that the step has in what is logged; it is counted from 1 where none is given.
        """
        if self._steps is None:
            return
        self.schedule.enter()
        self.count += 1
        if self._due:
            self._look(batches(batch), self.count if at is None else at)
        self._previous, self._steps.taken = self._steps.gradient, None
        self._due = self.schedule.due(self.count + 1)
        self.schedule.leave()

    def close(self) -> None:
        """Take the hooks off the optimizer, and end what is logged. Nothing is looked at afterwards."""
        if self._steps is None:
            return
        self._steps.close()
        self._steps = self._previous = None
        for log in self.logs:
            self._safely("log", log.close)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what was found ---

    @property
    def values(self) -> pd.DataFrame:
        """A row a reading: step, name, value, error (a half width, NaN where it is not known), and by what it is."""
        import pandas as pd

        rows = [
            (reading.step, reading.name, reading.value, reading.error, reading.by)
            for _, block in self._blocks
            for reading in block
        ]
        return pd.DataFrame(rows, columns=["step", "name", "value", "error", "by"])

    @property
    def spent(self) -> float:
        """What the watch took so far, as a share of the training time; NaN before the second step."""
        return self.schedule.spent / self.schedule.trained if self.schedule.trained else nan

    # --- looking ---

    def _wanted(self) -> str:
        """What the optimizer's next step is to leave."""
        due = {name: self._named(name) for name in self._due}
        if any(getattr(look, "step", False) for look in due.values()):
            return "step"
        after = self.count + 2
        soon = (look for look in self.looks if after % self.schedule.own.get(look.name, self.schedule.every) == 0)
        return "gradient" if any(getattr(look, "previous", False) for look in soon) else ""

    def _named(self, name: str) -> Look:
        return next(look for look in self.looks if look.name == name)

    def _look(self, given: Sequence[Any], step: int) -> None:
        """Take the looks that are due."""
        moment = self._moment(given, step)
        modules = [self.model, *([self.criterion] if isinstance(self.criterion, nn.Module) else [])]
        found: list[Found] = []
        clock = self.schedule.clock
        begun, taken = clock(), {}
        try:
            with untouched(modules, self.model.parameters()):
                for name in self._due:
                    start = clock()
                    here = replace(moment, memory=self._memory[name])
                    found += self._safely(name, take, self._named(name), here) or ()
                    taken[name] = clock() - start
        except Exception as error:  # of a module that does not let itself be put back
            self._failed("watch", error)
        self._keep(found, step)
        shared = (clock() - begun - sum(taken.values())) / max(1, len(taken))
        for name, seconds in taken.items():
            self.schedule.took(name, self.count, seconds + shared)

    def _moment(self, given: Sequence[Any], step: int) -> Moment:
        assert self._steps is not None
        parameters = {
            self.names[id(p)]: p.detach() for p in self.model.parameters() if id(p) in self.names and p.requires_grad
        }
        return Moment(
            step=step,
            model=self.model,
            optimizer=self.optimizer,
            objective=Objective(self.model, self.criterion, self.loss),
            batches=given,
            parameters=parameters,
            groups=groups(self.optimizer, self.names),
            taken=self._steps.taken,
            previous=self._previous,
        )

    def _keep(self, found: Sequence[Found], step: int) -> None:
        """Keep, log and tell what was found at a step."""
        readings = [replace(one, step=step) for one in found if isinstance(one, Reading)]
        evidence = [one for one in found if isinstance(one, Evidence)]
        if readings and isfinite(self.spent):
            readings.append(Reading("watch/cost", self.spent, step=step))
        if readings:
            self._blocks.append((step, readings))
        self.evidence += evidence
        if readings or evidence:
            for log in self.logs:
                self._safely("log", log.write, step, readings, evidence)
        for event in found:
            if isinstance(event, Event):
                self._tell(replace(event, step=step))

    def _tell(self, event: Event) -> None:
        """Say it, once, in the loop's own log of Python's, and to all logs."""
        self.events.append(event)
        told.warning("calclab: step %d: %s", event.step, event.text)
        for log in self.logs:
            self._safely("log", log.event, event)

    def _safely(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """What a call gives; None where it fails, which is told once."""
        try:
            found = call(*arguments)
        except Exception as error:  # of the user's model or criterion, of a writer: the training goes on
            self._failed(name, error)
            return None
        self._failures.pop(name, None)
        return found

    def _failed(self, name: str, error: Exception) -> None:
        first = name not in self._failures
        self._failures[name] = self._failures.get(name, 0) + 1
        if first:
            text = f"{name} could not be looked at, and the training goes on: {error_line(error)}"
            self.events.append(Event(text, "doubtful", self.count))
            told.warning("calclab: step %d: %s", self.count, text)
        if self._failures[name] >= ATTEMPTS:
            self.schedule.forget(name)


def take(look: Look, moment: Moment) -> Sequence[Found]:
    """What a look finds; RuntimeError where it lacks the batch."""
    if getattr(look, "batch", False) and not moment.batches:
        raise RuntimeError("it needs the batch of the step: watch.step((inputs, targets))")
    return look.take(moment)


# --- what is given --------------------------------------------------------------------------------------------------


def whole(model: Any) -> nn.Module:
    """The module within its wrappers."""
    if not isinstance(model, nn.Module):
        raise UserError(
            f"model is a {type(model).__name__}, and no torch.nn.Module. "
            "Type calclab.Watch(model, criterion, optimizer), in this order"
        )
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):  # of torch.compile
            model = model._orig_mod
        else:
            return model


def inner_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer within its wrappers, which is one of torch's."""
    while isinstance(found := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = found
    if not isinstance(optimizer, torch.optim.Optimizer):
        given = "is missing" if optimizer is None else f"is a {type(optimizer).__name__}, and no torch.optim.Optimizer"
        raise UserError(f"optimizer {given}. Type calclab.Watch(model, criterion, optimizer)")
    return optimizer


def checked_loss(criterion: Any, loss: Any) -> tuple[Criterion | None, LossOf | None]:
    """How the loss is found."""
    if isinstance(criterion, torch.optim.Optimizer):
        raise UserError("criterion is an optimizer. Type calclab.Watch(model, criterion, optimizer), in this order")
    for name, value, form in (("criterion", criterion, "(outputs, targets)"), ("loss", loss, "(model, batch)")):
        if value is not None and not callable(value):
            raise UserError(f"{name}={value!r} is no function. Give one of {form}, which gives one number")
    if criterion is not None and loss is not None:
        raise UserError(
            "criterion and loss both say what the loss is. Give calclab.Watch(model, None, optimizer, loss=...)"
        )
    return criterion, loss


def checked_numbers(every: Any, budget: Any) -> None:
    """Ranges."""
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise UserError(f"every={every!r}: a look is taken every so many steps. Give a whole number, such as every=50")
    number = isinstance(budget, int | float) and not isinstance(budget, bool)
    if budget is not None and not (number and 0 < budget < inf):
        raise UserError(
            f"budget={budget!r} is a share of the training time. Give budget=0.05 for 5 %, None for no limit"
        )


def names_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[int, str]:
    """The names of the parameters that the optimizer has, by identity, in the model's order."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    found = {id(p): name.replace("_orig_mod.", "") for name, p in model.named_parameters() if id(p) in held}
    if not found:
        raise UserError(
            f"the optimizer trains none of the parameters of {type(model).__name__}. Make it of this model: "
            "torch.optim.SGD(model.parameters(), lr=0.1)"
        )
    return found


def looks(quantities: Any) -> list[Look]:
    """The looks of the names given; what is no name is a look itself."""
    given = [quantities] if isinstance(quantities, str) or hasattr(quantities, "take") else list(quantities)
    made: list[Look] = []
    for entry in given:
        if isinstance(entry, str):
            if entry not in LOOKS:
                close = get_close_matches(entry, LOOKS, 1, 0.5)
                hint = f"Did you mean {close[0]!r}?" if close else f"Give {', '.join(map(repr, LOOKS))}"
                raise UserError(f"quantities: there is no {entry!r}. {hint}")
            module, _, name = LOOKS[entry].partition(":")
            made.append(getattr(import_module(module), name)())
        elif all(hasattr(entry, part) for part in ("name", "cost", "take")):
            made.append(entry)
        else:
            raise UserError(
                f"quantities: {entry!r} is neither a name ({', '.join(LOOKS)}) nor a look: name, cost, take(moment)"
            )
    return made
