"""What the optimizer does, seen by its own hooks: the weights before a step, the gradient it takes, the rates."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from calclab.watch.moment import Group, Step

KEPT = 2**28  # bytes of a copy, at most, whose memory is kept for the next


class Steps:
    """Copies what a step is made of, where ``wanted`` says so at that moment; nothing is done at others.

    ``wanted`` gives what is to be kept: "step" (weights before and gradient), "gradient" or "rates" alone, or nothing.
    ``spent`` is told the seconds that a copy took. ``names`` has the parameters' names by identity.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        names: Mapping[int, str],
        wanted: Callable[[], str],
        spent: Callable[[float], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.names, self.wanted, self.spent = names, wanted, spent
        self.seen = 0  # steps of the optimizer
        self.taken: Step | None = None
        self.gradient: dict[str, Tensor] | None = None  # of the step seen last, where that alone was wanted
        self.rates: dict[str, float] | None = None  # as the step took them
        self._before: dict[str, Tensor] | None = None
        self._copies = Copies()
        me = weakref.ref(self)  # an optimizer that lives on keeps no watch

        def pre(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if (steps := me()) is not None:
                guarded(steps.begin, optimizer, closure(args, kwargs))

        def post(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if (steps := me()) is not None:
                guarded(steps.end, optimizer)

        def guarded(call: Callable[..., None], *arguments: Any) -> None:
            try:
                call(*arguments)
            except Exception as error:  # no memory for a copy, say: the training goes on
                failed(error)

        self._hooks = [optimizer.register_step_pre_hook(pre), optimizer.register_step_post_hook(post)]

    def begin(self, optimizer: torch.optim.Optimizer, evaluates: bool) -> None:
        """The optimizer is about to step; one that ``evaluates`` computes the gradient only then."""
        self.seen += 1
        self.taken = self._before = self.rates = None
        what = self.wanted()
        if what in ("", "rates"):
            self.gradient = None
            self.rates = rates(optimizer, self.names) if what else None
            return
        start = time.perf_counter()
        if what == "step":
            self.rates = rates(optimizer, self.names)
            held = {name: p.detach() for name, p in named(optimizer, self.names).items()}
            self._before = self._copies.weights(held)
        # of an optimizer that evaluates, or that unscales in its own kernel, the gradient is there when it is done
        later = evaluates or getattr(optimizer, "grad_scale", None) is not None
        self.gradient = None if later else self._copies.gradient(gradients(optimizer, self.names))
        self.spent(time.perf_counter() - start)

    def end(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer has stepped."""
        if self._before is None and self.gradient is not None:
            return
        if self._before is None and self.wanted() in ("", "rates"):
            return
        start = time.perf_counter()
        if self.gradient is None:
            self.gradient = self._copies.gradient(gradients(optimizer, self.names))
        if self._before is not None and self.rates is not None:
            self.taken, self._before = Step(self._before, self.gradient, self.rates), None
        self.spent(time.perf_counter() - start)

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self.taken = self.gradient = self._before = None
        self._copies = Copies()


class Copies:
    """Copies of weights and of the last two gradients, over those before: where a system gives each page of new memory
    in a fault of its own, that takes several times what a copy takes. Large ones are made anew, and not kept."""

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] = {}
        self._gradients: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})

    def weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return copied(tensors, self._weights)

    def gradient(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self._gradients = self._gradients[::-1]
        return copied(tensors, self._gradients[0])


def copied(tensors: Mapping[str, Tensor], over: dict[str, Tensor]) -> dict[str, Tensor]:
    """Dense copies, over those of a shape and type that are there; what is small enough is put there."""
    found = {}
    keep = sum(t.numel() * t.element_size() for t in tensors.values()) <= KEPT
    for name, tensor in tensors.items():
        held = over.get(name)
        if tensor.layout != torch.strided:
            found[name] = tensor.to_dense()
        elif held is not None and (held.shape, held.dtype, held.device) == (tensor.shape, tensor.dtype, tensor.device):
            found[name] = held.copy_(tensor)
        else:
            found[name] = tensor.clone()
            if keep:
                over[name] = found[name]
    return found


def closure(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of ``step`` brought a closure; torch hands over the optimizer as the first of its arguments."""
    return any(callable(value) and not isinstance(value, torch.optim.Optimizer) for value in (*args, *kwargs.values()))


def named(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Tensor]:
    """The optimizer's parameters that have a name and need a gradient."""
    held = (p for group in optimizer.param_groups for p in group["params"])
    found = {names[id(p)]: p for p in held if id(p) in names and p.requires_grad}
    return {name: found[name] for name in names.values() if name in found}  # in the model's order


def gradients(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Tensor]:
    """The gradients that are there."""
    return {name: p.grad.detach() for name, p in named(optimizer, names).items() if p.grad is not None}


def rates(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, float]:
    """The learning rate of every parameter."""
    return {name: group.lr for name, group in groups(optimizer, names).items()}


def groups(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Group]:
    """The parameter group of every parameter."""
    found: dict[str, Group] = {}
    for group in optimizer.param_groups:
        made = Group(
            float(group.get("lr", float("nan"))), {key: value for key, value in group.items() if key != "params"}
        )
        found |= {names[id(p)]: made for p in group["params"] if id(p) in names and p.requires_grad}
    return found
