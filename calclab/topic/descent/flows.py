"""Theory beside the run, at every step: gradient flow, and the central flow, which holds at the edge of stability.

    gradient flow   dw/dt = -lr ∇f(w)                              what gradient descent is for small steps
    central flow    dw/dt = -lr (∇f(w) + ½ ∇⟨H(w), Σ⟩)             what it oscillates about (`numerics.central_flow`)

Both begin where the run does, and time is counted in steps. Gradient flow is integrated by Dormand and Prince's pair of
orders 5 and 4, the central flow in fixed substeps of order 2; each is carried a second time with a tolerance 100 times
as large, or substeps twice as long, and how far the two have come apart by now is its error (a third of that where the
order is 2: Richardson 1911).

What is compared: the run's loss oscillates, so that its running mean over some `MEMORY` steps is held against the same
mean of the flow's loss (of the central flow f(w) + tr Σ / lr, what an average over the oscillation has), and likewise
the sharpness; the place against that of (x_k + x_{k-1})/2, which the oscillation with period 2 leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from calclab.core import Evidence, Function, Line, State, Values, Verdict
from calclab.numerics.central_flow import Moved, begin, iterate, spectrum
from calclab.numerics.operators import loss_and_gradient

VARIABLES = 10_000  # at most
LOOKS = 200  # at the sharpness, where none are asked for
MEMORY = 20.0  # steps of a running mean
SUBSTEPS, COARSER = 4, 2  # of the central flow in one step
TIGHT, LOOSE = 1e-6, 1e-4  # relative tolerances of gradient flow
STRIDES = 300  # of gradient flow in one step, at most: at a kink they would grow short without end
HELD = 1e-6  # residual of the complementarity problem beyond which nothing holds the sharpness
CLOSE = 0.05  # of the way from the start: an integrator's error beyond it is said
OVER = 0.02  # how far the central flow may be above 2/lr, relative to it


class Law(Protocol):
    """A flow in time: its state has the place ``x`` (n,), the place a step ``before``, and ``coarse``, where a coarser
    integrator is."""

    def init(self, x: Tensor) -> State: ...

    def step(self, state: State) -> State: ...

    def error(self, state: State) -> Tensor:
        """How far the place is off, about."""
        ...

    def broken(self, state: State) -> str:
        """Why there is no such flow any more; empty where there is."""
        ...


@dataclass(frozen=True)
class GradientFlow:
    """dw/dt = -lr ∇f(w)."""

    function: Function
    lr: float

    def init(self, x: Tensor) -> State:
        return {"x": x, "before": x, "coarse": x, "h": x.new_zeros(()), "h_coarse": x.new_zeros(())}

    def step(self, state: State) -> State:
        x, h = self.flown(state["x"], state["h"], TIGHT)
        coarse, h_coarse = self.flown(state["coarse"], state["h_coarse"], LOOSE)
        return {**state, "x": x, "before": state["x"], "coarse": coarse, "h": h, "h_coarse": h_coarse}

    def error(self, state: State) -> Tensor:
        return (state["x"] - state["coarse"]).norm()

    def broken(self, state: State) -> str:
        return (
            ""
            if bool(state["x"].isfinite().all())
            else "it could not be followed: it has a kink here, or leaves the finite numbers"
        )

    def flown(self, x: Tensor, h: Tensor, tol: float) -> tuple[Tensor, Tensor]:
        """x (n,) a step later, and the longest stride within it, which the next begins with."""
        from scipy.integrate import RK45  # type: ignore[import-untyped]

        def slope(_: float, w: Any) -> Any:
            return -self.lr * loss_and_gradient(self.function, torch.from_numpy(w).to(x))[1].cpu().numpy()

        if not bool(x.isfinite().all()):
            return x, h
        size = float(x.norm()) / len(x) ** 0.5
        solver = RK45(slope, 0.0, x.cpu().numpy(), 1.0, rtol=tol, atol=tol * size, first_step=float(h) or None)
        longest = 0.0
        for _ in range(STRIDES):
            solver.step()
            longest = max(longest, solver.step_size or 0.0)
            if solver.status != "running":
                break
        y = solver.y if solver.status == "finished" else math.nan * solver.y
        return torch.from_numpy(y).to(x), x.new_tensor(longest)


@dataclass(frozen=True)
class CentralFlow:
    """The path that gradient descent oscillates about: NaN from where there is none. The state has the integrators'
    own, ``fine`` and ``rough``, tr Σ over the last step (``variance``), the largest sharpness (``highest``) and the
    largest ``residual`` of the complementarity problems so far."""

    function: Function
    lr: float

    def init(self, x: Tensor) -> State:
        start, zero = begin(self.function.call, x, self.lr), x.new_zeros(())
        own = kept(start)
        beyond = start.top * self.lr > 2 * (1 + OVER)
        state = {"x": x, "before": x, "coarse": x, "fine": own, "rough": own, "beyond": beyond}
        return {**state, "variance": zero, "residual": zero, "highest": start.top}

    def step(self, state: State) -> State:
        fine, rough = self.moved(state["fine"], SUBSTEPS), self.moved(state["rough"], COARSER)
        residual = torch.fmax(state["residual"], fine.x.new_tensor(fine.residual))
        lost = bool(state["beyond"] | (residual > HELD))
        return {
            "x": torch.full_like(fine.x, torch.nan) if lost else fine.x,
            "before": state["x"],
            "coarse": rough.x,
            "fine": kept(fine),
            "rough": kept(rough),
            "beyond": state["beyond"],
            "variance": fine.variance,
            "residual": residual,
            "highest": torch.fmax(state["highest"], fine.highest),
        }

    def moved(self, own: State, substeps: int) -> Moved:
        """One step of an integrator."""
        zero = own["x"].new_zeros(())
        before = Moved(own["x"], own["push"], own["top"], own["basis"], zero, zero, 0.0)
        return iterate(self.function.call, self.lr, substeps, before)

    def error(self, state: State) -> Tensor:
        return (state["x"] - state["coarse"]).norm() / 3

    def broken(self, state: State) -> str:
        if bool(state["beyond"]):
            return "it begins below the edge, and the sharpness at the start is above 2/lr: type a smaller lr"
        if bool(state["residual"] > HELD):
            return "it ends where the sharpness passes 2/lr and no oscillation would lower it"
        return "" if bool(state["x"].isfinite().all()) else "it leaves the finite numbers"


def kept(moved: Moved) -> State:
    """What an integrator goes on from."""
    return {"x": moved.x, "push": moved.push, "top": moved.top, "basis": moved.basis}


LAWS: dict[str, Callable[[Function, float], Law]] = {"gradient": GradientFlow, "central": CentralFlow}


@dataclass(frozen=True)
class Flows:
    """The flows called ``names`` from the start of ``function``, for gradient descent with rate ``lr`` whose sharpness
    is known every so many steps.

    The state has one for each flow, and beside it what it is compared with: running means, and sums of their gaps since
    the run's sharpness first reached 2/lr, at step ``edge`` (-1: not yet).
    """

    function: Function
    lr: float
    names: Sequence[str]
    every: int

    @cached_property
    def laws(self) -> dict[str, Law]:
        return {name: LAWS[name](self.function, self.lr) for name in LAWS if name in self.names}

    def init(self) -> State:
        x = self.function.start
        none = {"loss": x.new_zeros(()), "sharpness": x.new_zeros(())}
        state: State = {
            "before": x,
            "edge": x.new_tensor(-1.0),
            "mean": none,
            "steps": x.new_zeros(()),
            "looks": x.new_zeros(()),
        }
        return state | {name: {"flow": law.init(x), "mean": none, "gaps": none} for name, law in self.laws.items()}

    def step(self, state: State, k: int, x: Tensor, loss: Tensor, sharpness: Tensor | None) -> tuple[State, Values]:
        """The flows at time k, beside the run at x (n,) with its ``loss``, and its ``sharpness`` where it is known."""
        seen = {"loss": loss} if sharpness is None else {"loss": loss, "sharpness": sharpness}
        mean = self.blended(state["mean"], seen, k)
        new: State = {**state, "before": x, "mean": mean}
        values: dict[str, Tensor] = {}
        if sharpness is not None and float(state["edge"]) < 0 and bool(sharpness * self.lr >= 2):
            new["edge"] = x.new_tensor(float(k))
        since = float(bool(new["edge"] >= 0))
        new |= {"steps": state["steps"] + since, "looks": state["looks"] + since * (sharpness is not None)}
        for name, law in self.laws.items():
            own = state[name]
            flow = law.step(own["flow"]) if k else own["flow"]
            at = self.function.call(flow["x"]).detach()
            told = {"loss": at}
            expected = {"loss": at}
            if "variance" in flow:
                expected["loss"] = at + flow["variance"] / self.lr
                told |= {"mean_loss": expected["loss"], "variance": flow["variance"]}
            if sharpness is not None:
                told["sharpness"] = expected["sharpness"] = self.sharpness(flow)
            means = self.blended(own["mean"], expected, k)
            gaps = apart({of: means[of] for of in expected}, mean)
            told["distance"] = ((x + state["before"]) / 2 - (flow["x"] + flow["before"]) / 2).norm()
            told["error"] = law.error(flow)
            told |= {f"{of}_gap": far for of, far in gaps.items()}
            sums = own["gaps"] | {of: own["gaps"][of] + since * far for of, far in gaps.items()}
            new[name] = {"flow": flow, "mean": means, "gaps": sums}
            values |= {f"{name}_flow_{of}": value for of, value in told.items()}
        return new, values

    def blended(self, before: State, now: Values, k: int) -> State:
        """Running means a step later: of the sharpness, ``every`` steps."""
        spans = {"loss": 1, "sharpness": self.every}
        share = {of: 1 - math.exp(-spans[of] / MEMORY) if k else 1.0 for of in now}
        return {**before, **{of: before[of] + share[of] * (value - before[of]) for of, value in now.items()}}

    def sharpness(self, flow: State) -> Tensor:
        if not bool(flow["x"].isfinite().all()):
            return flow["x"].new_tensor(torch.nan)
        basis = flow["fine"]["basis"] if "fine" in flow else None
        return spectrum(self.function.call, flow["x"], self.lr, basis)[0][-1]

    # --- what is said of them ---

    def verify(self, state: State, k: int) -> list[Evidence]:
        """Of each integrator how far a coarser one is away by now; of the central flow that the sharpness is held."""
        found = []
        for name, law in self.laws.items():
            flow = state[name]["flow"]
            if k == 0 or law.broken(flow):
                continue
            way, error = float((flow["x"] - self.function.start).norm()), float(law.error(flow))
            found.append(row(k, f"{name}_flow", "step halving", error, 0.0, CLOSE * way, "its steps are too long here"))
            if name == "central":
                limit = 2 / self.lr
                top, left = max(float(flow["highest"]), limit), float(flow["residual"])
                above = "for the length of a substep it was above"
                found.append(row(k, "central_flow_sharpness", "at most 2/lr", top, limit, OVER * limit, above))
                found.append(row(k, "central_flow_variance", "0 ⪯ Σ ⊥ 2/lr - H ⪰ 0", left, 0.0, HELD, ""))
        return found

    def values(self, state: State) -> dict[str, Tensor]:
        """The step at which the edge was reached, and how far each flow was from the run since then, on average."""
        if float(state["edge"]) < 0:
            return {}
        found = {"edge_reached": state["edge"]}
        for name in self.laws:
            gaps = state[name]["gaps"]
            found[f"{name}_flow_mean_loss_gap"] = gaps["loss"] / state["steps"]
            found[f"{name}_flow_mean_sharpness_gap"] = gaps["sharpness"] / state["looks"]
        return found

    def lines(self, state: State) -> list[Line]:
        known, found = self.values(state), []
        for name, law in self.laws.items():
            text = law.broken(state[name]["flow"])
            if not text and not known:
                text = "the sharpness has not reached 2/lr"
            elif not text:
                now = apart(state[name]["mean"], state["mean"])
                mean = [known[f"{name}_flow_mean_{of}_gap"] for of in ("loss", "sharpness")]
                text = (
                    f"loss {float(now['loss']):.1%} and sharpness {float(now['sharpness']):.1%} from the run's at the "
                    f"end, {float(mean[0]):.1%} and {float(mean[1]):.1%} on average since that reached 2/lr at step "
                    f"{float(state['edge']):.0f}"
                )
            found.append(Line(f"{name} flow", text))
        return found


def apart(theory: Values, run: Values) -> dict[str, Tensor]:
    """|theory - run| relative to the run, of what both have."""
    return {of: (value - run[of]).abs() / run[of].abs() for of, value in theory.items()}


def row(k: int, of: str, method: str, value: float, reference: float, tolerance: float, note: str) -> Evidence:
    """Consistent within the ``tolerance``; beyond it the ``note`` says why: an integrator refutes nothing."""
    gap = abs(value - reference)
    kept = gap <= tolerance
    verdict = Verdict.CONSISTENT if kept else Verdict.SUSPECT
    return Evidence(k, of, method, value, reference, gap, gap, tolerance, verdict, "" if kept else note)
