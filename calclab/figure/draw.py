"""Records to figures, and these to PNG bytes."""

from __future__ import annotations

from typing import Any

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
    return png(figure(panel))


def figure(panel: Panel) -> Any:
    """The matplotlib figure of any record."""
    match panel:
        case CurvesPanel():
            return draw_curves(panel)
        case ContoursPanel():
            return draw_contours(panel)
        case PlanePanel():
            return draw_plane(panel)
        case HeatmapPanel():
            return draw_heatmap(panel)
        case BarsPanel():
            return draw_bars(panel)
        case MultiplesPanel():
            return draw_multiples(panel)
        case SurfacePanel():
            return draw_surface(panel)
        case SpectrumPanel():
            return draw_spectrum(panel)
