"""The loss along and across eigenvectors, with the quadratic model m(t) = f + t g·v + ½ t² vᵀAv beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from calclab.core import Function, Multiples, Picture, State, Surface, Values
from calclab.topic import words
from calclab.topic.hessian.problem import CurvatureProblem


def reach(curvatures: Tensor, value: Tensor, x: Tensor) -> Tensor:
    """How far along v the quadratic part ½ t² vᵀAv is as large as |f|, (d,): at most as far as x is long, or 1."""
    size = max(float(x.norm()), 1.0) if math.isfinite(float(x.norm())) else 1.0
    rise = value.abs().clamp(min=torch.finfo(value.dtype).tiny)
    far = (2 * rise / curvatures.abs().clamp(min=torch.finfo(value.dtype).tiny)).sqrt()
    return torch.where(value == 0, torch.full_like(far, size), far.clamp(max=size)).nan_to_num(nan=size)


def along(function: Function, v: Tensor, offsets: Tensor, aside: Tensor | float = 0.0) -> Tensor:
    """f(x + aside + t v) (points,) for t of ``offsets``."""
    with torch.no_grad():
        return torch.stack([function.call(function.start + (aside + t * v)) for t in offsets])


def model(value: Tensor, slopes: Tensor, curvatures: Tensor, offsets: Tensor) -> Tensor:
    """m (d, points) along directions with slopes g·v (d,) and curvatures vᵀAv (d,)."""
    return value + slopes[:, None] * offsets + curvatures[:, None] * offsets.square() / 2


def plane(value: Tensor, slopes: Tensor, curvatures: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """m over the plane of two eigenvectors, (rows b, columns a): their mixed term v₁ᵀAv₂ is zero."""
    one = slopes[0] * a + curvatures[0] * a.square() / 2
    two = slopes[1] * b + curvatures[1] * b.square() / 2
    return value + one[None, :] + two[:, None]


def aside(vectors: Tensor, seed: int) -> Tensor:
    """A random unit vector (n,) orthogonal to the columns of ``vectors`` (n, d)."""
    generator = torch.Generator(vectors.device).manual_seed(seed)
    v = torch.randn(len(vectors), dtype=vectors.dtype, device=vectors.device, generator=generator)
    for _ in range(2):
        v = v - vectors @ (vectors.T @ v)
    return v / v.norm()


@dataclass(frozen=True)
class Slices:
    """The last stage: f along the first eigenvectors and a random direction, and over the plane of the first two."""

    problem: CurvatureProblem
    points: int
    names: tuple[str, ...]
    seed: int
    name: str = "slices"

    def begin(self, found: State) -> State:
        pairs = found["edges"]["pairs"]
        chosen = picked(self.names, int(pairs["top"]), len(pairs["values"]))
        V = pairs["vectors"][:, chosen]
        curvatures = pairs["values"][chosen].to(V)
        products = 0
        if ASIDE in self.names:
            v = aside(V, self.seed)
            curvatures = torch.cat([curvatures, (v @ (self.problem.A @ v.to(self.problem.A.dtype)).to(v))[None]])
            V, products = torch.cat([V, v[:, None]], 1), 1
        x = self.problem.function.start
        value, g, V, curvatures = (part.to(x) for part in (*found["point"].values(), V, curvatures))
        return {
            "vectors": V,
            "curvatures": curvatures,
            "slopes": g @ V,
            "reach": reach(curvatures, value, x),
            "loss": V.new_zeros(0, self.points),
            "surface": V.new_zeros(0, self.points),
            "products": torch.tensor(products),
            "done": torch.tensor(False),
        }

    def step(self, state: State, found: State) -> State:
        """One line of points: along a direction, then across the plane."""
        V, f = state["vectors"], self.problem.function
        offsets = self.offsets(state)
        at, up = len(state["loss"]), len(state["surface"])
        if at < V.shape[1]:
            loss = torch.cat([state["loss"], along(f, V[:, at], offsets[at])[None]])
            state = {**state, "loss": loss}
        else:
            aside = offsets[1][up]
            row = along(f, V[:, 0], offsets[0], aside * V[:, 1]) if bool(aside != 0) else state["loss"][0]
            state = {**state, "surface": torch.cat([state["surface"], row[None]])}
        complete = len(state["loss"]) == V.shape[1] and (not self.flat or len(state["surface"]) == self.points)
        return {**state, "done": torch.tensor(complete)}

    @property
    def flat(self) -> bool:
        """Whether there is a plane."""
        return self.names[:2] == (FIRST, SECOND)

    def offsets(self, state: State) -> Tensor:
        t = torch.linspace(-1, 1, self.points, dtype=state["reach"].dtype, device=state["reach"].device)
        return state["reach"][:, None] * t

    def values(self, state: State, found: State) -> Values:
        if not bool(state["done"]):
            return {}
        offsets = self.offsets(state)
        value = found["point"]["value"].to(offsets)
        slopes, curvatures = state["slopes"], state["curvatures"]
        values = {"loss_along": state["loss"], "quadratic_model": model(value, slopes, curvatures, offsets)}
        values["offset"] = offsets
        if self.flat:
            a, b = offsets[:2]
            values |= {
                "loss_across": state["surface"],
                "quadratic_model_across": plane(value, slopes, curvatures, a, b),
            }
            values |= {"along_the_first_eigenvector": a, "along_the_second_eigenvector": b}
        return values

    def finish(self, state: State, found: State) -> State:
        return {"curvatures": state["curvatures"], "products": state["products"]}

    def tells(self, state: State) -> bool:
        return False

    def pictures(self) -> list[Picture]:
        first = Multiples(
            "along_eigenvectors", ("loss_along", "quadratic_model"), "offset", "distance from the weights"
        )
        over = ("along_the_first_eigenvector", "along_the_second_eigenvector")
        return (
            [first, Surface("across_eigenvectors", "loss_across", "quadratic_model_across", *over)]
            if self.flat
            else [first]
        )

    def labels(self) -> dict[str, tuple[Sequence[str], ...]]:
        across = words.count(self.points)
        names = ("loss_along", "quadratic_model", "offset")
        labels: dict[str, tuple[Sequence[str], ...]] = dict.fromkeys(names, (self.names, across))
        if self.flat:
            labels |= {"loss_across": (across, across), "quadratic_model_across": (across, across)}
            labels |= {"along_the_first_eigenvector": (across,), "along_the_second_eigenvector": (across,)}
        return labels


FIRST, SECOND, LAST, ASIDE = "largest eigenvalue", "second largest", "smallest eigenvalue", "a random direction"


def directions(n: int, top: int, bottom: int) -> tuple[str, ...]:
    """Which directions are cut along, for so many eigenvectors of n at either end."""
    names = [FIRST] if top else []
    names += [SECOND] if top > 1 else []
    names += [LAST] if bottom else []
    return (*names, ASIDE) if n > len(names) else tuple(names)


def picked(names: Sequence[str], top: int, count: int) -> list[int]:
    """Their places among pairs of which the first ``top`` are the largest."""
    places = {FIRST: 0, SECOND: 1, LAST: top}
    return [places[name] for name in names if name != ASIDE and places[name] < count]
