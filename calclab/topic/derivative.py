"""One derivative: f and f' at a point, which way to go, and how well difference quotients do as h shrinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Answer, Curves, Evidence, Function, Labels, Line, Picture, State, Tangent, Values
from calclab.errors import UserError
from calclab.numerics.kinks import Gap
from calclab.numerics.operators import value_and_gradient
from calclab.numerics.verify import check_gradient, check_value, known
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.base import Method
from calclab.topic.proven import Proven, proven, shaky
from calclab.topic.tangents import slopes

FEW = 16  # variables up to which each has a row of evidence, and it is said what their rounding does


@dataclass(frozen=True, kw_only=True)
class Derivative(schema.topic.Derivative, Method):
    """f'(x) along one variable, and three difference quotients at h = 2^-k, k = 0, 1, ..., steps.

    forward (f(x+h) - f(x)) / h, error O(h); central (f(x+h) - f(x-h)) / 2h, error O(h²); Richardson, central at h and
    h/2 combined so that h² drops out, error O(h⁴). Each row holds the three and their distances from autograd's f'.
    """

    subject: Function | Network

    def __post_init__(self) -> None:
        super().__post_init__()
        names = self.function.variables
        if self.variable is not None and self.variable not in names:
            raise UserError(
                f"variable={self.variable}: {self.subject.name} has none. {words.nearest(self.variable, names)}"
            )

    @cached_property
    def function(self) -> Function:
        return self.subject.objective()

    @property
    def index(self) -> int:
        return 0 if self.variable is None else self.function.variables.index(self.variable)

    @property
    def name(self) -> str:
        return self.function.variables[self.index]

    @property
    def evidence_steps(self) -> int:
        return 1

    def init(self) -> State:
        f = self.function
        value, g = value_and_gradient(f.call, f.start)
        return {"value": value, "gradient": g}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        f, x = self.function, self.function.start
        direction = torch.zeros_like(x)
        direction[self.index] = 1
        h = 0.5**k
        points = x + torch.stack([direction * (s * h) for s in (1.0, -1.0, 0.5, -0.5)])
        ahead, behind, half_ahead, half_behind = (f.call(point) for point in points)
        central = (ahead - behind) / (2 * h)
        quotients = {
            "forward": (ahead - state["value"]) / h,
            "central": central,
            "richardson": (4 * (half_ahead - half_behind) / h - central) / 3,
        }
        slope = state["gradient"][self.index]
        errors = {f"{name}_error": (quotient - slope).abs() for name, quotient in quotients.items()}
        return state, {"h": torch.full_like(slope, h), **quotients, **errors}

    def verify(self, state: State, k: int) -> list[Evidence]:
        if k > 0:
            return []
        f = self.function
        evidence = check_value(f, f.start, state["value"], k)
        return evidence + check_gradient(f, f.start, state["gradient"], k, each=len(f.start) <= FEW)

    @cached_property
    def gap(self) -> Gap | None:
        """What is known of the slope where it is not proven; of a network nothing is asked."""
        f = self.function
        if isinstance(self.subject, Network):
            return None
        return known(f, f.start, 1, value_and_gradient(f.call, f.start)[1]).get(self.index)

    def answer(self, state: State) -> Answer:
        f, slope, gap = self.function, state["gradient"][self.index], self.gap
        latex = [] if f.exact is None or len(f.start) > 1 else f.exact.derivative_latex(1)
        value, slopes = self.shown(state)
        measured = None if gap is None else slope.new_tensor(gap.value)
        shown = slopes.at(self.index) if measured is None else Proven(measured, None)
        direction = self.direction(shown)
        values: dict[str, Tensor | str] = {"value": state["value"], **value.values("value"), "derivative": slope}
        values |= {**(shown.values("derivative") if gap is None else {}), "direction": direction}
        if measured is not None and gap is not None and gap.exists:
            values["derivative_measured"] = measured
        lines = [Line(words.called("f", f.start), value.text(), "value")]
        if gap is None or gap.exists:
            lines.append(Line(f"df/d{self.name}", shown.text() if gap is None else gap.number, "derivative"))
        lines += self.shaky(value, slopes)
        return Answer(self.headline(direction, gap), values, latex, lines)

    def headline(self, direction: str, gap: Gap | None) -> str:
        """Which way makes f smaller, or why that is not known."""
        at = f" at {words.point(self.function.start)}" if words.point(self.function.start) else " here"
        slope = f"df/d{self.name}"
        if gap is not None and not gap.exists:
            return f"{slope} {gap.text.replace(' here', at)}"
        match direction:
            case "undefined":
                return f"{slope} is not finite{at}"
            case "unknown":
                return f"which way makes f smaller was not proven{at}"
            case "stay":
                return f"f is flat along {self.name}{at}"
        return f"{direction} to make f smaller: {slope} is {'positive' if 'decrease' in direction else 'negative'}{at}"

    def shown(self, state: State) -> tuple[Proven, Proven]:
        """The value and the gradient, proven where they can be."""
        f = self.function
        return proven(f, f.start, state["value"], 0), proven(f, f.start, state["gradient"], 1)

    def shaky(self, value: Proven, slopes: Proven) -> list[Line]:
        """What the rounding of x does to the value and the slope, where that is much."""
        f, i = self.function, self.index
        if len(f.start) > FEW:
            return []
        return shaky(f, f.start, [("f", value, 0, 0), (f"df/d{self.name}", slopes, 1, i)])

    def direction(self, slope: Proven) -> str:
        """Which way to move the variable so that f falls, by the sign of the slope."""
        sign = slope.sign()
        if sign is None:
            return "unknown" if bool(slope.best.isfinite()) else "undefined"
        return f"{'decrease' if sign > 0 else 'increase'} {self.name}" if sign else "stay"

    def labels(self) -> Labels:
        return {}

    def pictures(self) -> Sequence[Picture]:
        f = self.function
        near = Tangent("tangent", f, self.index, partial(slopes, f, isinstance(self.subject, Network)))
        return [near, Curves("errors", ("forward_error", "central_error", "richardson_error"), against="h", log="xy")]
