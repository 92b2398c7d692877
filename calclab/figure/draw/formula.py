"""Formulas typeset as a PNG by matplotlib's mathtext, which knows a good part of LaTeX; the rest stands as its code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calclab.figure.draw.canvas import DPI, FAINT, INK, plain, sheet
from calclab.figure.draw.mathtext import mathtext

WIDTH = 12.0  # inches, at most
LINES = 24
LONG, CLIPPED = 600, 120  # longer formulas cannot be read, and take seconds to set: the start of their code is shown


def draw_formulas(latex: Sequence[str]) -> Any:
    """One line for each formula; each is shrunk to fit, and shown as code where mathtext cannot set it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    shown = list(latex[:LINES]) or [r"\mathrm{(no\ formula)}"]
    figure = sheet(arranged=False)
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call,unused-ignore]
    texts = [typeset(figure, formula, renderer) for formula in shown]
    if len(latex) > LINES:
        texts.append(figure.text(0, 0, f"… and {len(latex) - LINES} more", fontsize=10, color=FAINT, va="baseline"))
    boxes = []
    for text in texts:
        box = text.get_window_extent(renderer)
        if box.width > (WIDTH - 0.4) * DPI:
            text.set_fontsize(max(5.0, text.get_fontsize() * (WIDTH - 0.4) * DPI / box.width))
            box = text.get_window_extent(renderer)
        boxes.append(box)
    pad, gap = 0.2 * DPI, 0.14 * DPI
    width = min(WIDTH * DPI, max(box.width for box in boxes) + 2 * pad)
    height = sum(box.height for box in boxes) + gap * (len(boxes) - 1) + 2 * pad
    figure.set_size_inches(width / DPI, height / DPI)
    top = height - pad
    for text, box in zip(texts, boxes, strict=True):
        text.set_position((pad / width, (top - box.height) / height))
        text.set_verticalalignment("bottom")
        top -= box.height + gap
    return figure


def typeset(figure: Any, formula: str, renderer: Any) -> Any:
    """A text of the figure: mathematics where mathtext can set it, code in a fixed-width face where it cannot."""
    whole = mathtext(formula).replace(r"\frac", r"\dfrac")
    if len(whole) > LONG:
        return figure.text(0, 0, plain(f"{whole[:CLIPPED]}…"), fontsize=10, family="monospace", color=INK)
    text = figure.text(0, 0, f"${whole}$", fontsize=17, color=INK, math_fontfamily="cm")
    try:
        text.get_window_extent(renderer)  # parses it
    except (ValueError, RuntimeError):
        text.remove()
        return figure.text(0, 0, plain(whole), fontsize=11, family="monospace", color=INK)
    return text
