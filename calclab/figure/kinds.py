"""Every kind of picture: the record that it becomes, and how that is drawn. A new kind is signed up here alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from calclab.core import (
    Bars,
    Columns,
    Components,
    Contours,
    Curvature,
    Curves,
    Deformation,
    Dependence,
    Discs,
    Drawn,
    Gradient,
    Graph,
    Heatmap,
    Images,
    Labels,
    Multiples,
    Picture,
    PrincipalPlane,
    Ranking,
    Rates,
    Spectrum,
    Spread,
    Surface,
    Tangent,
    Tracks,
    Walk,
)
from calclab.figure import records
from calclab.figure.draw.bars import draw_bars
from calclab.figure.draw.canvas import png, vector
from calclab.figure.draw.contours import draw_contours
from calclab.figure.draw.curvature import draw_curvature, draw_discs
from calclab.figure.draw.curves import draw_curves
from calclab.figure.draw.deformation import draw_deformation
from calclab.figure.draw.dependence import draw_dependence
from calclab.figure.draw.graph import draw_graph
from calclab.figure.draw.heatmap import draw_heatmap
from calclab.figure.draw.images import draw_images
from calclab.figure.draw.principal import draw_plane
from calclab.figure.draw.ranking import draw_ranking
from calclab.figure.draw.rates import draw_rates
from calclab.figure.draw.slices import draw_multiples, draw_surface
from calclab.figure.draw.spectrum import draw_spectrum
from calclab.figure.draw.sweep import draw_sweep
from calclab.figure.draw.tangents import draw_gradient, draw_tangent
from calclab.figure.draw.walk import draw_walk
from calclab.figure.record.curvature import curvature, discs
from calclab.figure.record.curves import curves, tracks
from calclab.figure.record.deformation import deformation
from calclab.figure.record.dependence import dependence
from calclab.figure.record.graph import graph
from calclab.figure.record.images import images
from calclab.figure.record.matrices import bars, heatmap
from calclab.figure.record.modes import components, rates
from calclab.figure.record.paths import contours, principal_plane
from calclab.figure.record.ranking import ranking
from calclab.figure.record.scale import words
from calclab.figure.record.slices import multiples, surface
from calclab.figure.record.spectrum import spectrum
from calclab.figure.record.spread import spread
from calclab.figure.record.tangents import gradient, tangent
from calclab.figure.record.walk import walk
from calclab.figure.records import Panel

POINTS, PLANE_POINTS = 2000, 300  # of a trajectory, at most, that a picture is made of


class Kind(NamedTuple):
    """What becomes of a picture: its ``record`` (None where nothing of it was logged), of the class ``panel``, and the
    ``drawing`` of that; ``points`` are the rows of what it shows that are kept, the last among them."""

    record: Callable[[Any, Columns, Labels, str], Panel | None]
    panel: type[Any]
    drawing: Callable[[Any], Any]
    points: int = 1


KINDS: dict[type[Any], Kind] = {
    Curves: Kind(curves, records.CurvesPanel, draw_curves, POINTS),
    Tracks: Kind(tracks, records.CurvesPanel, draw_curves, POINTS),
    Contours: Kind(contours, records.ContoursPanel, draw_contours, POINTS),
    PrincipalPlane: Kind(principal_plane, records.PlanePanel, draw_plane, PLANE_POINTS),
    Heatmap: Kind(heatmap, records.HeatmapPanel, draw_heatmap),
    Bars: Kind(bars, records.BarsPanel, draw_bars),
    Spread: Kind(spread, records.CurvesPanel, draw_curves),
    Multiples: Kind(multiples, records.MultiplesPanel, draw_multiples),
    Surface: Kind(surface, records.SurfacePanel, draw_surface),
    Components: Kind(components, records.CurvesPanel, draw_curves, POINTS),
    Rates: Kind(rates, records.RatesPanel, draw_rates),
    Ranking: Kind(ranking, records.RankingPanel, draw_ranking),
    Dependence: Kind(dependence, records.DependencePanel, draw_dependence),
    Images: Kind(images, records.ImagesPanel, draw_images),
    Graph: Kind(graph, records.GraphPanel, draw_graph),
    Spectrum: Kind(spectrum, records.SpectrumPanel, draw_spectrum),
    Tangent: Kind(tangent, records.TangentPanel, draw_tangent),
    Gradient: Kind(gradient, records.GradientPanel, draw_gradient),
    Walk: Kind(walk, records.WalkPanel, draw_walk, POINTS),
    Curvature: Kind(curvature, records.CurvaturePanel, draw_curvature),
    Discs: Kind(discs, records.DiscsPanel, draw_discs),
    Deformation: Kind(deformation, records.DeformationPanel, draw_deformation),
}
DRAWINGS = {kind.panel: kind.drawing for kind in KINDS.values()} | {records.SweepPanel: draw_sweep}


def ready() -> None:
    """Import what draws, where that is better done beforehand than when the first picture is drawn."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


def panel(picture: Picture, columns: Columns, labels: Labels, title: str = "", about: str = "") -> Panel | None:
    """The record of ``picture``; None where nothing of it was logged. ``about`` are lines under the title."""
    if isinstance(picture, Drawn):
        made: Panel = picture.record
        return made
    heading = f"{title}: {words(picture.name)}" if title else words(picture.name)
    heading = f"{heading}\n{about}" if about else heading
    return KINDS[type(picture)].record(picture, columns, labels, heading)


def points(picture: Picture) -> int:
    """How many rows of each value that the picture shows are kept for it."""
    return 1 if isinstance(picture, Drawn) else KINDS[type(picture)].points


def figure(panel: Panel) -> Any:
    """The matplotlib figure of any record."""
    return DRAWINGS[type(panel)](panel)


def draw(panel: Panel) -> bytes:
    """A PNG of any record."""
    return png(figure(panel))


def written(figure: Any, format: str) -> bytes:
    """A figure as png, svg or pdf."""
    return png(figure) if format == "png" else vector(figure, format)
