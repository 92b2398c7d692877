"""The Jacobian point after point: step k is point k of a function, or row k of the data of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from calclab.core import Answer, Evidence, Labels, Line, Picture, State, Values
from calclab.errors import UserError
from calclab.numerics.agreement import identity
from calclab.numerics.jacobian import Plan, compressed, golub_kahan
from calclab.subject.network.embedding import sentences
from calclab.topic.base import Method
from calclab.topic.jacobian import answer, evidence, measures, pictures
from calclab.topic.jacobian.lipschitz import Bound, bound
from calclab.topic.jacobian.problem import ByInput, JacobianProblem

ENTRIES = 20_000  # a Jacobian with more entries is not written; its singular values always are
TRAIL = 1_000_000  # of all points together: more entries are not written row by row
ROWS = 256  # points looked at together, at most
BYTES = 2**25  # ... whose Jacobians take this much, at most: they are part of the state
BARS = 30  # singular values drawn as bars, at most
TOL = 1e-8  # of the residuals of a largest singular value, relative to it (float32: 1e-4)


@dataclass(frozen=True)
class PointScan(Method):
    """J_k = ∂f/∂x at x_k, (m, n). Where all of them fit, each with its singular values; otherwise the largest one."""

    problem: JacobianProblem
    threshold: float
    limit: int
    memory: float  # bytes
    way: str
    batch: int | None
    weight: Tensor | None
    seed: int

    @cached_property
    def plan(self) -> Plan:
        least, many = min(self.shape), min(self.shape) > self.limit
        if many and self.way not in ("auto", "coloured", "matrix_free"):
            raise UserError(
                f"way={self.way} limit={self.limit}: there are {least:,} singular values to compute. "
                f"Type limit={least}, or way=matrix_free for the largest one"
            )
        made = self.problem.plan(way=self.way, memory=self.memory, spectrum=many)
        if many and self.way == "auto" and made.way == "matrix_free":
            return replace(made, why=f"it has {least:,} singular values, and limit is {self.limit:,}")
        return made

    @cached_property
    def forms(self) -> bool:
        """Whether J is formed and all its singular values are computed."""
        return self.plan.way != "matrix_free" and self.plan.forms and min(self.shape) <= self.limit

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.problem.shape

    def refuse(self) -> None:
        """UserError for a way that is not possible."""
        _ = self.plan

    @property
    def many(self) -> bool:
        return self.problem.count > 1

    @property
    def small(self) -> bool:
        m, n = self.shape
        return self.forms and m * n <= ENTRIES

    @property
    def long(self) -> bool:
        """Whether the singular values are too many for bars with names."""
        return self.forms and min(self.shape) > BARS

    @property
    def trail(self) -> bool:
        m, n = self.shape
        return self.many and self.small and m * n <= 1000 and self.problem.count * m * n <= TRAIL

    @cached_property
    def block(self) -> int:
        """How many points are looked at together: by sizes alone, so that a run that goes on has the same bits."""
        m, n = self.shape
        each = m * n if self.forms else (2 * min(60, m, n) + 10) * (m + n)  # bases of Golub and Kahan, and more
        return max(1, min(ROWS, self.problem.count, BYTES // (each * self.problem.map.itemsize)))

    @property
    def steps(self) -> int:
        return self.problem.count - 1

    @property
    def evidence_steps(self) -> int:
        return 6

    def notes(self) -> Sequence[str]:
        notes = sentences(self.problem)
        if not self.forms:
            notes.append("only the largest singular value is computed, by Golub-Kahan bidiagonalisation")
        if isinstance(self.problem, ByInput) and self.many and self.problem.map.rows is None:
            notes.append("points are looked at one by one: they do not go together here")
        return notes

    def init(self) -> State:
        return {}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        new = dict(state)
        if k % self.block == 0:
            new |= self.block_from(state, k)
        i = k % self.block
        names = [name for name in new if name.startswith("own.")]
        values = {name.removeprefix("own."): new[name][i] for name in names}
        if "value" in new:
            values["value"] = new["value"][i]
        if self.small:
            J = new["jacobian"][i]
            if not self.many:
                values["jacobian"] = J
            elif self.trail:
                values["entries"] = J.reshape(-1)
        if self.many and k == self.steps:
            values |= self.spread(new)
        elif self.long:
            σ = new["own.singular_values"][:1]
            values |= {"spectrum_25": σ, "spectrum": σ, "spectrum_75": σ, "order": counted(σ)}
        return new, values

    def block_from(self, state: State, k: int) -> State:
        """The block of points that begins with k, and all that was seen so far."""
        last = min(k + self.block, self.problem.count)
        if self.forms:
            value, J = self.problem.values_and_jacobians(k, last, self.plan)
            J = J.masked_fill_(value.isnan().unsqueeze(-1), torch.nan)  # where f is undefined, so is its derivative
            found = measures.of_matrices(J)
            new: State = {"value": value, "jacobian": J}
            if self.small:
                squares = J.square().sum(0)
                new["squares"] = state["squares"] + squares if "squares" in state else squares
        else:
            new, found = self.largest(k, last)
        for name, values in found.items():
            new[f"own.{name}"] = values
            if self.many:
                before = state.get(f"all.{name}")
                new[f"all.{name}"] = values if before is None else torch.cat([before, values])
        return new

    def largest(self, k: int, last: int) -> tuple[State, State]:
        made = self.problem.products(k, last)
        (m, n), x = self.shape, self.problem.map.start
        maker = torch.Generator(device=x.device).manual_seed(self.seed)
        start = torch.randn(1, n, generator=maker, dtype=x.dtype, device=x.device).expand(last - k, n)
        tol = TOL if x.dtype == torch.float64 else 1e-4
        σ = golub_kahan(made.push, made.pull, start, m, tol=tol)
        new: State = {"value": made.value, "left": σ.left[..., 0], "right": σ.right[..., 0]}
        undefined = made.value.isnan().any(1) | σ.values[:, 0].isnan()
        names = {"spectral_norm": σ.values, "residual": σ.residuals}
        found: State = {name: torch.where(undefined, torch.nan, all_[:, 0]) for name, all_ in names.items()}
        if self.plan.way == "coloured" and isinstance(self.problem, ByInput):
            parts = [compressed(self.problem.map, point) for point in self.problem.points[k:last]]
            found["frobenius_norm"] = torch.stack([part.norm() for part in parts])
            new["nonzero"] = torch.tensor(parts[0].entries)
        return new, found

    def spread(self, state: State) -> dict[str, Tensor]:
        """Over all points: quantiles of the norms and of every singular value, and the root mean square of J."""
        values = {"spectral_norms": measures.quantiles(state["all.spectral_norm"])}
        if "all.condition" in state:
            values["conditions"] = measures.conditions(state["all.condition"], state["all.rank"], min(self.shape))
            σ = state["all.singular_values"]
            rows = measures.quantiles(σ)
            values |= {"spectrum_25": rows[2:3], "spectrum": rows[3:4], "spectrum_75": rows[4:5]}
            values["order"] = counted(rows[3:4])
        if "squares" in state:
            values["sensitivity"] = (state["squares"] / self.problem.count).sqrt()
        return values

    def verify(self, state: State, k: int) -> list[Evidence]:
        i, f = k % self.block, self.problem.function(k)
        if self.forms:
            value, J, σ = state["value"][i], state["jacobian"][i], state["own.singular_values"][i]
            rows = evidence.of_matrix(f, value, J, σ, k, self.seed)
            if self.held is not None:
                rows.append(identity("jacobian", "of a linear network: the weight", J, self.held, k))
            return rows
        made = self.problem.products(k, k + 1)
        triplet = (state["own.spectral_norm"][i], state["left"][i], state["right"][i], state["own.residual"][i])
        return evidence.of_triplet(f, made, *triplet, k, self.seed)

    @cached_property
    def held(self) -> Tensor | None:
        """What J is known to be: the weight once for each row of the batch, along the diagonal."""
        if self.weight is None:
            return None
        return torch.kron(torch.eye(self.batch or 1, dtype=self.weight.dtype, device=self.weight.device), self.weight)

    @cached_property
    def stretch(self) -> Bound | None:
        """Norms of the layers; None of a function, and by parameters."""
        if not isinstance(self.problem, ByInput):
            return None
        return None if self.problem.module is None else bound(self.problem.map.steps, self.problem.module)

    def answer(self, state: State) -> Answer:
        found, name = self.found(state), self.problem.function(0).name
        plain = isinstance(self.problem, ByInput) and self.problem.module is None
        of = [] if plain or self.many else [Line("of", name)]
        return replace(found, lines=[*of, *found.lines, Line("computed", self.plan.text())])

    def found(self, state: State) -> Answer:
        """The answer, but for how it was computed."""
        way = self.plan.way
        if self.many:
            return answer.of_points(self.problem, state, way, self.threshold, self.stretch)
        if not self.forms:
            return answer.of_largest(self.problem, state, way, self.stretch)
        return answer.of_point(
            self.problem, state, way, self.threshold, self.stretch, self.held, batch=self.batch, written=self.small
        )

    def labels(self) -> Labels:
        named = pictures.Written(self.many, self.forms, self.small, self.long, self.trail)
        return pictures.labels_of_points(self.problem, named)

    def pictures(self) -> Sequence[Picture]:
        named = pictures.Written(self.many, self.forms, self.small, self.long, self.trail)
        return pictures.of_points(self.problem, named)


def counted(σ: Tensor) -> Tensor:
    """1, 2, 3, ... of the shape of σ (1, r)."""
    return torch.arange(1, σ.shape[1] + 1, dtype=σ.dtype, device=σ.device)[None]
