"""How good the network is on rows that it has not seen, said first: importance of a bad model is worthless."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from calclab.core import State
from calclab.subject import again
from calclab.subject.network import Network
from calclab.topic.importance import trust

if TYPE_CHECKING:
    from calclab.topic.importance.importance import Importance

Z = 1.645  # one-sided, 5 %


def score(topic: Importance, state: State, values: dict[str, Tensor | str]) -> str:
    """The score on rows that were held out, beside that of a guess; empty where no rows were."""
    network, seen = topic.subject, tested(topic, state)
    if not isinstance(network, Network) or seen is None:
        return ""
    wrong, guess, whose = seen
    better = guess - wrong
    error = better.std() / len(better) ** 0.5 if len(better) > 1 else torch.full_like(better[0], torch.inf)
    worthless = not bool(better.mean() > Z * error)
    if network.data.classification:
        values |= {"held_out_accuracy": 1 - wrong.mean(), "guessing": 1 - guess.mean()}
        said = f"{float(1 - wrong.mean()):.1%} right (guessing {float(1 - guess.mean()):.1%})"
    else:
        r2 = 1 - wrong.sum() / guess.sum()
        values |= {"held_out_r2": r2, "guessing": torch.zeros_like(r2)}
        said = f"r² = {float(r2):.3g} (guessing 0)"
    values["better than guessing"] = "no" if worthless else "yes"
    said = f"{len(better)} held-out rows, {whose}: {said}"
    if worthless:
        said += ", no better than guessing, so what follows tells of this network and nothing of the data"
    return said


def tested(topic: Importance, state: State) -> tuple[Tensor, Tensor, str] | None:
    """How wrong the network and a guess are on each held-out row, and whose rows these are."""
    network = topic.subject
    if not isinstance(network, Network) or network.loss_name == "sum" or not network.data.targets.numel():
        return None
    if network.data.held_out is not None:
        held = network.data.held_out
        return again.errors(network, held), again.guesses(network.data, held), "the network's own"
    parts = trust.parts_of(network.data, topic.retrains)  # further ones hold out the same rows again
    first = [entry for i, entry in state.get("training", {}).items() if int(i) < parts]
    trained = [entry for entry in first if bool(entry["wrong"].isfinite().all())]
    if not trained:
        return None
    wrong, guess = (torch.cat([entry[name] for entry in trained]) for name in ("wrong", "guess"))
    return wrong, guess, f"{len(trained)} times trained without them"
