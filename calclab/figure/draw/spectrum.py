"""A spectrum: bars on two logarithmic axes, and a mark for each eigenvalue that is known by itself."""

from __future__ import annotations

from typing import Any

from calclab.figure.draw.canvas import COLOURS, INK, blank, legend, plain, power
from calclab.figure.records import SpectrumPanel

MANY = 40
LEAST = 0.3  # of an eigenvalue: what an estimate says less of is not shown


def draw_spectrum(panel: SpectrumPanel) -> Any:
    figure, axes = blank(panel.title, panel.note, 8.0, 4.6)
    widths = [b - a for a, b in zip(panel.edges, panel.edges[1:], strict=False)]
    axes.bar(panel.edges[:-1], panel.counts, width=widths, align="edge", color=COLOURS[5], edgecolor="white", lw=0.4)
    axes.set_yscale("log")
    top = max(1.0, *panel.counts)
    axes.set_ylim(LEAST, top**1.15 * 2)
    axes.set_xscale("symlog", linthresh=panel.linear, linscale=0.6)
    marks(axes, panel.others, INK, "found one by one")
    marks(axes, panel.standing, COLOURS[1], panel.legend or "found one by one")
    axes.axvline(0, color=INK, lw=0.8, ls=(0, (1, 2)), zorder=0.5)
    ticks(axes, panel)
    axes.set_xlabel("eigenvalue", fontsize=10)
    axes.set_ylabel("eigenvalues in each bin", fontsize=10)
    axes.grid(True, axis="y", color="#DDDDDD", lw=0.6)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        legend(axes, *axes.get_legend_handles_labels())
    return figure


def marks(axes: Any, values: tuple[float, ...], colour: str, name: str) -> None:
    """A stem of height 1 for each; of many a short line at the foot of the bars."""
    if len(values) > MANY:
        axes.vlines(values, LEAST, 1.3 * LEAST, color=colour, lw=0.8, zorder=2.5, label=plain(name))
    elif values:
        axes.vlines(values, LEAST, 1.0, color=colour, lw=1.2, zorder=2.5)
        axes.plot(values, [1.0] * len(values), "o", ms=4.5, color=colour, ls="", label=plain(name), zorder=2.6)


def ticks(axes: Any, panel: SpectrumPanel) -> None:
    """Powers of ten, at most a dozen of them, and zero."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    low, high = axes.get_xlim()
    places = [t for t in axes.xaxis.get_major_locator()() if low <= t <= high and not 0 < abs(t) < panel.linear]
    stride = -(-len(places) // 9)
    zero = next((i for i, tick in enumerate(places) if tick == 0), 0)
    kept = [tick for i, tick in enumerate(places) if (i - zero) % stride == 0]
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def signed(value: float) -> str:
    if value == 0:
        return "0"
    return power(value) if value > 0 else f"\N{MINUS SIGN}{power(-value)}"
