"""Curves, bars and heat maps that can be zoomed and asked for their numbers, drawn in the page by Bokeh (an extra).

They are made of the records that the static pictures are drawn from. Nothing reacts to scrolling or dragging before its
tool is chosen, so that a page is read on a phone as any other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from calclab.figure.draw.canvas import COLOURS, FAINT
from calclab.figure.records import BarsPanel, CurvesPanel, HeatmapPanel, Panel

TOOLS = "pan,box_zoom,wheel_zoom,reset,save"
IN_STRINGS = re.compile(r"<(/|!--)")  # what would end a script, or hide it, and stands in strings only: in names
HEIGHT, ROW = 360, 26  # pixels of a picture, and of one of its bars


def plots(panels: Mapping[str, Panel]) -> tuple[dict[str, str], list[str]]:
    """A piece of HTML for every panel that can be drawn so, by name, and the scripts that bring them to life: Bokeh's
    own, and the data."""
    from bokeh.embed import components
    from bokeh.resources import Resources

    drawn = {name: DRAWINGS[type(panel)](panel) for name, panel in panels.items() if type(panel) in DRAWINGS}
    if not drawn:
        return {}, []
    script, found = components(drawn, wrap_script=False)
    library = Resources(mode="inline", components=["bokeh"], log_level="fatal", minified=True).js_raw
    return dict(found), [IN_STRINGS.sub(r"\\u003c\1", text) for text in (*library, script)]


def sheet(xlog: bool = False, ylog: bool = False, height: int = HEIGHT, **ranges: Any) -> Any:
    """An empty picture as wide as the page."""
    from bokeh.plotting import figure

    axes = {"x_axis_type": "log" if xlog else "auto", "y_axis_type": "log" if ylog else "auto"}
    made = figure(height=height, sizing_mode="stretch_width", tools=TOOLS, **{**axes, **ranges})
    made.toolbar.active_drag = made.toolbar.active_scroll = None
    made.toolbar.logo = None
    made.outline_line_color = None
    made.grid.grid_line_color = "#DDDDDD"
    return made


def hover(made: Any, tips: Sequence[tuple[str, str]], renderers: Sequence[Any], mode: str = "mouse") -> None:
    """Numbers where the pointer is; with mode "vline" those of all lines above and below it."""
    from bokeh.models import HoverTool

    formats = dict.fromkeys(("@value", "$snap_x", "$snap_y"), "printf")
    made.add_tools(HoverTool(tooltips=list(tips), renderers=list(renderers), formatters=formats, mode=mode))


def curves(panel: CurvesPanel) -> Any:
    """Lines with their points; a click on the legend hides one."""
    made = sheet(panel.xlog, panel.ylog)
    made.xaxis.axis_label = panel.xlabel
    for i, band in enumerate(panel.bands):
        made.varea(band.x, band.low, band.high, color=COLOURS[i % len(COLOURS)], alpha=0.15)
    lines = []
    for i, line in enumerate(panel.lines):
        style = {"color": COLOURS[i % len(COLOURS)], "legend_label": line.name, "name": line.name}
        ys = [y if y > 0 or not panel.ylog else math.nan for y in line.y]
        lines.append(made.line(line.x, ys, line_width=2, line_dash="dashed" if line.dashed else "solid", **style))
        if len(line.x) <= 60:
            made.scatter(line.x, ys, size=5, **style)
    for guide in panel.guides:
        made.line(guide.x, guide.y, color=FAINT, line_dash=[5, 3], legend_label=guide.name)
    if panel.ticks:
        made.xaxis.ticker = list(range(len(panel.ticks)))
        made.xaxis.major_label_overrides = dict(enumerate(panel.ticks))
    hover(made, [("", "$name"), (panel.xlabel, "$snap_x{%.6g}"), ("", "$snap_y{%.6g}")], lines, "vline")
    made.legend.click_policy = "hide"
    made.legend.background_fill_alpha = 0.7
    made.legend.visible = len(panel.lines) + len(panel.guides) > 1
    made.yaxis.axis_label = panel.ylabel or (panel.lines[0].name if len(panel.lines) == 1 else "")
    return made


def bars(panel: BarsPanel) -> Any:
    """Bars from the top down, with their names and numbers."""
    count = len(panel.values)
    names = list(panel.names) or [str(i) for i in range(count)]
    places = list(range(count, 0, -1))
    height = max(160, min(900, 60 + ROW * count))
    made = sheet(xlog=panel.log, height=height, y_range=(0.4, count + 0.6))
    left = min((v for v in panel.values if v > 0), default=1.0) / 2 if panel.log else 0.0
    data = {"place": places, "value": list(panel.values), "name": names, "left": [left] * count}
    drawn = made.hbar(y="place", right="value", left="left", height=0.7, color=COLOURS[0], source=data)
    if panel.low:
        data = {"place": places, "low": list(panel.low), "high": list(panel.high)}
        made.segment(x0="low", x1="high", y0="place", y1="place", color="#222222", line_width=2, source=data)
    made.yaxis.ticker = places
    made.yaxis.major_label_overrides = dict(zip(places, names, strict=True))
    made.ygrid.visible = False
    hover(made, [("", "@name"), ("", "@value{%.6g}")], [drawn])
    return made


def heatmap(panel: HeatmapPanel) -> Any:
    """Cells with their numbers, red above zero and blue below."""
    from bokeh.models import LinearColorMapper
    from bokeh.palettes import RdBu11

    rows, columns = list(dict.fromkeys(panel.rows)), list(dict.fromkeys(panel.columns))
    if len(rows) < len(panel.rows) or len(columns) < len(panel.columns):  # names that are not unique tell nothing
        rows, columns = ([str(i) for i in range(len(names))] for names in (panel.rows, panel.columns))
    height = max(200, min(900, 90 + ROW * len(rows)))
    made = sheet(height=height, x_range=columns, y_range=rows[::-1], x_axis_location="below")
    cells = [
        (row, column, value)
        for row, line in zip(rows, panel.matrix, strict=True)
        for column, value in zip(columns, line, strict=True)
    ]
    data = {name: [cell[i] for cell in cells] for i, name in enumerate(("row", "column", "value"))}
    colours = LinearColorMapper(palette=RdBu11, low=-panel.limit, high=panel.limit, nan_color="#CCCCCC")
    look = {"field": "value", "transform": colours}
    drawn = made.rect(x="column", y="row", width=1, height=1, fill_color=look, line_color="white", source=data)
    made.xaxis.major_label_orientation = 0.9
    hover(made, [("", "@row"), ("", "@column"), ("", "@value{%.6g}")], [drawn])
    return made


DRAWINGS: dict[type[Any], Callable[[Any], Any]] = {CurvesPanel: curves, BarsPanel: bars, HeatmapPanel: heatmap}
