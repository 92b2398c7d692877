"""The iteration itself, from values alone: of one run, or of many side by side.

Row k speaks of x_k and of the step s = x_k - x_{k-1} that led there. What can be computed from logged vectors is
computed for a whole block of steps at once. Sums over coordinates are taken one coordinate after the other, so that a
row's bits depend neither on how blocks fall nor on how many runs share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from calclab.core import HISTOGRAM, Column, Columns, Function, Point, Rule, State, Values
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer import spent
from calclab.subject.minibatch import Minibatches
from calclab.subject.network import Network
from calclab.subject.scores import scores
from calclab.topic.descent.flows import Flows
from calclab.topic.descent.layers import watched
from calclab.topic.descent.sharpness import random_direction, sharpness

POSITIONS = 100  # with more variables the position is not logged at every step
PICTURED, SNAPSHOTS = 5000, 50  # ... but so often, up to so many variables: what the picture of the path needs
SCORES = 50  # looks at a network's scores, where there are no epochs
AS_THEY_COME = (
    *("evaluations", "sharpness", "sharpness_residual", "train_", "held_out_", "layer_", HISTOGRAM),
    *("gradient_flow_", "central_flow_"),
)


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """x_{k+1} = x_k + move(g_k), g_k = ∇f(x_k), x_k of shape (n,).

    ``factor`` multiplies ``lr`` at step k; ``minibatches`` are the rows that each step sees, None where it sees all;
    ``predicted`` is theory's contraction a step; the sharpness is found every ``sharpness_every`` steps, 0: never;
    ``watch`` is whether the layers of a network are looked at as often as its scores; ``flows`` are theory's.

    Of many runs side by side ``function`` starts at (runs, n), ``lr`` is (runs, 1), ``predicted`` (runs,), NaN where
    there is none, and ``rule`` works entry by entry.
    """

    subject: Function | Network
    function: Function
    rule: Rule
    lr: float | Tensor
    steps: int
    factor: Callable[[int], float] | None = None
    minibatches: Minibatches | None = None
    predicted: float | Tensor | None = None
    sharpness_every: int = 0
    watch: bool = False
    flows: Flows | None = None
    seed: int = 0

    @property
    def short(self) -> bool:
        """Whether vectors are short enough to be logged at every step."""
        return self.function.start.shape[-1] <= POSITIONS

    @property
    def stride(self) -> int:
        """The position is logged every so many steps; 0: never."""
        if self.short:
            return 1
        return max(1, self.steps // SNAPSHOTS) if self.function.start.shape[-1] <= PICTURED else 0

    @property
    def scored(self) -> int:
        """A network's scores are logged every so many steps: once an epoch, or some fifty times."""
        if self.minibatches is not None:
            return self.minibatches.steps_per_epoch
        return max(1, self.steps // SCORES)

    def seen(self, k: int) -> Function:
        """The loss as step k sees it."""
        return self.function if self.minibatches is None else self.minibatches.at(k)

    def rate(self, k: int) -> float | Tensor:
        """The learning rate of the step from x_k."""
        return self.lr if self.factor is None else self.lr * self.factor(k)

    def rates(self, steps: Sequence[int], like: Tensor) -> Tensor:
        """The learning rates from ``steps``, in the shape of ``like`` (N, ...)."""
        own = [torch.as_tensor(self.rate(k), dtype=like.dtype, device=like.device) for k in steps]
        return torch.stack(own).reshape(like.shape)

    def init(self) -> State:
        x = self.function.start
        state = {"x": x, "move": torch.zeros_like(x), "gradient": torch.zeros_like(x), "rule": self.rule.init(x)}
        if self.sharpness_every:
            state |= {"direction": random_direction(x, self.seed), "sharpness": x.new_tensor(torch.nan)}
        if self.factor is not None:
            state |= {"factor": x.new_tensor(1.0), "peak": x.new_tensor(0.0)}
        if self.flows is not None:
            state["flows"] = self.flows.init()
        return state

    def step(self, state: State, k: int) -> tuple[State, Values]:
        x, rule, move, before = state["x"], state["rule"], state["move"], state["gradient"]
        if k > 0:
            point = Point(x, state["loss"], before, self.seen(k - 1))
            move, rule = self.rule.update(point, rule, self.rate(k - 1))
            x = x + move
        loss, g = loss_and_gradient(self.seen(k), x)
        new = {**state, "x": x, "move": move, "rule": rule, "loss": loss, "gradient": g, "before": before}
        if self.factor is not None and k > 0:
            new["factor"] = factor = x.new_tensor(self.factor(k - 1))
            new["peak"] = torch.maximum(state["peak"], factor)
        if self.short:
            values = {"loss": loss, "gradient": g, "move": move, "x": x}
        else:
            values = {"loss": loss, **products(g, move, before, vecdot)}
            if self.stride and k % self.stride == 0:
                values["x"] = x
        if isinstance(self.subject, Network) and (k % self.scored == 0 or k == self.steps):
            values |= scores(self.subject, x) if x.ndim == 1 else torch.vmap(partial(scores, self.subject))(x)
            if self.watch:
                values |= watched(self.subject, x, g, move, k)
        if hasattr(self.rule, "spent"):  # so far: one at each point, and what the rule has looked at besides
            values["evaluations"] = torch.tensor(k + 1 + spent(self.rule, rule))
        if self.sharpness_every and k % self.sharpness_every == 0:
            top = sharpness(self.function, x, state["direction"], self.seed + k)
            new["direction"], new["sharpness"] = top.vector, top.value
            values |= {"sharpness": top.value, "sharpness_residual": top.residual}
        if self.flows is not None:
            new["flows"], beside = self.flows.step(state["flows"], k, x, loss, values.get("sharpness"))
            values |= beside
        return new, values

    def derive(self, before: State, columns: Columns) -> Columns:
        steps, data = columns["loss"].steps, {name: column.data for name, column in columns.items()}
        g = data.get("gradient")  # where vectors are short
        inner = data if g is None else products(g, data["move"], earlier(before["gradient"], g))
        found = {"loss": columns["loss"], **trace(steps, inner, g)}
        if self.minibatches is not None:  # gradients of different rows tell nothing of curvature
            del found["curvature"], found["contraction"]
        if self.factor is not None:
            found["lr"] = Column(steps, self.rates(steps, data["loss"]))
        if self.short and self.function.minima is not None:
            found["distance_to_minimum"] = Column(steps, distance(data["x"], self.function.minima.to(data["x"])))
        found |= {name: column for name, column in columns.items() if name.startswith(AS_THEY_COME)}
        if "sharpness" in columns:
            looked = columns["sharpness"]
            found["edge"] = Column(looked.steps, looked.data * self.rates(looked.steps, looked.data) / 2)
        if self.predicted is not None:
            found["predicted_contraction"] = Column(steps, torch.ones_like(data["loss"]) * self.predicted)
        return {**found, **({"x": columns["x"]} if "x" in columns else {})}


# --- what a step shows ---

Inner = Mapping[str, Tensor]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ_i a_i b_i over the last axis, of few entries."""
    return reduce(torch.add, (a * b).unbind(-1))


def vecdot(a: Tensor, b: Tensor) -> Tensor:
    """The same of many entries."""
    return torch.linalg.vecdot(a, b)


def products(g: Tensor, s: Tensor, b: Tensor, dot: Callable[[Tensor, Tensor], Tensor] = dot) -> dict[str, Tensor]:
    """The inner products that a step's numbers are made of; ``b`` is the gradient at x_{k-1}."""
    return {"g·g": dot(g, g), "s·s": dot(s, s), "s·g": dot(s, g), "b·b": dot(b, b), "s·b": dot(s, b)}


def rescued(norm: Tensor, a: Tensor) -> Tensor:
    """``norm``, the root of Σ a²; found anew where that sum is beyond the largest float and ‖a‖ is not."""
    if bool(norm.isinf().any()):
        most = reduce(torch.maximum, a.abs().unbind(-1))
        scale = torch.where(most.isfinite() & (most > 0), most, 1.0)
        scaled = a / scale.unsqueeze(-1)
        norm = torch.where(norm.isinf(), scale * dot(scaled, scaled).sqrt(), norm)
    return norm


def trace(steps: Sequence[int], inner: Inner, g: Tensor | None = None) -> dict[str, Column]:
    """Columns over ``steps`` of inner products (N, ...), those of the step itself without the row of k = 0.

    gradient_norm ‖g_k‖, rescued where the gradients ``g`` (N, ..., n) are given; step_length ‖s‖; cosine of s with
    -g_{k-1}; curvature sᵀ(g_k - g_{k-1}) / sᵀs, which is the mean of sᵀHs / sᵀs along the step; contraction
    ‖g_k‖ / ‖g_{k-1}‖.
    """
    norm, moved, before = inner["g·g"].sqrt(), inner["s·s"].sqrt(), inner["b·b"].sqrt()
    moving = {
        "cosine": -inner["s·b"] / (moved * before),
        "curvature": (inner["s·g"] - inner["s·b"]) / inner["s·s"],
        "contraction": norm / before,
    }
    start = int(steps[0] == 0)
    return {
        "gradient_norm": Column(steps, norm if g is None else rescued(norm, g)),
        "step_length": Column(steps, moved),
        **{name: Column(steps[start:], data[start:]) for name, data in moving.items()},  # empty in a block of step 0
    }


def distance(x: Tensor, minima: Tensor) -> Tensor:
    """The distance (N, ...) of x (N, ..., n) to the nearest of ``minima`` (p, n)."""
    squares = [dot(x - minimum, x - minimum) for minimum in minima]
    return reduce(torch.minimum, squares).sqrt()


def earlier(first: Tensor, rows: Tensor) -> Tensor:
    """The row before each row (N, ...): ``first`` before the first."""
    return torch.cat([first.to(rows)[None], rows[:-1]])
