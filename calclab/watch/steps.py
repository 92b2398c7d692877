"""What the optimizer does, seen by its own hooks: the weights before a step, the gradient it takes, the rates."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from calclab.watch.moment import Group, Step


class Steps:
    """Copies what a step is made of, where ``wanted`` says so at that moment; nothing is done at others.

    ``wanted`` gives what is to be kept: "step" (weights before and gradient), "gradient" alone, or nothing. ``spent``
    is told the seconds that a copy took. ``names`` has the parameters' names by identity.
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
        self._before: tuple[dict[str, Tensor], dict[str, float]] | None = None
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
        self.taken = self._before = None
        what = self.wanted()
        if not what:
            self.gradient = None
            return
        start = time.perf_counter()
        if what == "step":
            held = named(optimizer, self.names)
            self._before = ({name: p.detach().clone() for name, p in held.items()}, rates(optimizer, self.names))
        # of an optimizer that evaluates, or that unscales in its own kernel, the gradient is there when it is done
        self.gradient = (
            None if evaluates or getattr(optimizer, "grad_scale", None) is not None else copied(optimizer, self.names)
        )
        self.spent(time.perf_counter() - start)

    def end(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer has stepped."""
        if self._before is None and self.gradient is not None:
            return
        what = "step" if self._before is not None else self.wanted()
        if not what:
            return
        start = time.perf_counter()
        if self.gradient is None:
            self.gradient = copied(optimizer, self.names)
        if self._before is not None:
            self.taken, self._before = Step(self._before[0], self.gradient, self._before[1]), None
        self.spent(time.perf_counter() - start)

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self.taken = self.gradient = self._before = None


def closure(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of ``step`` brought a closure; torch hands over the optimizer as the first of its arguments."""
    return any(callable(value) and not isinstance(value, torch.optim.Optimizer) for value in (*args, *kwargs.values()))


def named(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Tensor]:
    """The optimizer's parameters that have a name and need a gradient."""
    held = (p for group in optimizer.param_groups for p in group["params"])
    found = {names[id(p)]: p for p in held if id(p) in names and p.requires_grad}
    return {name: found[name] for name in names.values() if name in found}  # in the model's order


def copied(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Tensor]:
    """Copies of the gradients that are there, dense."""
    found = {}
    for name, p in named(optimizer, names).items():
        if p.grad is not None:
            g = p.grad.detach()
            found[name] = g.to_dense() if g.layout != torch.strided else g.clone()
    return found


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
