"""Walks of many optimizers, side by side: O rules, each at R rates from S starts, B = R S walks of a rule.

The clock k counts gradient evaluations after the one at the start. A rule proposes its next point as soon as it stands
on one, and arrives there when the clock has reached what the step costs: one evaluation, and what the rule has looked
at besides (a trial of a line search counts as one, a Hessian as n). Rules propose for all their walks at once where
they can (`batched`); others one walk at a time. All points where something arrives are evaluated together.

A walk ends as in topic=descent: where ‖g‖ < tol, where it leaves the finite numbers, and where |f| or ‖g‖ passes 1e10
times its scale at the start. It then stays where it is, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab.core import Function, Point, Rule, State
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer import spent
from calclab.topic.comparison.batched import batched
from calclab.topic.descent.stopping import runs_away, sizes

CHUNK = 64  # points evaluated at once where the function is no short formula: memory goes with it


@dataclass(frozen=True, kw_only=True)
class Walks:
    """``rates`` has R learning rates for each of the rules, ``starts`` is (S, n); walk b = r S + s is at rate r from
    start s. A state holds (O, B, ...) tensors and the states of the rules.

    ``best`` is the lowest loss so far of points where the walk had not diverged, ``settled`` the clock when it last
    fell by more than rounding, ``used`` the evaluations of the point in hand, ``moves`` the steps that led there.
    """

    function: Function
    rules: Mapping[str, Rule]
    rates: tuple[tuple[float, ...], ...]
    starts: Tensor
    budget: int
    tol: float

    @property
    def rows(self) -> int:
        return len(self.rates[0]) * len(self.starts)

    @cached_property
    def lrs(self) -> tuple[tuple[float, ...], ...]:
        """The learning rate of every walk."""
        return tuple(tuple(rate for rate in rates for _ in self.starts) for rates in self.rates)

    @cached_property
    def columns(self) -> tuple[Tensor, ...]:
        """``lrs`` as one (B, 1) tensor a rule."""
        return tuple(self.starts.new_tensor(lrs).unsqueeze(1) for lrs in self.lrs)

    @cached_property
    def first(self) -> tuple[Tensor, Tensor]:
        """|f| and ‖g‖ at the starts, (S,)."""
        value, g = self.look(self.starts)
        return value.abs(), g.norm(dim=-1)

    @cached_property
    def scale(self) -> tuple[Tensor, Tensor]:
        """The size of |f| and ‖g‖ at the start of each walk (B,), at least 1: what running away is measured by."""
        f0, g0 = sizes(*self.first)
        return f0.repeat(len(self.rates[0])), g0.repeat(len(self.rates[0]))

    def noise(self, loss: Tensor) -> Tensor:
        """The difference of two losses (..., B) or (..., S) that is rounding: eps of the larger of |f| and |f(x₀)|."""
        size = self.first[0]
        size = size if loss.shape[-1] == len(size) else size.repeat(len(self.rates[0]))
        return torch.finfo(loss.dtype).eps * torch.where(size.isfinite(), size, 0.0).maximum(loss.abs())

    @cached_property
    def straight(self) -> bool:
        """Whether the function is a short formula: of many points, each then has the bits that it has alone."""
        return self.function.exact is not None and self.function.exact.lean is not None

    @cached_property
    def batched(self) -> bool:
        """Whether the function takes many points at once."""
        if self.straight:
            return True
        try:
            loss_and_gradient(self.function, self.starts[:1].repeat(2, 1))
        except (RuntimeError, ValueError, TypeError):  # what torch.vmap cannot trace: branches on values, own kernels
            return False
        return True

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f (N,) and ∇f (N, n) at points (N, n)."""
        if not self.batched:
            found = [loss_and_gradient(self.function, point) for point in x]
            return torch.stack([f for f, _ in found]), torch.stack([g for _, g in found])
        if self.straight:
            return loss_and_gradient(self.function, x)
        pieces = [loss_and_gradient(self.function, points) for points in torch.split(x, CHUNK)]
        return torch.cat([f for f, _ in pieces]), torch.cat([g for _, g in pieces])

    # --- the scan ---

    def init(self) -> State:
        """Before k = 0: every walk is about to arrive at its start."""
        x = self.starts.repeat(len(self.rates[0]), 1).expand(len(self.rules), -1, -1).clone()
        flat = x[..., 0]
        nothing = torch.full_like(flat, torch.inf)
        count = torch.zeros(flat.shape, dtype=torch.int64, device=x.device)
        return {
            "x": x,
            "loss": nothing,
            "gradient": torch.zeros_like(x),
            "best": nothing,
            "anchor": nothing,
            "settled": count,
            "used": count,
            "moves": count - 1,
            "alive": torch.ones_like(count, dtype=torch.bool),
            "diverged": torch.zeros_like(count, dtype=torch.bool),
            "ahead": x,
            "ahead_used": count,
            "rules": {name: self.fresh(rule, x[i]) for i, (name, rule) in enumerate(self.rules.items())},
        }

    def fresh(self, rule: Rule, x: Tensor) -> State:
        if (batch := batched(rule)) is not None:
            return batch.init(x)
        return {str(b): rule.init(point) for b, point in enumerate(x)}

    def advance(self, state: State, k: int) -> State:
        """What arrives at k is evaluated, and proposes its next step."""
        arrive = state["alive"] & (state["ahead_used"] <= k)
        x = torch.where(arrive[..., None], state["ahead"], state["x"])
        at = arrive.nonzero(as_tuple=True)
        loss, g = state["loss"], state["gradient"]
        if len(at[0]):
            f, slopes = self.look(x[at])
            loss, g = loss.index_put(at, f), g.index_put(at, slopes)
        new = {**state, "x": x, "loss": loss, "gradient": g, **self.judge(state, arrive, loss, g)}
        return {**new, **self.propose(new, arrive & new["alive"])} if k < self.budget else new

    def judge(self, state: State, arrive: Tensor, loss: Tensor, g: Tensor) -> State:
        """What is told of the walks by where they have arrived."""
        size = g.norm(dim=-1)
        sound = loss.isfinite() & g.isfinite().all(-1) & ~runs_away(loss, size, self.scale)
        used = torch.where(arrive, state["ahead_used"], state["used"])
        best = torch.where(arrive & sound, torch.minimum(state["best"], loss), state["best"])
        fell = best < state["anchor"] - torch.where(best.isfinite(), self.noise(best), 0.0)
        return {
            "used": used,
            "moves": state["moves"] + arrive,
            "best": best,
            "anchor": torch.where(fell, best, state["anchor"]),
            "settled": torch.where(fell, used, state["settled"]),
            "alive": state["alive"] & ~(arrive & (~sound | (size < self.tol))),
            "diverged": state["diverged"] | (arrive & ~sound),
        }

    def propose(self, state: State, due: Tensor) -> State:
        """The next point of every walk that is ``due``, and what will have been used there."""
        x, ahead, used = state["x"], state["ahead"].clone(), state["ahead_used"].clone()
        rules = dict(state["rules"])
        for i, (name, rule) in enumerate(self.rules.items()):
            if (batch := batched(rule)) is not None:
                point = Point(x[i], state["loss"][i], state["gradient"][i], self.function)
                move, rules[name] = batch.update(point, rules[name], self.columns[i])
                ahead[i], used[i] = x[i] + move, state["used"][i] + 1
                continue
            own = dict(rules[name])
            for b in due[i].nonzero()[:, 0].tolist():
                point = Point(x[i, b], state["loss"][i, b], state["gradient"][i, b], self.function)
                before = spent(rule, own[str(b)])
                move, own[str(b)] = rule.update(point, own[str(b)], self.lrs[i][b])
                ahead[i, b] = point.x + move
                used[i, b] = state["used"][i, b] + 1 + spent(rule, own[str(b)]) - before
            rules[name] = own
        return {"ahead": ahead, "ahead_used": used, "rules": rules}
