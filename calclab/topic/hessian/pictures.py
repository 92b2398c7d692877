"""The pictures of a curvature, and what stands along the axes of its matrices."""

from __future__ import annotations

from collections.abc import Sequence

from calclab.core import Bars, Curvature, Discs, Heatmap, Labels, Picture, Spectrum, Tracks
from calclab.schema.topic import Hessian as Knobs
from calclab.topic import words
from calclab.topic.hessian.layers import COLUMNS
from calclab.topic.hessian.problem import CurvatureProblem
from calclab.topic.hessian.sampling import GRID
from calclab.topic.hessian.slices import Slices
from calclab.topic.hessian.spectrum import SIDE

BINS = ("from", "to", "how many")


def labels_with_matrix(problem: CurvatureProblem, *, spectrum: bool, layers: Sequence[str]) -> Labels:
    """``spectrum``: how many eigenvalues lie where is logged."""
    variables, order = problem.function.variables, tuple(f"λ{i + 1}" for i in range(problem.n))
    labels: dict[str, tuple[Sequence[str], ...]] = {"eigenvalues": (order,)}
    if problem.written:
        labels["hessian"] = (variables, variables)
    if problem.drawn:
        labels |= {"gradient": (variables,), "eigenvectors": (variables, order)}
    if spectrum:
        labels["spectrum"] = (words.count(2 * SIDE), BINS)
    return labels | {name: (layers,) for name in COLUMNS if layers}


def labels_of_products(problem: CurvatureProblem, knobs: Knobs, names: Sequence[str], layers: Sequence[str]) -> Labels:
    """``names`` are those of the eigenvalues looked for."""
    found = ("ritz_values", "residuals", "eigenvalues")
    labels: dict[str, tuple[Sequence[str], ...]] = dict.fromkeys(found, (names,))
    if knobs.diagonal:
        labels["diagonal"] = (problem.function.variables,)
    if knobs.probes:
        labels["spectrum"] = (words.count(2 * SIDE), BINS)
        labels["density"] = (words.count(GRID), ("eigenvalue", "density", "error"))
    return labels | {name: (layers,) for name in COLUMNS if layers}


def pictures_with_matrix(
    problem: CurvatureProblem, *, spectrum: bool, layers: bool, slices: Slices | None
) -> Sequence[Picture]:
    found: list[Picture] = []
    if problem.drawn:
        found += [Curvature("curvature", problem.function)] if problem.n == 2 and problem.kind == "hessian" else []
        found += [Heatmap(name, name) for name in ("hessian", "eigenvectors")]
        found += [Discs("gershgorin", "hessian", "eigenvalues")] if problem.n > 1 else []
    found.append(Bars("eigenvalues", "eigenvalues"))
    return [*found, *of_network(problem, spectrum=spectrum, layers=layers, slices=slices)]


def pictures_of_products(
    problem: CurvatureProblem, *, spectrum: bool, layers: bool, slices: Slices | None
) -> Sequence[Picture]:
    first = [picture(problem.classes)] if spectrum else []
    tracks = [Tracks("ritz_values", "ritz_values"), Tracks("residuals", "residuals", "y")]
    return [*first, *tracks, *of_network(problem, spectrum=False, layers=layers, slices=slices)]


def of_network(problem: CurvatureProblem, *, spectrum: bool, layers: bool, slices: Slices | None) -> Sequence[Picture]:
    """How the eigenvalues lie, layers and cuts; of layers the smallest eigenvalue only where it may be negative."""
    found: list[Picture] = [picture(problem.classes)] if spectrum else []
    if layers:
        found += [Bars(name, name) for name in COLUMNS[:3] if problem.kind == "hessian" or name != "layer_bottom"]
    return found if slices is None else [*found, *slices.pictures()]


def picture(classes: int) -> Spectrum:
    return Spectrum("spectrum", "spectrum", "eigenvalues", "outliers" if classes else "", classes)
