"""From a module, or what makes one, to a network ready to be looked at: weights given, drawn or learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from calclab.core import Data
from calclab.errors import UserError
from calclab.network import weights as weight_files
from calclab.network.build import Builder, build, frozen_statistics, seeded
from calclab.network.call import Which, argument_names, of_loss, takes, target_name, with_targets
from calclab.network.codes import with_codes
from calclab.network.criterion import TRIED
from calclab.network.criterion import own as own_loss
from calclab.network.functional import RowLosses
from calclab.network.loss import Call as LossCall
from calclab.network.loss import Loss, choose
from calclab.network.model_loss import own_loss as model_loss
from calclab.network.precision import inner_precision, told_of_precision
from calclab.network.probe import LossAloneError, Probed, adapted, check, name_outputs, probe, told_of, told_of_padding
from calclab.network.stateless import Stateless
from calclab.network.train import adam
from calclab.subject.network.functions import Network
from calclab.subject.scores import scores


def network(
    module: Builder,
    data: Data | None,
    *,
    name: str,
    weights: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    loss: str | LossCall | None = None,
    output: Which = None,
    train: int = 0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Network:
    """A network ready to be looked at.

    ``module`` is a torch.nn.Module (copied, and left as found) or what makes one: a class or a ``functools.partial``
    with its knobs. Weights come from the seed, then from the file ``weights``, then by name from ``parameters``
    (nested lists). ``loss`` is a name, or any callable of outputs (B, ...) and targets, such as nn.KLDivLoss(), that
    gives the mean or the sum over the rows, or a number for each. Only where neither file nor names gave weights do
    ``train`` steps of full-batch Adam follow: given weights are looked at as they are. Random state outside is left
    as it was.
    """
    if data is None:
        raise UserError(f"network={name} needs data. Type for example data=digits, or data=table data.path=my.csv")
    with seeded(seed):
        own, taken_off = build(module, data, dtype=dtype, device=device)
        own, data, seen, predicts = fitted(own, data, dtype, output, loss is None)
        adapted(own, seen)
        outputs = seen.shape.numel()
        data = with_classes(data, outputs)
        if weights is not None:
            taken_off = (*taken_off, *weight_files.load(own, weights))
        if parameters:
            weight_files.put(own, parameters)
        told_of_loss: tuple[str, ...] = ()
        chosen: Loss
        if (
            loss is None
            and (seen.loss or getattr(own, "loss", False) is True or (predicts and gives_loss(own, data)))
            and (predicts or not data.targets.numel())
        ):
            held = {key: p.detach() for key, p in own.named_parameters() if p.requires_grad}
            chosen, rule = model_loss(Stateless(own), "own loss", held, data)
            told_of_loss = (rule,)
        elif loss is None or isinstance(loss, str):
            chosen, data = choose(loss, data, outputs), numbers(data)
        else:
            few = data.some(TRIED)
            with torch.no_grad():
                y = Stateless(own)({}, few.inputs)
            chosen, rule = own_loss(loss, y, few.targets, data.targets)
            told_of_loss = (rule,)
        names = name_outputs(data, outputs)
        result = Network(name, own, data, chosen, chosen.name, names, pure=not seen.changed)
        inner = inner_precision(own, lambda: result.evaluate(data.inputs[:2], dict(own.named_parameters())))
        result = replace(result, inside=None if inner is None else inner[0])
        told = [*told_of(name, seen), *told_of_precision(name, inner), *told_of_padding(own, data.inputs)]
        notes = (*taken_off, *told_of_loss, *told, *check(name, own, result.evaluate, data))
    if weights is None and not parameters and (frozen := frozen_statistics(own)):
        notes = (*notes, frozen)
    result = replace(result, notes=(*data.notes, *notes))
    if train and (weights is not None or parameters):
        note = f"the weights are given and are looked at as they are: train={train} is left out"
        return replace(result, notes=(*result.notes, note))
    return trained(result, train) if train else result


def fitted(
    own: nn.Module, data: Data, dtype: torch.dtype, output: Which, may_lose: bool
) -> tuple[nn.Module, Data, Probed, bool]:
    """The module as it is called with the rows, these, what a first look showed, and whether it takes the targets to
    compute its own loss, which it ``may``."""
    name = target_name(own) if may_lose and data.targets.numel() else ""
    hook = takes(own, data.layout) if data.layout is not None or name else None
    try:
        coded = with_codes(own, data)
        return own, coded, probe(own, coded, dtype, output), bool(name)
    except LossAloneError:
        if not may_lose:
            raise
    except UserError:  # of what is never called without the targets
        if hook is None or not name:
            raise
        hook.remove()
        data = with_targets(data, argument_names(own)[0], name)
        takes(own, data.layout)
    try:
        return own, data, probe(own, data, dtype, output), False
    except LossAloneError:
        own = RowLosses(own)
        return own, data, probe(own, data, dtype, output), False


def gives_loss(own: nn.Module, data: Data) -> bool:
    """Whether a module that takes targets gives a loss with them, and says nothing of one without."""
    try:
        with torch.no_grad(), of_loss():
            found = Stateless(own)({}, data.inputs[:2], data.targets[:2])
    except Exception:  # what it takes for targets is something else
        return False
    return isinstance(found, torch.Tensor) and found.ndim == 0


def with_classes(data: Data, outputs: int) -> Data:
    """Classes for as many ``outputs``, where nobody named them: the rows at hand need not hold the last ones."""
    count = len(data.classes)
    if not data.classification or outputs <= count or data.classes != tuple(f"class{k}" for k in range(count)):
        return data
    note = f"the network has {outputs} outputs, and no row is of a class beyond {count - 1}"
    held = None if data.held_out is None else with_classes(data.held_out, outputs)
    return replace(data, classes=tuple(f"class{k}" for k in range(outputs)), held_out=held, notes=(*data.notes, note))


def numbers(data: Data) -> Data:
    """Targets (B, m) in the dtype of the inputs, for a loss by name: whole numbers are numbers to it."""
    if data.targets.ndim == 1 or not data.inputs.is_floating_point():
        return data
    if data.targets.ndim == 2 and data.targets.dtype == data.inputs.dtype:
        return data
    held = None if data.held_out is None else numbers(data.held_out)
    return replace(data, targets=data.targets.flatten(1).to(data.inputs.dtype), held_out=held)


def trained(network: Network, steps: int) -> Network:
    """The same network with its parameters after ``steps`` steps of Adam, and a note of what came of it."""
    objective = network.objective()
    before = objective.call(objective.start).detach()
    θ = adam(objective.call, objective.start, steps)
    after = objective.call(θ).detach()
    if not bool(after.isfinite()):
        raise UserError(
            f"train={steps}: the loss left the finite numbers while {network.name} was trained. "
            "Type data.standardize=true, or train=0"
        )
    own = dict(network.module.named_parameters())
    with torch.no_grad():
        for name, value in network.unflatten(θ).items():
            own[name].copy_(value)
    note = f"trained by {steps} steps of Adam: {network.loss_name} {float(before):.4g} → {float(after):.4g}"
    found = scores(network, θ)
    if "train_accuracy" in found:
        note += f", {float(found['train_accuracy']):.1%} of the rows right"
    if "held_out_accuracy" in found:
        note += f", {float(found['held_out_accuracy']):.1%} of those held out"
    return replace(network, notes=(*network.notes, note), training=steps)
