"""The Jacobian point after point: step k is point k of a function, or row k of the data of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from calclab.core import Answer, Bars, Curves, Evidence, Heatmap, Labels, Picture, Spread, State, Values
from calclab.errors import UserError
from calclab.numerics.jacobian import Plan, compressed, golub_kahan
from calclab.numerics.verify import identity
from calclab.topic import words
from calclab.topic.base import Method
from calclab.topic.jacobian import evidence, measures, report
from calclab.topic.jacobian.asked import Asked, ByInput
from calclab.topic.jacobian.lipschitz import Bound, bound

ENTRIES = 20_000  # a Jacobian with more entries is not written; its singular values always are
TRAIL = 1_000_000  # of all points together: more entries are not written row by row
ROWS = 256  # points looked at together, at most
BYTES = 2**25  # ... whose Jacobians take this much, at most: they are part of the state
BARS = 30  # singular values drawn as bars, at most
TOL = 1e-8  # of the residuals of a largest singular value, relative to it (float32: 1e-4)
SPECTRUM = ("singular_values", "spectrum", "order", "number of the singular value")


@dataclass(frozen=True)
class PointScan(Method):
    """J_k = ∂f/∂x at x_k, (m, n). Where all of them fit, each with its singular values; otherwise the largest one."""

    asked: Asked
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
        made = self.asked.plan(way=self.way, memory=self.memory, spectrum=many)
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
        return self.asked.map.outputs, self.asked.map.inputs

    @property
    def many(self) -> bool:
        return self.asked.count > 1

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
        return self.many and self.small and m * n <= 1000 and self.asked.count * m * n <= TRAIL

    @cached_property
    def block(self) -> int:
        """How many points are looked at together: by sizes alone, so that a run that goes on has the same bits."""
        m, n = self.shape
        each = m * n if self.forms else (2 * min(60, m, n) + 10) * (m + n)  # bases of Golub and Kahan, and more
        return max(1, min(ROWS, self.asked.count, BYTES // (each * self.asked.map.itemsize)))

    @property
    def steps(self) -> int:
        return self.asked.count - 1

    @property
    def checks(self) -> int:
        return 6

    def notes(self) -> Sequence[str]:
        notes = [self.plan.sentence()]
        if not self.forms:
            notes.append("only the largest singular value is computed, by Golub-Kahan bidiagonalisation")
        if isinstance(self.asked, ByInput) and self.many and self.asked.map.rows is None:
            notes.append("points are looked at one by one: they do not go together here")
        return notes

    def init(self) -> State:
        return {}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        new = dict(state)
        if k % self.block == 0:
            new |= self.look(state, k)
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

    def look(self, state: State, k: int) -> State:
        """The block of points that begins with k, and all that was seen so far."""
        last = min(k + self.block, self.asked.count)
        if self.forms:
            value, J = self.asked.look(k, last, self.plan)
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
        made = self.asked.products(k, last)
        (m, n), x = self.shape, self.asked.map.start
        maker = torch.Generator(device=x.device).manual_seed(self.seed)
        start = torch.randn(1, n, generator=maker, dtype=x.dtype, device=x.device).expand(last - k, n)
        tol = TOL if x.dtype == torch.float64 else 1e-4
        σ = golub_kahan(made.push, made.pull, start, m, tol=tol)
        new: State = {"value": made.value, "left": σ.left[..., 0], "right": σ.right[..., 0]}
        undefined = made.value.isnan().any(1) | σ.values[:, 0].isnan()
        names = {"spectral_norm": σ.values, "residual": σ.residuals}
        found: State = {name: torch.where(undefined, torch.nan, all_[:, 0]) for name, all_ in names.items()}
        if self.plan.way == "coloured" and isinstance(self.asked, ByInput):
            parts = [compressed(self.asked.map, point) for point in self.asked.points[k:last]]
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
            values["sensitivity"] = (state["squares"] / self.asked.count).sqrt()
        return values

    def verify(self, state: State, k: int) -> list[Evidence]:
        i, f = k % self.block, self.asked.function(k)
        if self.forms:
            value, J, σ = state["value"][i], state["jacobian"][i], state["own.singular_values"][i]
            rows = evidence.of_matrix(f, value, J, σ, k, self.seed)
            if self.weight is not None:
                held = self.blocks(self.weight)
                rows.append(identity("jacobian", "of a linear network: the weight", J, held, k))
            return rows
        made = self.asked.products(k, k + 1)
        triplet = (state["own.spectral_norm"][i], state["left"][i], state["right"][i], state["own.residual"][i])
        return evidence.of_triplet(f, made, *triplet, k, self.seed)

    def blocks(self, weight: Tensor) -> Tensor:
        """The weight once for each row of the batch, along the diagonal."""
        return torch.kron(torch.eye(self.batch or 1, dtype=weight.dtype, device=weight.device), weight)

    @cached_property
    def stretch(self) -> Bound | None:
        """Norms of the layers; None of a function, and by parameters."""
        if not isinstance(self.asked, ByInput):
            return None
        return None if self.asked.module is None else bound(self.asked.map.steps, self.asked.module)

    def answer(self, state: State) -> Answer:
        return report.many(self, state) if self.many else report.one(self, state)

    def labels(self) -> Labels:
        asked, (m, n) = self.asked, self.shape
        outputs = tuple(asked.outputs) or (asked.name,)
        labels: dict[str, tuple[Sequence[str], ...]] = {
            "singular_values": (tuple(f"σ{i + 1}" for i in range(min(m, n))),),
            "value": (outputs,),
            "spectral_norms": (measures.NAMES,),
            "conditions": (measures.NAMES,),
        }
        if self.small:
            labels["jacobian"] = labels["sensitivity"] = (outputs, asked.variables)
        if self.trail:
            labels["entries"] = (tuple(f"∂{y}/∂{x}" for y in outputs for x in asked.variables),)
        if self.many or self.long:
            axes = ("median" if self.many else "singular value",), words.count(min(m, n))
            labels |= dict.fromkeys(("spectrum", "spectrum_25", "spectrum_75", "order"), axes)
        return labels

    def pictures(self) -> Sequence[Picture]:
        if not self.many:
            σ = Bars("singular_values", "singular_values")
            drawn: list[Picture] = [Spread(*SPECTRUM) if self.long else σ] if self.forms else []
            return [*([Heatmap("jacobian", "jacobian")] if self.small else []), *drawn]
        pictures: list[Picture] = [Bars("spectral_norms", "spectral_norms")]
        if self.forms:
            pictures.append(Bars("conditions", "conditions"))
            if min(self.shape) > 2:  # two values make no curve
                pictures.append(Spread(*SPECTRUM))
            columns = ("spectral_norm", "condition") if min(self.shape) > 1 else ("spectral_norm",)
            pictures.append(Curves("points", columns, axis="point"))
        if self.small:
            pictures.append(Heatmap("sensitivity", "sensitivity"))
        return pictures


def counted(σ: Tensor) -> Tensor:
    """1, 2, 3, ... of the shape of σ (1, r)."""
    return torch.arange(1, σ.shape[1] + 1, dtype=σ.dtype, device=σ.device)[None]
