"""Pictures compared as data, and drawn whatever the numbers."""

from __future__ import annotations

import io
import itertools
import math

import matplotlib.image
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from calclab.core import Bars, Column, Columns, Contours, Curves, Function, Guide, Heatmap, Picture
from calclab.figure.draw.canvas import png, power, short
from calclab.figure.draw.curves import cloud
from calclab.figure.draw.formula import draw_formulas, typeset
from calclab.figure.draw.mathtext import ENVIRONMENT, in_line
from calclab.figure.kinds import draw, panel
from calclab.figure.record.field import field, levels, values
from calclab.figure.record.scale import words
from calclab.figure.record.window import window
from calclab.figure.records import BarsPanel, ContoursPanel, CurvesPanel, HeatmapPanel, Line, Panel

NAN, INF = math.nan, math.inf


def f64(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def track(*values: object) -> Column:
    return Column(list(range(len(values))), f64(*values))


def curves(columns: Columns, **knobs: str) -> CurvesPanel:
    made = panel(Curves("c", tuple(name for name in columns if name != knobs.get("against")), **knobs), columns, {})
    assert isinstance(made, CurvesPanel)
    return made


def plane(call: object, **knobs: object) -> Function:
    return Function("f", call, f64(1.0, 1.0), ("x0", "x1"), **knobs)  # type: ignore[arg-type]


def test_a_log_axis_only_where_it_can_show_the_values() -> None:
    assert curves({"a": track(1.0, 0.01)}).ylog
    assert not curves({"a": track(1.0, -0.01)}).ylog
    assert not curves({"a": track(1.0, 2.0)}).ylog  # less than a decade
    assert not curves({"a": track(0.0, 0.0)}).ylog
    assert not curves({"a": track(NAN, INF)}).ylog
    assert not curves({"a": track(1.0, 0.01)}, log="").ylog


def test_zeros_and_nonfinite_values_leave_gaps_and_are_counted() -> None:
    made = curves({"a": track(1.0, 0.0, 1e-3, INF, NAN)})
    (line,) = made.lines
    assert [v if v == v else None for v in line.y] == [1.0, None, 1e-3, None, None]
    assert made.note == "zeros, off the logarithmic axis: 1; not finite or too large to draw: 2"


def test_curves_against_another_scalar_meet_at_their_steps() -> None:
    h = Column([0, 1, 2], f64(1.0, 0.1, 0.01))
    made = curves({"h": h, "error": Column([1, 2], f64(5.0, 6.0))}, against="h", log="xy")
    assert [(line.name, line.x, line.y) for line in made.lines] == [("error", (0.1, 0.01), (5.0, 6.0))]
    assert made.xlog
    assert made.xlabel == "h"
    assert not made.whole


def test_steps_that_are_rows_or_layers_are_called_so() -> None:
    made = panel(Curves("norms", ("a",), axis="layer"), {"a": track(1.0, 2.0)}, {})
    assert isinstance(made, CurvesPanel)
    assert made.xlabel == "layer"
    assert made.whole
    assert curves({"a": track(1.0, 2.0)}).xlabel == "step"


def test_what_was_not_logged_is_not_drawn() -> None:
    for picture in (Curves("c", ("a",)), Heatmap("h", "a"), Bars("b", "a"), Contours("p", "a", plane(torch.sum))):
        assert panel(picture, {}, {}) is None


def test_many_zeros_are_kept_aside_for_the_bottom_of_a_logarithmic_axis() -> None:
    made = curves({"a": track(1.0, 0.0, 1e-3, 0.0)})
    (line,) = made.lines
    assert line.zeros == (1.0, 3.0)
    assert made.note == ""
    (linear,) = curves({"a": track(1.0, 0.0, 1e-3, 0.0)}, log="").lines
    assert linear.zeros == ()
    assert linear.y[1] == 0.0


def test_steps_with_names_and_names_in_words() -> None:
    columns = {"forward_norm": track(1.0, 2.0)}
    made = panel(Curves("all_norms", ("forward_norm",)), columns, {"step": (("first", "second"),)}, "chain of mlp")
    assert isinstance(made, CurvesPanel)
    assert made.ticks == ("first", "second")
    assert (made.title, made.lines[0].name) == ("chain of mlp: all norms", "forward norm")
    pixels(draw(made))
    short_of_names = panel(Curves("c", ("forward_norm",)), columns, {"step": (("first",),)})
    assert isinstance(short_of_names, CurvesPanel)
    assert short_of_names.ticks == ()
    assert words("hidden_0.weight") == "hidden_0.weight"


def test_a_wide_spectrum_has_a_logarithmic_axis() -> None:
    def logarithmic(*values: float, ranked: bool = False) -> bool:
        made = panel(Bars("b", "v", ranked=ranked), {"v": Column([0], f64(list(values)))}, {})
        assert isinstance(made, BarsPanel)
        pixels(draw(made))
        return made.log

    assert logarithmic(1e-9, 1.0, 3.0)
    assert not logarithmic(0.1, 1.0)
    assert not logarithmic(-1e-9, 1.0)
    assert not logarithmic(1e-9, 1.0, ranked=True)
    assert not logarithmic(1e-9, NAN, 1.0)


def test_heatmap_has_the_last_matrix_its_names_and_even_limits() -> None:
    data = torch.stack([torch.zeros(2, 2), f64([1.0, -4.0], [NAN, 2.0]).float()])
    made = panel(Heatmap("h", "m"), {"m": Column([0, 7], data)}, {"m": (("a", "b"), ("c", "d"))}, "run")
    assert isinstance(made, HeatmapPanel)
    assert (made.title, made.rows, made.columns, made.limit) == ("run: h", ("a", "b"), ("c", "d"), 4.0)
    assert made.matrix[0] == (1.0, -4.0)
    assert made.note == "not finite: 1"


def test_bars_are_ranked_largest_first_with_nan_last() -> None:
    data = {"v": Column([3], f64([1.0, NAN, 3.0, -2.0]))}
    made = panel(Bars("b", "v", ranked=True), data, {"v": (("a", "b", "c", "d"),)})
    assert isinstance(made, BarsPanel)
    assert made.names == ("c", "a", "d", "b")
    assert made.values[:3] == (3.0, 1.0, -2.0)
    plain = panel(Bars("b", "v"), data, {})
    assert isinstance(plain, BarsPanel)
    assert plain.names == ("0", "1", "2", "3")


def test_of_many_bars_the_largest_are_named() -> None:
    made = panel(Bars("b", "v", ranked=True), {"v": Column([0], torch.arange(64.0)[None])}, {})
    assert isinstance(made, BarsPanel)
    assert made.names == tuple(str(i) for i in range(63, 33, -1))
    assert made.note == "the 30 largest of 64"


def test_the_window_is_the_domain_where_the_path_uses_it() -> None:
    domain = f64([-5.0, 5.0], [-10.0, 10.0])
    function = plane(torch.sum, domain=domain)
    wide = window(f64([1.0, 1.0], [4.0, -8.0]), function)
    assert bool((wide[:, 0] < domain[:, 0]).all() and (wide[:, 1] > domain[:, 1]).all())
    close = window(f64([1.0, 1.0], [1.1, 1.2]), function)
    assert bool(((close[:, 1] - close[:, 0]) < 1).all())
    assert bool((close[:, 0] < 1).all() and (close[:, 1] > f64(1.1, 1.2)).all())


def test_positions_that_ran_away_do_not_widen_the_window() -> None:
    bounds = window(f64([1.0, 1.0], [2.0, 0.0], [1e30, -1e30], [NAN, NAN]), plane(torch.sum))
    assert bool((bounds.abs() < 10).all())


def test_the_field_is_the_function_with_or_without_vmap() -> None:
    def branchy(x: Tensor) -> Tensor:
        return x[0] - 2 * x[1] if x[0] > 0 else -2 * x[1] + x[0]

    bounds = f64([-1.0, 2.0], [0.0, 5.0])
    for call, count in ((lambda x: x[0] - 2 * x[1], 121), (branchy, 41)):
        found = field(plane(call), bounds)
        assert (len(found.x), len(found.y)) == (count, count)
        assert found.values[3][5] == pytest.approx(found.x[5] - 2 * found.y[3])
        assert (found.x[0], found.x[-1], found.y[0], found.y[-1]) == (-1.0, 2.0, 0.0, 5.0)


def test_values_are_nan_where_the_call_fails() -> None:
    def picky(x: Tensor) -> Tensor:
        if x[0] < 0:
            raise RuntimeError("singular")
        return 1 / x[0]

    found = values(plane(picky), f64([-1.0, 0.0], [2.0, 0.0], [0.0, 0.0]))
    assert found.isnan().tolist() == [True, False, True]
    assert float(found[1]) == 0.5


def test_even_levels_are_round_numbers() -> None:
    assert levels(torch.linspace(0.03, 9.97, 1000, dtype=torch.float64)) == tuple(0.5 * i for i in range(21))


def test_levels_are_even_or_logarithmic_and_ascending() -> None:
    even = levels(torch.linspace(0, 1, 1000, dtype=torch.float64))
    assert torch.tensor(even).diff().std() < 1e-6
    skewed = levels(torch.logspace(-4, 6, 1000, dtype=torch.float64))
    gaps = (torch.tensor(skewed[2:-1], dtype=torch.float64) - 1e-4).log().diff()
    assert gaps.std() < 1e-6
    for found in (even, skewed):
        assert all(a < b for a, b in itertools.pairwise(found))
    assert levels(torch.full((5, 5), 3.0)) == levels(torch.full((5, 5), NAN)) == ()


def test_minima_outside_the_window_and_positions_outside_are_said() -> None:
    function = plane(lambda x: (x * x).sum(), minima=f64([0.0, 0.0], [100.0, 100.0]))
    made = panel(Contours("p", "x", function), {"x": track([1.0, 1.0], [-0.5, 0.5], [1e9, 0.0])}, {})
    assert isinstance(made, ContoursPanel)
    assert made.minima == ((0.0, 0.0),)
    assert made.note == "1 of 3 positions are outside"
    assert not made.ends
    assert panel(Contours("p", "x", function), {"x": track([1.0, 1.0], [-0.5, 0.5])}, {}).ends  # type: ignore[union-attr]


def test_a_path_is_drawn_until_it_leaves_for_good() -> None:
    function = plane(lambda x: (x * x).sum(), domain=f64([-2.0, 2.0], [-2.0, 2.0]))
    positions = [[1.0, 1.0], [50.0, 0.0], [-1.0, 0.0], [99.0, 0.0], [-999.0, 0.0], [1e9, 0.0], [NAN, NAN]]
    made = panel(Contours("p", "x", function), {"x": Column([0, 3, 6, 9, 12, 15, 18], f64(*positions))}, {})
    assert isinstance(made, ContoursPanel)
    assert [x for x, _ in made.path if math.isfinite(x)] == [1.0, 50.0, -1.0, 99.0]
    assert made.note == "5 of 7 positions are outside"
    later = panel(Contours("p", "x", function), {"x": Column([2, 4, 6], f64(*positions[2:5]))}, {})
    assert isinstance(later, ContoursPanel)
    assert later.note == "2 of 3 positions are outside, all from step 4 on"


def test_a_path_that_runs_away_is_shown_near_its_start() -> None:
    path = f64(*([(-1.5) ** k, 0.0] for k in range(60)))
    bounds = window(path, plane(torch.sum))
    assert bool((bounds.abs() < 50).all())
    calm = window(path[:12], plane(torch.sum))  # up to 86: within reach, all is shown
    assert float(calm[0, 0]) < -86


# --- theory's line --------------------------------------------------------------------------------------------------


def guides(columns: Columns, *guide: Guide, **knobs: str) -> tuple[Line, ...]:
    names = tuple(name for name in columns if name not in ("rate", knobs.get("against")))
    made = panel(Curves("c", names, guides=guide, **knobs), columns, {})  # type: ignore[arg-type]
    assert isinstance(made, CurvesPanel)
    pixels(draw(made))
    return made.guides


def test_a_guide_is_geometric_from_the_first_value_and_stays_among_the_data() -> None:
    columns = {"g": Column([10, 20, 30, 40], f64(8.0, 2.0, 0.5, 0.1)), "rate": track(0.5, 0.5)}
    (line,) = guides(columns, Guide("theory", "g", "rate"))
    assert (line.x[0], line.y[0]) == (10.0, 8.0)
    assert line.y == pytest.approx([8.0 * 0.5 ** (x - 10) for x in line.x])
    assert line.y[-1] == pytest.approx(0.1)
    assert (line.x[-1] - 10) * math.log(2) == pytest.approx(math.log(80))
    (slow,) = guides(columns, Guide("theory", "g", 0.99, power=2))
    assert slow.x[-1] == 40.0
    assert slow.y[-1] == pytest.approx(8.0 * 0.99**60)
    (grows,) = guides(columns, Guide("theory", "g", 3.0))
    assert grows.y[-1] == pytest.approx(8.0)


def test_a_guide_may_begin_at_a_number() -> None:
    (edge,) = guides({"edge": track(0.5, 0.7, 0.9)}, Guide("edge", 1.0, 1.0))
    assert (edge.x[0], edge.x[-1]) == (0.0, 2.0)
    assert set(edge.y) == {1.0}
    assert guides({"edge": track()}, Guide("edge", 1.0, 1.0)) == ()


@pytest.mark.parametrize("factor", [0.0, -0.5, NAN, INF, "rate", "absent"])
def test_a_guide_without_a_rate_is_left_out(factor: float | str) -> None:
    assert guides({"g": track(1.0, 0.1), "rate": track(NAN, NAN)}, Guide("theory", "g", factor)) == ()


def test_a_guide_needs_a_beginning_and_steps() -> None:
    assert guides({"g": track(-1.0, 0.1)}, Guide("theory", "g", 0.5)) == ()
    assert guides({"g": track(NAN, 0.1)}, Guide("theory", "g", 0.5)) == ()
    assert guides({"g": track(1.0, 0.1)}, Guide("theory", "absent", 0.5)) == ()
    assert guides({"g": track(1.0, 0.1), "h": track(1.0, 2.0)}, Guide("theory", "g", 0.5), against="h") == ()
    assert len(guides({"g": track(1.0, NAN, INF)}, Guide("theory", "g", 0.5))) == 1


def test_a_picture_tells_what_it_shows() -> None:
    picture = Curves("c", ("loss",), guides=(Guide("theory", "g", "rate"), Guide("theory", "g", 0.5)))
    assert set(picture.shows) == {"loss", "step", "g", "rate"}
    assert Contours("p", "x", plane(torch.sum)).shows == ("x",)
    assert Heatmap("h", "m").shows == Bars("b", "m").shows == ("m",)


# --- drawing never fails --------------------------------------------------------------------------------------------


def pixels(image: bytes) -> tuple[int, ...]:
    shape = matplotlib.image.imread(io.BytesIO(image)).shape
    assert min(shape[:2]) > 100
    return shape


def drawn(picture: Picture, columns: Columns) -> Panel:
    made = panel(picture, columns, {})
    assert made is not None
    pixels(draw(made))
    return made


AWKWARD = (0.0, -1.0, 1.0, NAN, INF, -INF, 1e308, -1e308, 5e-324, 1e-200, 1e149, 3.5)
numbers = st.one_of(st.sampled_from(AWKWARD), st.floats())


def matrices(most: int) -> st.SearchStrategy[Tensor]:
    sizes = st.tuples(st.integers(0, most), st.integers(0, most))

    def fill(size: tuple[int, int]) -> st.SearchStrategy[Tensor]:
        count = size[0] * size[1]
        return st.lists(numbers, min_size=count, max_size=count).map(lambda v: f64(*v).reshape(size))

    return sizes.flatmap(fill)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@example(values=[0.0, 1.0, math.nan, 5e-324], log="xy")
@given(st.lists(numbers, max_size=12), st.sampled_from(["", "x", "y", "xy"]))
def test_any_curve_can_be_drawn(values: list[float], log: str) -> None:
    columns = {"a": track(*values), "b": track(*reversed(values))}
    drawn(Curves("c", ("a", "b"), log=log), columns)
    drawn(Curves("c", ("a",), against="b", log=log), columns)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(matrices(4))
def test_any_matrix_and_any_bars_can_be_drawn(matrix: Tensor) -> None:
    drawn(Heatmap("h", "m"), {"m": Column([0], matrix[None])})
    drawn(Bars("b", "v", ranked=True), {"v": Column([0], matrix.reshape(1, -1))})


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), max_size=5))
def test_any_path_can_be_drawn(points: list[tuple[float, float]]) -> None:
    path = f64(*points).reshape(-1, 2)
    function = plane(lambda x: torch.log(x[0]) + 1 / x[1])  # NaN and infinite over much of the plane
    drawn(Contours("p", "x", function), {"x": Column(list(range(len(path))), path)})


@pytest.mark.parametrize(
    "call",
    [lambda x: 0 * x[0] + 3, lambda x: x[0] * NAN, lambda x: x[0] * 1e300, lambda x: x[0] * 1e-300, lambda x: x[0] / 0],
    ids=["constant", "nan", "huge", "tiny", "infinite"],
)
@pytest.mark.parametrize("points", [[[1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[NAN, NAN]], [[1e200, 0.0], [INF, 1.0]]])
def test_flat_and_undefined_fields_can_be_drawn(call: object, points: list[list[float]]) -> None:
    drawn(Contours("p", "x", plane(call)), {"x": track(*points)})


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (12, 12), (100, 3), (0, 3), (3, 0), (300, 300)])
def test_every_size_of_matrix_can_be_drawn(shape: tuple[int, int]) -> None:
    drawn(Heatmap("h", "m"), {"m": Column([0], torch.ones(1, *shape))})


@pytest.mark.parametrize("count", [0, 1, 2, 31, 2000])
def test_every_number_of_bars_and_curves_can_be_drawn(count: int) -> None:
    drawn(Bars("b", "v"), {"v": Column([0], torch.ones(1, count))})
    drawn(Curves("c", ("a",)), {"a": Column(list(range(count)), torch.ones(count))})


def test_names_with_dollars_and_many_curves_can_be_drawn() -> None:
    columns = {f"${i}$_{{": track(1.0, float(i)) for i in range(14)}
    drawn(Curves("$c", tuple(columns)), columns)


@pytest.mark.parametrize(
    "latex",
    [
        [],
        [r"f = \frac{1}{2} x_0^2"],
        [r"\begin{cases} x & x > 0 \\ 0 & \text{otherwise} \end{cases}"],
        [r"\operatorname{erf}{\left(x \right)} + \sqrt[3]{\frac{a}{b}} $ \undefined"],
        ["x" * 3000],
        [f"x_{{{i}}} = {i}" for i in range(60)],
    ],
)
def test_any_formula_can_be_drawn(latex: list[str]) -> None:
    height, width, _ = matplotlib.image.imread(io.BytesIO(png(draw_formulas(latex)))).shape
    assert 20 < height < 3000
    assert 20 < width <= 1500


def test_mathematics_is_typeset_and_not_shown_as_code() -> None:
    """A typeset fraction is taller and narrower than its source."""
    source = r"\frac{a + b + c + d}{e + f + g + h}"
    set_height, set_width, _ = matplotlib.image.imread(io.BytesIO(png(draw_formulas([source])))).shape
    raw_height, raw_width, _ = matplotlib.image.imread(io.BytesIO(png(draw_formulas([source + r"\nosuchmacro"])))).shape
    assert set_height > raw_height
    assert set_width < raw_width


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (r"f = \begin{pmatrix} a \\ b \end{pmatrix}", r"f = \left( a ,\;  b \right)"),
        (r"\left[\begin{matrix}a & b\\c & d\end{matrix}\right]", r"\left[a ,\;  b;\;\; c ,\;  d\right]"),
    ],
)
def test_matrices_are_set_in_one_line(source: str, line: str) -> None:
    assert ENVIRONMENT.sub(in_line, source) == line
    assert typeset(Figure(), source, renderer()).get_text().startswith("$")


def renderer() -> object:
    return FigureCanvasAgg(Figure()).get_renderer()


def test_cases_are_typeset() -> None:
    source = r"\begin{cases} x & \text{for}\: x > 0 \\0 & \text{otherwise} \end{cases}"
    assert typeset(Figure(), source, renderer()).get_text().startswith("$")


SHORT = {"0": 0.0, "-0.5": -0.5, "1e-9": 1e-9, "2e15": 2e15, "1330": 1330.4, "0.667": 2 / 3, "nan": NAN}


@pytest.mark.parametrize(("text", "value"), SHORT.items())
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text


def test_ticks_of_a_logarithmic_axis() -> None:
    assert [power(v) for v in (1e-3, 0.01, 20.0, 1000.0)] == ["0.001", "0.01", "20", "1000"]
    assert [power(v) for v in (1e-8, 1e25)] == ["10⁻⁸", "10²⁵"]


def test_values_in_no_order_are_dots_and_a_course_is_a_line() -> None:
    assert cloud([10.0 ** (i * 7 % 5) for i in range(500)])
    assert not cloud([10.0 ** (-i / 50) for i in range(500)])
    assert not cloud([10.0 ** (i % 2) for i in range(100)])
