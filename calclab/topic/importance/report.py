"""What to say of importance: how good the network is, what matters, and then `Doubts`: how far to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from calclab.core import Answer, State
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.importance import gathered
from calclab.topic.importance.doubts import Doubts
from calclab.topic.importance.methods import BY_ROW
from calclab.topic.importance.score import score

if TYPE_CHECKING:
    from calclab.topic.importance.importance import Importance

LARGE = 100  # inputs beyond it saturate a tanh


class Report:
    """Of a topic, given its state, which may be that of a run that was interrupted."""

    def __init__(self, topic: Importance, state: State) -> None:
        self.topic, self.state = topic, state

    def answer(self) -> Answer:
        topic, state = self.topic, self.state
        values: dict[str, Tensor | str] = {}
        found = [score(topic, state, values)]
        if topic.head not in BY_ROW and "permutation" not in state:
            return Answer("no importance yet: the run was interrupted before its first look", values)
        found.append(self.core(values))
        if topic.trust and "most important" in values:
            found += Doubts(topic, state).sentences(values)
        return Answer("; ".join(part for part in found if part), values)

    def core(self, values: dict[str, Tensor | str]) -> str:
        topic = self.topic
        rows = gathered.sizes(topic, self.state)
        mean, n = rows.mean(0), len(rows)
        order = mean.argsort(descending=True, stable=True)
        ranks = torch.empty_like(order)
        ranks[order] = torch.arange(1, len(order) + 1, device=order.device)
        best = [int(i) for i in order[:4]]
        first, names = best[0], topic.features
        values |= {"most important": names[first], "argmax": order[0], "samples": torch.tensor(n)}
        values |= {"importance": mean, "ranks": ranks}
        error = rows.std(0) / n**0.5 if n > 1 else torch.full_like(mean, torch.nan)
        if n > 1:
            values["standard_error"] = error
        if topic.head == "permutation":
            error = self.state["permutation"]["errors"][0]
        mark = self.mark
        if not bool(mean.isfinite().all()):
            del values["most important"]
            return f"{mark} is not finite for some sample: no ranks can be given"
        if not bool((mean > 0).any()):
            del values["most important"]
            text = f"nothing matters: {mark} is zero for every feature"
            if bool(topic.inputs.abs().max() > LARGE):
                text += "; the inputs are large and may saturate the network: try data.standardize=true"
            return text
        if n == 1 and topic.head != "permutation":
            listed = [f"{names[i]} {words.number(mean[i])}" for i in best]
            return f"{names[first]} {self.verb}: {mark} by {', '.join(listed)}"
        listed = [f"{names[i]} {words.number(mean[i])} ± {float(error[i]):.2g}" for i in best]
        over = f"mean {mark} over {n} samples" if n > 1 else mark
        text = f"{names[first]} {self.verb}: {over} by {', '.join(listed)} (standard error)"
        near = [i for i in best[1:] if bool(mean[first] - mean[i] <= 2 * torch.hypot(error[first], error[i]))]
        if near and not (topic.trust and topic.bootstrap):
            text += f"; within two standard errors of it: {words.listing(names[i] for i in near)}"
        if topic.asked.of_units:
            return text
        still = topic.asked.columns.by_feature((topic.inputs != topic.inputs[0]).any(0).to(mean)) == 0
        constant = [names[i] for i in best if bool(still[i])]
        return text + (f"; constant in the data: {words.listing(constant)}" if constant else "")

    @property
    def verb(self) -> str:
        return "is the most active" if self.topic.head == "layer_activation" else "matters most"

    @property
    def mark(self) -> str:
        """What was taken the mean of, in words."""
        topic = self.topic
        if not isinstance(topic.subject, Network) and topic.head == "gradient":
            return "|∂f/∂x|"
        what = topic.asked.of_what(topic.head) if isinstance(topic.subject, Network) or topic.asked.outputs else "f"
        if topic.head in ("gradient", "neuron_gradient"):
            formula = what == topic.asked.target and what not in topic.asked.outputs and not what.isalnum()
            return f"|∂({what})/∂x|" if formula else f"|∂{what}/∂x|"
        if topic.head == "permutation":
            assert isinstance(topic.subject, Network)
            rise = {"loss": "rise of the loss", "accuracy": "fall of the accuracy", "r2": "fall of r²"}
            return f"{rise[topic.asked.score(topic.subject)]} when a column is shuffled"
        return f"|{topic.head} of {what}|"
