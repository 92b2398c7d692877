"""The module is looked at in eval mode, with its parameters frozen, and is afterwards as it was found.

What a call, a hook or a backward pass may change, each put back on the way out, also after an error: the mode of every
submodule, buffers (batch statistics), ``requires_grad`` and ``.grad`` of every parameter, and the state of the random
generators. What cannot be looked at is refused with the reason: TorchScript, batch statistics of the rows at hand (an
output then belongs to no row alone), random numbers in eval mode (no two looks agree), and numbers that are not finite.

>>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5)).train()
>>> with preserved(net) as kept:
...     net.training, sentences(net, kept)
(False, ['dropout (1) is off: the network is looked at in eval mode'])
>>> net.training
True
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from calclab.errors import UserError


@dataclass(frozen=True)
class Kept:
    """The modules and parameters of what is looked at, each once."""

    modules: list[nn.Module]
    parameters: list[nn.Parameter]

    def follow(self, required: bool) -> None:
        """Whether autograd follows the parameters."""
        for p in self.parameters:
            if p.requires_grad != required:
                p.requires_grad_(required)


def scripted(module: nn.Module) -> None:
    """UserError for TorchScript, whose parameters can be no longer held still, and whose layers take no hooks."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        raise UserError(
            "the network is TorchScript in part, and its attributions cannot be followed there. Give the module that "
            "was scripted"
        )


@contextmanager
def preserved(module: nn.Module) -> Iterator[Kept]:
    """Eval mode inside; afterwards mode, buffers, gradients, what is followed, and random state as before. (Hooks are
    put in place, and taken away, by those who need them.)

    A module that draws random numbers in eval mode has no attribution: UserError.
    """
    scripted(module)
    modules = within(module)
    modes = [m.training for m in modules]
    found = {id(p): p for m in modules for p in m._parameters.values() if p is not None}
    parameters = [(p, p.requires_grad, p.grad) for p in found.values()]
    buffers = [(m, name, b, b.clone()) for m in modules for name, b in m._buffers.items() if b is not None]
    random = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda._initialized else []
    kept = Kept(modules, [p for p in found.values() if p.is_floating_point()])
    try:
        for m, mode in zip(modules, modes, strict=True):
            if mode:
                m.training = False
        yield kept
    finally:
        drawn = not torch.equal(random, torch.get_rng_state())
        for m, mode in zip(modules, modes, strict=True):
            if mode:
                m.training = True
        for p, required, gradient in parameters:
            if p.requires_grad != required:
                p.requires_grad_(required)
            p.grad = gradient
        for m, name, buffer, values in buffers:
            with torch.no_grad():
                buffer.copy_(values)
            m._buffers[name] = buffer
        if drawn:
            torch.set_rng_state(random)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
    if drawn:
        raise UserError(
            f"{type(module).__name__} draws random numbers in eval mode (a functional dropout left on?), so that no "
            "two looks at it agree. Write functional.dropout(x, p, training=self.training)"
        )


def within(module: nn.Module) -> list[nn.Module]:
    """The module and all that it is made of, each once."""
    found, stack = {id(module): module}, [module]
    while stack:
        for inner in stack.pop()._modules.values():
            if inner is not None and id(inner) not in found:
                found[id(inner)] = inner
                stack.append(inner)
    return list(found.values())


def sentences(module: nn.Module, kept: Kept) -> list[str]:
    """What is to be known of the module before its attributions are read; UserError where rows mix."""
    normal = nn.modules.batchnorm._BatchNorm
    if not any("Dropout" in type(m).__name__ or isinstance(m, normal) for m in kept.modules):
        return []
    dropouts: list[str] = []
    for name, m in module.named_modules():
        kind = type(m).__name__
        if "Dropout" in kind and float(getattr(m, "p", 0.0)) > 0:
            dropouts.append(name or kind)
        elif isinstance(m, normal) and getattr(m, "running_mean", None) is None:
            raise UserError(
                f"{name or kind} normalises by the rows at hand even in eval mode, so that an output belongs to no row "
                "alone. Use track_running_stats=True, or group normalisation"
            )
    if not dropouts:
        return []
    few = ", ".join(dropouts[:4]) + (", ..." if len(dropouts) > 4 else "")
    return [f"dropout ({few}) is off: the network is looked at in eval mode"]


def finite(values: Tensor, what: str, names: tuple[str, ...] = ()) -> None:
    """UserError, naming the first place, where a number of ``values`` (B, d) is NaN or infinite. ``what`` is looked at,
    and ``names`` (d) are those of the columns.

    >>> finite(torch.tensor([[0.0, float("nan")]]), "the rows", ("age", "size"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    calclab.errors.UserError: the rows: row 0, 'size' is nan. Fill the value in or leave the row out: ...
    """
    if math.isfinite(values.sum()):  # one NaN or infinity makes the sum one
        return
    wrong = (~values.isfinite()).nonzero()
    if not len(wrong):
        return
    row, column = wrong[0].tolist()
    name = f"'{names[column]}'" if column < len(names) else f"column {column}"
    raise UserError(
        f"{what}: row {row}, {name} is {float(values[row, column])}. Fill the value in or leave the row out: no "
        "attribution is defined there"
    )


def first_line(error: BaseException) -> str:
    """What an error of somebody else's says, in short."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
