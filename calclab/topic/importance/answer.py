"""What is said of importance: how good the network is, what matters, and how far to trust it; notes beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Answer
from calclab.subject import retraining
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.importance import trust
from calclab.topic.importance.attributions import Findings, standard_error
from calclab.topic.importance.features import alike
from calclab.topic.importance.methods import OF_ONE_TRAINING, SLOPES
from calclab.topic.importance.perturbations import counts, no_retraining, parts_of
from calclab.topic.importance.problem import ImportanceProblem
from calclab.topic.importance.ranks import Ranks
from calclab.topic.importance.refusals import trial

LARGE = 100  # inputs beyond it saturate a tanh
Z = 1.645  # one-sided, 5 %

Told = trust.Told


def answer(
    problem: ImportanceProblem, knobs: schema.topic.Importance, found: Findings, ranks: Ranks | None, *, complete: bool
) -> Answer:
    """Its score comes first, since importance of a bad model is worthless. ``complete``: the trust report was done."""
    values: dict[str, Tensor | str] = {}
    sentences = []

    def say(told: trust.Told) -> None:
        sentences.append(told[0])
        values.update(told[1])

    say(score(problem, found, knobs.retrains))
    if found.sizes is None:
        return Answer("no importance yet: the run was interrupted before its first look", values)
    say(importance(problem, found, found.sizes, ranked=bool(knobs.trust and knobs.bootstrap)))
    if knobs.trust and "most important" in values:
        if complete:
            for told in trusted(problem, knobs, found, ranks, str(values["most important"])):
                say(told)
        else:
            sentences.append("interrupted before the trust report was done")
    return Answer("; ".join(part for part in sentences if part), values)


# --- how good the network is ---


def score(problem: ImportanceProblem, found: Findings, retrains: int) -> Told:
    """The score on rows that were held out, beside that of a guess; empty where no rows were."""
    network = problem.subject
    if not isinstance(network, Network) or (seen := tested(network, found, retrains)) is None:
        return "", {}
    wrong, guess, whose = seen
    better = guess - wrong
    error = better.std() / len(better) ** 0.5 if len(better) > 1 else torch.full_like(better[0], torch.inf)
    worthless = not bool(better.mean() > Z * error)
    values: dict[str, Tensor | str]
    if network.data.classification:
        values = {"held_out_accuracy": 1 - wrong.mean(), "guessing": 1 - guess.mean()}
        said = f"{float(1 - wrong.mean()):.1%} right (guessing {float(1 - guess.mean()):.1%})"
    else:
        r2 = 1 - wrong.sum() / guess.sum()
        values = {"held_out_r2": r2, "guessing": torch.zeros_like(r2)}
        said = f"r² = {float(r2):.3g} (guessing 0)"
    values["better than guessing"] = "no" if worthless else "yes"
    said = f"{len(better)} held-out rows, {whose}: {said}"
    if worthless:
        said += ", no better than guessing, so what follows tells of this network and nothing of the data"
    return said, values


def tested(network: Network, found: Findings, retrains: int) -> tuple[Tensor, Tensor, str] | None:
    """How wrong the network and a guess are on each held-out row, and whose rows these are."""
    if network.loss_name == "sum" or not network.data.targets.numel():
        return None
    if network.data.held_out is not None:
        held = network.data.held_out
        return retraining.errors(network, held), retraining.guesses(network.data, held), "the network's own"
    first = found.trainings[: parts_of(network.data, retrains)]  # further ones hold out the same rows again
    trained = [entry for entry in first if bool(entry["wrong"].isfinite().all())]
    if not trained:
        return None
    wrong, guess = (torch.cat([entry[name] for entry in trained]) for name in ("wrong", "guess"))
    return wrong, guess, f"{len(trained)} times trained without them"


# --- what matters ---


def importance(problem: ImportanceProblem, found: Findings, rows: Tensor, *, ranked: bool) -> Told:
    """Of |a| (N, C); ``ranked``: which ranks can be told apart is said elsewhere."""
    mean, n = rows.mean(0), len(rows)
    order = mean.argsort(descending=True, stable=True)
    places = torch.empty_like(order)
    places[order] = torch.arange(1, len(order) + 1, device=order.device)
    best = [int(i) for i in order[:4]]
    first, names, mark = best[0], problem.features.names, measure(problem)
    values: dict[str, Tensor | str] = {"most important": names[first], "argmax": order[0], "samples": torch.tensor(n)}
    values |= {"importance": mean, "ranks": places}
    error = standard_error(rows)
    if n > 1:
        values["standard_error"] = error
    if found.permutation_error is not None and found.head == "permutation":
        error = found.permutation_error[0]
    if not bool(mean.isfinite().all()):
        del values["most important"]
        return f"{mark} is not finite for some sample: no ranks can be given", values
    if not bool((mean > 0).any()):
        del values["most important"]
        text = f"nothing matters: {mark} is zero for every feature"
        if bool(problem.inputs.abs().max() > LARGE):
            text += "; the inputs are large and may saturate the network: try data.standardize=true"
        return text, values
    verb = "is the most active" if found.head == "layer_activation" else "matters most"
    if n == 1 and found.head != "permutation":
        listed = [f"{names[i]} {words.number(mean[i])}" for i in best]
        return f"{names[first]} {verb}: {mark} by {', '.join(listed)}", values
    listed = [f"{names[i]} {words.number(mean[i])} ± {float(error[i]):.2g}" for i in best]
    over = f"mean {mark} over {n} samples" if n > 1 else mark
    text = f"{names[first]} {verb}: {over} by {', '.join(listed)} (standard error)"
    near = [i for i in best[1:] if bool(mean[first] - mean[i] <= 2 * torch.hypot(error[first], error[i]))]
    if near and not ranked:
        text += f"; within two standard errors of it: {words.listing(names[i] for i in near)}"
    if problem.of_units:
        return text, values
    still = problem.columns.by_feature((problem.inputs != problem.inputs[0]).any(0).to(mean)) == 0
    constant = [names[i] for i in best if bool(still[i])]
    return text + (f"; constant in the data: {words.listing(constant)}" if constant else ""), values


def measure(problem: ImportanceProblem) -> str:
    """What was taken the mean of, in words."""
    head, network = problem.head, problem.subject if isinstance(problem.subject, Network) else None
    if network is None and head == "gradient":
        return "|∂f/∂x|"
    what = problem.of_what(head) if network is not None or problem.outputs else "f"
    if head in ("gradient", "neuron_gradient"):
        formula = what == problem.target and what not in problem.outputs and not what.isalnum()
        return f"|∂({what})/∂x|" if formula else f"|∂{what}/∂x|"
    if head == "permutation":
        assert network is not None
        rise = {"loss": "rise of the loss", "accuracy": "fall of the accuracy", "r2": "fall of r²"}
        return f"{rise[problem.score(network)]} when a column is shuffled"
    return f"|{head} of {what}|"


# --- how far to trust it ---


def trusted(
    problem: ImportanceProblem, knobs: schema.topic.Importance, found: Findings, ranks: Ranks | None, leader: str
) -> list[Told]:
    """All parts of the trust report."""
    names, trainings = problem.features.names, found.by_training
    parts: list[Told] = []
    if ranks is not None and found.sizes is not None:
        rows = len(found.sizes) if found.head != "permutation" else 0
        count = 0 if trainings is None else len(trainings)
        parts.append(trust.known_ranks(ranks, names, leader, rows=rows, trainings=count))
    if trainings is not None:
        parts.append(trust.stability(trainings, len(found.trainings) + 1 - len(trainings)))
    parts.append(trust.agreement(found.by_method, problem.methods))
    if found.sums is not None and found.gaps is not None and found.unsettled is not None:
        parts.append(trust.completeness(found.sums, found.gaps, found.unsettled, problem.by_row))
    if found.deletion is not None:
        several = counts(len(problem.columns.names))
        parts.append(trust.deletion_areas(found.deletion, several, (*problem.ordering, "random")))
    if found.randomised is not None and len(found.randomised) > 1:
        parts.append(trust.randomisation(found.randomised[-1], problem.by_row, len(names)))
    if found.removed is not None:
        classes = isinstance(problem.subject, Network) and problem.subject.data.classification
        parts.append(trust.removal(found.removed, knobs.roar, "accuracy" if classes else "r²"))
    return parts


# --- before the first step ---


def notes(problem: ImportanceProblem, knobs: schema.topic.Importance) -> Sequence[str]:
    """What is to be known before the first step."""
    network, slopes = problem.subject, any(name in SLOPES for name in problem.methods)
    if not isinstance(network, Network):
        return []
    found = trial(problem)
    units = network.data.units
    if problem.compared == "zeros" and units is not None and bool((units.shift != 0).any()):
        also = "for zeros in your own units type data.standardize=false, or all numbers as baseline='[...]'"
        found.append(f"baseline=zeros is the mean here, since inputs are standardised; {also}")
    if not knobs.trust:
        return found
    if (why := no_retraining(network)) and knobs.retrains and len(network.rows) > 1:
        found.append(f"no training is repeated: {why}")
    elif problem.head in OF_ONE_TRAINING and knobs.retrains:
        found.append("a unit is another thing after another training: ranks are held against the rows alone")
    if problem.of_units:
        return found
    if pairs := alike(problem.columns):
        found.append(pairs)
    if problem.count > 1 and problem.columns.groups is not None:
        also = "; slopes by them tell how far a new category moves the target" * slopes
        found.append(f"inputs that were made of one column are summed{also}")
    if network.data.units is not None and slopes:
        found.append("slopes are ranked per deviation of each input; table.csv has them in your units")
    return found
