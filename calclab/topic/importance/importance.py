"""Which inputs matter, by one method or several, and how far that is to be trusted.

First come the rows, one a step: attributions of each, in blocks. What follows asks whether they mean anything, a step
each time: permutation importance, which has no rows; the same network trained again from other weights on other rows,
which gives the held-out score too; columns deleted and put back in the order of their importance; layers drawn anew
from the output to the input, after which importance must be another (Adebayo et al. 2018); and, on request, columns
removed from the data and the network trained again (Hooker et al. 2019). ``plan`` is the list of these steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Answer, Evidence, Function, Labels, Picture, State, Values
from calclab.errors import UserError
from calclab.subject import again
from calclab.subject.network import Network
from calclab.topic.base import Method
from calclab.topic.importance import evidence, gathered, looks, mistakes, shown, table, trust
from calclab.topic.importance.asked import Asked
from calclab.topic.importance.curves import Course
from calclab.topic.importance.methods import BY_ROW, COMPLETE, INWARD, NEARLY, OF_ONE_TRAINING
from calclab.topic.importance.report import Report

NUMBERS = 5 * 10**7  # attributions that are kept, at most: 400 MB
BLOCK = 256  # rows attributed at once
PART = 256  # rows, at most, that the trust report looks at again and again, evenly spaced


@dataclass(frozen=True, kw_only=True)
class Importance(schema.topic.Importance, Method):
    """Row k has |a_k| (C,), the attributions of sample k by the first method; importance is their mean over the rows,
    with standard error s/√N. Of gradients a_k = |∂t/∂x| at x_k (Simonyan et al. 2013, section 3).

    t is the sample's own loss, an output, or the output of its predicted class. A function is one sample, and its
    variables are the features. Inputs that were made of one column of a table are summed. Methods that look at a layer
    may rank its units in place of the inputs.
    """

    subject: Function | Network
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        network = self.subject if isinstance(self.subject, Network) else None
        if network is None and self.rows is not None:
            raise UserError(f"rows={self.rows}: {self.subject.name} is a function, not data. Leave rows out")
        if network is not None and self.rows is not None and self.rows > len(network.rows):
            most = len(network.rows)
            raise UserError(f"rows={self.rows}: {network.data.name} has {most} rows. Type rows={most} or less")
        mistakes.refuse_methods(self.asked)
        width = self.asked.features.width
        numbers = self.count * width * max(1, len(self.by_row))
        if numbers > NUMBERS:
            most = max(1, NUMBERS // (numbers // self.count))
            raise UserError(f"{self.count} rows of {width} values are more than fit. Type rows={most}")
        mistakes.refuse(self.asked)
        if self.roar and (why := trust.no_retraining(self.subject)):
            raise UserError(f"roar={self.roar}: {why}. Leave roar out")
        if any(not isinstance(part, int | float) or not 0 < part <= 1 for part in self.roar):
            raise UserError(f"roar={self.roar}: fractions of the columns, above 0 and at most 1. Type roar='[0.1,0.5]'")
        if self.roar and (self.rows is not None or not self.by_row or self.head in OF_ONE_TRAINING):
            raise UserError(
                "roar removes columns from every row. Leave rows out, and name a method first that goes by row and "
                "speaks of the target, such as method=integrated_gradients"
            )

    # --- what is asked ---

    @cached_property
    def methods(self) -> tuple[str, ...]:
        given = [self.method] if isinstance(self.method, str) else self.method
        if not isinstance(given, list | tuple) or not given or not all(isinstance(name, str) for name in given):
            raise UserError(f"method={self.method}: a method, or a list of them. Type method=integrated_gradients")
        return tuple(dict.fromkeys(given))

    @cached_property
    def by_row(self) -> tuple[str, ...]:
        return tuple(name for name in self.methods if name in BY_ROW)

    @property
    def head(self) -> str:
        """The first method, which gives the ranking."""
        return self.methods[0]

    @cached_property
    def ordering(self) -> tuple[str, ...]:
        """The methods whose values tell in which order columns are to be deleted: those of inputs, of the target."""
        return tuple(name for name in self.by_row if name not in OF_ONE_TRAINING)

    @property
    def aim(self) -> str:
        """The target. By itself it is no loss where it need not be: of rows that are right there is hardly any left."""
        if self.target is not None or not isinstance(self.subject, Network):
            return "loss" if self.target is None else self.target
        several = len(self.subject.outputs) > 1
        return "predicted" if self.subject.data.classification else "loss" if several else "output.0"

    @cached_property
    def asked(self) -> Asked:
        asked = (self.aim, self.baseline, self.tol, self.samples, self.seed, self.layer, self.neuron)
        return Asked(self.subject, self.methods, *asked)

    @cached_property
    def places(self) -> list[int]:
        """Which rows of the user's table are looked at, from 0."""
        data = self.subject.data if isinstance(self.subject, Network) else None
        known = None if data is None else data.places
        return list(range(len(self.inputs))) if known is None else known[: len(self.inputs)].tolist()

    @cached_property
    def inputs(self) -> Tensor:
        """The inputs, (N, d)."""
        return self.asked.reference[: self.rows]

    @property
    def count(self) -> int:
        """How many steps are rows."""
        return len(self.inputs) if self.by_row else 0

    @property
    def features(self) -> tuple[str, ...]:
        return self.asked.features.names

    @cached_property
    def factor(self) -> Tensor | None:
        """(N, 1); see `Asked.factor`."""
        return self.asked.factor(self.inputs)

    def factor_of(self, method: str) -> Tensor | None:
        """The factor of the methods that speak of the target."""
        return None if method in INWARD else self.factor

    def labels_of(self, rows: slice | Tensor) -> Tensor | None:
        return None if self.asked.labels is None else self.asked.labels[rows]

    @cached_property
    def part(self) -> Tensor:
        """The numbers of the rows that the trust report looks at."""
        return trust.evenly(len(self.inputs), PART)

    def looked(self) -> tuple[Tensor, Tensor | None]:
        """The rows of ``part``, and their labels."""
        return self.inputs[self.part], self.labels_of(self.part)

    @cached_property
    def course(self) -> Course:
        return trust.course(self.asked, *self.looked())

    @cached_property
    def plan(self) -> tuple[tuple[str, int], ...]:
        """What follows the rows: kind and number of each step, which `looks` has."""
        found = [("permutation", 0)] if "permutation" in self.methods else []
        if isinstance(self.subject, Network) and self.trust and len(self.inputs) > 1:
            if not trust.no_retraining(self.subject):
                found += [("training", i) for i in range(self.retrains)]
            if self.ordering:
                found += [("deletion", i) for i in range(len(self.course.counts()))]
            if self.by_row:
                found += [("randomised", i) for i in range(len(again.resettable(self.subject)) + 1)]
            found += [("removed", i) for i in range(len(self.roar))]
        return tuple(found)

    @property
    def steps(self) -> int:
        return self.count + len(self.plan) - 1

    @property
    def checks(self) -> int:
        return 6

    # --- the scan ---

    def init(self) -> State:
        return {"blocks": {}}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        new, values = dict(state), dict[str, Tensor]()
        if k < self.count:
            block, place = divmod(k, BLOCK)
            if place == 0:
                new["blocks"] = {**state["blocks"], str(block): self.block(k)}
            new["seen"] = torch.tensor(k + 1)
            values = self.row(new["blocks"][str(block)], place, k)
        else:
            kind, i = self.plan[k - self.count]
            new[kind], values = looks.LOOKS[kind](self, new, i)
        if k == self.steps:
            values |= gathered.last(self, new)
        return new, values

    def block(self, first: int) -> dict[str, Tensor]:
        """All methods on one block of rows: values and errors (M, b, w), gap (M, b), score (b,), and (M,) whether the
        tolerance was missed."""
        rows = slice(first, min(first + BLOCK, self.count))
        x, labels = self.inputs[rows], self.labels_of(rows)
        found: dict[str, list[Tensor]] = {"values": [], "errors": [], "gap": [], "unsettled": []}
        block: dict[str, Tensor] = {}
        for name in self.by_row:
            if name == "gradient" and isinstance(self.subject, Function):
                values, score = evidence.slope(self.subject, x, self.asked.place)
                error, gap, settled = None, None, True
            else:
                seen = self.asked.look(name, x, labels)
                values, error, gap, score = seen.values, seen.error, seen.gap, seen.score
                settled = seen.converged
            if name == "gradient":
                block["gradients"] = values
            nothing = torch.full_like(values, torch.nan)
            found["values"].append(values)
            found["errors"].append(nothing if error is None else error)
            found["gap"].append(nothing[:, 0] if gap is None else gap)
            found["unsettled"].append(torch.tensor(not settled))
            block["score"] = score
        return block | {name: torch.stack(parts) for name, parts in found.items()}

    def row(self, block: dict[str, Tensor], place: int, k: int) -> dict[str, Tensor]:
        a = self.asked.features.by_feature(block["values"][0, place], self.by_row[0]).abs()
        factor = self.factor_of(self.by_row[0])
        values = {"attributions": a if factor is None else a * factor[k], "score": block["score"][place]}
        if "gradients" in block:
            values["gradient_norm"] = block["gradients"][place].norm()
        for m, name in enumerate(self.by_row):
            if name in (*COMPLETE, *NEARLY):
                values[f"gap_{name}"] = block["gap"][m, place]
        return values

    # --- evidence, answer, what is shown and left ---

    def verify(self, state: State, k: int) -> list[Evidence]:
        if k < self.count:
            return evidence.of_row(self.asked, self.by_row, state["blocks"][str(k // BLOCK)], k, k % BLOCK)
        kind, i = self.plan[k - self.count]
        if kind == "deletion":
            return evidence.of_curve(state["deletion"][str(i)], i, len(self.course.counts()) - 1, k)
        if kind == "randomised" and i == 0:
            return evidence.of_nothing_new(state["randomised"]["0"], k)
        return []

    def answer(self, state: State) -> Answer:
        return Report(self, state).answer()

    def notes(self) -> Sequence[str]:
        return shown.notes(self)

    def labels(self) -> Labels:
        return shown.labels(self)

    def pictures(self) -> Sequence[Picture]:
        return shown.pictures(self)

    def leave(self, state: State, folder: Path) -> None:
        """The tidy table of all attributions."""
        if isinstance(self.subject, Network) or self.by_row:
            table.leave(self, state, folder)
