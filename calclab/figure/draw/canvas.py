"""What every picture shares: figure and axes, colours, numbers and names as they are written into a picture.

matplotlib's object interface only: no pyplot, no global state, no window. Colours are safe for the colour-blind: Okabe
and Ito's for lines, viridis for fields, blue to red around zero for matrices.
"""

from __future__ import annotations

import io
import itertools
import math
import textwrap
from collections.abc import Sequence
from functools import partial
from typing import Any

from calclab.figure.draw.mathtext import outline

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
INK, FAINT = "#222222", "#666666"
DPI = 120
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TICKS = 24  # names along an axis, at most


def blank(title: str, note: str, width: float = 7.0, height: float = 4.6, *, equal: bool = False) -> tuple[Any, Any]:
    """A figure with one pair of axes, a title, and a note below it; ``equal``: a unit is to be as long on both axes."""
    figure = sheet(width, height, arranged=True if equal else "once")
    axes = figure.add_subplot()
    bare(axes)
    entitle(figure, title, note)
    return figure, axes


def bare(axes: Any) -> None:
    """Axes without the lines above and on the right."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=9, colors=INK)


def entitle(figure: Any, title: str, note: str = "") -> None:
    """A title over the whole figure, which grows by its height, and a note below: the first line of ``title`` large,
    the others (what it is about) small. A formula between dollars, which stands alone in its line, is typeset, and
    left out where that cannot be done or where it is wider than the figure."""
    width, height = figure.get_size_inches()
    first, *others = title.split("\n")
    fits = max(20, int(width * 10.5))
    from matplotlib.patches import PathPatch
    from matplotlib.transforms import Affine2D

    bold, small = {"fontsize": 11, "fontweight": "bold", "color": INK}, {"fontsize": 9, "color": FAINT}
    lines: list[tuple[Any, float, dict[str, Any]]] = [(plain(line), 0.235, bold) for line in wrap(first, fits)]
    for line in others:
        if line.startswith("$") and line.endswith("$") and len(line) > 2:
            formula = outline(line[1:-1])
            if formula is not None and formula[1] <= 72 * (width - 0.3):
                lines.append((formula, (formula[2] - formula[3]) / 72 + 0.1, {"label": line}))
        else:
            lines += [(plain(part), 0.2, small) for part in wrap(line, int(width * 15))]
    offsets = list(itertools.accumulate((high for _, high, _ in lines), initial=0.1))
    top = offsets[-1]
    figure.set_size_inches(width, height + top)
    for offset, (line, _, look) in zip(offsets, lines, strict=False):
        if isinstance(line, str):
            figure.text(0.1 / width, 1 - offset / (height + top), line, va="top", **look).set_in_layout(False)
            continue
        path, _, above, _ = line
        place = Affine2D().scale(1 / 72).translate(0.1, height + top - offset - 0.02 - above / 72)
        drawn = PathPatch(path, fc=INK, lw=0, transform=place + figure.dpi_scale_trans, **look)
        drawn.set_in_layout(False)
        figure.add_artist(drawn)
    if note:
        figure.text(1 - 0.1 / width, 0.06 / (height + top), plain(note), fontsize=8, color=FAINT, ha="right",
                    va="bottom").set_in_layout(False)  # fmt: skip
    bottom = 0.2 / (height + top) if note else 0.0
    engine = figure.get_layout_engine()
    if engine is not None:
        below = 1 - top / (height + top)
        one = arranged_once(engine)
        engine.set(
            rect=(0, bottom, 1, below) if one else (0, bottom, 1, below - bottom)
        )  # (right, top), (width, height)
        return
    for axes in figure.axes:  # whose places are fixed
        left, low, wide, high = axes.get_position(original=True).bounds
        axes.set_position((left, low * height / (height + top), wide, high * height / (height + top)))


def arranged_once(engine: Any) -> bool:
    from matplotlib.layout_engine import TightLayoutEngine

    return isinstance(engine, TightLayoutEngine)


def legend(axes: Any, handles: Sequence[Any], names: Sequence[str], fontsize: float = 9) -> Any:
    """What is what, where it covers nothing: in a row above the axes, or beside them where there is much to say."""
    width = 1.1 * axes.figure.get_size_inches()[0] * axes.get_position().width
    each = [len(name) * 0.075 * fontsize / 9 + 0.55 for name in names]
    half = -(-len(names) // 2)  # two rows, filled column by column
    wide = sum(map(max, each[::2], [*each[1::2], 0.0]))
    row = sum(each) < width or wide < width
    place: dict[str, Any] = (
        {
            "loc": "lower left",
            "bbox_to_anchor": (-0.01, 1.0),
            "ncols": len(names) if sum(each) < width else half,
            "columnspacing": 1.2,
        }
        if row
        else {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "ncols": 1 + len(names) // 25}
    )
    shown = axes.legend(handles, names, fontsize=fontsize, frameon=False, borderpad=0.2, handletextpad=0.5, **place)
    for handle in shown.get_lines():
        handle.set_markersize(min(handle.get_markersize(), 9))
    return shown


def wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, max_lines=2, placeholder=" …")


def sheet(width: float = 6.4, height: float = 4.8, *, arranged: bool | str = True) -> Any:
    """An empty figure, which a notebook shows as an image whether pyplot is at work there or not; ``arranged``: what is
    put on it is given room; "once": by one look at it, which is enough for one pair of axes and costs half."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine, TightLayoutEngine

    layout: Any = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1) if arranged else None
    layout = TightLayoutEngine(pad=0.9) if arranged == "once" else layout
    figure: Any = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    figure._repr_png_ = partial(png, figure)  # what a notebook asks for
    return figure


def plain(text: str) -> str:
    """Text that matplotlib must not take for mathematics."""
    return text.replace("$", r"\$")


def png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"compress_level": 4})  # half the time, a tenth more bytes
    return buffer.getvalue()


def vector(figure: Any, format: str) -> bytes:
    """The figure as svg or pdf; the same figure has the same bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    clock = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}[format]
    with rc_context({"svg.hashsalt": "calclab", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=format, metadata=clock)
    return buffer.getvalue()


def say(axes: Any, text: str) -> None:
    """Words in place of a picture."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=11, color=FAINT)
    axes.set_xticks([])
    axes.set_yticks([])


def log_ticks(axis: Any) -> None:
    """0.001 to 1000 as plain numbers, others as powers of ten; over less than two decades numbers in between too."""
    from matplotlib.ticker import FuncFormatter, LogFormatter, NullFormatter

    class Between(LogFormatter):
        """As many as LogFormatter shows, written as the others are."""

        def __call__(self, x: float, pos: Any = None) -> str:
            return minus(short(x)) if super().__call__(x, pos) else ""

    low, high = axis.get_view_interval()
    wide = not (low > 0 and math.isfinite(high) and high / 100 < low)
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axis.set_minor_formatter(NullFormatter() if wide else Between(minor_thresholds=(2, 0.5)))
    axis.set_tick_params(which="minor", labelsize=8)


def power(value: float) -> str:
    if 1e-3 <= value <= 1e3:
        return f"{value:g}"
    exponent = round(math.log10(value)) if value > 0 else 0
    return f"10{str(exponent).translate(RAISED)}"  # as mathematics it would take ten times as long


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


def ticks_apart(axis: Any) -> None:
    """Numbers along a linear axis with as many digits as tell its ticks apart."""
    from matplotlib.ticker import Formatter

    class Apart(Formatter):
        def __call__(self, value: float, pos: int | None = None) -> str:
            return minus(short(value))

        def format_ticks(self, values: Sequence[float]) -> list[str]:
            digits = next((d for d in range(3, 15) if len({short(v, d) for v in values}) == len(set(values))), 15)
            return [minus(short(value, digits)) for value in values]

    axis.set_major_formatter(Apart())


def short(value: float, digits: int = 3) -> str:
    """A number in at most seven or so characters, of three digits."""
    if not math.isfinite(value):
        return "nan"
    if (value == round(value) and abs(value) < 1e5) or (1e3 <= abs(value) < 1e5 and digits <= 3):
        return str(round(value))
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def minus(text: str) -> str:
    """With the sign that axes have."""
    return text.replace("-", "\N{MINUS SIGN}")
