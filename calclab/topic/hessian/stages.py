"""The scan without the matrix, in stages: each is a scan of its own over products A v, and leaves what it found.

``found`` is a state of states: what the stages before have left, by their names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch

from calclab.core import State, Values
from calclab.numerics.krylov import Mean, Pairs
from calclab.numerics.operators import LinearOperator
from calclab.topic.hessian.looked import Looked

BLOCK = 8  # probes side by side, at least


class Stage(Protocol):
    """``state`` holds "done" and "products", what it has spent; `step` is about one product."""

    @property
    def name(self) -> str: ...

    def begin(self, found: State) -> State: ...

    def step(self, state: State, found: State) -> State: ...

    def values(self, state: State, found: State) -> Values:
        """What is logged after a step."""
        ...

    def finish(self, state: State, found: State) -> State:
        """What it leaves."""
        ...


def packed(pairs: Pairs) -> State:
    """Pairs as a state."""
    return {name: torch.tensor(entry) if isinstance(entry, int) else entry for name, entry in vars(pairs).items()}


def unpacked(state: State) -> Pairs:
    return Pairs(**{**state, "top": int(state["top"])})


def settled(pairs: Pairs) -> Pairs:
    """Those of the pairs that have converged: what a density may take for eigenpairs."""
    at = pairs.converged.nonzero()[:, 0]
    parts = {name: getattr(pairs, name)[at] for name in ("values", "residuals", "estimates", "converged")}
    return replace(
        pairs, **parts, vectors=pairs.vectors[:, at.to(pairs.vectors.device)], top=int((at < pairs.top).sum())
    )


def block(A: LinearOperator) -> int:
    """How many probes go side by side: as many as share a pass."""
    return max(BLOCK, A.lanes)


def told(mean: Mean) -> State:
    return {name: torch.tensor(entry) if isinstance(entry, int) else entry for name, entry in vars(mean).items()}


@dataclass(frozen=True)
class Point:
    """f and ∇f where it is looked."""

    looked: Looked
    name: str = "point"

    def begin(self, found: State) -> State:
        return {"done": torch.tensor(False), "products": torch.tensor(0)}

    def step(self, state: State, found: State) -> State:
        value, g = self.looked.value_and_gradient()
        return {**state, "value": value, "gradient": g, "done": torch.tensor(True)}

    def values(self, state: State, found: State) -> Values:
        return {"value": state["value"], "gradient_norm": state["gradient"].norm()}

    def finish(self, state: State, found: State) -> State:
        return {"value": state["value"], "gradient": state["gradient"]}
