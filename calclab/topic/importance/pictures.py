"""How the axes of what is logged are called, and the pictures of it."""

from __future__ import annotations

from collections.abc import Sequence

from calclab import schema
from calclab.core import Curves, Dependence, Heatmap, Images, Labels, Picture, Ranking
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.importance import effects
from calclab.topic.importance.problem import ImportanceProblem, evenly

SHOWN, IMAGES = 40, 12  # rows, at most, of the heat map, and as images
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
    found["direction"] = (problem.features.names,)
    found["held_out"] = (("score", "guessing", "better than guessing"),)
    if (shape := effects.size(problem)) is not None:
        found["dependence"] = (words.count(shape[0] * shape[1] * effects.POINTS), effects.HEAD)
    if image is not None:
        some = evenly(max(1, problem.count), IMAGES).tolist()
        targets = problem.labels_of(slice(None))
        classes = problem.subject.data.classes if isinstance(problem.subject, Network) else ()
        whole = targets is not None and not targets.is_floating_point() and targets.ndim == 1 and bool(classes)
        shown = [f": {classes[int(targets[i])]}" if whole and targets is not None else "" for i in some]
        captions = tuple(f"row {problem.places[i]}{name}" for i, name in zip(some, shown, strict=True))
        found["images"] = found["image_attributions"] = (captions, problem.features.names)
    rows = tuple(f"row {problem.places[int(i)]}" for i in evenly(max(1, problem.count), SHOWN))
    found["rows"] = (rows, problem.features.names)
    return found


def ranking(problem: ImportanceProblem) -> Ranking:
    """The one that decisions are made by."""
    network = problem.subject if isinstance(problem.subject, Network) else None
    scored = "right" if network is not None and network.data.classification else "r²"
    unit, towards = effects.unit(problem), effects.towards(problem)
    return Ranking("importance", "importance", f"importance: {unit}", towards, scored)


def pictures(problem: ImportanceProblem, knobs: schema.topic.Importance, plan: Sequence[str]) -> list[Picture]:
    """Of what is logged; ``plan`` has the kinds of steps that follow the rows."""
    found: list[Picture] = [ranking(problem)]
    image = problem.features.image
    if image is not None:
        unit = effects.unit(problem)
        found.append(Images("importance_map", "importance_map", (1, *image[1:]), legend=f"importance: {unit}"))
        if problem.by_row:
            found.append(Images("images", "image_attributions", image, under="images", legend=unit))
    elif effects.size(problem) is not None:
        assert isinstance(problem.subject, Network)
        axis = effects.predicted(problem)
        outputs = problem.outputs if len(problem.outputs) > 1 else problem.subject.data.classes[-1:]
        found.append(Dependence("dependence", "dependence", problem.features.names, tuple(outputs), axis))
    if "gradient" in problem.by_row and not knobs.trust:
        found.append(Curves("samples", ("gradient_norm",), axis="row"))
    return [*found, *of_trust(problem, knobs, plan)] if knobs.trust and isinstance(problem.subject, Network) else found


def of_trust(problem: ImportanceProblem, knobs: schema.topic.Importance, plan: Sequence[str]) -> list[Picture]:
    """Those of the trust report; what was not logged is not drawn."""
    found: list[Picture] = []
    image = problem.features.image
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
