"""Which training rows made a prediction, and whether training without them would really have changed it so.

The network is first brought to rest at a minimum of its loss plus damping/2 ‖θ‖². Step 0 has the estimates of every row
(`attribution.influence`); each further step trains again without one of a sample of rows, evenly spaced from the row
that lowers the target most to the one that raises it most, and says what really came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from calclab import schema
from calclab.attribution.influence import Minimum, correlation, influence, one_step, rows_of, settle
from calclab.core import Answer, Curves, Data, Evidence, Labels, Line, Picture, Rows, State, Table, Values, Verdict
from calclab.errors import UserError
from calclab.numerics.operators import dense_hessian, value_and_gradient
from calclab.numerics.spectrum import symmetric
from calclab.subject import retraining
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.base import Method

SHIFT = 1e-3  # of a row's weight, in the difference quotient that influence is held against
CLOSE = 1e-3  # relative: of that quotient
LISTED = 5  # rows of either sign that are named
FEW = 4  # retrained rows below which there is no interval


@dataclass(frozen=True, kw_only=True)
class Influence(schema.topic.Influence, Method):
    """Row k > 0 holds, of the k-th row of the sample: its number, ``retrained`` (the target after training without it,
    minus before), ``influence`` and ``one_step``, what was estimated of that: positive where without it the target
    rises."""

    subject: Network
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        network = self.subject
        if not isinstance(network, Network):
            raise UserError("topic=influence asks which rows a network learned from: name one, such as network=linear")
        if network.own_loss or isinstance(network.data.inputs, Rows) or not len(network.data.targets):
            raise UserError(f"topic=influence: {network.name} needs rows in memory, with targets and a loss of outputs")
        if (count := sum(network.sizes)) > self.limit:
            raise UserError(
                f"limit={self.limit}: {network.name} has {count:,} parameters, and the Hessian of all is formed again "
                f"and again. Name a smaller network, such as network=linear, or type limit={count}"
            )
        if not 0 <= self.row < len(self.shown.inputs):
            raise UserError(f"row={self.row}: there are rows 0 to {len(self.shown.inputs) - 1}. Type row=0")
        _ = self.output

    # --- what is asked ---

    @property
    def learned(self) -> Data:
        return self.subject.data

    @property
    def shown(self) -> Data:
        """Where the row looked at is from: those held out, where some are."""
        return self.learned if self.learned.held_out is None else self.learned.held_out

    @cached_property
    def output(self) -> int | None:
        """The output that is the target; None for the loss."""
        if self.target in (None, "loss"):
            return None
        names = [f"output.{i}" for i in range(len(self.subject.outputs))]
        if self.target not in names:
            raise UserError(
                f"target={self.target}: the loss of the row, or one of its outputs. "
                f"{words.nearest(str(self.target), ['loss', *names])}"
            )
        return names.index(self.target)

    def losses(self, θ: Tensor, data: Data) -> Tensor:
        return self.subject.row_losses(self.subject.unflatten(θ), data.inputs, data.targets)

    def objective(self, without: int | None = None, shift: float = 0.0) -> Callable[[Tensor], Tensor]:
        """1/n Σ ℓ_i + damping/2 ‖θ‖²; ``without`` a row, or with ``shift`` more of its weight."""
        n = len(self.learned.inputs)
        weights = torch.ones(n, dtype=self.start.dtype, device=self.start.device)
        if without is not None:
            weights[without] = weights[without] + shift if shift else 0.0
        return lambda θ: weights @ self.losses(θ, self.learned) / n + self.damping / 2 * θ.square().sum()

    def value(self, θ: Tensor) -> Tensor:
        """The target φ(θ), ()."""
        data = self.shown.take(torch.tensor([self.row]))
        if self.output is None:
            return self.losses(θ, data)[0]
        return self.subject.evaluate(data.inputs, self.subject.unflatten(θ))[0, self.output]

    @property
    def start(self) -> Tensor:
        return self.subject.flatten(self.subject.parameters())

    @cached_property
    def minimum(self) -> Minimum:
        """Where all rows bring it to rest."""
        return settle(self.objective(), self.start)

    # --- the scan ---

    @property
    def steps(self) -> int:
        return min(self.retrains, len(self.learned.inputs))

    @property
    def evidence_steps(self) -> int:
        return 1

    def init(self) -> State:
        return {}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        if k == 0:
            return self.estimates()
        i = int(state["sample"][k - 1])
        θ = self.without(i, k).θ
        effect = self.value(θ) - self.value(self.minimum.θ)
        own = self.learned.take(torch.tensor([i]))
        real, told = (self.losses(at, own)[0].detach() for at in (θ, state["moved"][k - 1]))
        values = {
            "row": effect.new_tensor(float(i)),
            "retrained": effect.detach(),
            "influence": state["influences"][i],
            "one_step": state["one_steps"][i],
            "left_out_loss": real,
            "left_out_loss_one_step": told,
        }
        kept = {
            f"seen.{name}": torch.cat([state[f"seen.{name}"], v[None]]) if k > 1 else v[None]
            for name, v in values.items()
        }
        return {**state, **kept}, values

    def estimates(self) -> tuple[State, Values]:
        """Of every row: influence, and one Newton step without it."""
        network, data, θ = self.subject, self.learned, self.minimum.θ
        H = symmetric(dense_hessian(self.objective(), θ))
        gradients = rows_of(lambda t: self.losses(t, data), θ)
        slope = value_and_gradient(self.value, θ)[1]
        n, m = len(data.inputs), len(network.outputs)
        outputs = network.evaluate(data.inputs, network.unflatten(θ)).detach()
        J = rows_of(lambda t: network.evaluate(data.inputs, network.unflatten(t)).flatten(), θ).reshape(n, m, -1)
        moved = one_step(θ, H, gradients, J, self.curvatures(outputs, data.targets))
        influences = influence(H, gradients, slope)
        before = self.value(θ).detach()
        one_steps = torch.stack([self.value(t).detach() for t in moved]) - before
        order = influences.argsort()
        few = [round(j * (n - 1) / max(1, self.steps - 1)) for j in range(self.steps)]
        sample = order[torch.tensor(few, dtype=torch.int64)] if few else order[:0]
        state = {"influences": influences, "one_steps": one_steps, "sample": sample, "moved": moved[sample]}
        return {**state, "target": before}, {"influences": influences, "one_steps": one_steps, "target": before}

    def curvatures(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """∂²ℓ/∂y² (n, m, m) of every row."""
        y = outputs.detach().requires_grad_()
        with torch.enable_grad():
            (g,) = torch.autograd.grad(self.subject.loss.rows(y, targets).sum(), y, create_graph=True)
            parts = [
                torch.autograd.grad(g[:, a].sum(), y, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
                if g.requires_grad
                else torch.zeros_like(y)
                for a in range(y.shape[1])
            ]
        return torch.stack(parts, 1).detach()

    def without(self, i: int, k: int) -> Minimum:
        """Trained again without row i: from where it stands, or from ``fresh`` weights of other seeds."""
        begin = self.minimum.θ
        if self.fresh:
            kept = torch.tensor([j for j in range(len(self.learned.inputs)) if j != i])
            steps = self.subject.training or 200
            again = retraining.train(self.subject, self.learned.take(kept), steps, retraining.drawn(self.seed, k))
            begin = begin if again is None else again.flatten(again.parameters())
        return settle(self.objective(i), begin)

    def verify(self, state: State, k: int) -> list[Evidence]:
        """At rest; and influence against a difference quotient of really training with a little more and less of the
        most influential row."""
        if k:
            return []
        rest = self.minimum
        tolerance = 1e-7 * max(1.0, float(value_and_gradient(self.objective(), self.start)[1].norm()))
        settled = rest.gradient_norm <= tolerance and rest.least > 0
        note = "" if settled else "it has not come to rest at a strict minimum: type a larger damping"
        first = Evidence(
            0, "gradient", "Newton's method", rest.gradient_norm, 0.0, rest.gradient_norm, rest.gradient_norm,
            tolerance, Verdict.CONSISTENT if settled else Verdict.INCONCLUSIVE, note,
        )  # fmt: skip
        i = int(state["influences"].abs().argmax())
        value = float(state["influences"][i])
        more, less = (float(self.value(settle(self.objective(i, s), rest.θ).θ)) for s in (SHIFT, -SHIFT))
        quotient = -(more - less) / (2 * SHIFT)  # to take the row away is to take 1 of its weight
        gap, allowed = abs(value - quotient), CLOSE * abs(quotient) + 1e-9
        close = gap <= allowed
        second = Evidence(
            0, "influence", "trained with a little more and less of the row", value, quotient, gap, gap, allowed,
            Verdict.CONSISTENT if close else Verdict.INCONCLUSIVE, "" if close else "H is nearly singular, or bends",
        )  # fmt: skip
        return [first, second]

    # --- the answer ---

    def answer(self, state: State) -> Answer:
        found, order = state["influences"], state["influences"].argsort(descending=True)
        what = "the loss" if self.output is None else self.subject.outputs[self.output]
        kind = "held-out row" if self.learned.held_out is not None else "row"
        place = self.number(self.shown, self.row)
        values: dict[str, Tensor | str] = {
            "largest_influence": found.abs().max(),
            "target": state["target"],
            "most_influential": found.abs().argmax().double(),
            "influences": found,
            "one_steps": state["one_steps"],
            "least_curvature": found.new_tensor(self.minimum.least),
        }
        named = [("lowered by", order[:LISTED]), ("raised by", order.flip(0)[:LISTED])]
        lines: list[Any] = [Line("target", f"{words.number(state['target'])}, {what} of {kind} {place}", "target")]
        for label, rows in named:
            sign = 1 if label == "lowered by" else -1
            listed = [
                f"row {self.number(self.learned, int(i))} ({words.number(found[i])})"
                for i in rows
                if float(found[i]) * sign > 0
            ]
            lines.append(Line(label, ", ".join(listed) or "no row"))
        if "seen.retrained" in state and len(state["seen.retrained"]) >= FEW:
            more, told, table = self.trust(state)
            values |= more
            lines += told
            lines.append(table)
        headline = f"{what} of {kind} {place} owes most to row {self.number(self.learned, int(found.abs().argmax()))}"
        return Answer(headline, values, lines=lines)

    def trust(self, state: State) -> tuple[dict[str, Tensor | str], list[Line], Table]:
        """How the estimates go with real retraining."""
        real = state["seen.retrained"]
        values: dict[str, Tensor | str] = {}
        lines = []
        for name in ("influence", "one_step"):
            told = state[f"seen.{name}"]
            c = correlation(told, real)
            gap = (told - real).abs().max() / real.abs().max()
            values |= {f"correlation_{name}": real.new_tensor(c.r), f"correlation_{name}_low": real.new_tensor(c.low)}
            values |= {
                f"correlation_{name}_high": real.new_tensor(c.high),
                f"rank_correlation_{name}": real.new_tensor(c.rank),
            }
            values[f"largest_gap_{name}"] = gap
            within = f"95 %: {c.low:.3f} to {c.high:.3f}"
            text = f"correlation {c.r:.3f} with {len(real)} retrainings ({within}), ranks {c.rank:.3f}"
            lines.append(
                Line(name.replace("_", " "), text, f"correlation_{name}", kind="" if c.low > 0.5 else "doubtful")
            )
        own, guess = state["seen.left_out_loss"], state["seen.left_out_loss_one_step"]
        values["largest_gap_left_out"] = (
            (own - guess).abs() / own.abs().clamp(min=1e-3 * float(own.abs().max()))
        ).max()
        rows = [
            (
                self.number(self.learned, int(state["seen.row"][j])),
                *(words.number(state[f"seen.{n}"][j]) for n in ("influence", "one_step", "retrained")),
            )
            for j in sorted({round(a * (len(real) - 1) / 7) for a in range(8)})
        ]
        return values, lines, Table("without a row", ("row", "influence", "one step", "retrained"), rows)

    def number(self, data: Data, i: int) -> str:
        """A row's number in the user's table."""
        return str(i if data.places is None else int(data.places[i]))

    def labels(self) -> Labels:
        rows = (tuple(self.number(self.learned, i) for i in range(len(self.learned.inputs))),)
        return {"influences": rows, "one_steps": rows}

    def pictures(self) -> Sequence[Picture]:
        if self.steps < FEW:
            return ()
        return (Curves("influence", ("retrained", "influence", "one_step"), log="", axis="rows removed, by influence"),)
