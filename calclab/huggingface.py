"""The Watch as a callback of Hugging Face's Trainer (extra ``transformers``).

    trainer = Trainer(model, args, train_dataset=rows, callbacks=[calclab.huggingface.Watch(every=50)])

The Trainer tells its callbacks neither batch nor loss. So while it trains, its ``training_step`` is called through a
function that remembers what it was called with (evaluation goes another way, and is never remembered), and the loss is
what the Trainer's own ``compute_loss`` makes of that: label smoothing, a ``compute_loss_func``, and the overridden
method of a subclass are in it. It is computed in the type of the parameters, also where training runs in bf16: λmax is
then that of the loss and not of its rounding.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from calclab.errors import MissingExtraError, UserError
from calclab.watch.accumulation import Accumulation, checked, fresh
from calclab.watch.given import USUAL
from calclab.watch.moment import Look
from calclab.watch.noise import rows_of
from calclab.watch.watch import Watch as Loop

try:
    import accelerate  # noqa: F401 - the Trainer cannot do without
    import transformers
except ModuleNotFoundError as error:
    if error.name not in ("accelerate", "transformers"):
        raise
    raise MissingExtraError("calclab.huggingface", "transformers") from None

Base: Any = transformers.TrainerCallback


class Batch(NamedTuple):
    """What ``training_step`` was called with: a micro-batch, and what the losses of a step are divided by."""

    rows: Any
    items: Any
    share: int  # of the step's gradient: that of one in so many micro-batches
    size: int  # in rows; a look may ask for the loss of some


class Watch(Base):  # type: ignore[misc]
    """Looks at a training of Hugging Face's Trainer as `calclab.Watch` looks at a loop of one's own.

    Values go into the trainer's log at its own steps, and wherever ``log`` says; those of single layers are left out of
    what is printed and of ``state.log_history``, and go to what ``report_to`` names. Of several processes the first one
    looks, at its own rows.

    Parameters
    ----------
    every : int
        Optimizer steps from one look to the next; the micro-batches of an accumulated step are looked at together.
    loss : callable, optional
        ``loss(model, inputs) -> scalar``; otherwise the trainer's ``compute_loss``.
    log, budget, quantities
        As of `calclab.Watch`.
    """

    def __init__(
        self,
        every: int = 50,
        *,
        loss: Callable[[nn.Module, Any], Tensor] | None = None,
        log: Any = None,
        budget: float | None = 0.05,
        quantities: Sequence[str | Look] = USUAL,
    ) -> None:
        self.options = checked(every, budget, quantities)
        self.loss = loss
        self.logs = list(log) if isinstance(log, list | tuple) else [] if log is None else [log]
        self.watch: Loop | None = None
        self.accumulation: Accumulation | None = None
        self.trainer: Any = None
        self.values: dict[str, float] = {}  # on their way to the trainer's log

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        self.end()  # of a training that ended by an error
        self.trainer = calling()
        if not state.is_world_process_zero:
            return
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        log = [lambda step, values: self.values.update(values), *self.logs]
        self.watch = Loop(
            self.trainer.model, None, optimizer, loss=self.objective, log=log, start=state.global_step, **self.options
        )
        self.accumulation = Accumulation(self.watch, optimizer)
        self.own = vars(self.trainer).get("training_step")
        step = self.trainer.training_step

        def remembered(model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
            if not self.accumulation:
                return step(model, inputs, num_items_in_batch)
            several = self.trainer.current_gradient_accumulation_steps
            self.accumulation.add(Batch(inputs, num_items_in_batch, several, rows_of(inputs)))
            loss = step(model, inputs, num_items_in_batch)
            self.accumulation.gave(loss)
            return loss

        self.trainer.training_step = remembered

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """While the step's gradient is there."""
        if self.accumulation:
            self.accumulation.look()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """When the trainer has counted the step."""
        if self.values:
            said(self.trainer, self.values)
            self.values = {}

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.end()

    def end(self) -> None:
        if self.accumulation:
            self.accumulation.close()
            vars(self.trainer).pop("training_step")
            vars(self.trainer).update({"training_step": self.own} if self.own else {})
        self.accumulation = None

    def objective(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a micro-batch; over those of a step its mean is what the trainer's gradient is of."""
        trainer, rows = self.trainer, fresh(batch.rows)
        with kept(trainer), uncast(model):
            rows = trainer._prepare_inputs(rows)
            if self.loss is not None:
                return self.loss(model, rows)
            loss = trainer.compute_loss(model, rows, num_items_in_batch=batch.items)
        summed = getattr(trainer, "loss_is_scaled_for_ga", None)
        if summed is None:
            summed = trainer.compute_loss_func is not None or (
                trainer.model_accepts_loss_kwargs and batch.items is not None
            )
        return loss * batch.share * batch.size / rows_of(batch.rows) if summed else loss


def said(trainer: Any, values: dict[str, float]) -> None:
    """Values into the trainer's log: those of single layers, which would fill a terminal, to what keeps them alone."""
    control, handler = trainer.control, trainer.callback_handler
    due = control.should_log  # logging takes it back
    everyone = handler.callbacks
    try:
        whole = {name: value for name, value in values.items() if not name.startswith("layers/")}
        transformers.Trainer.log(trainer, whole)  # a subclass's own log may empty what it has gathered
        handler.callbacks = [one for one in everyone if type(one).__module__ not in PRINTING]
        layers = {name: value for name, value in values.items() if name not in whole}
        handler.on_log(trainer.args, trainer.state, control, layers)
    finally:
        handler.callbacks = everyone
        control.should_log = due


PRINTING = ("transformers.trainer_callback", "transformers.utils.notebook")


def calling() -> Any:
    """The Trainer that calls its callbacks. It does not tell them which one it is, but stands on the stack."""
    frame: Any = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, transformers.Trainer):
            return found
        frame = frame.f_back
    raise UserError(
        "calclab.huggingface.Watch is a callback of transformers.Trainer, and of nothing else. In a loop of "
        "your own type calclab.Watch(model, criterion, optimizer)"
    )


@contextmanager
def kept(trainer: Any) -> Iterator[None]:
    """Within the block the trainer logs nothing, and after it its metrics are what they were."""
    own = dict(vars(trainer))
    try:
        vars(trainer).update({name: lent(value) for name, value in own.items() if not name.endswith("_dataset")})
        vars(trainer)["log"] = lambda *_, **__: None
        yield
    finally:
        vars(trainer).clear()
        vars(trainer).update(own)


def lent(value: Any) -> Any:
    """A copy of a dict, its dicts and lists, which a subclass may gather metrics in."""
    if isinstance(value, dict):
        copied = copy.copy(value)
        copied.update({key: lent(entry) for key, entry in value.items()})
        return copied
    return list(value) if type(value) is list else value


@contextmanager
def uncast(model: nn.Module) -> Iterator[None]:
    """Within the block the forward that accelerate has put into autocast is the model's own."""
    cast = {
        part: vars(part)["forward"] for part in model.modules() if {"forward", "_original_forward"} <= vars(part).keys()
    }
    try:
        for part in cast:
            vars(part)["forward"] = part._original_forward
        yield
    finally:
        for part, forward in cast.items():
            vars(part)["forward"] = forward
