"""Any torch.optim class as a pure rule: its state is taken out after every step, and put back before the next.

    update(point, state, lr):  a fresh optimizer over one parameter x, at the rate lr, gets the state kept; its gradient
                               is the point's; ``step()``; the move is x afterwards less x before

So its path is that of the class in a loop of the user's, bit for bit, and yet a run can be stopped, saved as tensors
alone, and gone on with. Whatever the class keeps must be numbers, tensors, or lists and dicts of such; what it changes
in its own param_group (a rate that decays) is kept, too. A class that wants several parameters, or sparse gradients, or
2-dimensional ones, says so when it is made, and that is the UserError.

>>> import calclab
>>> f = calclab.formula("x**2 + 3*y**2", at=[1, 1])
>>> walk = calclab.descent(f, optimizer=Wrapped(torch.optim.Adam, {"betas": (0.8, 0.9)}), lr=0.1, steps=3)
>>> x = f.start.clone().requires_grad_()
>>> adam = torch.optim.Adam([x], lr=0.1, betas=(0.8, 0.9))
>>> for _ in range(3):
...     adam.zero_grad()
...     f.call(x).backward()
...     _ = adam.step()
>>> torch.equal(walk.x, x.detach())
True
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from calclab.core import Point, State
from calclab.errors import UserError
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer.counting import Counting, counter
from calclab.optimizer.stability import Frozen, frozen


@dataclass(frozen=True, eq=False)
class Wrapped(Counting):
    """A torch.optim class with its knobs. One update is one ``step()`` on x as the only parameter, at the rate given.

    A class whose step needs a closure (LBFGS) gets one; its evaluations are counted, but for the first, at x, which is
    handed to it.
    """

    optimizer: type[torch.optim.Optimizer]
    knobs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        takes = [name for name in inspect.signature(self.optimizer).parameters if name not in ("params", "lr")]
        kind = self.optimizer.__name__
        for name in self.knobs:
            if name not in takes:
                raise UserError(f"optimizer.{name}: {kind} has no such knob. It takes {', '.join(takes)}")
        try:
            made = self.probe()
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            knobs = ", ".join(f"{name}={value}" for name, value in self.knobs.items()) or "its own defaults"
            raise UserError(f"optimizer={kind} with {knobs}: {error}. It takes {', '.join(takes)}") from None
        group = made.param_groups[0]
        if isinstance(made, torch.optim.LBFGS) and group["line_search_fn"] and group["max_eval"] < 2:
            raise UserError("LBFGS with a line search and max_eval=1 never moves. Type +optimizer.max_eval=25")

    def probe(self) -> torch.optim.Optimizer:
        """The optimizer after a first step on f(x) = x, x = 0: what it refuses, it refuses now."""
        leaf = torch.zeros(1, requires_grad=True)
        leaf.grad = torch.ones(1)
        made = self.make(leaf, 1.0)
        made.step(lambda: 0.0) if self.closure else made.step()
        return made

    @property
    def closure(self) -> bool:
        """Whether a step needs one."""
        parameter = inspect.signature(self.optimizer.step).parameters.get("closure")
        return parameter is not None and parameter.default is parameter.empty

    def make(self, leaf: Tensor, lr: float) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = self.optimizer([leaf], lr=lr, **self.knobs)  # type: ignore[call-arg]
        return made

    def init(self, x: Tensor) -> State:
        return {"spent": counter(x), "own": {}, "group": {}}

    def update(self, point: Point, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        x, calls = point.x, 0
        leaf = x.detach().clone().requires_grad_()
        made = self.make(leaf, float(lr))
        group = made.param_groups[0]
        fresh = {name: value for name, value in group.items() if name not in ("params", "lr")}
        group.update(loaded(state["group"]))
        if state["own"]:
            made.state[leaf] = loaded(state["own"])

        def closure() -> Tensor:
            nonlocal calls
            calls += 1
            loss, leaf.grad = (
                (point.loss, point.gradient.clone()) if calls == 1 else loss_and_gradient(point.function, leaf)
            )
            return loss

        try:
            if self.closure:
                made.step(closure)  # type: ignore[arg-type]
            else:
                leaf.grad = point.gradient.clone()
                made.step()
        except RuntimeError as error:
            raise UserError(f"optimizer={self.optimizer.__name__} cannot walk here: {error}") from error
        changed = {name: group[name] for name, value in fresh.items() if not same(group[name], value)}
        spent = state["spent"] + max(calls - 1, 0)
        own = made.state.get(leaf, {})
        return leaf.detach() - x, {
            "spent": spent,
            "own": saved(own),
            "group": saved({**loaded(state["group"]), **changed}),
        }

    def frozen(self, state: State, lr: float) -> Frozen | None:
        """What the class's moments make of each entry; None where no such thing is known of it, or not yet."""
        leaf = torch.zeros(0, requires_grad=True)
        made = self.make(leaf, lr)
        made.param_groups[0].update(loaded(state["group"]))
        if state["own"]:
            made.state[leaf] = loaded(state["own"])
        try:
            return frozen(made)[leaf]
        except UserError:
            return None


def same(a: Any, b: Any) -> bool:
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and bool(a == b))


# --- what a torch.optim class keeps, as tensors ---------------------------------------------------------------------

KINDS = {"bool": torch.bool, "int": torch.int64, "float": torch.float64}


def saved(values: Mapping[Any, Any]) -> State:
    """Values by name as a state: a tensor keeps its name, anything else has its kind behind it ("step int")."""
    state: State = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            state[f"{name} tensor" if " " in str(name) else str(name)] = value.detach().clone()
        elif value is None:
            state[f"{name} none"] = torch.zeros(0)
        elif isinstance(value, bool | int | float):
            kind = type(value).__name__
            state[f"{name} {kind}"] = torch.tensor(value, dtype=KINDS[kind])
        elif isinstance(value, list | tuple):
            state[f"{name} {type(value).__name__}"] = saved(dict(enumerate(value)))
        elif isinstance(value, Mapping):
            state[f"{name} dict"] = saved(value)
        else:
            raise UserError(f"the optimizer keeps {name}={value!r}, which is no number and cannot be saved")
    return state


def loaded(state: State) -> dict[str, Any]:
    """What ``saved`` was given, with tensors that may be changed in place; names are text."""
    values: dict[str, Any] = {}
    for entry, value in state.items():
        name, _, kind = entry.rpartition(" ") if " " in entry else (entry, "", "tensor")
        match kind:
            case "tensor":
                values[name] = value.clone()
            case "none":
                values[name] = None
            case "list":
                values[name] = list(loaded(value).values())
            case "tuple":
                values[name] = tuple(loaded(value).values())
            case "dict":
                values[name] = loaded(value)
            case _:
                values[name] = value.item()
    return values
