"""The Watch as a callback of Lightning's Trainer (extra ``lightning``; ``pytorch_lightning`` is served as well).

    trainer = Trainer(callbacks=[calclab.lightning.Watch(every=50)])

The loss that is looked at is the module's own: ``training_step`` of the batches of an optimizer step, called once more
with nothing logged, and whatever it leaves in the module put back. It is computed in the type of the parameters, also
where training runs under ``precision="bf16-mixed"``: λmax is then that of the loss and not of its rounding. With manual
optimization ``training_step`` is the training itself, so the loss is the user's to say.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any, NamedTuple

from torch import Tensor, tensor

from calclab.errors import MissingExtraError, UserError
from calclab.watch.accumulation import Accumulation, checked, fresh
from calclab.watch.given import USUAL
from calclab.watch.moment import Look
from calclab.watch.watch import Watch as Loop

PACKAGES = ("lightning.pytorch", "pytorch_lightning")  # one project under two names: the one in use, or what is there


def framework() -> Any:
    """The package whose Trainer is in use."""
    for name in sorted(PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    raise MissingExtraError("calclab.lightning", "lightning")


pl = framework()
Base: Any = pl.Callback


class Batch(NamedTuple):
    """What ``training_step`` was called with."""

    rows: Any
    place: int


class Watch(Base):  # type: ignore[misc]
    """Looks at a training of Lightning's Trainer as `calclab.Watch` looks at a loop of one's own.

    Values go into the trainer's loggers at the trainer's own steps, into ``trainer.callback_metrics``, and wherever
    ``log`` says. Of several processes the first one looks, at its own rows.

    Parameters
    ----------
    every : int
        Optimizer steps from one look to the next; the batches of an accumulated step are looked at together.
    loss : callable, optional
        ``loss(module, batch) -> scalar``; otherwise ``training_step``. Needed with manual optimization.
    optimizer : int, optional
        Which of several optimizers, by its place in what ``configure_optimizers`` returns.
    log, budget, quantities
        As of `calclab.Watch`.

    Raises
    ------
    UserError
        As training starts: several optimizers and none named, manual optimization and no loss, weights in shards.
    """

    def __init__(
        self,
        every: int = 50,
        *,
        loss: Callable[[Any, Any], Tensor] | None = None,
        optimizer: int | None = None,
        log: Any = None,
        budget: float | None = 0.05,
        quantities: Sequence[str | Look] = USUAL,
    ) -> None:
        self.options = checked(every, budget, quantities)
        self.loss, self.optimizer = loss, optimizer
        self.logs = list(log) if isinstance(log, list | tuple) else [] if log is None else [log]
        self.watch: Loop | None = None
        self.accumulation: Accumulation | None = None
        self.trainer: Any = None
        self.steps = 0  # of the optimizer that is looked at

    @property
    def state_key(self) -> str:
        return self._generate_state_key(optimizer=self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.watch.count if self.watch else self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """After the sanity check, and after a checkpoint is loaded."""
        optimizer = trainer.optimizers[chosen(self.optimizer, trainer.optimizers)]
        if not (module.automatic_optimization or self.loss):
            raise UserError(
                "with manual optimization training_step takes the steps itself, and cannot be asked for the loss. Type "
                "calclab.lightning.Watch(loss=lambda module, batch: ...)"
            )
        self.trainer = trainer
        if trainer.is_global_zero:
            log = [self.logged, *self.logs]
            start = trainer.global_step if module.automatic_optimization else self.steps
            self.watch = Loop(module, None, optimizer, loss=self.objective, log=log, start=start, **self.options)
            self.accumulation = Accumulation(self.watch, optimizer)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if self.accumulation:
            self.accumulation.add(Batch(batch, batch_idx))

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.accumulation:
            if module.automatic_optimization:
                self.accumulation.gave(outputs.get("loss"))
            self.accumulation.look()

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.end()

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.end()

    def end(self) -> None:
        if self.accumulation and self.watch:
            self.accumulation.close()
            self.steps = self.watch.count
        self.accumulation = None

    def objective(self, module: Any, batch: Batch) -> Tensor:
        """The loss of a batch."""
        rows = fresh(batch.rows)
        return self.loss(module, rows) if self.loss else trained(self.trainer, module, rows, batch.place)

    def logged(self, step: int, values: dict[str, float]) -> None:
        """Values into the trainer's loggers, at the place where its own values of this batch go."""
        for logger in self.trainer.loggers:
            logger.log_metrics(values, step=self.trainer.fit_loop.epoch_loop._batches_that_stepped)
        self.trainer.callback_metrics.update({name: tensor(value) for name, value in values.items()})


def chosen(which: int | None, optimizers: list[Any]) -> int:
    """The place of the optimizer that is looked at."""
    if which is None and len(optimizers) == 1:
        return 0
    if which is None or not 0 <= which < len(optimizers):
        there = ", ".join(f"{place} {type(one).__name__}" for place, one in enumerate(optimizers)) or "none"
        given = "is not named" if which is None else f"is {which}, which is none of them"
        raise UserError(
            f"the optimizer to look at {given}. There are: {there}. Type calclab.lightning.Watch(optimizer=0), and one "
            "Watch for each that is to be looked at"
        )
    return which


def trained(trainer: Any, module: Any, rows: Any, place: int) -> Tensor:
    """The loss that ``training_step`` gives for a batch, with nothing logged."""
    precision = trainer.precision_plugin
    mixed = isinstance(precision, pl.plugins.MixedPrecision)  # autocast; others set the type that tensors are made in
    known = inspect.signature(module.training_step).parameters
    with quiet(trainer, module), nullcontext() if mixed else precision.train_step_context():
        given = module.training_step(rows, place) if len(known) > 1 else module.training_step(rows)
    return given["loss"] if isinstance(given, Mapping) else given


@contextmanager
def quiet(trainer: Any, module: Any) -> Iterator[None]:
    """Within the block the module logs nothing: neither by ``self.log`` nor through ``self.logger``."""
    parts = [part for part in module.modules() if isinstance(part, pl.LightningModule)]
    own = [vars(part).copy() for part in parts]
    loggers = trainer.loggers
    try:
        for part in parts:
            vars(part).update(dict.fromkeys(SAYING, nothing))  # before the methods of the class
        trainer.loggers = [pl.loggers.logger.DummyLogger()] if loggers else []
        yield
    finally:
        trainer.loggers = loggers
        for part, before in zip(parts, own, strict=True):
            for name in SAYING:
                vars(part).pop(name)
                vars(part).update({name: before[name]} if name in before else {})


SAYING = ("log", "log_dict", "print")


def nothing(*_: Any, **__: Any) -> None:
    pass
