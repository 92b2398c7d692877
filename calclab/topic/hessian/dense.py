"""With the matrix: all eigenvalues at one look, proven where the function is a formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab.core import (
    Answer,
    Ball,
    Bars,
    Evidence,
    Function,
    Heatmap,
    Labels,
    Picture,
    State,
    Values,
)
from calclab.numerics.kinks import Gap, nowhere
from calclab.numerics.krylov import Pairs
from calclab.numerics.operators import dense_hessian, value_and_gradient
from calclab.numerics.spectrum import Inertia, condition_of_eigenvalues, eigen, eigenvalues_of, inertia, symmetric
from calclab.numerics.stationary import look, stationary
from calclab.numerics.verify import best_known, check_eigenvalues, check_gradient, check_hessian, identity, known
from calclab.schema.topic import Hessian as Knobs
from calclab.topic import words
from calclab.topic.base import OneLook
from calclab.topic.hessian import senses
from calclab.topic.hessian.layers import COLUMNS, bars, columns
from calclab.topic.hessian.looked import Looked
from calclab.topic.hessian.slices import Slices, directions
from calclab.topic.hessian.stages import packed
from calclab.topic.proven import Proven, proven
from calclab.topic.rounding import slack

SHOWN = 64  # larger matrices are not drawn
WRITTEN = 2000  # still larger ones are not written; their eigenvalues always are
KEYS = ("raw", "hessian", "eigenvalues", "eigenvectors")


@dataclass(frozen=True)
class Dense(OneLook):
    """A = V diag(λ) Vᵀ, (n, n), with λ ascending; κ = max|λ| / min|λ|."""

    looked: Looked
    knobs: Knobs
    layers: tuple[str, ...]
    seed: int

    @property
    def function(self) -> Function:
        return self.looked.function

    @property
    def n(self) -> int:
        return self.looked.n

    @property
    def whole(self) -> bool:
        """Whether it is the Hessian itself, which derivatives of the function can be held against."""
        return self.looked.kind == "hessian"

    @cached_property
    def slices(self) -> Slices | None:
        """Cuts through the loss of a network."""
        if not self.knobs.slices or self.looked.network is None:
            return None
        names = directions(self.n, min(2, self.n), min(1, max(0, self.n - 2)))
        return Slices(self.looked, self.knobs.slices, names, self.seed)

    def step(self, state: State, k: int) -> tuple[State, Values]:
        f = self.function
        value, g = value_and_gradient(f.call, f.start)
        raw = dense_hessian(f.call, f.start) if self.whole else self.looked.A.dense()
        H = symmetric(raw)
        λ, V = eigen(H)
        new: State = {"value": value, "gradient": g, "raw": raw, "hessian": H, "eigenvalues": λ, "eigenvectors": V}
        values = {"value": value, "gradient_norm": g.norm(), "asymmetry": (raw - raw.T).abs().max(), "eigenvalues": λ}
        if self.n <= WRITTEN:
            values["hessian"] = H
        if self.n <= SHOWN:
            values |= {"gradient": g, "eigenvectors": V}
        if self.looked.network is not None:
            values |= self.of_network(new)
            new["own"] = {name: values[name] for name in COLUMNS if name in values}
            if self.knobs.against is not None:
                new["against"] = (symmetric(self.looked.operator(self.knobs.against).dense()) - H).norm()
        return new, values

    def of_network(self, state: State) -> dict[str, Tensor]:
        """What only a network has: the picture of its spectrum, outliers, layers, cuts through its loss."""
        λ, n = state["eigenvalues"], self.n
        values: dict[str, Tensor] = {}
        if self.knobs.probes:
            values["spectrum"] = senses.bins(λ, λ[:0], λ[:0], n * float(torch.finfo(λ.dtype).eps * λ.abs().max()))
        if self.looked.classes:
            values["outliers"] = senses.counted(λ.flip(0), self.looked.classes)
        if self.layers:
            values |= columns(self.by_layer(state["hessian"]))
        if self.slices is not None:
            values |= self.cut(self.slices, state)
        return values

    def by_layer(self, H: Tensor) -> Tensor:
        """Extreme eigenvalues and trace of each layer's block, (L, 4); they have no sampling error."""
        rows = []
        for layer in self.layers:
            at = self.looked.places(layer)
            block = H[at][:, at]
            λ = eigenvalues_of(block)
            rows.append(torch.stack([λ[-1], λ[0], block.trace(), torch.zeros_like(λ[0])]))
        return torch.stack(rows)

    def cut(self, slices: Slices, state: State) -> Values:
        λ, V = state["eigenvalues"], state["eigenvectors"]
        top = min(2, self.n)
        at = [*range(self.n - 1, self.n - 1 - top, -1), *range(min(1, self.n - top))]
        none = torch.zeros_like(λ[at])
        infinite = none.new_full((), torch.inf)
        pairs = Pairs(λ[at], V[:, at], none, none, none == 0, torch.tensor(0), top, infinite, -infinite)
        found = {"edges": {"pairs": packed(pairs)}, "point": {name: state[name] for name in ("value", "gradient")}}
        own = slices.begin(found)
        while len(own["loss"]) < len(slices.names) or (slices.flat and len(own["surface"]) < slices.points):
            own = slices.step(own, found)
        return slices.values(own, found)

    def verify(self, state: State, k: int) -> list[Evidence]:
        f, x, raw, H, λ, V = self.function, self.function.start, *(state[key] for key in KEYS)
        evidence = check_gradient(f, x, state["gradient"], k)
        if not self.whole:
            evidence.append(identity("matrix", "symmetry: A = Aᵀ", raw, raw.T, k))
            evidence.append(identity("matrix", "A = V diag(λ) Vᵀ", H, (V * λ) @ V.T, k))
            rounding = self.n * torch.finfo(λ.dtype).eps * λ.abs().max()
            evidence.append(
                identity(
                    "matrix", "no eigenvalue is negative", λ.clamp(max=0), 0 * λ, k, tolerance=16 * float(rounding)
                )
            )
            return evidence
        evidence += check_hessian(f, x, raw, k)
        if not bool(raw.isfinite().all()):
            return evidence
        if f.exact is not None:  # otherwise it is among the checks already
            evidence.append(identity("hessian", "symmetry: H = Hᵀ", raw, raw.T, k, tolerance=slack(f, x, raw, 2)))
        evidence.append(identity("hessian", "H = V diag(λ) Vᵀ", H, (V * λ) @ V.T, k))
        if not self.gaps(raw):
            evidence += check_eigenvalues(f, x, λ, k)
        return evidence

    def answer(self, state: State) -> Answer:
        f, g, λ = self.function, state["gradient"], state["eigenvalues"]
        told = ("gradient", "hessian") if self.n <= SHOWN else ()
        rest: dict[str, Tensor | str] = {}
        for key in told:
            rest |= {key: state[key], **self.true(state, key)}
        rest |= {"gradient_norm": g.norm(), "trace": state["hessian"].trace()}
        values: dict[str, Tensor | str] = {"value": state["value"], **self.true(state, "value")}
        latex = [] if f.exact is None else f.exact.derivative_latex(2)
        at = f" ({words.listing(f.start)})" if self.n <= 8 else ""
        ball, gaps = self.ball(), self.gaps(state["raw"])
        measured = state["hessian"]
        if gaps and all(gap.exists for gap in gaps.values()):
            measured = symmetric(best_known(f, f.start, 2, state["raw"], gaps))
            ball, λ = None, eigenvalues_of(measured)
            rest |= {"hessian_measured": measured, "eigenvalues_measured": λ}
        elif gaps or (ball is None and not bool(λ.isfinite().all())):
            values |= {"condition": "undefined", "conditioning": "undefined", "kind": "undefined", "eigenvalues": λ}
            return Answer(f"the {self.looked.title} of {f.name} {nowhere(gaps)}", values | rest, latex)
        if ball is not None:
            λ = torch.where(ball.mid.abs() <= ball.rad, 0.0, ball.mid)
        condition = condition_of_eigenvalues(λ, ball)
        values |= senses.condition_values(condition, self.knobs.threshold)
        found = inertia(λ, ball)
        values |= {"kind": self.kind(state, measured, found), "eigenvalues": state["eigenvalues"]}
        values |= Proven(state["eigenvalues"], ball).values("eigenvalues")
        values |= {"inertia": self.signs(found), "curvature": found.curvature, **rest}
        values |= senses.condition_bounds(condition)
        values |= senses.of_matrix(λ, found, self.knobs.damping, proven=ball is not None)
        text = (
            f"{f.name} at the point{at}: {values['kind']}; {self.known(ball, gaps)}"
            f"eigenvalue{'s' * (self.n > 1)} {words.ends(λ)} ({values['inertia']}); "
            f"{condition.sentence(self.knobs.threshold)}"
        )
        if self.looked.network is not None:
            more = self.told(state)
            values |= more
            if "outliers" in more:
                count = int(more["outliers"])
                text += f"; {count} outlier{'s' * (count != 1)} of {self.looked.classes} classes"
        if not bool(state["eigenvalues"].isfinite().all()):
            text += "; autograd gives no finite Hessian here"
        if self.n > WRITTEN:
            text += f"; the {self.n} × {self.n} matrix is not written (up to {WRITTEN} are)"
        return Answer(text, values, latex)

    def true(self, state: State, key: str) -> dict[str, Tensor | str]:
        """What the value, the gradient or the Hessian truly is, where some number of it is not right."""
        f, order = self.function, ("value", "gradient", "hessian").index(key)
        return proven(f, f.start, state[key], order).values(key) if order < 2 or self.whole else {}

    def told(self, state: State) -> dict[str, Tensor]:
        """Further numbers on a network."""
        size = state["hessian"].norm()
        values: dict[str, Tensor] = {"frobenius": size, "diagonal": state["hessian"].diagonal()}
        count = senses.outliers(state["eigenvalues"].flip(0), self.looked.classes) if self.looked.classes else None
        if count is not None:
            values |= {"outliers": torch.tensor(count), "classes_less_one": torch.tensor(self.looked.classes - 1)}
        if "against" in state:
            values["distance"] = state["against"] / size
        return values | state.get("own", {})

    def ball(self) -> Ball | None:
        """Proven eigenvalues, where the function is a formula and they could be proven."""
        if self.function.exact is None:
            return None
        ball = self.function.exact.eigenvalues(self.function.start)
        return ball if bool(ball.mid.isfinite().all()) and bool(ball.rad.isfinite().all()) else None

    def gaps(self, raw: Tensor) -> dict[int, Gap]:
        """What is known of second derivatives that are not proven: autograd gives numbers at kinks too."""
        if not self.whole or self.looked.network is not None:
            return {}
        return known(self.function, self.function.start, 2, raw)

    def known(self, ball: Ball | None, gaps: dict[int, Gap]) -> str:
        """How the eigenvalues told are known."""
        return "proven " if ball is not None else "measured " if gaps else ""

    def signs(self, found: Inertia) -> str:
        return f"{found.negative} negative, {found.zero} zero, {found.positive} positive"

    def kind(self, state: State, H: Tensor, found: Inertia) -> str:
        """What the point is, decided by proven slopes and curvatures where there are such."""
        if not self.whole:
            return f"{self.looked.title}, {found.curvature}"
        x, g = self.function.start, state["gradient"]
        here = stationary(self.function, x, look(self.function, x, g, H))
        return found.word if here else f"not stationary, curvature {found.curvature}"

    def labels(self) -> Labels:
        order = tuple(f"λ{i + 1}" for i in range(self.n))
        labels: dict[str, tuple[Sequence[str], ...]] = {"eigenvalues": (order,)}
        names = self.function.variables
        if self.n <= WRITTEN:
            labels["hessian"] = (names, names)
        if self.n <= SHOWN:
            labels |= {"gradient": (names,), "eigenvectors": (names, order)}
        if self.knobs.probes and self.looked.network is not None:
            labels["spectrum"] = (words.count(2 * senses.SIDE), ("from", "to", "how many"))
        labels |= {name: (self.layers,) for name in COLUMNS if self.layers}
        return labels if self.slices is None else labels | self.slices.labels()

    def pictures(self) -> Sequence[Picture]:
        found: list[Picture] = []
        if self.n <= SHOWN:
            found += [Heatmap(name, name) for name in ("hessian", "eigenvectors")]
        found.append(Bars("eigenvalues", "eigenvalues"))
        if self.knobs.probes and self.looked.network is not None:
            found.append(senses.picture(self.looked.classes))
        if self.layers:
            found += bars(self.looked.kind)
        return found if self.slices is None else [*found, *self.slices.pictures()]
