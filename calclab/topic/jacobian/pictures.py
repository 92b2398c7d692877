"""How the axes of what is logged are called, and the pictures of it: of points, and of layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from calclab.core import Bars, Curves, Deformation, Heatmap, Images, Labels, Picture, Spread
from calclab.topic import words
from calclab.topic.jacobian import measures
from calclab.topic.jacobian.problem import JacobianProblem

SPECTRUM = ("singular_values", "spectrum", "order", "number of the singular value")


@dataclass(frozen=True)
class Written:
    """What a scan of points has written: of ``many`` points; ``formed`` Jacobians with their singular values, ``small``
    ones with their entries; singular values too many for bars with names are ``long``; ``trail``: the entries of each
    point, row by row."""

    many: bool
    formed: bool
    small: bool
    long: bool
    trail: bool


def labels_of_points(problem: JacobianProblem, written: Written) -> Labels:
    m, n = problem.shape
    outputs = tuple(problem.outputs) or (problem.name,)
    labels: dict[str, tuple[Sequence[str], ...]] = {
        "singular_values": (tuple(f"σ{i + 1}" for i in range(min(m, n))),),
        "value": (outputs,),
        "spectral_norms": (measures.NAMES,),
        "conditions": (measures.NAMES,),
    }
    if written.small:
        labels["jacobian"] = labels["sensitivity"] = (outputs, problem.variables)
    if written.trail:
        labels["entries"] = (tuple(f"∂{y}/∂{x}" for y in outputs for x in problem.variables),)
    if written.many or written.long:
        axes = ("median" if written.many else "singular value",), words.count(min(m, n))
        labels |= dict.fromkeys(("spectrum", "spectrum_25", "spectrum_75", "order"), axes)
    return labels


def image_of(names: Sequence[str]) -> tuple[int, int, int] | None:
    """(channels, height, width) of variables that are called by their pixels; None of others.

    >>> image_of(["pixel[0,0]", "pixel[0,1]"]), image_of(["x", "y"])
    ((1, 1, 2), None)
    """
    last = re.fullmatch(r"pixel\[(?:(\d+),)?(\d+),(\d+)\]", names[-1]) if names else None
    if last is None:
        return None
    channels, height, width = (int(part or 0) + 1 for part in last.groups())
    return (channels, height, width) if channels * height * width == len(names) else None


def entries(problem: JacobianProblem, name: str, legend: str) -> Picture:
    """Of a matrix (m, n): of images each row is one, the saliency map of an output (Simonyan et al. 2013)."""
    image = image_of(problem.variables)
    return Heatmap(name, name) if image is None else Images(name, name, image, legend=legend)


def of_points(problem: JacobianProblem, written: Written) -> list[Picture]:
    """Of the Jacobians at the points of a problem."""
    shape = problem.shape
    if not written.many:
        plane = (
            [Deformation("deformation", problem.function(0), "jacobian")] if shape == (2, 2) and written.small else []
        )
        σ = Bars("singular_values", "singular_values")
        drawn: list[Picture] = [Spread(*SPECTRUM) if written.long else σ] if written.formed else []
        return [*plane, *([entries(problem, "jacobian", "∂output/∂pixel")] if written.small else []), *drawn]
    pictures: list[Picture] = [Bars("spectral_norms", "spectral_norms")]
    if written.formed:
        pictures.append(Bars("conditions", "conditions"))
        if min(shape) > 2:  # two values make no curve
            pictures.append(Spread(*SPECTRUM))
        columns = ("spectral_norm", "condition") if min(shape) > 1 else ("spectral_norm",)
        pictures.append(Curves("points", columns, axis="point"))
    if written.small:
        pictures.append(entries(problem, "sensitivity", "root mean square of ∂output/∂pixel over the rows"))
    return pictures


def labels_of_layers(names: Sequence[str]) -> Labels:
    return dict.fromkeys(("gradient_norms", "losts", "conditions", "step"), (tuple(names),))


def of_layers(formed: bool) -> list[Picture]:
    """``formed``: the Jacobian from the input to each layer was."""
    norms = ("gradient_norm", "own_norm", *(("forward_norm",) if formed else ()))
    pictures: list[Picture] = [Curves("norms", norms, axis="layer")]
    if formed:
        pictures.append(Curves("conditioning", ("condition",), axis="layer"))
        pictures.append(Bars("where conditioning is lost", "losts"))
    return pictures
