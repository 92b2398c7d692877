"""The pictures of partial derivatives, and what stands along the axes of their matrices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from calclab.core import Bars, Function, Gradient, Heatmap, Labels, Picture
from calclab.topic import words
from calclab.topic.partial.parameters import Parameters, as_matrix
from calclab.topic.tangents import slopes

DRAWN = 8  # gradients of so many weights are drawn; all are written


def labels(variables: Sequence[str], chosen: Parameters | None, *, mixed: bool) -> Labels:
    """``chosen`` parameters of a network; ``mixed``: second partials are formed."""
    found: dict[str, tuple[Sequence[str], ...]] = {"mixed_partials": (variables, variables)} if mixed else {}
    if chosen is None:
        return found | {"gradient": (variables,)}
    axes = chosen.axes()
    for name in chosen.written:
        matrix = as_matrix(chosen.tensors[name])
        found[f"grad.{name}"] = tuple(
            names if len(names) == size else words.count(size)
            for names, size in zip(axes[name], matrix.shape, strict=False)
        )
    return found | {"layer_norms": (chosen.layers,)}


def pictures(function: Function, chosen: Parameters | None, *, mixed: bool) -> Sequence[Picture]:
    if chosen is None:
        second = [Heatmap("mixed_partials", "mixed_partials")] if mixed else []
        return [Gradient("slices", function, partial(slopes, function)), Bars("gradient", "gradient"), *second]
    matrices = [f"grad.{name}" for name in chosen.written if chosen.tensors[name].ndim > 1]
    return [Bars("layer_norms", "layer_norms"), *(Heatmap(name, name) for name in matrices[:DRAWN])]
