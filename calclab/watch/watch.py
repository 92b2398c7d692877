"""A training watched from its own loop: what is due is looked at, what is found is kept, logged and told."""

from __future__ import annotations

import atexit
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from html import escape
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from calclab.core import Answer, Evidence, Status
from calclab.errors import error_line
from calclab.lines import Line, Said
from calclab.terminal import plain
from calclab.watch import summary
from calclab.watch.given import (
    USUAL,
    checked_loss,
    checked_numbers,
    inner_optimizer,
    logs,
    looks,
    names_of,
    renamed,
    whole,
)
from calclab.watch.kept import Kept
from calclab.watch.logs import About, Ending, Log
from calclab.watch.moment import Event, Found, Look, Moment, Reading, Training
from calclab.watch.objective import Criterion, LossOf, Objective, batches
from calclab.watch.processes import alone, looks_on, whole_weights
from calclab.watch.schedule import Clock, Schedule
from calclab.watch.steps import Steps, groups
from calclab.watch.tell import Tell, teller
from calclab.watch.untouched import untouched

if TYPE_CHECKING:
    import pandas as pd

ATTEMPTS = 3  # failures in a row after which a look is given up


class Watch:
    """Looks at a training in any loop of PyTorch's, and leaves it bit for bit as it is.

    Call ``step`` after ``optimizer.step()`` with the batch that the step was made on. ``model``, ``criterion`` and
    ``optimizer`` are those of the loop, whose loss is criterion(model(inputs), targets); where it is something else,
    give ``loss``, a function of (model, batch). A model that says its own loss needs neither. Wrappers of DataParallel,
    DistributedDataParallel, torch.compile and Accelerate are looked through; of several processes the first one looks.
    The model is called as the loop calls it, so that forward hooks of your own run at looks, too.

    ``quantities`` are looked at every ``every`` steps, but no more often than ``budget`` allows: 0.05 is 5 % of the
    training time, measured; None leaves all to ``every``, without a clock. ``log`` takes what is found while it is
    found: a SummaryWriter, a folder for ``calclab report``, a callable of (step, {tag: number}), or several in a list.
    ``start`` steps were taken before, of a training that is taken up again.

    Events are told in words as ``tell`` says: "log" (Python's logger "calclab.watch"), "warn", "print", a function of
    an `Event`, or None; all are kept in ``events``.

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
        tell: str | Tell | None = "log",
        clock: Clock = time.perf_counter,
    ) -> None:
        self.model = whole(model)
        whole_weights(self.model)
        self.parts = list(model.modules())  # with those around the model
        self.criterion, self.loss = checked_loss(criterion, loss)
        self.optimizer = inner_optimizer(optimizer)
        checked_numbers(every, budget)
        self.names = names_of(self.model, self.optimizer)
        self.looks = list(looks(quantities))
        own = {look.name: int(cadence) for look in self.looks if (cadence := getattr(look, "every", None))}
        self.schedule = Schedule({look.name: look.cost for look in self.looks}, every, budget, own, clock)
        here = looks_on(model)
        self.logs: list[Log] = list(logs(log)) if here else []
        self._say = teller(tell)
        self.count = start  # calls of ``step``, and the steps before the first
        self.events: list[Event] = []
        self.evidence: list[Evidence] = []
        self._kept = Kept()
        self._failures: dict[str, int] = {}
        self._memory: dict[str, dict[str, Any]] = {look.name: {} for look in self.looks}
        self._due: list[str] = []
        self._previous: dict[str, Tensor] | None = None
        me = weakref.ref(self)
        self._steps: Steps | None = Steps(
            self.optimizer,
            self.names,
            wanted=lambda: "" if (watch := me()) is None else watch._wanted(),
            spent=self.schedule.inside,
            failed=lambda error: None if (watch := me()) is None else watch._failed("step", error),
        )
        about = self._about()
        for log in self.logs:
            log.open(about)
        self._exit = partial(at_exit, me, getattr(sys, "last_value", None))
        atexit.register(self._exit)
        self._due = self.schedule.due(start + 1)
        self._attending: list[Any] = [look for look in self.looks if here and hasattr(look, "attach")]
        for look in self._attending:
            look.attach(
                Training(
                    self.model,
                    self.optimizer,
                    self.names,
                    Objective(self.model, self.criterion, self.loss),
                    self._lent(),
                    self.schedule.attend,
                )
            )
        if not here:
            self.close()

    # --- in the loop ---

    @property
    def due(self) -> bool:
        """Whether the coming step is one for which ``step`` needs the batches."""
        return bool(self._attending) or any(getattr(self._named(name), "batch", False) for name in self._due)

    def step(self, batch: Any = None, *, at: int | None = None, loss: Any = None) -> None:
        """Look at the training after a step on ``batch``; of an accumulated step, a list of its batches.

        ``at`` is the number that the step has in what is logged; it is counted from 1 where none is given. ``loss`` is
        that of the step, where the loop has it in hand: a criterion that is a module is overheard.
        """
        if self._steps is None:
            return
        self.schedule.enter()
        self.count += 1
        self._safely("watch", self._seen, batches(batch), self.count if at is None else at, loss)
        self._previous, self._steps.taken = self._steps.gradient, None
        self._due = self.schedule.due(self.count + 1)
        self.schedule.leave()

    def close(self, error: BaseException | None = None) -> None:
        """Take the hooks off the optimizer, and end what is logged. Nothing is looked at afterwards.

        ``error`` is what the training ended by, if it was not done. A script that ends closes its watches.
        """
        if self._steps is None:
            return
        self._steps.close()
        self._steps = self._previous = None
        for look in self._attending:
            self._keep(self._safely(look.name, look.detach) or (), self.count)
        atexit.unregister(self._exit)
        ending = Ending(
            status=status(error),
            steps=self.count,
            answer=self._safely("summary", lambda: self.answer) or Answer("the watch could not be summed up", {}),
            last=[*self._kept.last.values()],
            evidence=self.evidence,
            error="" if error is None else error_line(error),
        )
        for log in self.logs:
            self._safely(of_log(log), log.close, ending)

    def __del__(self) -> None:
        """A watch that nobody has any more, such as that of a cell that was run again, or that could not be made."""
        if "_attending" in vars(self):
            self.close()
        elif (steps := vars(self).get("_steps")) is not None:
            steps.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close(error)

    # --- what was found ---

    @property
    def values(self) -> pd.DataFrame:
        """A row a reading: step, name, value, error (a half width, NaN where it is not known), and by what it is."""
        return self._kept.frame()

    @property
    def spent(self) -> float:
        """What the watch took so far, as a share of the training time; NaN before the second step."""
        return self.schedule.spent / self.schedule.trained if self.schedule.trained else nan

    @property
    def answer(self) -> Answer:
        """What the watch came to so far: a headline, lines, and the last readings."""
        return summary.answer(
            summary.Watched(
                model=type(self.model).__name__,
                steps=self.count,
                first=self._kept.first,
                last=self._kept.last,
                events=self.events,
                looks={name: count for name, count in self.schedule.counts.items() if count},
                spent=self.spent,
                budget=self.schedule.budget,
            )
        )

    def _said(self) -> list[Said]:
        """Title, headline and lines."""
        answer, about = self.answer, self._about()
        title = f"watch of {about.model}, {about.parameters:,} parameters, trained by {about.optimizer}"
        return [Line(title, "", kind="title"), Line("answer", answer.headline, kind="headline"), *answer.lines]

    def __repr__(self) -> str:
        return "\n".join(plain(self._said()))

    def _repr_html_(self) -> str:
        from calclab.library.display import block

        title, *rest = self._said()
        return f"<div style='line-height:1.45'><b>{escape(title.label)}</b>{''.join(map(block, rest))}</div>"

    def _about(self) -> About:
        """What is known before the first look."""
        first = next(p for p in self.model.parameters() if id(p) in self.names)
        schedule = self.schedule
        knobs = {key: value for key, value in self.optimizer.defaults.items() if isinstance(value, int | float | tuple)}
        name = type(self.optimizer).__name__
        return About(
            model=type(self.model).__name__,
            parameters=sum(p.numel() for p in self.model.parameters() if id(p) in self.names and p.requires_grad),
            optimizer=name,
            device=str(first.device),
            dtype=str(first.dtype).removeprefix("torch."),
            config={
                "every": schedule.every,
                "budget": schedule.budget,
                "quantities": [look.name for look in self.looks],
                "network": {"name": type(self.model).__name__},
                "optimizer": {
                    "name": name,
                    **{key: list(v) if isinstance(v, tuple) else v for key, v in knobs.items()},
                },
            },
        )

    # --- looking ---

    def _wanted(self) -> str:
        """What the optimizer's next step is to leave."""
        due = {name: self._named(name) for name in self._due}
        if any(getattr(look, "step", False) for look in due.values()):
            return "step"
        after = self.count + 2
        soon = (look for look in self.looks if after % self.schedule.own.get(look.name, self.schedule.every) == 0)
        return "gradient" if any(getattr(look, "previous", False) for look in soon) else "rates" if due else ""

    def _named(self, name: str) -> Look:
        return next(look for look in self.looks if look.name == name)

    def _seen(self, given: Sequence[Any], step: int, loss: Any) -> None:
        """What attends each step is told of it, and what is due is taken."""
        start = self.schedule.clock()
        for look in self._attending:
            self._keep(self._safely(look.name, look.each, given, step, loss) or (), step)
        self.schedule.attended += self.schedule.clock() - start
        if self._due:
            renamed(self.names, self.model, self.optimizer)
            self._look(given, step)

    def _look(self, given: Sequence[Any], step: int) -> None:
        """Take the looks that are due."""
        moment = self._moment(given, step)
        found: list[Found] = []
        clock = self.schedule.clock
        begun, taken = clock(), {}
        try:
            with self._lent()():
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

    def _lent(self) -> Callable[[], AbstractContextManager[None]]:
        """The training, lent for a block: it is as it was afterwards. Nothing of it holds the watch."""
        modules = [self.model, *([self.criterion] if isinstance(self.criterion, nn.Module) else [])]
        return partial(lent, modules, self.model, self.parts)

    def _moment(self, given: Sequence[Any], step: int) -> Moment:
        assert self._steps is not None
        held = {self.names[id(p)]: p for p in self.model.parameters() if id(p) in self.names and p.requires_grad}
        took = self._steps.rates or {}  # a schedule may have moved them since
        known = groups(self.optimizer, self.names)
        return Moment(
            step=step,
            model=self.model,
            optimizer=self.optimizer,
            objective=Objective(self.model, self.criterion, self.loss),
            batches=given,
            parameters={name: p.detach() for name, p in held.items()},
            groups={name: replace(known[name], lr=took.get(name, known[name].lr)) for name in held},
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
            self._kept.add(readings)
        self.evidence += evidence
        if readings or evidence:
            for log in self.logs:
                self._safely(of_log(log), log.write, step, readings, evidence)
        attending = self._attending if readings else []
        heard = [one for look in attending for one in self._safely(look.name, look.heard, readings, step) or ()]
        for event in (*found, *heard):
            if isinstance(event, Event):
                self._tell(event if event.step >= 0 else replace(event, step=step))

    def _tell(self, event: Event) -> None:
        """Say it, once, as ``tell`` asks, and to all logs."""
        self.events.append(event)
        self._safely("tell", self._say, event)
        for log in self.logs:
            self._safely(of_log(log), log.event, event)

    def _safely(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """What a call gives; None where it fails, which is told once."""
        try:
            found = call(*arguments)
        except Exception as error:  # of the user's model or criterion, of a writer: the training goes on
            self._failed(name, error)
            return None
        if name in self._failures:
            self._failures[name] = 0
        return found

    def _failed(self, name: str, error: Exception) -> None:
        said = error_line(error)
        first = not {name, said} & self._failures.keys()  # one mistake may be met by several looks
        self._failures[name] = self._failures.get(name, 0) + 1
        if first:
            self._failures[said] = 0
            text = f"{name} could not be looked at, and the training goes on: {said}"
            failed = Event(text, "doubtful", self.count, "failed", name)
            self.events.append(failed)
            if name != "tell":
                self._safely("tell", self._say, failed)
        if self._failures[name] >= ATTEMPTS:
            self.schedule.forget(name)


@contextmanager
def lent(modules: Sequence[nn.Module], model: nn.Module, parts: Sequence[nn.Module]) -> Iterator[None]:
    """Within the block the modules may be called; they are as they were afterwards, and wait for no other process."""
    with untouched(modules, model.parameters()), alone(parts):
        yield


def of_log(log: Log) -> str:
    return f"log ({type(log).__name__})"


def status(error: BaseException | None) -> Status:
    """How a training ended."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return Status.COMPLETED
    return Status.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Status.FAILED


def at_exit(watch: weakref.ref[Watch], before: BaseException | None) -> None:
    """Close a watch that a script left open: what the script ended by, if it did, is new since ``before``."""
    if (found := watch()) is not None:
        last = getattr(sys, "last_value", None)
        found.close(None if last is before else last)


def take(look: Look, moment: Moment) -> Sequence[Found]:
    """What a look finds; RuntimeError where it lacks the batch."""
    if getattr(look, "batch", False) and not moment.batches:
        raise RuntimeError("it needs the batch of the step: watch.step((inputs, targets))")
    return look.take(moment)
