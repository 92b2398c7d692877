"""What stands over a picture, and that it covers nothing; equal axes; vector formats."""

from __future__ import annotations

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from calclab.core import Bars, Column, Columns, Contours, Curves, Function, Picture, PrincipalPlane
from calclab.figure.draw.mathtext import outline
from calclab.figure.kinds import figure, panel, written

ABOUT = "$f(x) = x^{2}$\nfrom x = 1  ·  lr = 0.1"
COLUMNS: Columns = {
    "loss": Column([0, 1, 2], torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64)),
    "speed": Column([0, 1, 2], torch.tensor([1.0, 0.5, 0.2], dtype=torch.float64)),
    "x": Column([0, 1, 2], torch.tensor([[1.0, 0.5], [0.5, 0.3], [0.1, 0.2]], dtype=torch.float64)),
    "path": Column([0, 1, 2], torch.tensor([[1.0, 0.5, 2], [0.5, 0.3, 1], [0.1, 0.2, 1]], dtype=torch.float64)),
}
BOWL = Function("f", lambda x: (x * x).sum(), torch.ones(2, dtype=torch.float64), ("x", "y"))
BOWL3 = Function("f", lambda x: (x * x).sum(), torch.ones(3, dtype=torch.float64), ("x", "y", "z"))
PICTURES: list[Picture] = [
    Curves("c", ("loss", "speed")),
    Contours("p", "x", BOWL),
    PrincipalPlane("plane", "path", BOWL3),
    Bars("b", "x"),
]


def drawn(picture: Picture, about: str = ABOUT, title: str = "descent of f") -> object:
    made = panel(picture, COLUMNS, {}, title, about)
    assert made is not None
    return figure(made)


def words(figure: object) -> list[str]:
    set_ = [formula.get_label() for formula in figure.artists]  # type: ignore[attr-defined]
    return [*(text.get_text() for text in figure.texts), *set_]  # type: ignore[attr-defined]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_titles_say_what_it_is_about_above_everything_else(picture: Picture) -> None:
    made = drawn(picture)
    assert {"$f(x) = x^{2}$", "from x = 1  ·  lr = 0.1"} <= set(words(made))
    FigureCanvasAgg(made).draw()
    renderer = made.canvas.get_renderer()
    titles = [text.get_window_extent(renderer) for text in made.texts if text.get_text() in ABOUT]
    titles += [formula.get_window_extent(renderer) for formula in made.artists]
    assert len(titles) == 2
    for axes in made.axes:
        box = axes.get_tightbbox(renderer)
        assert all(box.y1 <= title.y0 for title in titles), axes
        shown = axes.get_legend()
        if shown is not None:  # covers nothing
            around = shown.get_window_extent(renderer)
            inside = axes.get_window_extent(renderer)
            assert around.y0 >= inside.y1 - 1 or around.x0 >= inside.x1 - 1


@pytest.mark.parametrize("formula", [r"\nosuchmacro", "x" * 5000, r"\begin{array} a \\ b \end{array}", "x + " * 60])
def test_a_formula_that_cannot_be_set_or_does_not_fit_is_left_out(formula: str) -> None:
    assert words(drawn(PICTURES[0], f"${formula}$\nhere")) == ["descent of f: c", "here"]


def test_a_formula_is_as_large_as_it_is_on_paper() -> None:
    narrow, wide, high = (outline(text) for text in ("x", "x + y + z", r"\sum_{i=0}^{n} x"))
    assert narrow is not None
    assert wide is not None
    assert high is not None
    assert 0 < narrow[1] < wide[1] < 72  # points
    assert high[2] > wide[2]
    assert high[3] < wide[3] < 0 < wide[2]
    assert outline(r"\frac") is None


def test_names_with_dollars_and_long_ones_are_words() -> None:
    made = drawn(PICTURES[0], "", "descent of $x$ " + "and more " * 40)
    assert words(made)[0].startswith(r"descent of \$x\$ and")
    assert words(made)[-1].endswith("…")


def test_a_unit_is_as_long_on_both_axes_where_that_is_possible() -> None:
    axes = drawn(Contours("p", "x", BOWL)).axes[0]  # type: ignore[attr-defined]
    assert axes.get_aspect() == 1.0
    FigureCanvasAgg(axes.figure).draw()
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    box = axes.get_window_extent()
    assert box.width / (x1 - x0) == pytest.approx(box.height / (y1 - y0))
    plane = drawn(PICTURES[2]).axes[0]  # type: ignore[attr-defined]
    box, (x0, x1), (y0, y1) = plane.get_window_extent(), plane.get_xlim(), plane.get_ylim()
    assert box.width / (x1 - x0) == pytest.approx(box.height / (y1 - y0))
    domain = torch.tensor([[0.0, 1.0], [0.0, 100.0]], dtype=torch.float64)
    narrow = drawn(Contours("p", "x", Function("f", BOWL.call, BOWL.start, ("x", "y"), domain=domain)))
    assert "a unit is not as long on both axes" in words(narrow)


@pytest.mark.parametrize(("format", "head"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_same_picture_has_the_same_bytes_in_every_format(format: str, head: bytes) -> None:
    once, again = (written(drawn(PICTURES[1]), format) for _ in range(2))
    assert once.startswith(head)
    assert once == again
