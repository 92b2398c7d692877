"""Records to PNG bytes, with matplotlib's object interface: no pyplot, no global state, no window.

Colours are safe for the colour-blind: Okabe and Ito's for lines, viridis for fields, blue to red around zero for
matrices.
"""

from __future__ import annotations

import io
import math
from typing import Any

from calclab.figure.panels import BarsPanel, ContoursPanel, CurvesPanel, HeatmapPanel, Panel

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
STYLES = ("-", "--", "-.", ":")  # a second round of colours differs by its dashes
INK, FAINT = "#222222", "#666666"
DPI = 120
ANNOTATED = 12  # rows and columns of a matrix up to which its numbers are written into it
TICKS = 24  # names along an axis of a heat map, at most
LEGEND = 12


def draw(panel: Panel) -> bytes:
    """A PNG of any record."""
    match panel:
        case CurvesPanel():
            figure = draw_curves(panel)
        case ContoursPanel():
            figure = draw_contours(panel)
        case HeatmapPanel():
            figure = draw_heatmap(panel)
        case BarsPanel():
            figure = draw_bars(panel)
    return png(figure)


def blank(title: str, note: str, width: float = 7.0, height: float = 4.6) -> tuple[Any, Any]:
    """A figure with one pair of axes, a title, and a note below it."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    axes = figure.add_subplot()
    axes.set_title(plain(title), loc="left", fontsize=11, fontweight="bold", color=INK, wrap=True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=9, colors=INK)
    if note:
        figure.supxlabel(plain(note), fontsize=8, color=FAINT, x=0.99, ha="right")
    return figure, axes


def plain(text: str) -> str:
    """Text that matplotlib must not take for mathematics."""
    return text.replace("$", r"\$")


def png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def draw_curves(panel: CurvesPanel) -> Any:
    figure, axes = blank(panel.title, panel.note)
    for i, line in enumerate(panel.lines):
        colour, style = COLOURS[i % len(COLOURS)], STYLES[i // len(COLOURS) % len(STYLES)]
        seen = sum(math.isfinite(y) for y in line.y)
        marker = "o" if seen <= 30 else None  # points between gaps have no line to show them
        axes.plot(line.x, line.y, style, color=colour, lw=1.8, marker=marker, ms=4, label=plain(line.name))
    if panel.ticks:
        name_axis(axes.xaxis, panel.ticks, upright=longest_name(panel.ticks) * len(panel.ticks) > 60)
    else:
        axes.set_xlabel(plain(panel.xlabel), fontsize=10)
    if panel.xlabel == "step" and not panel.ticks:
        axes.xaxis.get_major_locator().set_params(integer=True)
    if panel.xlog:
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
    if panel.ylog:
        axes.set_yscale("log")
        log_ticks(axes.yaxis)
        draw_zeros(axes, panel)
    axes.grid(True, color="#DDDDDD", lw=0.6)
    axes.set_axisbelow(True)
    if not any(
        math.isfinite(x) and math.isfinite(y) for line in panel.lines for x, y in zip(line.x, line.y, strict=True)
    ):
        say(axes, "no finite values")
    elif len(panel.lines) == 1:
        axes.set_ylabel(plain(panel.lines[0].name), fontsize=10)
    elif len(panel.lines) <= LEGEND:
        axes.legend(fontsize=9, frameon=False)
    else:
        axes.legend(fontsize=7, frameon=False, ncols=2, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_zeros(axes: Any, panel: CurvesPanel) -> None:
    """Zeros as dots below a logarithmic axis, marked 0, one row for each line."""
    shown = [(COLOURS[i % len(COLOURS)], line.zeros) for i, line in enumerate(panel.lines) if line.zeros]
    heights = [y for line in panel.lines for y in line.y if math.isfinite(y)]
    if not shown or not heights:
        return
    low, high = math.log10(min(heights)), math.log10(max(heights))
    row = max(0.25, 0.035 * (high - low))
    first = max(low - 3 * row, -290.0)
    for i, (colour, zeros) in enumerate(shown):
        axes.plot(zeros, [10 ** (first - i * row)] * len(zeros), "o", ms=3.5, color=colour, ls="")
    last = first - (len(shown) - 1) * row
    axes.axhline(10 ** (first + 1.2 * row), color=FAINT, lw=0.8, ls=(0, (1, 2)))
    axes.set_ylim(10 ** max(last - 1.2 * row, -305.0), 10 ** min(high + 1.5 * row, 300.0))
    ticks = [tick for tick in axes.yaxis.get_major_locator()() if tick >= 10 ** (first + 1.2 * row)]
    axes.set_yticks([10 ** ((first + last) / 2), *ticks], ["0", *map(power, ticks)])
    axes.set_yticks([], minor=True)


def log_ticks(axis: Any) -> None:
    """0.001 to 1000 as plain numbers, others as powers of ten; over less than two decades numbers in between too."""
    from matplotlib.ticker import FuncFormatter, LogFormatter, NullFormatter

    low, high = axis.get_view_interval()
    wide = not (low > 0 and math.isfinite(high) and high / 100 < low)
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axis.set_minor_formatter(NullFormatter() if wide else LogFormatter(minor_thresholds=(2, 0.5)))
    axis.set_tick_params(which="minor", labelsize=8)


def power(value: float) -> str:
    if 1e-3 <= value <= 1e3:
        return f"{value:g}"
    exponent = round(math.log10(value)) if value > 0 else 0
    return f"$10^{{{exponent}}}$"


def draw_contours(panel: ContoursPanel) -> Any:
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm
    from matplotlib.patheffects import Normal, withStroke

    figure, axes = blank(panel.title, panel.note, 7.0, 5.6)
    field = panel.field
    colours = colormaps["viridis"]
    axes.set_facecolor("#CCCCCC")  # where the function is not finite
    if len(field.levels) > 1:
        z = np.ma.masked_invalid(np.array(field.values))
        norm = BoundaryNorm(field.levels, colours.N)
        filled = axes.contourf(field.x, field.y, z, levels=field.levels, cmap=colours, norm=norm)
        axes.contour(field.x, field.y, z, levels=field.levels, colors="white", linewidths=0.3, alpha=0.5)
        bar = figure.colorbar(filled, ax=axes, pad=0.02, ticks=field.levels[:: max(1, len(field.levels) // 7)])
        bar.ax.set_yticklabels(list(map(minus, levels_in_words(list(bar.get_ticks())))), fontsize=8)
        bar.outline.set_visible(False)
    elif any(math.isfinite(v) for row in field.values for v in row):
        axes.set_facecolor(colours(0.5))  # constant
    outline = [withStroke(linewidth=3.2, foreground=INK), Normal()]
    if panel.path:
        xs, ys = zip(*panel.path, strict=True)
        dots = "o" if len(xs) <= 100 else None
        axes.plot(xs, ys, "-", color="white", lw=1.6, marker=dots, ms=3.5, path_effects=outline, label="path")
        known = [p for p in panel.path if math.isfinite(p[0])]
        if known:
            axes.plot(*known[0], "o", ms=9, color="white", mec=INK, mew=1.5, ls="", label="start")
            axes.plot(*known[-1], "o", ms=7.5, color=COLOURS[1], mec="white", mew=1.3, ls="", label="end", zorder=3)
    if panel.minima:
        xs, ys = zip(*panel.minima, strict=True)
        axes.plot(xs, ys, "*", ms=19, color="#F0E442", mec=INK, mew=1.0, ls="", label="minimum", zorder=2.5)
    axes.set_xlim(field.x[0], field.x[-1])
    axes.set_ylim(field.y[0], field.y[-1])
    axes.set_xlabel(plain(panel.axes[0]), fontsize=10)
    axes.set_ylabel(plain(panel.axes[1]), fontsize=10)
    if panel.path or panel.minima:
        legend = axes.legend(fontsize=9, facecolor="#F7F7F7", framealpha=0.9, edgecolor="none")
        for handle in legend.get_lines():
            handle.set_markersize(min(handle.get_markersize(), 9))
    return figure


def draw_heatmap(panel: HeatmapPanel) -> Any:
    import numpy as np
    from matplotlib import colormaps

    rows, columns = len(panel.rows), len(panel.columns)
    noted = 0 < rows <= ANNOTATED and 0 < columns <= ANNOTATED
    cell = 0.85 if noted else 0.3
    longest = max((len(name) for name in panel.rows), default=0)
    width = min(13.0, max(5.0, cell * columns + 2.2 + 0.08 * min(longest, 30)))
    figure, axes = blank(panel.title, panel.note, width, min(11.0, max(3.4, 0.62 * cell * rows + 1.8)))
    if not rows or not columns:
        say(axes, "an empty matrix")
        return figure
    matrix = np.ma.masked_invalid(np.array(panel.matrix, dtype=float))
    colours = colormaps["RdBu_r"].with_extremes(bad="#CCCCCC")
    shown = axes.imshow(matrix, cmap=colours, vmin=-panel.limit, vmax=panel.limit, aspect="auto", interpolation="none")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    name_axis(axes.xaxis, panel.columns, upright=longest_name(panel.columns) * columns * 0.085 > width - 2)
    name_axis(axes.yaxis, panel.rows, upright=False)
    if noted:
        axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", lw=1.5)
        axes.tick_params(which="minor", length=0)
        size = 10 if columns <= 8 else 8
        for i, row in enumerate(panel.matrix):
            for j, value in enumerate(row):
                dark = abs(value) > 0.6 * panel.limit
                axes.text(
                    j, i, minus(short(value)), ha="center", va="center", fontsize=size, color="white" if dark else INK
                )
    bar = figure.colorbar(shown, ax=axes, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    return figure


def longest_name(names: tuple[str, ...]) -> int:
    return max((min(len(name), 24) for name in names), default=0)


def name_axis(axis: Any, names: tuple[str, ...], upright: bool) -> None:
    """Names along an axis of a heat map; of many, every second, third, ... one."""
    stride = -(-len(names) // TICKS)
    shown = range(0, len(names), stride)
    words = [clip(names[i]) for i in shown]
    axis.set_ticks(list(shown), words, fontsize=9)
    if upright:
        for label in axis.get_ticklabels():
            label.set(rotation=55, ha="right", rotation_mode="anchor")


def clip(name: str) -> str:
    return plain(name if len(name) <= 24 else f"{name[:23]}…")


def short(value: float) -> str:
    """A number in at most seven or so characters."""
    if not math.isfinite(value):
        return "nan"
    if (value == round(value) and abs(value) < 1e5) or 1e3 <= abs(value) < 1e5:
        return str(round(value))
    return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def minus(text: str) -> str:
    """With the sign that axes have."""
    return text.replace("-", "\N{MINUS SIGN}")


def levels_in_words(levels: list[float]) -> list[str]:
    """Two digits where they tell the levels apart."""
    coarse = [short(float(f"{level:.2g}")) for level in levels]
    return coarse if len(set(coarse)) == len(coarse) else list(map(short, levels))


def draw_bars(panel: BarsPanel) -> Any:
    count = len(panel.values)
    named = len(panel.names) == count
    figure, axes = blank(panel.title, panel.note, 7.0, min(9.0, max(2.6, 0.28 * count + 1.2)) if named else 4.6)
    if not any(math.isfinite(value) for value in panel.values):
        say(axes, "no finite values")
        return figure
    colours = [COLOURS[0] if value >= 0 else COLOURS[1] for value in panel.values]
    heights = [value if math.isfinite(value) else 0.0 for value in panel.values]
    if not named:
        axes.bar(range(count), heights, color=colours, width=1.0 if count > 100 else 0.8)
        axes.axhline(0, color=INK, lw=0.8)
        axes.grid(True, axis="y", color="#DDDDDD", lw=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel("index", fontsize=10)
        return figure
    if panel.log:  # a bar has no foot on a logarithmic axis: dots on lines
        low, high = min(heights), max(heights)
        axes.set_xscale("log")
        axes.set_xlim(low / (high / low) ** 0.06, high * (high / low) ** 0.14)
        log_ticks(axes.xaxis)
        axes.hlines(range(count), axes.get_xlim()[0], heights, color=COLOURS[0], lw=1.2)
        axes.plot(heights, range(count), "o", ms=7, color=COLOURS[0])
        for i, value in enumerate(panel.values):
            axes.annotate(
                minus(short(value)), (value, i), (7, 0), textcoords="offset points", va="center", fontsize=9, color=INK
            )
        finish_bars(axes, panel)
        return figure
    drawn = axes.barh(range(count), heights, color=colours, height=0.72)
    axes.bar_label(drawn, [minus(short(value)) for value in panel.values], padding=4, fontsize=9, color=INK)
    axes.axvline(0, color=INK, lw=0.8)
    axes.margins(x=0.14)
    finish_bars(axes, panel)
    return figure


def finish_bars(axes: Any, panel: BarsPanel) -> None:
    """Names down the left side, the first on top."""
    axes.set_yticks(range(len(panel.names)), [clip(name) for name in panel.names], fontsize=9)
    axes.set_ylim(len(panel.names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x", color="#DDDDDD", lw=0.6)
    axes.set_axisbelow(True)


def say(axes: Any, text: str) -> None:
    """Words in place of a picture."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=11, color=FAINT)
    axes.set_xticks([])
    axes.set_yticks([])
