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
from calclab.core import Answer, Bars, Curves, Evidence, Function, Heatmap, Labels, Picture, State, Values
from calclab.errors import UserError
from calclab.function import again
from calclab.function.network import Network
from calclab.topic import words
from calclab.topic.base import Method
from calclab.topic.importance import evidence, gathered, mistakes, table, trust
from calclab.topic.importance.asked import BY_ROW, METHODS, SLOPES, Asked
from calclab.topic.importance.curves import Course
from calclab.topic.importance.ranks import rank_correlation
from calclab.topic.importance.report import Report

NUMBERS = 5 * 10**7  # attributions that are kept, at most: 400 MB
BLOCK = 256  # rows attributed at once
PART = 256  # rows, at most, that the trust report looks at again and again, evenly spaced
RANDOMISED = 64  # ... and that the randomisation test looks at
ALIKE = 0.95  # inputs that are correlated so strongly share their importance


@dataclass(frozen=True, kw_only=True)
class Importance(schema.topic.Importance, Method):
    """Row k has |a_k| (C,), the attributions of sample k by the first method; importance is their mean over the rows,
    with standard error s/√N. Of gradients a_k = |∂t/∂x| at x_k (Simonyan et al. 2013, section 3).

    t is the sample's own loss, an output, or the output of its predicted class. A function is one sample, and its
    variables are the features. Inputs that were made of one column of a table are summed.
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
        numbers = self.count * len(self.asked.names) * max(1, len(self.by_row))
        if numbers > NUMBERS:
            most = max(1, NUMBERS // (numbers // self.count))
            raise UserError(f"{self.count} rows of {len(self.asked.names)} inputs are more than fit. Type rows={most}")
        mistakes.refuse(self.asked, self.methods)
        if self.roar and (why := trust.no_retraining(self.subject)):
            raise UserError(f"roar={self.roar}: {why}. Leave roar out")
        if any(not isinstance(part, int | float) or not 0 < part <= 1 for part in self.roar):
            raise UserError(f"roar={self.roar}: fractions of the columns, above 0 and at most 1. Type roar='[0.1,0.5]'")
        if self.roar and (self.rows is not None or not self.by_row):
            raise UserError("roar removes columns from every row. Leave rows out, and name a method that goes by row")

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

    @cached_property
    def asked(self) -> Asked:
        return Asked(self.subject, self.target, self.baseline, self.tol, self.samples, self.seed)

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
        return self.asked.columns

    @cached_property
    def factor(self) -> Tensor | None:
        """(N, 1); see `Asked.factor`."""
        return self.asked.factor(self.inputs)

    def labels_of(self, rows: slice | Tensor) -> Tensor | None:
        return None if self.asked.labels is None else self.asked.labels[rows]

    @cached_property
    def part(self) -> Tensor:
        """The numbers of the rows that the trust report looks at."""
        return trust.evenly(len(self.inputs), PART)

    @cached_property
    def plan(self) -> tuple[tuple[str, int], ...]:
        """What follows the rows: kind and number of each step."""
        found = [("permutation", 0)] if "permutation" in self.methods else []
        if isinstance(self.subject, Network) and self.trust and len(self.inputs) > 1:
            if not trust.no_retraining(self.subject):
                found += [("training", i) for i in range(self.retrains)]
            if self.by_row:
                found += [("deletion", i) for i in range(len(self.course.counts()))]
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
            new[kind], values = getattr(self, kind)(new, i)
        if k == self.steps:
            values |= gathered.last(self, new)
        return new, values

    def block(self, first: int) -> dict[str, Tensor]:
        """All methods on one block of rows: values and errors (M, b, d), gap (M, b), score (b,), and (M,) whether the
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
        a = self.asked.by_column(block["values"][0, place], self.by_row[0]).abs()
        values = {"attributions": a if self.factor is None else a * self.factor[k], "score": block["score"][place]}
        if "gradients" in block:
            values["gradient_norm"] = block["gradients"][place].norm()
        for m, name in enumerate(self.by_row):
            if name in evidence.COMPLETE:
                values[f"gap_{name}"] = block["gap"][m, place]
        return values

    def permutation(self, state: State, i: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        seen = self.asked.look("permutation", self.inputs, self.labels_of(slice(0, len(self.inputs))))
        error = torch.full_like(seen.values, torch.nan) if seen.error is None else seen.error
        found = {"values": self.asked.by_column(seen.values), "errors": self.asked.by_column(error)}
        return found, {"permutation": found["values"][0]}

    def training(self, state: State, i: int) -> tuple[dict[str, State], dict[str, Tensor]]:
        """Importance (C,) of the network trained again from other weights on the rows outside fold i, and how wrong it
        and a guess are on those within."""
        found = trust.retrained(self.asked, self.head, self.looked(), i, self.retrains)
        values = {"importance_trained_again": found["importance"], "training": torch.tensor(float(i + 1))}
        return {**state.get("training", {}), str(i): found}, values

    def looked(self) -> tuple[Tensor, Tensor | None]:
        """The rows of ``part``, and their labels."""
        return self.inputs[self.part], self.labels_of(self.part)

    @property
    def head(self) -> str:
        """The first method, which gives the ranking."""
        return self.methods[0]

    @cached_property
    def course(self) -> Course:
        return trust.course(self.asked, *self.looked())

    def deletion(self, state: State, i: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Deletion and insertion (M + 1,) with so many columns gone: by each method, and at random."""
        count, course = self.course.counts()[i], self.course
        rows = gathered.all_rows(self, state)[:, self.part]
        orders = [[course.order(a, name not in SLOPES)] for name, a in zip(self.by_row, rows, strict=True)]
        orders.append(course.at_random(again.drawn(self.seed, 1)))
        found = [torch.stack([torch.stack(course.at(order, count)) for order in each]).mean(0) for each in orders]
        parts = torch.stack(found)  # (M + 1, 2)
        values = {"removed": rows.new_tensor(count / course.columns)}
        for m, name in enumerate((*self.by_row, "random")):
            values |= {f"deletion_{name}": parts[m, 0], f"insertion_{name}": parts[m, 1]}
        return {**state.get("deletion", {}), str(i): parts}, values

    def randomised(self, state: State, i: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Rank correlation (M,) of |a| with what it is once the last i layers are drawn anew, on average over rows."""
        assert isinstance(self.subject, Network)
        chosen = self.part[trust.evenly(len(self.part), RANDOMISED)]
        network = again.with_new(self.subject, again.resettable(self.subject)[:i], again.drawn(self.seed, 2))
        x, labels = self.inputs[chosen], self.labels_of(chosen)
        fixed = trust.predicted(self.asked, x)
        found = []
        for name, before in zip(self.by_row, gathered.all_rows(self, state)[:, chosen], strict=True):
            after = self.asked.by_column(self.asked.look(name, x, labels, network=network, fixed=fixed).values, name)
            found.append(rank_correlation(before.abs(), after.abs()).nanmean())
        parts = torch.stack(found)
        values = {"layers_drawn_anew": parts.new_tensor(i)}
        values |= {f"randomised_{name}": part for name, part in zip(self.by_row, parts, strict=True)}
        return {**state.get("randomised", {}), str(i): parts}, values

    def removed(self, state: State, i: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Scores (2,) of networks trained and tested without a part of the columns: the most important, any others."""
        most, any_ = trust.without(self.asked, self.head, gathered.all_rows(self, state)[0], self.roar[i], i)
        values = {"roar_removed": most.new_tensor(self.roar[i]), "roar": most, "roar_random": any_}
        return {**state.get("removed", {}), str(i): torch.stack([most, any_])}, values

    # --- evidence, answer, pictures ---

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
        if not isinstance(self.subject, Network):
            return ()
        notes = mistakes.first_look(self.asked, self.methods)
        if not self.trust:
            return notes
        if (why := trust.no_retraining(self.subject)) and self.retrains and len(self.subject.rows) > 1:
            notes.append(f"no training is repeated: {why}")
        if alike := trust.alike(self.asked, ALIKE):
            notes.append(alike)
        if len(self.by_row) > 0 and self.count > 1 and self.asked.groups is not None:
            slopes = "; slopes by them tell how far a new category moves the target"
            summed = "inputs that were made of one column are summed"
            notes.append(summed + slopes * any(name in SLOPES for name in self.methods))
        if self.subject.data.units is not None and any(name in SLOPES for name in self.methods):
            notes.append("slopes are ranked per deviation of each input; table.csv has them in your units")
        return notes

    def leave(self, state: State, folder: Path) -> None:
        """The tidy table of all attributions."""
        if not isinstance(self.subject, Network) and not self.by_row:
            return
        table.write(folder, self.parts(state), self.features, [name for name in METHODS if name not in BY_ROW])

    def parts(self, state: State) -> list[table.Part]:
        """Values and errors (N, C) of each method, in the user's units."""
        found: list[table.Part] = []
        if self.by_row:
            values, errors = (
                torch.cat([state["blocks"][str(i)][name] for i in range(len(state["blocks"]))], 1)
                for name in ("values", "errors")
            )
            if self.factor is not None:
                values, errors = values * self.factor, errors * self.factor
            for m, name in enumerate(self.by_row):
                own, off = self.asked.by_column(values[m], name), self.asked.by_column(errors[m].abs())
                own, off = self.asked.per_unit(name, own), self.asked.per_unit(name, off)
                found.append((name, own.cpu(), off.cpu(), self.targets))
        if "permutation" in state:
            entry = state["permutation"]
            assert isinstance(self.subject, Network)
            score = self.asked.score(self.subject)
            found.append(("permutation", entry["values"].cpu(), entry["errors"].cpu(), [score]))
        return found

    @property
    def targets(self) -> list[str]:
        """What was attributed of each row, by name."""
        count = max(1, self.count)
        if self.target == "predicted" and isinstance(self.subject, Network):
            chosen = trust.predicted(self.asked, self.inputs)
            return [self.asked.outputs[int(i)] for i in ([] if chosen is None else chosen)] or [self.asked.what] * count
        return [self.asked.what if self.asked.outputs else self.subject.name] * count

    def labels(self) -> Labels:
        names = ("attributions", "importance", "standard_error", "permutation", "importance_trained_again")
        ranked = ("ranked_by", "ranked_low", "ranked_high")
        labels: dict[str, tuple[Sequence[str], ...]] = dict.fromkeys((*names, *ranked), (self.features,))
        if self.asked.image is not None:
            labels["importance_map"] = (words.count(self.asked.image[1]), words.count(self.asked.image[2]))
        labels["agreement"] = (self.methods, self.methods)
        labels["shares"] = (self.features, self.methods)
        labels["ranking"] = (self.features, gathered.RANKED)
        labels["rows"] = (
            tuple(f"row {int(i)}" for i in trust.evenly(max(1, self.count), gathered.SHOWN)),
            self.features,
        )
        return labels

    def pictures(self) -> Sequence[Picture]:
        found: list[Picture] = [Bars("importance", "importance", ranked=True)]
        if self.asked.image is not None:
            found.append(Heatmap("importance_map", "importance_map"))
        if self.by_row and "gradient" in self.by_row:
            found.append(Curves("samples", ("gradient_norm",)))
        return [*found, *trust.pictures(self)] if self.trust and isinstance(self.subject, Network) else found
