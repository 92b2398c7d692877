"""A path of many variables in its principal plane: the plane against singular values, the picture against the path."""

from __future__ import annotations

import io
import math

import matplotlib.image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from calclab.core import Column, Function, PrincipalPlane
from calclab.figure.kinds import draw, panel
from calclab.figure.record.field import saved_bytes
from calclab.figure.record.paths import COARSE, FINE, percent, resolution
from calclab.figure.record.plane import Plane, principal_plane
from calclab.figure.records import PlanePanel

NAN, INF = math.nan, math.inf


def f64(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def bowl(n: int, **knobs: object) -> Function:
    """f(x) = Σ (i + 1) x_i²"""
    weights = torch.arange(1.0, n + 1, dtype=torch.float64)
    names = tuple(f"x{i}" for i in range(n))
    return Function("f", lambda x: (weights.to(x) * x * x).sum(), torch.ones(n).double(), names, **knobs)  # type: ignore[arg-type]


def made(path: Tensor, function: Function | None = None, steps: list[int] | None = None) -> PlanePanel:
    function = bowl(path.shape[1]) if function is None else function
    columns = {"x": Column(steps or list(range(len(path))), path)}
    found = panel(PrincipalPlane("path", "x", function), columns, {}, "descent")
    assert isinstance(found, PlanePanel)
    return found


def pixels(record: PlanePanel) -> None:
    assert min(matplotlib.image.imread(io.BytesIO(draw(record))).shape[:2]) > 100


# --- the plane ------------------------------------------------------------------------------------------------------


def orthonormal(plane: Plane) -> bool:
    return torch.allclose(plane.directions.T @ plane.directions, torch.eye(2, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("shape", [(40, 7), (5, 900), (3, 2), (2, 2)])
def test_the_plane_is_that_of_the_singular_vectors(shape: tuple[int, int]) -> None:
    path = random(*shape) * torch.linspace(3, 0.5, shape[1], dtype=torch.float64) + 4
    plane = principal_plane(path)
    away = path - path[-1]
    _, σ, Vt = torch.linalg.svd(away, full_matrices=False)
    shares = (σ.square() / σ.square().sum()).tolist()
    assert plane.shares == pytest.approx((shares[0], shares[1] if len(path) > 2 else 0.0), abs=1e-12)
    assert orthonormal(plane)
    assert float((Vt[0] @ plane.directions[:, 0]).abs()) == pytest.approx(1)
    if len(path) > 2:
        assert float((Vt[1] @ plane.directions[:, 1]).abs()) == pytest.approx(1)


def test_projection_is_pythagoras_and_its_own_inverse_on_the_plane() -> None:
    path = random(30, 6)
    plane = principal_plane(path)
    inside, off = plane.project(path)
    away = (path - path[-1]).square().sum(1)
    assert torch.allclose(inside.square().sum(1) + off.square(), away)
    assert float(away.sum() * sum(plane.shares)) == pytest.approx(float(inside.square().sum()))
    back, none = plane.project(plane.place(inside))
    assert torch.allclose(back, inside)
    assert float(none.max()) < 1e-12


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e140])
@pytest.mark.parametrize("axis", [0, 1, 4])
def test_a_path_on_a_line_and_one_that_rests_have_a_plane(scale: float, axis: int) -> None:
    line = torch.zeros(9, 5, dtype=torch.float64)
    line[:, axis] = scale * torch.linspace(1, 0, 9, dtype=torch.float64) ** 2
    plane = principal_plane(line)
    assert orthonormal(plane)
    assert plane.shares == pytest.approx((1.0, 0.0))
    rest = principal_plane(line[:1].expand(4, 5))
    assert orthonormal(rest)
    assert rest.shares == (0.0, 0.0)


def test_directions_do_not_depend_on_the_sign_of_the_library() -> None:
    path = random(20, 5)
    mirrored = principal_plane(2 * path[-1] - path)  # the displacements with the other sign
    assert torch.allclose(principal_plane(path).directions, mirrored.directions)


# --- the record -----------------------------------------------------------------------------------------------------


def flat(n: int = 6, count: int = 25) -> Tensor:
    """A spiral in a plane of R^n, into 0."""
    t = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    Q = torch.linalg.qr(random(n, 2)).Q
    return (1 - t) * torch.cat([torch.cos(5 * t), torch.sin(5 * t)], 1) @ Q.T


def test_a_path_in_a_plane_is_told_whole() -> None:
    path = flat()
    function = bowl(6, minima=torch.zeros(1, 6))
    found = made(path, function)
    assert found.warning == ""
    assert found.contours.path[-1] == pytest.approx((0.0, 0.0))
    (minimum,) = found.contours.minima
    assert minimum == pytest.approx((0.0, 0.0), abs=1e-12)
    assert found.beside == ()
    on_path, on_plane = found.losses.lines
    assert on_path.y[:-1] == pytest.approx([float(function.call(x)) for x in path[:-1]])
    assert on_plane.y[:-1] == pytest.approx(on_path.y[:-1])
    assert found.losses.note == "zeros, off the logarithmic axis: 2"  # the end of either
    assert max(found.off.lines[0].y) < 1e-12
    assert found.contours.ends
    pixels(found)


def test_the_contours_are_the_function_on_the_plane() -> None:
    path, function = random(12, 5), bowl(5)
    found, plane = made(path, function), principal_plane(path)
    field = found.contours.field
    for i, j in ((0, 0), (3, 7), (len(field.y) - 1, 2)):
        there = plane.place(f64([field.x[j], field.y[i]]))[0]
        assert field.values[i][j] == pytest.approx(float(function.call(there)))


def test_a_path_that_leaves_the_plane_is_said_to() -> None:
    path = torch.cat([torch.eye(5, dtype=torch.float64), torch.zeros(1, 5, dtype=torch.float64)])
    found = made(path)
    assert sum(principal_plane(path).shares) == pytest.approx(0.4)
    assert max(found.off.lines[0].y) == pytest.approx(1.0)
    assert "holds 40 % of the path's variance" in found.warning
    assert "up to 1 of its extent" in found.warning
    on_path, on_plane = found.losses.lines
    assert any(abs(a - b) > 0.5 for a, b in zip(on_path.y, on_plane.y, strict=True))
    pixels(found)


def test_minima_off_the_plane_have_their_distance_and_far_ones_are_counted() -> None:
    t = torch.linspace(2, 0, 11, dtype=torch.float64)
    path = torch.stack([t, t**2, 0 * t, 0 * t], 1)  # in the plane of the first two axes
    minima = f64([0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.3, 0.4], [0.0, 0.0, 99.0, 0.0], [500.0, 0.0, 0.0, 0.0])
    found = made(path, bowl(4, minima=minima))
    assert len(found.contours.minima) == len(found.beside) == 1
    assert math.hypot(*found.beside[0]) == pytest.approx(math.sqrt(2))
    assert found.distances == pytest.approx((0.5,))
    assert "2 known minima lie outside" in found.contours.note
    pixels(found)


def test_the_loss_is_compared_at_the_logged_steps() -> None:
    found = made(flat(count=5), steps=[0, 50, 100, 150, 163])
    assert found.losses.lines[0].x == found.off.lines[0].x == (0.0, 50.0, 100.0, 150.0, 163.0)
    assert "one position in 50 steps" in found.contours.note


@pytest.mark.parametrize("last", [[[NAN] * 6], [[INF] * 6, [NAN] * 6], [[1e9] * 6], [[-1e200] + [0.0] * 5]])
def test_what_runs_away_is_cut_and_said(last: list[list[float]]) -> None:
    path = torch.cat([flat(count=10), f64(*last)])
    found = made(path)
    assert len(found.contours.path) == 10
    assert f"{len(last)} of {len(path)} positions, from step 10 on" in found.contours.note
    assert not found.contours.ends
    pixels(found)


def test_one_variable_and_other_shapes_have_no_plane() -> None:
    for function, data in ((bowl(1), torch.ones(3, 1)), (bowl(3), torch.ones(3, 4)), (bowl(3), torch.ones(0, 3))):
        columns = {"x": Column(list(range(len(data))), data)}
        assert panel(PrincipalPlane("p", "x", function), columns, {}) is None
    assert panel(PrincipalPlane("p", "x", bowl(3)), {}, {}) is None


def test_shares_are_never_rounded_to_all_or_nothing() -> None:
    assert [percent(v) for v in (1.0, 0.9999, 0.5, 1e-5, 0.0)] == ["100 %", "over 99.9 %", "50 %", "under 0.1 %", "0 %"]


# --- cost and drawing -----------------------------------------------------------------------------------------------


def test_a_dear_function_has_a_coarser_grid() -> None:
    def dear(rows: int) -> Function:
        return Function("f", lambda x: torch.tanh(x * torch.ones(rows, 1)).mean(), torch.ones(4), ("a", "b", "c", "d"))

    sizes = [resolution(dear(rows)) for rows in (1, 60_000, 1_000_000)]
    assert sizes[0] == FINE
    assert FINE > sizes[1] > sizes[2] >= COARSE
    assert saved_bytes(dear(2000)) > saved_bytes(dear(1000)) >= 16_000


def test_many_variables_and_few_positions() -> None:
    path = torch.cumsum(random(60, 20_000).float(), 0)
    function = Function("f", lambda x: x.square().mean(), torch.zeros(20_000), tuple(map(str, range(20_000))))
    found = made(path, function)
    assert len(found.contours.path) == 60
    assert found.losses.lines[0].y[0] == pytest.approx(float(path[0].square().mean()))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("call", [lambda x: x.sum() * NAN, lambda x: 0 * x[0] + 3, lambda x: x[0] / 0])
def test_short_paths_and_undefined_functions_can_be_drawn(call: object, count: int) -> None:
    function = Function("$f", call, f64(1.0, 2.0, 3.0), ("a", "b", "c"))  # type: ignore[arg-type]
    pixels(made(f64([1.0, 2.0, 3.0]).expand(count, 3).clone(), function))
    pixels(made(random(count, 3), function))


AWKWARD = (0.0, -1.0, NAN, INF, -INF, 1e308, 5e-324, 1e-200, 1e149, 3.5)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.lists(st.one_of(st.sampled_from(AWKWARD), st.floats()), min_size=3, max_size=3), min_size=1, max_size=6)
)
def test_any_path_can_be_drawn(points: list[list[float]]) -> None:
    pixels(made(f64(*points)))
    awkward = Function("f", lambda x: torch.log(x[0]) + 1 / x[1] + x[2], f64(1.0, 1.0, 1.0), ("a", "b", "c"))
    pixels(made(f64(*points), awkward))
