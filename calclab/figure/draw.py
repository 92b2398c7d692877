"""Records to PNG bytes."""

from __future__ import annotations

from calclab.figure.bars import draw_bars
from calclab.figure.canvas import png
from calclab.figure.contours import draw_contours
from calclab.figure.curves import draw_curves
from calclab.figure.heatmap import draw_heatmap
from calclab.figure.multiples import draw_multiples, draw_surface
from calclab.figure.principal import draw_plane
from calclab.figure.records import (
    BarsPanel,
    ContoursPanel,
    CurvesPanel,
    HeatmapPanel,
    MultiplesPanel,
    Panel,
    PlanePanel,
    SpectrumPanel,
    SurfacePanel,
)
from calclab.figure.spectrum import draw_spectrum


def draw(panel: Panel) -> bytes:
    """A PNG of any record."""
    match panel:
        case CurvesPanel():
            figure = draw_curves(panel)
        case ContoursPanel():
            figure = draw_contours(panel)
        case PlanePanel():
            figure = draw_plane(panel)
        case HeatmapPanel():
            figure = draw_heatmap(panel)
        case BarsPanel():
            figure = draw_bars(panel)
        case MultiplesPanel():
            figure = draw_multiples(panel)
        case SurfacePanel():
            figure = draw_surface(panel)
        case SpectrumPanel():
            figure = draw_spectrum(panel)
    return png(figure)
