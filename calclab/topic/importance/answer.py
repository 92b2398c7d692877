"""What is said of importance: how good the network is, what matters, and how far to trust it; notes beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from calclab import schema
from calclab.core import Answer, Line, Said, Table
from calclab.subject import retraining
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.importance import trust
from calclab.topic.importance.attributions import Findings, standard_error
from calclab.topic.importance.features import alike
from calclab.topic.importance.methods import OF_ONE_TRAINING, SLOPES
from calclab.topic.importance.perturbations import counts, no_retraining, parts_of
from calclab.topic.importance.problem import ImportanceProblem
from calclab.topic.importance.ranks import LEVEL, Ranks, span
from calclab.topic.importance.refusals import trial

LARGE = 100  # inputs beyond it saturate a tanh
Z = 1.645  # one-sided, 5 %

Told = trust.Told


def answer(
    problem: ImportanceProblem, knobs: schema.topic.Importance, found: Findings, ranks: Ranks | None, *, complete: bool
) -> Answer:
    """Its score comes first, since importance of a bad model is worthless. ``complete``: the trust report was done."""
    values: dict[str, Tensor | str] = {}
    lines: list[Said] = []

    def say(label: str, told: Told) -> None:
        if told[0]:
            lines.append(Line(label, told[0]))
        values.update(told[1])

    say("held out", score(problem, found, knobs.retrains))
    if found.sizes is None:
        return Answer("no importance yet: the run was interrupted before its first look", values, (), lines)
    text, more, seen = importance(problem, found, found.sizes, ranks, ranked=bool(knobs.trust and knobs.bootstrap))
    lines += more
    values |= seen
    if values.get("better than guessing") == "no":
        text = f"the network is no better than guessing; {text}"
    if knobs.trust and "most important" in values:
        if complete:
            for label, told in trusted(problem, knobs, found, ranks):
                say(label, told)
        else:
            lines.append(Line("trust", "interrupted before the trust report was done", kind="doubtful"))
    return Answer(text, values, (), lines)


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
    said = f"{said} on {len(better)} rows, {whose}"
    if worthless:
        said += ": what is said here is true of this network, and tells nothing of the data"
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


def importance(
    problem: ImportanceProblem, found: Findings, rows: Tensor, ranks: Ranks | None, *, ranked: bool
) -> tuple[str, list[Said], dict[str, Tensor | str]]:
    """Headline, lines and values of |a| (N, C), in the order of ``ranks`` where there are any, as in the picture and
    ranking.csv; ``ranked``: which ranks can be told apart is said elsewhere."""
    mean, n = rows.mean(0), len(rows)
    size = mean if ranks is None else ranks.centre  # what is ranked by
    order = size.argsort(descending=True, stable=True)
    places = torch.empty_like(order)
    places[order] = torch.arange(1, len(order) + 1, device=order.device)
    best = [int(i) for i in order[:SHOWN]]
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
        return f"{mark} is not finite for some sample: no ranks can be given", [], values
    if not bool((mean > 0).any()):
        del values["most important"]
        advice = "the inputs are large and may saturate the network: try data.standardize=true"
        large = bool(problem.inputs.abs().max() > LARGE)
        return f"nothing matters: {mark} is zero for every feature", [Line("next", advice)] if large else [], values
    verb = "is the most active" if found.head == "layer_activation" else "matters most"
    several = n > 1 or found.head == "permutation"
    over = f"mean {mark} over {n} rows" if n > 1 else mark
    if ranks is None:
        lines: list[Said] = [Line("measure", over + (" ± standard error" if several else ""))]
        ends = [f"{float(e):.2g}" for e in error] if several else None
        lines.append(ranking(names, size, "±", ends, best, ranks))
    else:
        trainings = found.by_training
        also = "" if trainings is None else f" and {len(trainings)} trainings"
        lines = [Line("measure", f"{over}{also}")]
        ends = [f"{words.number(low)} to {words.number(high)}" for low, high in zip(ranks.low, ranks.high, strict=True)]
        lines.append(ranking(names, size, f"{LEVEL:.0%} interval", ends, best, ranks))
    if len(names) > SHOWN:
        lines.append(Line("...", f"{len(names)} in all"))
    near = [i for i in best[1:NEAR] if bool(mean[first] - mean[i] <= 2 * torch.hypot(error[first], error[i]))]
    if several and near and not ranked:
        lines.append(Line("near it", f"within two standard errors: {words.listing(names[i] for i in near)}"))
    if several and not problem.of_units:
        still = problem.columns.by_feature((problem.inputs != problem.inputs[0]).any(0).to(mean)) == 0
        constant = [names[i] for i in best[:NEAR] if bool(still[i])]
        if constant:
            lines.append(Line("constant", f"in the data: {words.listing(constant)}", kind="doubtful"))
    share = f": {float(size[first] / size.sum()):.1%} of the whole" if bool((size >= 0).all()) and len(size) > 1 else ""
    text = f"{names[first]} {verb}{share}"
    if ranks is not None and int(ranks.last[first]) > int(ranks.first[first]):
        text += f", but may rank {span(int(ranks.first[first]), int(ranks.last[first]))}"
    return text, lines, values


SHOWN = 10  # features in the ranking, at most
NEAR = 4  # of the first, at most, that are held against the first


def ranking(
    names: Sequence[str], size: Tensor, how: str, ends: Sequence[str] | None, best: Sequence[int], ranks: Ranks | None
) -> Table:
    """The first features with their importance (C,), ``how`` far it is known, and the ranks that each may have."""
    head = ["feature", "importance"] + [how] * (ends is not None) + ["possible ranks"] * (ranks is not None)
    rows = []
    for i in best:
        row = [names[i], words.number(size[i])]
        row += [ends[i]] if ends is not None else []
        row += [span(int(ranks.first[i]), int(ranks.last[i]))] if ranks is not None else []
        rows.append(row)
    return Table("ranking", head, rows, "importance")


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
    problem: ImportanceProblem, knobs: schema.topic.Importance, found: Findings, ranks: Ranks | None
) -> list[tuple[str, Told]]:
    """All parts of the trust report, each under its label."""
    names, trainings = problem.features.names, found.by_training
    parts: list[tuple[str, Told]] = []
    if ranks is not None and found.sizes is not None:
        rows = len(found.sizes) if found.head != "permutation" else 0
        count = 0 if trainings is None else len(trainings)
        parts.append(("ranks", trust.known_ranks(ranks, rows=rows, trainings=count)))
    if trainings is not None:
        parts.append(("trainings", trust.stability(trainings, len(found.trainings) + 1 - len(trainings))))
    parts.append(("methods", trust.agreement(found.by_method, problem.methods)))
    if found.sums is not None and found.gaps is not None and found.unsettled is not None:
        parts.append(("completeness gap", trust.completeness(found.sums, found.gaps, found.unsettled, problem.by_row)))
    if found.deletion is not None:
        several = counts(len(problem.columns.names))
        parts.append(("deletion", trust.deletion_areas(found.deletion, several, (*problem.ordering, "random"))))
    if found.randomised is not None and len(found.randomised) > 1:
        parts.append(("randomisation", trust.randomisation(found.randomised[-1], problem.by_row, len(names))))
    if found.removed is not None:
        classes = isinstance(problem.subject, Network) and problem.subject.data.classification
        parts.append(("removal", trust.removal(found.removed, knobs.roar, "accuracy" if classes else "r²")))
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
