"""The loss of a training as a function of its parameters and a batch, whatever form the batch has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from calclab.core.layout import TARGETS
from calclab.errors import UserError
from calclab.network.call import loss_in
from calclab.network.stateless import Stateless

Criterion = Callable[[Any, Any], Tensor]
LossOf = Callable[[nn.Module, Any], Tensor]


class Objective:
    """(parameters by name, batch) to the loss (), on the graph of the parameters; the model is as it was afterwards.

    A batch is what the training's own loop has: (inputs, targets) for criterion(model(inputs), targets), where inputs
    may be a tensor, several in a tuple or list, or a dict of arguments; a dict with targets under one of the usual
    names ("labels", "targets", ...). Without a criterion the model is given the whole batch, and says its loss itself,
    as Hugging Face's do. ``loss`` of (model, batch) stands for all that is called otherwise.
    """

    def __init__(self, model: nn.Module, criterion: Criterion | None, loss: LossOf | None) -> None:
        self.model, self.criterion, self.loss = model, criterion, loss
        self._stateless = Stateless(model)

    def __call__(self, parameters: Mapping[str, Tensor], batch: Any) -> Tensor:
        found = self._stateless.within(parameters, self._of, moved(batch, self.model))
        return alone(found)

    def _of(self, batch: Any) -> Any:
        if self.loss is not None:
            return self.loss(self.model, batch)
        if self.criterion is None:
            args, named = arguments(batch)
            return loss_in(self.model(*args, **named))
        inputs, targets = parted(batch)
        args, named = arguments(inputs)
        return self.criterion(self.model(*args, **named), targets)


def alone(loss: Any) -> Tensor:
    """A loss as one number ()."""
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss.reshape(())
    given = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
    raise UserError(
        f"the loss is {given}, and not one number. Give one by calclab.Watch(..., loss=lambda model, batch: ...)"
    )


def parted(batch: Any) -> tuple[Any, Any]:
    """Inputs and targets of a batch."""
    if isinstance(batch, Mapping):
        name = next((name for name in TARGETS if name in batch), None)
        if name is not None:
            return {key: value for key, value in batch.items() if key != name}, batch[name]
        raise UserError(
            f"a batch with {', '.join(map(str, batch))} names no targets ({', '.join(TARGETS)}). "
            "Give watch.step((inputs, targets)), or calclab.Watch(..., loss=lambda model, batch: ...)"
        )
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        *inputs, targets = batch
        return (inputs[0] if len(inputs) == 1 else tuple(inputs)), targets
    raise UserError(
        f"a batch is a {type(batch).__name__}, and no (inputs, targets). "
        "Give watch.step((inputs, targets)), or calclab.Watch(..., loss=lambda model, batch: ...)"
    )


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a model is called with: dicts by name, tuples and lists in order, all else by itself."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs), {}) if isinstance(inputs, tuple | list) else ((inputs,), {})


def batches(given: Any) -> list[Any]:
    """The batches of a step: a list of batches is several, all else is one. None is none.

    >>> import torch
    >>> x, y = torch.zeros(3, 2), torch.zeros(3)
    >>> [len(batches(given)) for given in (None, (x, y), [x, y], {"x": x, "y": y}, [(x, y), (x, y)], [{"x": x}])]
    [0, 1, 1, 1, 2, 1]
    """
    if given is None:
        return []
    several = isinstance(given, list) and given and all(isinstance(part, tuple | list | Mapping) for part in given)
    return list(given) if several else [given]


def moved(batch: Any, model: nn.Module) -> Any:
    """The batch on the device of the model."""
    first = next(model.parameters(), None)
    return batch if first is None else nested(batch, lambda tensor: tensor.to(first.device))


def nested(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """A nest of tuples, lists and dicts with ``change`` of each of its tensors in its place."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: nested(entry, change) for key, entry in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(nested(entry, change) for entry in value))
    if type(value) in (tuple, list):
        return type(value)(nested(entry, change) for entry in value)
    return value
