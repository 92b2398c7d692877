"""Pictures of functions near a point: the records hold the geometry, and the drawings stay on their sheets."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor

import calclab
from calclab.core import Column, Columns, Curvature, Deformation, Discs, Function, Gradient, Tangent, Walk
from calclab.figure.kinds import KINDS, figure, panel
from calclab.figure.record.curvature import ellipse, step
from calclab.figure.record.deformation import unbroken
from calclab.figure.records import (
    CurvaturePanel,
    DeformationPanel,
    DiscsPanel,
    GradientPanel,
    TangentPanel,
    View,
    WalkPanel,
)
from calclab.topic.tangents import slopes

NAN = math.nan


def f64(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def last(value: Tensor) -> Column:
    return Column([0], value[None])


def on_its_sheet(record: object) -> object:
    """The drawing of a record, none of whose words or lines leaves the sheet."""
    drawn = figure(record)  # type: ignore[arg-type]
    FigureCanvasAgg(drawn).draw()
    box = drawn.get_tightbbox()
    width, height = drawn.get_size_inches()
    assert -0.02 <= box.x0 <= box.x1 <= width + 0.02, box
    assert -0.02 <= box.y0 <= box.y1 <= height + 0.02, box
    return drawn


# --- tangents ---


def tangent(f: Function, index: int = 0) -> TangentPanel | None:
    made = panel(Tangent("tangent", f, index, lambda: slopes(f)), {"h": Column([0], f64(1.0))}, {}, "t", "about")
    assert made is None or isinstance(made, TangentPanel)
    return made


def slope(line: object) -> float:
    (a, b), (c, d) = line.x, line.y  # type: ignore[attr-defined]
    return (d - c) / (b - a)


def test_the_tangent_touches_secants_close_in_and_the_last_window_is_straight() -> None:
    made = tangent(calclab.formula("x**3 - 2*x + 1", at=1.5))
    assert made is not None
    (line,) = made.view.tangents
    assert slope(line) == pytest.approx(3 * 1.5**2 - 2)
    gaps = [abs(slope(secant) - slope(line)) for secant in made.view.secants]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[1] < 0.6 * gaps[0]
    widths = [view.across[1] - view.across[0] for view in (made.view, *made.zooms)]
    shapes = [
        (view.upward[1] - view.upward[0]) / width for view, width in zip((made.view, *made.zooms), widths, strict=True)
    ]
    assert shapes == pytest.approx([shapes[0]] * 4)  # both axes are enlarged alike: an angle stays what it is
    assert apart(made.zooms[-1]) < 0.02 < apart(made.zooms[0])
    on_its_sheet(made)


def apart(view: View) -> float:
    (line,) = view.tangents
    x, y = view.point
    away = [abs(v - y - slope(line) * (t - x)) for t, v in zip(view.curve.x, view.curve.y, strict=True)]
    return max(away) / ((view.upward[1] - view.upward[0]) / 2)


def test_a_kink_has_a_slope_on_either_side_and_stays_bent() -> None:
    made = tangent(calclab.formula("abs(x)", at=0.0))
    assert made is not None
    assert [slope(line) for line in made.view.tangents] == [-1.0, 1.0]
    assert made.view.tangents[0].x[1] == made.view.tangents[1].x[0] == 0.0
    assert all(zoom.title.endswith("still bent") for zoom in made.zooms)
    on_its_sheet(made)


def test_where_the_function_ends_there_is_one_side() -> None:
    made = tangent(calclab.formula("sqrt(x)", at=0.0))
    assert made is not None
    assert made.view.tangents == ()  # vertical
    assert tangent(calclab.formula("log(x)", at=-1.0)) is None
    on_its_sheet(made)


@pytest.mark.parametrize(
    ("text", "at"), [("sin(100*x)", 0.3), ("exp(x)", 30.0), ("1/x", 1e-3), ("x", 1e6), ("7", 0.0), ("1e-200*x", 1.0)]
)
def test_any_curve_can_be_drawn(text: str, at: float) -> None:
    made = tangent(calclab.formula(f"{text} + 0*x", at=at))
    assert made is not None
    assert made.view.upward[0] < made.view.point[1] < made.view.upward[1]
    on_its_sheet(made)


def test_slopes_of_many_variables_and_of_callables() -> None:
    f = calclab.formula("abs(x) + y**2", at=[0, 3])
    assert slopes(f).tolist() == [[-1.0, 6.0], [1.0, 6.0]]
    own = calclab.function(lambda x: x[0] ** 2, at=[2.0])
    assert slopes(own).tolist() == [[4.0], [4.0]]


# --- gradients ---


def gradient(f: Function) -> GradientPanel:
    made = panel(Gradient("slices", f, lambda: slopes(f)), {"gradient": last(f.start)}, {}, "t")
    assert isinstance(made, GradientPanel)
    return made


def test_the_gradient_stands_on_the_contour_through_the_point() -> None:
    f = calclab.formula("x**2*y + sin(y)", at=[1, 2])
    made = gradient(f)
    assert made.gradient is not None
    dx, dy = made.gradient.step
    g = slopes(f)[0]
    assert dx * float(g[1]) == pytest.approx(dy * float(g[0]))
    assert dx * float(g[0]) > 0  # uphill
    assert made.height == pytest.approx(float(f.call(f.start)))
    assert [slope(one.tangents[0]) for one in made.slices] == pytest.approx(g.tolist())
    assert on_its_sheet(made).axes[0].get_aspect() == 1.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "at", "word"), [("x**2 + y**2", [0, 0], "stationary"), ("abs(x) + y", [0, 1], "does not exist")]
)
def test_without_a_gradient_there_is_no_arrow_and_it_is_said(text: str, at: list[float], word: str) -> None:
    made = gradient(calclab.formula(text, at=at))
    assert made.gradient is None
    assert word in made.note
    on_its_sheet(made)


@pytest.mark.parametrize("n", [1, 3, 12])
def test_other_numbers_of_variables_have_a_slice_each(n: int) -> None:
    f = calclab.formula("sum(i, 0, n - 1, x[i]**2)", at=[1.0] * n, n=n)
    made = gradient(f)
    assert len(made.slices) == min(n, 8)
    assert made.field is None
    assert bool(made.note) == (n > 8)
    on_its_sheet(made)


# --- a walk in one variable ---


def test_a_walk_lies_on_its_curve() -> None:
    f = calclab.formula("(x**2 - 1)**2", at=1.8, minima=[[1.0], [-1.0]])
    made = panel(Walk("path", "x", f), {"x": Column([0, 1, 2], f64([1.8], [1.2], [1.05]))}, {}, "t")
    assert isinstance(made, WalkPanel)
    assert all(y == pytest.approx((x**2 - 1) ** 2) for x, y in made.path)
    assert made.minima == ((1.0, 0.0),)  # the other is far
    assert made.ends
    on_its_sheet(made)


def test_a_walk_that_runs_away_is_shown_near_its_start() -> None:
    f = calclab.formula("x**2", at=1.0)
    path = f64(*([(-3.0) ** k] for k in range(40)))
    made = panel(Walk("path", "x", f), {"x": Column(list(range(40)), path)}, {}, "t")
    assert isinstance(made, WalkPanel)
    assert max(abs(x) for x in made.curve.x) < 100
    assert not made.ends
    assert "are outside" in made.note
    on_its_sheet(made)
    still = panel(Walk("path", "x", f), {"x": Column([0], f64([1.0]))}, {}, "t")
    on_its_sheet(still)


# --- curvature ---


def curvature(H: Tensor, g: Tensor, at: Tensor | None = None) -> CurvaturePanel | None:
    x = f64(0.3, -0.2) if at is None else at
    f = Function("f", lambda p: g @ (p - x) + (p - x) @ H @ (p - x) / 2, x, ("x", "y"))
    λ, V = torch.linalg.eigh(H)
    columns: Columns = {"hessian": last(H), "gradient": last(g), "eigenvalues": last(λ), "eigenvectors": last(V)}
    made = panel(Curvature("curvature", f), columns, {}, "t")
    assert made is None or isinstance(made, CurvaturePanel)
    return made


symmetric = st.lists(st.floats(-4, 4), min_size=3, max_size=3).map(lambda v: f64([v[0], v[1]], [v[1], v[2]]))


@settings(max_examples=40, deadline=None)
@given(symmetric)
def test_the_ellipse_is_a_contour_of_the_quadratic_form(H: Tensor) -> None:
    λ, V = torch.linalg.eigh(H)
    x = f64(1.0, -2.0)
    if float(λ.abs().max()) == 0:
        assert ellipse(x, λ, V, 1.0) == []
        return
    if float(λ.abs().min()) <= 1e-6 * float(λ.abs().max()):  # of a denormal, both are 0
        return
    forms = []
    for part in ellipse(x, λ, V, 1.0):
        d = part - x
        form = torch.einsum("pi,ij,pj->p", d, H, d)
        assert (form - form[0]).abs().max() <= 1e-7 * max(1.0, float((d.norm(dim=1) ** 2).max() * λ.abs().max()))
        forms.append(float(form[0]))
    assert len(forms) == (1 if float(λ.sign().prod()) > 0 else 4)
    assert max(map(abs, forms)) == pytest.approx(min(map(abs, forms)))


@settings(max_examples=40, deadline=None)
@given(symmetric)
def test_newtons_step_is_where_the_model_stands_still(H: Tensor) -> None:
    g = f64(1.0, 0.5)
    λ, V = torch.linalg.eigh(H)
    d = step(λ, V, g)
    if bool(d.isfinite().all()) and float(λ.abs().min()) > 1e-3:
        assert (g + H @ d).norm() <= 1e-9 * (1 + float(λ.abs().max()) * float(d.norm()))
    assert step(λ, V, 0 * g).tolist() == [0.0, 0.0]


def test_eigenvectors_are_as_long_as_their_eigenvalues_and_steps_point_down() -> None:
    made = curvature(f64([10.0, 0.0], [0.0, 2.0]), f64(1.0, 1.0))
    assert made is not None
    first, second = (math.hypot(*vector.step) for vector in made.eigenvectors)
    assert first == pytest.approx(5 * second)
    assert made.eigenvectors[0].name == "λ = 10"
    down, newton = made.steps
    assert down.step[0] == pytest.approx(down.step[1])
    assert newton.step == pytest.approx((-0.1, -0.5))
    on_its_sheet(made)


@pytest.mark.parametrize(
    ("H", "g", "word"),
    [
        (f64([1.0, 0.0], [0.0, 0.0]), f64(1.0, 1.0), "singular"),
        (f64([0.0, 0.0], [0.0, 0.0]), f64(1.0, 1.0), "singular"),
        (f64([1.0, 0.0], [0.0, -2.0]), f64(0.0, 0.0), "stationary"),
        (f64([1e-9, 0.0], [0.0, 1.0]), f64(1.0, 1.0), ""),
        (f64([1e8, 0.0], [0.0, -1.0]), f64(1.0, 1.0), ""),
    ],
)
def test_any_curvature_can_be_drawn(H: Tensor, g: Tensor, word: str) -> None:
    made = curvature(H, g)
    assert made is not None
    assert word in made.note
    on_its_sheet(made)
    assert curvature(H, f64(NAN, 0.0)) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(0, 1000))
def test_every_eigenvalue_lies_in_a_disc(n: int, seed: int) -> None:
    A = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    A = A + A.T
    columns = {"A": last(A), "λ": last(torch.linalg.eigvalsh(A))}
    made = panel(Discs("d", "A", "λ"), columns, {"A": (tuple("abcdefghi"[:n]), tuple("abcdefghi"[:n]))}, "t")
    assert isinstance(made, DiscsPanel)
    for value in made.eigenvalues:
        assert any(abs(value - c) <= r + 1e-9 for c, r in zip(made.centres, made.radii, strict=True))
    assert made.names == tuple("abcdefghi"[:n])


@pytest.mark.parametrize(
    "A", [torch.eye(2), torch.zeros(3, 3), torch.ones(7, 7), torch.ones(64, 64), 1e-30 * torch.ones(2, 2)]
)
def test_any_discs_can_be_drawn(A: Tensor) -> None:
    made = panel(Discs("d", "A", "λ"), {"A": last(A), "λ": last(torch.linalg.eigvalsh(A))}, {}, "t")
    assert isinstance(made, DiscsPanel)
    on_its_sheet(made)


# --- a map of the plane ---


def deformation(texts: list[str], at: list[float]) -> DeformationPanel:
    f = calclab.formula(texts, at=at)
    J = torch.func.jacrev(f.call)(f.start)
    made = panel(Deformation("deformation", f, "jacobian"), {"jacobian": last(J)}, {}, "t", "$f(x)$")
    assert isinstance(made, DeformationPanel)
    return made


def test_a_linear_map_takes_the_circle_to_the_ellipse_and_v_to_its_half_axes() -> None:
    made = deformation(["3*x + y", "x - 2*y"], [0.5, 1.0])
    for image, ellipse_ in zip(
        (made.circle_image.x, made.circle_image.y), (made.ellipse.x, made.ellipse.y), strict=True
    ):
        assert image == pytest.approx(ellipse_)
    J = f64([3.0, 1.0], [1.0, -2.0])
    for right, left in zip(made.right, made.left, strict=True):
        assert (J @ f64(*right.step)).tolist() == pytest.approx(list(left.step))
    assert made.area == "det J = -7: areas are multiplied by 7, and orientation is reversed"
    assert len(made.grid) == len(made.image) == 2 * made.along
    on_its_sheet(made)


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        (["x + y", "2*x + 2*y"], "folded"),
        (["0*x", "0*y"], "folded"),
        (["sqrt(x**2 + y**2)", "atan2(y, x)"], "areas"),
        (["1/x", "y"], "areas"),
        (["exp(20*x)", "y"], "areas"),
    ],
)
def test_any_map_can_be_drawn(texts: list[str], word: str) -> None:
    made = deformation(texts, [-0.3, 0.1])
    assert word in made.area
    on_its_sheet(made)


def test_a_line_that_jumps_is_interrupted_there() -> None:
    t = torch.linspace(0, 1, 50, dtype=torch.float64)
    line = torch.stack([t, torch.where(t > 0.5, t + 6, t)], 1)
    assert int(unbroken(line).isnan().any(1).sum()) == 1
    assert not bool(unbroken(torch.stack([t, t], 1)).isnan().any())


def test_what_was_not_logged_is_not_drawn() -> None:
    f = calclab.formula("x**2 + y**2", at=[1, 2])
    g = calclab.formula(["x", "y"], at=[1, 2])
    pictures = [Tangent("t", f, 0, lambda: slopes(f)), Gradient("g", f, lambda: slopes(f)), Walk("w", "x", f)]
    for picture in (*pictures, Curvature("c", f), Discs("d", "A", "λ"), Deformation("j", g, "jacobian")):
        assert type(picture) in KINDS
        assert panel(picture, {}, {}) is None
