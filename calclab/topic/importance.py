"""Which inputs matter: |gradient| of the loss or of an output by each input, per sample and over a data set."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from calclab import schema
from calclab.core import (
    Answer,
    Bars,
    Curves,
    Evidence,
    Function,
    Heatmap,
    Labels,
    Picture,
    State,
    Values,
)
from calclab.errors import UserError
from calclab.function.network import Network
from calclab.numerics.operators import dense_jacobian
from calclab.numerics.tolerance import tolerance_of
from calclab.numerics.verify import check_gradient, check_jacobian, identity
from calclab.topic import words
from calclab.topic.base import Method

LARGE = 100  # inputs beyond it saturate a tanh
BLOCK = 256  # samples differentiated at once


@dataclass(frozen=True, kw_only=True)
class Importance(schema.topic.Importance, Method):
    """Step k is sample k: a_k = |∂t/∂x| at x_k, (d,); importance is their mean, with standard error s/√N.

    t is the sample's own loss, one output, or the output of its predicted class (Simonyan et al. 2013, section 3).
    A function is one sample, and its variables are the features. Samples are differentiated in blocks: the gradient of
    Σ_k t(x_k) by all rows at once is each row's own, since rows do not mix.
    """

    subject: Function | Network

    def __post_init__(self) -> None:
        super().__post_init__()
        outputs = self.outputs
        found = re.fullmatch(r"output\.(\d+)", self.target)
        allowed = [f"output.{i}" for i in range(len(outputs))]
        if isinstance(self.subject, Network):
            allowed = ["loss", "predicted", *allowed]
            if self.rows is not None and self.rows > len(self.subject.rows):
                most = len(self.subject.rows)
                raise UserError(f"rows={self.rows}: {self.subject.data.name} has {most} rows. Type rows={most} or less")
        else:
            allowed = allowed or ["loss"]
            if self.rows is not None:
                raise UserError(f"rows={self.rows}: {self.subject.name} is a function, not data. Leave rows out")
        if self.target not in allowed or (found and int(found[1]) >= len(outputs)):
            raise UserError(
                f"target={self.target}: of {self.subject.name} there is {words.listing(allowed, 14)}. "
                f"Type for example target={allowed[0]}"
            )

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        return self.subject.response().outputs

    @property
    def output(self) -> int | None:
        """The number of the output that is differentiated; None for the loss and for the predicted class."""
        return int(self.target.partition(".")[2]) if self.target.startswith("output.") else None

    @cached_property
    def samples(self) -> Tensor:
        """The inputs, (N, d)."""
        if isinstance(self.subject, Network):
            return self.subject.rows[: self.rows]
        return self.subject.start[None]

    @cached_property
    def features(self) -> tuple[str, ...]:
        return self.subject.data.features if isinstance(self.subject, Network) else self.subject.variables

    @property
    def steps(self) -> int:
        return len(self.samples) - 1

    @property
    def checks(self) -> int:
        return 6

    def scores(self, x: Tensor, first: int, chosen: Tensor | None = None) -> Tensor:
        """t for the rows x (b, d), which are samples ``first``, ``first`` + 1, ...: (b,)."""
        network = self.subject
        if not isinstance(network, Network):
            return network.call(x[0]).reshape(-1)[self.output or 0][None]
        if self.target == "loss":
            return network.losses(x, network.data.targets[first : first + len(x)])
        outputs = network.batch_outputs(x)
        if self.output is not None:
            return outputs[:, self.output]
        best = outputs.detach().argmax(1) if chosen is None else chosen
        return outputs.gather(1, best[:, None])[:, 0]

    def sample(self, k: int) -> Function:
        """t of sample k as a function of its input; the predicted class is held fixed at the one predicted there."""
        x, network = self.samples[k], self.subject
        if not isinstance(network, Network) and network.scalar:
            return network
        chosen = None
        if isinstance(network, Network) and self.target == "predicted":
            chosen = network.batch_outputs(x[None]).detach().argmax(1)
        call: Callable[[Tensor], Tensor] = lambda x: self.scores(x[None], k, chosen)[0]  # noqa: E731
        return Function(name=f"{self.target} of sample {k}", call=call, start=x, variables=self.features)

    def init(self) -> State:
        zero = torch.zeros_like(self.samples[0])
        return {"mean": zero, "squares": zero}

    def step(self, state: State, k: int) -> tuple[State, Values]:
        new = dict(state)
        if k % BLOCK == 0:
            x = self.samples[k : k + BLOCK].detach().clone().requires_grad_()
            scores = self.scores(x, k)
            new["scores"] = scores.detach()
            (new["gradients"],) = torch.autograd.grad(scores.sum(), x, allow_unused=True, materialize_grads=True)
        g, score = new["gradients"][k % BLOCK], new["scores"][k % BLOCK]
        a = g.abs()
        # Welford 1962: mean and sum of squared deviations, in one pass and without cancellation
        off = a - state["mean"]
        new["mean"] = state["mean"] + off / (k + 1)
        new["squares"] = state["squares"] + off * (a - new["mean"])
        values: dict[str, Tensor] = {"attributions": a, "score": score, "gradient_norm": g.norm()}
        if k == self.steps:
            values["importance"] = new["mean"]
            if k > 0:
                values["standard_error"] = standard_error(new, k + 1)
            if self.image is not None:
                values["importance_map"] = new["mean"].reshape(self.image).sum(0)
        return new, values

    def verify(self, state: State, k: int) -> list[Evidence]:
        g, subject = state["gradients"][k % BLOCK], self.subject
        if not isinstance(subject, Network) and not subject.scalar:
            J = dense_jacobian(subject.call, subject.start)
            row = identity(f"∂{self.target}/∂x", "row of the Jacobian", g, J[self.output or 0], k)
            return [row, *check_jacobian(subject, subject.start, J, k)]
        function = self.sample(k)
        # what matters is an error in the mean, so gaps are held against the largest gradient among its neighbours
        scale = float(state["gradients"].norm(dim=1).max())
        evidence = check_gradient(function, function.start, g, k, scale=scale if math.isfinite(scale) else 0.0)
        if isinstance(self.subject, Network):
            x = function.start.detach().clone().requires_grad_()
            (alone,) = torch.autograd.grad(function.call(x), x, allow_unused=True, materialize_grads=True)
            method, allowed = "alone = in its block (rows do not mix)", self.rounding(function.start, g)
            evidence.append(identity("gradient of a sample", method, g, alone, k, tolerance=allowed))
        return evidence

    def rounding(self, x: Tensor, g: Tensor) -> float:
        """The rounding to forgive in g: relative to it, or to the outputs' own gradients, of which the loss's is a
        difference that nearly cancels where the network is sure of its class.
        """
        assert isinstance(self.subject, Network)
        leaf = x.detach().clone().requires_grad_()
        outputs = self.subject.batch_outputs(leaf[None])[0]
        signs = 1 - 2 * (torch.arange(len(outputs), device=x.device) % 2).to(x.dtype)
        (own,) = torch.autograd.grad(outputs @ signs, leaf, allow_unused=True, materialize_grads=True)
        rule = tolerance_of(x.dtype)
        found = torch.maximum(rule.identity * g.abs().max(), 64 * rule.eps * own.norm())
        return float(found) if bool(found.isfinite()) else 0.0

    def answer(self, state: State) -> Answer:
        mean, n = state["mean"], self.steps + 1
        order = mean.argsort(descending=True, stable=True)
        ranks = torch.empty_like(order)
        ranks[order] = torch.arange(1, len(order) + 1, device=order.device)
        best = [int(i) for i in order[:4]]
        values: dict[str, Tensor | str] = {
            "most important": self.features[best[0]],
            "argmax": order[0],
            "samples": torch.tensor(n),
            "importance": mean,
            "ranks": ranks,
        }
        what = {"loss": "loss", "predicted": "predicted class"}.get(self.target) or self.outputs[self.output or 0]
        error = standard_error(state, n)
        if n > 1:
            values["standard_error"] = error
        mark = f"|∂{what}/∂x|" if isinstance(self.subject, Network) else "|∂f/∂x|"
        if not bool(mean.isfinite().all()):
            return Answer(f"{mark} is not finite for some sample: no ranks can be given", values)
        if not bool((mean > 0).any()):
            text = f"nothing matters: {mark} is zero for every feature"
            if bool(self.samples.abs().max() > LARGE):
                text += "; the inputs are large and may saturate the network: try data.standardize=true"
            return Answer(text, values)
        first = best[0]
        if n == 1:
            listed = [f"{self.features[i]} {words.number(mean[i])}" for i in best]
            return Answer(f"{self.features[first]} matters most: {mark} by {', '.join(listed)}", values)
        listed = [f"{self.features[i]} {words.number(mean[i])} ± {float(error[i]):.2g}" for i in best]
        text = (
            f"{self.features[first]} matters most: mean {mark} over {n} samples by {', '.join(listed)} (standard error)"
        )
        near = [i for i in best[1:] if bool(mean[first] - mean[i] <= 2 * torch.hypot(error[first], error[i]))]
        if near:
            text += f"; within two standard errors of it: {words.listing(self.features[i] for i in near)}"
        constant = [i for i in best if bool((self.samples[:, i] == self.samples[0, i]).all())]
        if constant:
            text += f"; constant in the data: {words.listing(self.features[i] for i in constant)}"
        return Answer(text, values)

    @property
    def image(self) -> tuple[int, int, int] | None:
        """(channels, height, width), where the inputs are images."""
        if not isinstance(self.subject, Network) or self.subject.data.inputs.ndim != 4:
            return None
        c, h, w = self.subject.data.inputs.shape[1:]
        return int(c), int(h), int(w)

    def labels(self) -> Labels:
        names = ("attributions", "importance", "standard_error")
        labels: dict[str, tuple[Sequence[str], ...]] = dict.fromkeys(names, (self.features,))
        if self.image is not None:
            labels["importance_map"] = (words.count(self.image[1]), words.count(self.image[2]))
        return labels

    def pictures(self) -> Sequence[Picture]:
        maps = [Heatmap("importance_map", "importance_map")] if self.image is not None else []
        return [Bars("importance", "importance", ranked=True), *maps, Curves("samples", ("gradient_norm",))]


def standard_error(state: State, n: int) -> Tensor:
    """The standard error of the mean of n samples, s/√n with s² over n - 1; NaN for one sample."""
    return (state["squares"] / ((n - 1) * n or torch.nan)).sqrt()
