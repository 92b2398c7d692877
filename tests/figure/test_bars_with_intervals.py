"""Bars with an interval each: the ends go with their bars, and are drawn where they are finite."""

from __future__ import annotations

import math

import torch

from calclab.core import Bars, Column
from calclab.figure.draw.bars import draw_bars
from calclab.figure.draw.canvas import png
from calclab.figure.record.matrices import bars
from calclab.figure.records import BarsPanel

PICTURE = Bars("ranking", "middle", ranked=True, low="low", high="high")
COLUMNS = {
    "middle": Column([7], torch.tensor([[1.0, 3.0, 2.0]])),
    "low": Column([7], torch.tensor([[0.5, 2.5, -1.0]])),
    "high": Column([7], torch.tensor([[1.5, 3.5, math.inf]])),
}


def made() -> BarsPanel:
    panel = bars(PICTURE, COLUMNS, {"middle": (("a", "b", "c"),)}, "x")
    assert panel is not None
    return panel


def test_intervals_are_ranked_with_their_bars() -> None:
    assert set(PICTURE.shows) == {"middle", "low", "high"}
    panel = made()
    assert panel.names == ("b", "c", "a")
    assert (panel.values, panel.low) == ((3.0, 2.0, 1.0), (2.5, -1.0, 0.5))
    assert panel.high[::2] == (3.5, 1.5)
    assert math.isnan(panel.high[1])


def test_they_are_drawn_where_they_are_finite() -> None:
    figure = draw_bars(made())
    (axes,) = figure.axes
    drawn = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    assert [tuple(ends) for ends in drawn] == [(2.5, 3.5), (0.5, 1.5)]
    assert png(figure)[:4] == b"\x89PNG"


def test_without_them_a_bar_is_a_bar() -> None:
    panel = bars(Bars("x", "middle"), COLUMNS, {}, "x")
    assert panel is not None
    assert panel.low == panel.high == ()
