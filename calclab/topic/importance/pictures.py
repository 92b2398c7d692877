"""How the axes of what is logged are called, and the pictures of it."""

from __future__ import annotations

from collections.abc import Sequence

from calclab import schema
from calclab.core import Bars, Curves, Heatmap, Labels, Picture
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.importance.attributions import LEAST
from calclab.topic.importance.problem import ImportanceProblem, evenly

SHOWN = 40  # rows, at most, of the heat map
RANKED = ("importance", "ranked_by", "low", "high", "rank", "rank_first", "rank_last")


def labels(problem: ImportanceProblem) -> Labels:
    names = ("attributions", "importance", "standard_error", "permutation", "importance_trained_again")
    ranked = ("ranked_by", "ranked_low", "ranked_high")
    found: dict[str, tuple[Sequence[str], ...]] = dict.fromkeys((*names, *ranked), (problem.features.names,))
    if (image := problem.features.image) is not None:
        found["importance_map"] = (words.count(image[1]), words.count(image[2]))
    found["agreement"] = (problem.methods, problem.methods)
    found["shares"] = (problem.features.names, problem.methods)
    found["ranking"] = (problem.features.names, RANKED)
    rows = tuple(f"row {problem.places[int(i)]}" for i in evenly(max(1, problem.count), SHOWN))
    found["rows"] = (rows, problem.features.names)
    return found


def pictures(problem: ImportanceProblem, knobs: schema.topic.Importance, plan: Sequence[str]) -> list[Picture]:
    """Of what is logged; ``plan`` has the kinds of steps that follow the rows."""
    found: list[Picture] = [Bars("importance", "importance", ranked=True)]
    if problem.features.image is not None:
        found.append(Heatmap("importance_map", "importance_map"))
    if "gradient" in problem.by_row and not knobs.trust:
        found.append(Curves("samples", ("gradient_norm",), axis="row"))
    return [*found, *of_trust(problem, knobs, plan)] if knobs.trust and isinstance(problem.subject, Network) else found


def of_trust(problem: ImportanceProblem, knobs: schema.topic.Importance, plan: Sequence[str]) -> list[Picture]:
    """Those of the trust report; what was not logged is not drawn."""
    found: list[Picture] = []
    image = problem.features.image
    if knobs.bootstrap and (problem.count >= LEAST or "training" in plan):
        found.append(Bars("importance_with_intervals", "ranked_by", ranked=True, low="ranked_low", high="ranked_high"))
    if len(problem.methods) > 1:
        found.append(Heatmap("agreement_of_methods", "agreement"))
        found += [] if image else [Heatmap("shares_by_method", "shares")]
    if problem.by_row and problem.count > 1 and image is None:
        found.append(Heatmap("shares_by_row", "rows"))
    if "deletion" in plan:
        for way in ("deletion", "insertion"):
            columns = tuple(f"{way}_{name}" for name in (*problem.ordering, "random"))
            found.append(Curves(way, columns, against="part_of_columns", log=""))
    if "randomised" in plan:
        columns = tuple(f"randomised_{name}" for name in problem.by_row)
        found.append(Curves("randomisation_test", columns, against="layers_drawn_anew", log=""))
    if "removed" in plan:
        found.append(Curves("remove_and_retrain", ("roar", "roar_random"), against="roar_removed", log=""))
    return found
