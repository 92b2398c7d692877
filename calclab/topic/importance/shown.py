"""What is said before the first step, how the axes of what is logged are called, and the pictures of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from calclab.core import Bars, Curves, Heatmap, Labels, Picture
from calclab.subject.network import Network
from calclab.topic import words
from calclab.topic.importance import gathered, mistakes, trust
from calclab.topic.importance.methods import OF_ONE_TRAINING, SLOPES

if TYPE_CHECKING:
    from calclab.topic.importance.importance import Importance

ALIKE = 0.95  # inputs that are correlated so strongly share their importance


def notes(topic: Importance) -> list[str]:
    network, slopes = topic.subject, any(name in SLOPES for name in topic.methods)
    if not isinstance(network, Network):
        return []
    found = mistakes.first_look(topic.asked)
    units = network.data.units
    if topic.asked.compared == "zeros" and units is not None and bool((units.shift != 0).any()):
        also = "for zeros in your own units type data.standardize=false, or all numbers as baseline='[...]'"
        found.append(f"baseline=zeros is the mean here, since inputs are standardised; {also}")
    if not topic.trust:
        return found
    if (why := trust.no_retraining(network)) and topic.retrains and len(network.rows) > 1:
        found.append(f"no training is repeated: {why}")
    elif topic.head in OF_ONE_TRAINING and topic.retrains:
        found.append("a unit is another thing after another training: ranks are held against the rows alone")
    if topic.asked.of_units:
        return found
    if alike := trust.alike(topic.asked, ALIKE):
        found.append(alike)
    if topic.by_row and topic.count > 1 and topic.asked.columns.groups is not None:
        also = "; slopes by them tell how far a new category moves the target" * slopes
        found.append(f"inputs that were made of one column are summed{also}")
    if network.data.units is not None and slopes:
        found.append("slopes are ranked per deviation of each input; table.csv has them in your units")
    return found


def labels(topic: Importance) -> Labels:
    names = ("attributions", "importance", "standard_error", "permutation", "importance_trained_again")
    ranked = ("ranked_by", "ranked_low", "ranked_high")
    found: dict[str, tuple[Sequence[str], ...]] = dict.fromkeys((*names, *ranked), (topic.features,))
    if (image := topic.asked.features.image) is not None:
        found["importance_map"] = (words.count(image[1]), words.count(image[2]))
    found["agreement"] = (topic.methods, topic.methods)
    found["shares"] = (topic.features, topic.methods)
    found["ranking"] = (topic.features, gathered.RANKED)
    rows = tuple(f"row {topic.places[int(i)]}" for i in trust.evenly(max(1, topic.count), gathered.SHOWN))
    found["rows"] = (rows, topic.features)
    return found


def pictures(topic: Importance) -> list[Picture]:
    found: list[Picture] = [Bars("importance", "importance", ranked=True)]
    if topic.asked.features.image is not None:
        found.append(Heatmap("importance_map", "importance_map"))
    if "gradient" in topic.by_row and not topic.trust:
        found.append(Curves("samples", ("gradient_norm",), axis="row"))
    return [*found, *of_trust(topic)] if topic.trust and isinstance(topic.subject, Network) else found


def of_trust(topic: Importance) -> list[Picture]:
    """Those of the trust report; what was not logged is not drawn."""
    found: list[Picture] = []
    kinds, image = {kind for kind, _ in topic.plan}, topic.asked.features.image
    if topic.bootstrap and (topic.count >= trust.LEAST or "training" in kinds):
        found.append(Bars("importance_with_intervals", "ranked_by", ranked=True, low="ranked_low", high="ranked_high"))
    if len(topic.methods) > 1:
        found.append(Heatmap("agreement_of_methods", "agreement"))
        found += [] if image else [Heatmap("shares_by_method", "shares")]
    if topic.by_row and topic.count > 1 and image is None:
        found.append(Heatmap("shares_by_row", "rows"))
    if "deletion" in kinds:
        for way in ("deletion", "insertion"):
            columns = tuple(f"{way}_{name}" for name in (*topic.ordering, "random"))
            found.append(Curves(way, columns, against="part_of_columns", log=""))
    if "randomised" in kinds:
        columns = tuple(f"randomised_{name}" for name in topic.by_row)
        found.append(Curves("randomisation_test", columns, against="layers_drawn_anew", log=""))
    if "removed" in kinds:
        found.append(Curves("remove_and_retrain", ("roar", "roar_random"), against="roar_removed", log=""))
    return found
