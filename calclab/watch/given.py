"""What a watch is made of, held to what it can be: a mistake is told before the training begins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module
from math import inf
from typing import Any

import torch
from torch import nn

from calclab.errors import UserError
from calclab.watch.logs import Board, Call, Log
from calclab.watch.moment import Look
from calclab.watch.objective import Criterion, LossOf
from calclab.watch.trackers import tracked

LOOKS = {  # what ``quantities`` may name, and the class that looks
    "norms": "calclab.watch.norms:Norms",
    "noise": "calclab.watch.noise:Noise",
    "agreement": "calclab.watch.agreement:Agreement",
    "sharpness": "calclab.watch.curvature:Sharpness",
    "preconditioned": "calclab.watch.curvature:Preconditioned",
    "batch_sharpness": "calclab.watch.curvature:BatchSharpness",
    "blocks": "calclab.watch.curvature:Blocks",
    "spectrum": "calclab.watch.curvature:Spectrum",
    "health": "calclab.watch.monitor:Monitor",
}
USUAL = ("norms", "noise", "health", "agreement")


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
    if any(nn.parameter.is_lazy(p) for p in model.parameters()):
        raise UserError(f"{type(model).__name__} has parameters without a shape yet. Call it once before it is watched")
    found = named(model, optimizer)
    if not found:
        raise UserError(
            f"the optimizer trains none of the parameters of {type(model).__name__}. Make it of this model: "
            "torch.optim.SGD(model.parameters(), lr=0.1)"
        )
    return found


def renamed(names: dict[int, str], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The names as they are now, where parameters came to the optimizer, or were replaced, since."""
    found = named(model, optimizer)
    if found != names:
        names.clear()
        names.update(found)


def named(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[int, str]:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {id(p): name.replace("_orig_mod.", "") for name, p in model.named_parameters() if id(p) in held}


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


def logs(given: Any) -> Iterator[Log]:
    """What ``log=`` names."""
    if given is None:
        return
    if isinstance(given, list | tuple):
        for entry in given:
            yield from logs(entry)
    elif tracker := tracked(given):
        yield tracker
    elif hasattr(given, "add_scalar"):
        yield Board(given)
    elif all(hasattr(given, name) for name in ("open", "write", "event", "close")):
        yield given
    elif callable(given):
        yield Call(given)
    elif isinstance(given, str | os.PathLike):
        from calclab.watch.folder import Folder

        yield Folder(given)
    else:
        raise UserError(
            f"log={given!r} is a {type(given).__name__}. Give a SummaryWriter, a folder ('outputs/watch/first'), "
            "'mlflow', 'wandb' or a run of theirs, a callable of (step, {tag: number}), or several in a list"
        )
