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
from calclab.subject import retraining
from calclab.subject.network import Network
from calclab.subject.network.embedding import behind_embedding, sentences
from calclab.topic.base import Method
from calclab.topic.importance import answer, attributions, effects, evidence, perturbations, pictures, table
from calclab.topic.importance.attributions import Findings, findings, shares, standard_error
from calclab.topic.importance.methods import COMPLETE, NEARLY, OF_ONE_TRAINING, SIZES
from calclab.topic.importance.perturbations import Course, counts, course, curve_point
from calclab.topic.importance.problem import ImportanceProblem, evenly
from calclab.topic.importance.ranks import Ranks, rank_correlation, ranks
from calclab.topic.importance.refusals import refuse

BLOCK = 256  # rows attributed at once

Stage = tuple[State, Values]  # what is added to the state under the stage's kind, and what is logged


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
        object.__setattr__(self, "subject", behind_embedding(self.subject))
        refuse(self.problem, self.roar)

    @cached_property
    def problem(self) -> ImportanceProblem:
        given = [self.method] if isinstance(self.method, str) else self.method
        if not isinstance(given, list | tuple) or not given or not all(isinstance(name, str) for name in given):
            raise UserError(f"method={self.method}: a method, or a list of them. Type method=integrated_gradients")
        return ImportanceProblem(
            subject=self.subject,
            methods=tuple(dict.fromkeys(given)),
            target=self.aim,
            baseline=self.baseline,
            most=self.rows,
            tol=self.tol,
            samples=self.samples,
            seed=self.seed,
            layer=self.layer,
            neuron=self.neuron,
        )

    @property
    def aim(self) -> str:
        """The target. By itself it is no loss where it need not be: of rows that are right there is hardly any left."""
        if self.target is not None or not isinstance(self.subject, Network):
            return "loss" if self.target is None else self.target
        several = len(self.subject.outputs) > 1
        return "predicted" if self.subject.data.classification else "loss" if several else "output.0"

    @cached_property
    def plan(self) -> tuple[tuple[str, int], ...]:
        """What follows the rows: the kind of each step, which `stage` has, and its number among those of its kind."""
        problem, network = self.problem, self.subject
        sizes = {"permutation": int("permutation" in problem.methods)}
        if isinstance(network, Network) and self.trust and len(problem.inputs) > 1:
            sizes["training"] = 0 if perturbations.no_retraining(network) else self.retrains
            sizes["deletion"] = len(self.counts) if problem.ordering else 0
            sizes["randomised"] = len(retraining.resettable(network)) + 1 if problem.by_row else 0
            sizes["removed"] = len(self.roar)
        return tuple((kind, i) for kind, size in sizes.items() for i in range(size))

    @property
    def steps(self) -> int:
        return self.problem.count + len(self.plan) - 1

    @property
    def evidence_steps(self) -> int:
        return 6

    # --- the scan ---

    def init(self) -> State:
        return {"blocks": {}}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        new = dict(state)
        if k < self.problem.count:
            block, place = divmod(k, BLOCK)
            if place == 0:
                rows = slice(k, min(k + BLOCK, self.problem.count))
                new["blocks"] = {**state["blocks"], str(block): attributions.block(self.problem, rows)}
            new["seen"] = torch.tensor(k + 1)
            values = self.row(new["blocks"][str(block)], place, k)
        else:
            kind, i = self.plan[k - self.problem.count]
            found, values = self.stage(kind, i, new)
            new[kind] = {**new.get(kind, {}), **found}
        if k == self.steps:
            values = {**values, **self.summary(findings(self.problem, new))}
        return new, values

    def row(self, block: State, place: int, k: int) -> Values:
        """What is logged of row k, which is at ``place`` in its block."""
        problem = self.problem
        a = problem.features.by_feature(block["values"][0, place], problem.by_row[0]).abs()
        factor = problem.factor_of(problem.by_row[0])
        values = {"attributions": a if factor is None else a * factor[k], "score": block["score"][place]}
        if "gradients" in block:
            values["gradient_norm"] = block["gradients"][place].norm()
        for m, name in enumerate(problem.by_row):
            if name in (*COMPLETE, *NEARLY):
                values[f"gap_{name}"] = block["gap"][m, place]
        return values

    def stage(self, kind: str, i: int, state: State) -> Stage:
        """The i-th step of a kind, after the rows."""
        match kind:
            case "permutation":
                found = attributions.permutation(self.problem)
                return found, {"permutation": found["values"][0]}
            case "training":
                return self.training(i)
            case "deletion":
                return self.deletion(i, self.rows_of(state))
            case "randomised":
                return self.randomised(i, self.rows_of(state))
        assert kind == "removed"
        return self.removed(i, self.rows_of(state))

    def rows_of(self, state: State) -> Tensor:
        """Attributions (M, N, C) of all rows."""
        rows = findings(self.problem, state).rows
        assert rows is not None
        return rows

    def training(self, i: int) -> Stage:
        """The network trained again from other weights on the rows outside fold i."""
        found = perturbations.retrained(self.problem, i, self.retrains)
        values = {"training": torch.tensor(float(i + 1))}
        if self.problem.head not in OF_ONE_TRAINING:
            values["importance_trained_again"] = found["importance"]
        return {str(i): found}, values

    def deletion(self, i: int, rows: Tensor) -> Stage:
        """So many columns deleted, and put back: in the order of each method, and of none."""
        count, way, names = self.counts[i], self.course, self.problem.ordering
        of = dict(zip(self.problem.by_row, rows[:, self.problem.part], strict=True))
        orders = [[way.order(of[name], name not in SIZES)] for name in names]
        parts = curve_point(way, [*orders, way.at_random(retraining.drawn(self.seed, 1))], count)
        values = {"part_of_columns": parts.new_tensor(count / way.columns)}
        for m, name in enumerate((*names, "random")):
            values |= {f"deletion_{name}": parts[m, 0], f"insertion_{name}": parts[m, 1]}
        return {str(i): parts}, values

    def randomised(self, i: int, rows: Tensor) -> Stage:
        """The last i layers drawn anew."""
        parts = perturbations.randomised(self.problem, rows, i)
        values = {"layers_drawn_anew": parts.new_tensor(i)}
        values |= {f"randomised_{name}": part for name, part in zip(self.problem.by_row, parts, strict=True)}
        return {str(i): parts}, values

    def removed(self, i: int, rows: Tensor) -> Stage:
        """The network trained and tested without a part of the columns."""
        most, others = perturbations.without(self.problem, rows[0], self.roar[i], i)
        values = {"roar_removed": most.new_tensor(self.roar[i]), "roar": most, "roar_random": others}
        return {str(i): torch.stack([most, others])}, values

    @cached_property
    def course(self) -> Course:
        part = self.problem.part
        return course(self.problem, self.problem.inputs[part], self.problem.labels_of(part))

    @cached_property
    def counts(self) -> list[int]:
        """How many columns are deleted, step by step."""
        return counts(len(self.problem.columns.names))

    def summary(self, found: Findings) -> Values:
        """What is logged last."""
        rows, problem = found.sizes, self.problem
        assert rows is not None
        mean = rows.mean(0)
        values = {"importance": mean}
        if len(rows) > 1:
            values["standard_error"] = standard_error(rows)
        if (image := problem.features.image) is not None:
            values["importance_map"] = mean.reshape(image).sum(0)
            if found.rows is not None:
                some = evenly(len(rows), pictures.IMAGES)
                values |= {"images": problem.inputs[some], "image_attributions": found.rows[0][some]}
        if (ways := effects.direction(problem, found)) is not None:
            values["direction"] = ways.to(mean)
        known = self.ranks(found) if self.trust else None
        if (curves := effects.dependence(problem, mean if known is None else known.centre)) is not None:
            values["dependence"] = curves
        if not self.trust:
            return values
        if len(told := answer.score(problem, found, self.retrains)[1]) == 3:
            score, guess, better = told.values()
            numbers = [float(score), float(guess), float(better == "yes")]
            values["held_out"] = torch.tensor(numbers, dtype=torch.float64)
        if len(means := found.by_method) > 1:
            values["agreement"] = rank_correlation(means[:, None], means[None])
            values["shares"] = shares(means).T
        if found.rows is not None and problem.count > 1:
            values["rows"] = shares(found.rows[0][evenly(problem.count, pictures.SHOWN)])
        if known is not None:
            places = (part.to(mean) for part in (known.rank, known.first, known.last))
            values["ranking"] = torch.stack([mean, known.centre, known.low, known.high, *places], 1)
            values |= {"ranked_by": known.centre, "ranked_low": known.low, "ranked_high": known.high}
        return values

    def ranks(self, found: Findings) -> Ranks | None:
        """Which ranks can be told apart; None where there is too little, or it is not asked for."""
        if not self.bootstrap or not found.rankable or found.sizes is None:
            return None
        return ranks(found.sizes, found.by_training, self.bootstrap, retraining.drawn(self.seed, 3))

    # --- evidence, answer, what is shown and left ---

    def verify(self, state: State, k: int) -> list[Evidence]:
        problem = self.problem
        if k < problem.count:
            return evidence.of_row(problem, problem.by_row, state["blocks"][str(k // BLOCK)], k, k % BLOCK)
        kind, i = self.plan[k - problem.count]
        if kind == "deletion":
            return evidence.of_curve(state["deletion"][str(i)], i, len(self.counts) - 1, k)
        if kind == "randomised" and i == 0:
            return evidence.of_nothing_new(state["randomised"]["0"], k)
        return []

    def answer(self, state: State) -> Answer:
        found = findings(self.problem, state)
        complete = all(str(i) in state.get(kind, {}) for kind, i in self.plan if kind != "permutation")
        known = self.ranks(found) if self.trust else None
        return answer.answer(self.problem, self, found, known, complete=complete)

    def notes(self) -> Sequence[str]:
        return [*sentences(self.subject), *answer.notes(self.problem, self)]

    def labels(self) -> Labels:
        return pictures.labels(self.problem)

    def pictures(self) -> Sequence[Picture]:
        return pictures.pictures(self.problem, self, list(dict.fromkeys(kind for kind, _ in self.plan)))

    def write_artifacts(self, state: State, folder: Path) -> None:
        """The tidy table of all attributions."""
        if isinstance(self.subject, Network) or self.problem.by_row:
            parts = table.parts(self.problem, state)
            table.write(folder, parts, self.problem.features.names, self.problem.places)
        found = findings(self.problem, state)
        if found.sizes is not None:
            known = self.ranks(found) if self.trust else None
            mean, error = found.sizes.mean(0), standard_error(found.sizes)
            low, high = (mean + side * table.TWO * error for side in (-1, 1))
            told = table.Ranked(mean, low, high, None, None) if known is None else table.Ranked(
                known.centre, known.low, known.high, known.first, known.last
            )  # fmt: skip
            ways, unit = effects.direction(self.problem, found), effects.unit(self.problem)
            table.write_ranking(folder, self.problem.features.names, told, ways, unit)
