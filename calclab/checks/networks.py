"""A module and a batch as a program of its parameters, and which of its layers a wrong gradient comes of.

The module is copied; the copy computes in float64 where it can, in the mode that the module is in. Where the gradient
of the whole is wrong, every layer is looked at by itself, at the inputs that it gets: a layer whose own backward pass
is wrong spoils the gradients of all that come before it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from calclab.checks.claims import autograd
from calclab.checks.curvature import Split
from calclab.checks.judgement import TOLERANCE
from calclab.checks.program import Program, number_tensor, wide
from calclab.checks.result import Check, Finding
from calclab.checks.survey import Survey
from calclab.core import Verdict
from calclab.errors import UserError
from calclab.network.build import unwrapped
from calclab.network.call import loss_in
from calclab.network.stateless import Stateless

LAYERS = 200  # that are looked at by themselves


@dataclass(frozen=True)
class BatchProgram:
    """A module's loss on a batch, or its outputs, as a program; and the way to its layers."""

    program: Program
    title: str
    module: nn.Module
    run: Callable[[], Any]  # the forward pass of the copy
    counts: Sequence[tuple[str, int]]
    split: Split | None

    def located(self, check: Check) -> Check:
        """The check with the layer at fault in its cause, where a first derivative is wrong."""
        row = check.worst
        if row.verdict is not Verdict.REFUTED or row.evidence.quantity not in ("gradient", "jacobian"):
            return check
        name = culprit(self.module, self.run)
        told = f"one layer: {name}" if name else ""
        cause = "; ".join(filter(None, (told, row.cause)))
        return replace(check, findings=[replace(row, cause=cause) if each is row else each for each in check.findings])


def batch_program(module: nn.Module, batch: Any, criterion: Callable[..., Any] | None) -> BatchProgram:
    """The loss of ``module`` on a batch as a function of its trainable parameters; without a criterion its own loss, or
    its outputs, by its inputs too. UserError for what does not fit together."""
    if criterion is not None and not callable(criterion):
        raise UserError(f"criterion={criterion!r}: give a loss to call, such as torch.nn.MSELoss()")
    if criterion is not None and not (isinstance(batch, tuple | list) and len(batch) == 2):
        raise UserError("with a criterion the batch is (inputs, targets)")
    try:
        return made(module, batch, criterion, torch.float64)
    except UserError as mistake:
        try:
            found = made(module, batch, criterion, None)
        except UserError:
            raise mistake from None
        found.program.notes.append("the module takes no float64: it is looked at in its own type")
        return found


def made(
    module: nn.Module, batch: Any, criterion: Callable[..., Any] | None, dtype: torch.dtype | None
) -> BatchProgram:
    own = unwrapped(copy.deepcopy(module))[0]
    loss = copy.deepcopy(criterion) if isinstance(criterion, nn.Module) else criterion
    if dtype is not None:
        own = own.to(dtype)
        loss = loss.to(dtype) if isinstance(loss, nn.Module) else loss
        batch = pytree.tree_map(lambda leaf: leaf.to(wide(leaf.dtype)) if number_tensor(leaf) else leaf, batch)
    call = Stateless(own)
    held = {name: p.detach() for name, p in own.named_parameters() if p.requires_grad}
    inputs, targets = batch if criterion is not None else (batch, None)
    title = f"gradients of {type(own).__name__}"

    def forward(parameters: Mapping[str, Tensor], given: Any) -> Any:
        if isinstance(given, Mapping):
            with lent(call, parameters):
                return own(**given)
        return call(parameters, *(given if isinstance(given, tuple | list) else (given,)))

    def outputs(parameters: Mapping[str, Tensor], given: Any) -> Any:
        found = forward(parameters, given)
        if loss is not None:
            return loss(found, targets)
        alone = loss_in(found) if isinstance(found, Mapping) or hasattr(found, "loss") else None
        return found if alone is None else alone

    takes_inputs = loss is None and any(map(number_tensor, pytree.tree_leaves(inputs)))
    names = list(held)
    if takes_inputs:
        count = sum(number_tensor(leaf) and bool(leaf.numel()) for leaf in pytree.tree_leaves(inputs))
        names += ["input"] if count == 1 else [f"input{k}" for k in range(count)]
        program = Program(outputs, (held, inputs), names)
    else:
        program = Program(lambda parameters: outputs(parameters, inputs), (held,), names)
    program.wide = program.wide and dtype is not None
    sized = [leaf for leaf in pytree.tree_leaves((inputs, targets)) if isinstance(leaf, Tensor) and leaf.ndim]
    counts = [("rows", len(sized[0]))] if sized else []
    split = None
    if loss is not None:
        found = forward(held, inputs)
        if isinstance(found, Tensor):
            counts.append(("outputs", found.numel()))
            split = split_of(program, lambda parameters: forward(parameters, inputs), loss, targets, found.shape)
    return BatchProgram(program, title, own, lambda: forward(held, inputs), counts, split)


def lent(call: Stateless, parameters: Mapping[str, Tensor]) -> Any:
    """The parameters in the places of the module's own, for a call by names."""
    return torch.nn.utils.stateless._reparametrize_module(call.module, dict(parameters), tie_weights=True)


def split_of(
    program: Program, forward: Callable[[Any], Tensor], loss: Callable[..., Any], targets: Any, shape: torch.Size
) -> Split:
    """f = outer ∘ inner: outputs, and the loss of them."""

    def inner(x: Tensor) -> Tensor:
        (parameters,) = pytree.tree_unflatten(program.inputs(x), program.spec)
        return forward(parameters).reshape(-1)

    def outer(y: Tensor) -> Tensor:
        found: Tensor = loss(y.reshape(shape), targets)
        return found

    return inner, outer


def culprit(module: nn.Module, run: Callable[[], Any]) -> str:
    """The innermost part whose own backward pass is wrong, by its name and class; empty where none is."""
    seen: dict[str, tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = {}
    handles = []
    for name, part in module.named_modules():

        def note(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name) -> None:
            kept = pytree.tree_map(
                lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, (args, kwargs)
            )
            seen.setdefault(name, (part, *kept))

        if name:
            handles.append(part.register_forward_pre_hook(note, with_kwargs=True))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    for name in sorted(seen, key=lambda name: -name.count("."))[:LAYERS]:
        part, args, kwargs = seen[name]
        if wrong(part, args, kwargs):
            return f"{name} ({type(part).__name__}): its own backward pass is wrong"
    return ""


def copied(leaf: Any) -> Any:
    return leaf.detach().clone() if isinstance(leaf, Tensor) else leaf


def wrong(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the gradient of one part, by its parameters and inputs, is refuted."""
    call = Stateless(part)
    held = {name: p.detach() for name, p in part.named_parameters()}

    def outputs(parameters: Mapping[str, Tensor], given: tuple[Any, ...]) -> Any:
        with lent(call, parameters):
            return part(*given, **kwargs)

    try:
        program = Program(outputs, (held, args))
        rows: list[Finding] = list(Survey(program, TOLERANCE, 0).rows(autograd(program)))
    except (UserError, RuntimeError):
        return False
    return any(row.verdict is Verdict.REFUTED for row in rows)


__all__ = ["BatchProgram", "batch_program"]
