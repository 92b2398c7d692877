"""A walk that moves: frames of one size, the path growing from its start to its end."""

from __future__ import annotations

import io

import pytest
from PIL import Image

import calclab
from calclab.figure.draw.animation import FRAMES, gif
from calclab.figure.kinds import figure

WALKS = {"walk": ("x**4 - 2*x**2", [1.8], 12), "path": ("x**2 + 3*y**2", [2.0, 1.0], 100)}


@pytest.mark.parametrize("name", WALKS)
def test_the_path_grows_frame_by_frame(name):
    expr, at, steps = WALKS[name]
    found = calclab.descent(calclab.formula(expr, at=at), lr=0.05, steps=steps)
    drawn = figure(found.figures.record(name))
    made = gif(drawn)
    assert made is not None
    moving = Image.open(io.BytesIO(made))
    path = next(line for axes in drawn.axes for line in axes.get_lines() if line.get_label() == "path")
    places = len(path.get_xdata())
    assert places > 10  # all of the path is there at the end
    assert moving.n_frames <= min(FRAMES, places)
    assert moving.n_frames > 4  # equal frames are put together
    moving.seek(0)
    first = moving.convert("RGB")
    moving.seek(moving.n_frames - 1)
    assert moving.convert("RGB").tobytes() != first.tobytes()


def test_what_does_not_walk_does_not_move():
    found = calclab.descent(calclab.formula("x**2 + 3*y**2", at=[2.0, 1.0]), lr=0.05, steps=5)
    assert gif(figure(found.figures.record("loss"))) is None
