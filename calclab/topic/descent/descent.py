"""Descent: a point walks downhill, by the rule of an optimizer, on a function or on a network's loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from calclab import schema
from calclab.core import (
    Answer,
    Column,
    Columns,
    Evidence,
    Function,
    Labels,
    Picture,
    Point,
    Rule,
    State,
    Status,
    Values,
)
from calclab.errors import UserError
from calclab.numerics.operators import evaluate
from calclab.numerics.verify import check_gradient, check_gradients, check_value
from calclab.optimizer import admit, spent
from calclab.subject.minibatch import Minibatches
from calclab.subject.network import Network
from calclab.topic.descent.answer import answer
from calclab.topic.descent.ending import ending, ends
from calclab.topic.descent.forecast import Forecast, forecast
from calclab.topic.descent.pictures import pictures
from calclab.topic.descent.runaway import at_start, runs_away, scale_at_start
from calclab.topic.descent.sharpness import random_direction, sharpness
from calclab.topic.descent.trace import distance, earlier, products, trace, vecdot
from calclab.topic.descent.walk import Walk

POSITIONS = 100  # with more variables the position is not logged at every step
PICTURED, SNAPSHOTS = 5000, 50  # ... but so often, up to so many variables: what the picture of the path needs
SCORES = 50  # looks at a network's scores, where there are no epochs
WEIGHTS = "weights.pt"
AS_THEY_COME = ("evaluations", "sharpness", "sharpness_residual")
SCORED = ("train_", "held_out_")


@dataclass(frozen=True, kw_only=True)
class Descent(schema.topic.Descent):
    """x_{k+1} = x_k + move(g_k), g_k = ∇f(x_k), x_k of shape (n,).

    Row k of the log holds f(x_k), ‖g_k‖, x_k, and of the step that led there what `trace` says. The run converges
    when ‖g_k‖ < tol, diverges when |f| or ‖g‖ passes 1e10 times its scale at the start.
    """

    subject: Function | Network
    optimizer: Rule
    schedule: Callable[..., Callable[[int], float]] | None = None  # takes ``steps``, gives the factor on lr at step k
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch is not None and not isinstance(self.subject, Network):
            raise UserError(f"batch={self.batch}: a function has no rows to take. Name a network, or leave batch out.")
        if self.epochs is not None:
            per_epoch = 1 if self.minibatches is None else self.minibatches.steps_per_epoch
            object.__setattr__(self, "steps", self.epochs * per_epoch)
        admit(self.optimizer, self.function)  # a vector function is refused now too, and not at the first step
        every = self.sharpness.get("every")
        if set(self.sharpness) != {"every"} or isinstance(every, bool) or not isinstance(every, int) or every < 0:
            raise UserError(f"sharpness={self.sharpness}: every is a whole number of steps. Type sharpness.every=50")

    @cached_property
    def function(self) -> Function:
        return self.subject.objective()

    @cached_property
    def minibatches(self) -> Minibatches | None:
        """The rows that each step sees; None where it sees all."""
        if self.batch is None or not isinstance(self.subject, Network):
            return None
        return self.subject.sampled(self.batch, self.seed)

    def seen(self, k: int) -> Function:
        """The loss as step k sees it."""
        return self.function if self.minibatches is None else self.minibatches.at(k)

    @cached_property
    def scored(self) -> int:
        """A network's scores are logged every so many steps: once an epoch, or some fifty times."""
        if self.minibatches is not None:
            return self.minibatches.steps_per_epoch
        return max(1, self.steps // SCORES)

    @cached_property
    def stride(self) -> int:
        """The position is logged every so many steps; 0: never."""
        if self.short:
            return 1
        return max(1, self.steps // SNAPSHOTS) if self.function.start.shape[-1] <= PICTURED else 0

    @cached_property
    def factor(self) -> Callable[[int], float] | None:
        """The factor on lr at step k."""
        return None if self.schedule is None else self.schedule(steps=self.steps)

    @cached_property
    def short(self) -> bool:
        """Whether vectors are short enough to be logged at every step."""
        return self.function.start.shape[-1] <= POSITIONS

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The size of |f| and ‖g‖ at the start, at least 1: what running away is measured by."""
        return scale_at_start(self.function)

    @cached_property
    def forecast(self) -> Forecast | None:
        """Theory on the Hessian at the start; None with many variables, or where rate or rows change on the way."""
        if not self.short or self.schedule is not None or self.minibatches is not None:
            return None
        return forecast(self.function, self.optimizer, self.lr, self.tol)

    @cached_property
    def predicted(self) -> float | Tensor | None:
        """Theory's contraction a step; (runs,) in a batch, NaN where there is none."""
        return None if self.forecast is None else self.forecast.factor

    def rate(self, k: int) -> float:
        """The learning rate of the step from x_k."""
        return self.lr if self.factor is None else self.lr * self.factor(k)

    def rates(self, steps: Sequence[int], like: Tensor) -> Tensor:
        """The learning rates from ``steps``, in the shape of ``like`` (N, ...)."""
        own = [torch.as_tensor(self.rate(k), dtype=like.dtype, device=like.device) for k in steps]
        return torch.stack(own).reshape(like.shape)

    @property
    def checks(self) -> int:
        return 6 if self.short else 2  # each costs as much as fifteen steps

    def notes(self) -> Sequence[str]:
        return [] if self.forecast is None else self.forecast.notes()

    # --- the scan ---

    def init(self) -> State:
        x = self.function.start
        state = {"x": x, "move": torch.zeros_like(x), "gradient": torch.zeros_like(x), "rule": self.optimizer.init(x)}
        if self.sharpness["every"]:
            state |= {"direction": random_direction(x, self.seed), "sharpness": x.new_tensor(torch.nan)}
        if self.factor is not None:
            state |= {"factor": x.new_tensor(1.0), "peak": x.new_tensor(0.0)}
        return state

    def step(self, state: State, k: int) -> tuple[State, Values]:
        x, rule, move, before = state["x"], state["rule"], state["move"], state["gradient"]
        if k > 0:
            point = Point(x, state["loss"], before, self.seen(k - 1))
            move, rule = self.optimizer.update(point, rule, self.rate(k - 1))
            x = x + move
        loss, g = evaluate(self.seen(k), x)
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
            values |= self.subject.scores(x) if x.ndim == 1 else torch.vmap(self.subject.scores)(x)
        if hasattr(self.optimizer, "spent"):  # so far: one at each point, and what the rule has looked at besides
            values["evaluations"] = torch.tensor(k + 1 + spent(self.optimizer, rule))
        every = self.sharpness["every"]
        if every and k % every == 0:
            top = sharpness(self.function, x, state["direction"], self.seed + k)
            new["direction"], new["sharpness"] = top.vector, top.value
            values |= {"sharpness": top.value, "sharpness_residual": top.residual}
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
        found |= {name: column for name, column in columns.items() if name in AS_THEY_COME or name.startswith(SCORED)}
        if "sharpness" in columns:
            looked = columns["sharpness"]
            found["edge"] = Column(looked.steps, looked.data * self.rates(looked.steps, looked.data) / 2)
        if self.predicted is not None:
            found["predicted_contraction"] = Column(steps, torch.ones_like(data["loss"]) * self.predicted)
        return {**found, **({"x": columns["x"]} if "x" in columns else {})}

    def stop(self, columns: Columns) -> tuple[int, Status] | None:
        return ends(columns, self.tol, self.scale, settles=self.minibatches is None)[0]

    # --- the answer ---

    def verify(self, state: State, k: int) -> list[Evidence]:
        f, x = self.seen(k), state["x"]
        if not bool(torch.isfinite(x).all()):
            return []
        evidence = self.of_loss(x, state["loss"], k) if k == 0 or f.exact is not None else []
        return evidence + check_gradient(f, x, state["gradient"], k, scale=self.steepness)

    def of_loss(self, x: Tensor, loss: Tensor, k: int) -> list[Evidence]:
        """Evidence for f(x): later on relative to |f| at the start, as far as it fell."""
        return check_value(self.seen(k), x, loss, k, scale=0.0 if k == 0 else self.height)

    @cached_property
    def height(self) -> float:
        """|f| at the start; 0 where it is not finite."""
        size = abs(at_start(self.function)[0])
        return size if isfinite(size) else 0.0

    @cached_property
    def steepness(self) -> float:
        """What gaps in the gradient are relative to: ‖g‖ at the start, of a callable at least 1."""
        size = at_start(self.function)[1]
        return self.scale[1] if self.function.exact is None or not isfinite(size) else size

    def verify_each(self, others: Sequence[Descent], state: State, k: int) -> Iterator[Sequence[Evidence]]:
        """What `verify` says of runs of this function, ``others``, in step k > 0: their state is (runs, ...)."""
        x, g, loss = state["x"], state["gradient"], state["loss"]
        there = x.isfinite().all(-1).tolist()
        kept = [run.steepness for run, ok in zip(others, there, strict=True) if ok]
        rows = iter(check_gradients(self.function, x[there], g[there], k, kept))
        exact = self.function.exact is not None
        for i, (run, ok) in enumerate(zip(others, there, strict=True)):
            yield [*(run.of_loss(x[i], loss[i], k) if exact else []), *next(rows)] if ok else []

    def answer(self, state: State) -> Answer:
        walk = self.walk(state)
        end, size = ending(walk), walk.gradient.norm()
        return answer(walk.function, walk.x, walk.loss, size, end, self.forecast, self.short, self.height)

    def walk(self, state: State) -> Walk:
        """What is known of the walk at its end."""
        f, x, loss, g = self.function, state["x"], state["loss"], state["gradient"]
        contraction = None
        if self.minibatches is not None:  # of all rows, at the end
            loss, g = evaluate(f, x)
        elif "before" in state:
            contraction = float(g.norm() / state["before"].norm())
        return Walk(
            subject=self.subject,
            function=f,
            rule=self.optimizer,
            x=x,
            move=state["move"],
            loss=loss,
            gradient=g,
            contraction=contraction,
            tol=self.tol,
            lr=self.lr,
            runaway=bool(runs_away(loss, g.norm(), self.scale)),
            forecast=self.forecast,
            scheduled=self.schedule is not None,
            last=float(state.get("factor", 1.0)),
            peak=float(state.get("peak", 1.0)),
            batch=self.batch,
            sharpness=float(state["sharpness"]) if "sharpness" in state else None,
            seed=self.seed,
        )

    def leave(self, state: State, folder: Path) -> None:
        """A network's weights, for ``network.weights=``."""
        if isinstance(self.subject, Network):
            self.subject.save(state["x"], folder / WEIGHTS)

    def labels(self) -> Labels:
        return {"x": (self.function.variables,)}

    def pictures(self) -> Sequence[Picture]:
        return pictures(self.subject, self.function, path=bool(self.stride), edge=bool(self.sharpness["every"]))
