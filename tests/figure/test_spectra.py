"""Spectra, tracks, small multiples and surfaces: the records, and that they can be drawn."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from calclab.core import Column, Columns, Multiples, Picture, Spectrum, Surface, Tracks
from calclab.figure.kinds import draw, panel
from calclab.figure.records import CurvesPanel, MultiplesPanel, SpectrumPanel, SurfacePanel

NAN = math.nan
LINES = {"loss": ("one", "two")}


def last(*rows: object) -> Column:
    return Column([7], torch.tensor(rows, dtype=torch.float64)[None])


def drawn(picture: Picture, columns: Columns, labels: dict | None = None) -> object:
    made = panel(picture, columns, labels or {}, "title")
    if made is not None:
        assert draw(made).startswith(b"\x89PNG")
    return made


def bins(*edges: float) -> list[tuple[float, float]]:
    return list(itertools.pairwise(edges))


def spectrum(outliers: float = 2.0, **more: Tensor) -> Columns:
    table = [(*edge, float(count)) for edge, count in zip(bins(-10, -1, 0, 1, 10, 100), (0, 3, 5, 0, 2), strict=True)]
    columns = {"bins": last(*table), "found": last(50.0, 20.0, 0.5, NAN), "outliers": last(outliers)}
    columns["outliers"] = Column([7], torch.tensor([outliers], dtype=torch.float64))
    return columns | more  # type: ignore[operator]


def test_a_spectrum_is_cut_to_where_eigenvalues_are() -> None:
    made = drawn(Spectrum("s", "bins", "found", "outliers", 3), spectrum())
    assert isinstance(made, SpectrumPanel)
    assert made.edges == (-1, 0, 1, 10, 100)
    assert made.counts == (3, 5, 0, 2)
    assert made.linear == 1
    assert (made.standing, made.others) == ((50.0, 20.0), (0.5,))
    assert made.legend == "2 outliers (3 classes)"
    assert made.note.startswith("10 eigenvalues")


def test_a_spectrum_without_outliers_says_none() -> None:
    for picture in (Spectrum("s", "bins", "found"), Spectrum("s", "bins", "found", "outliers", 3)):
        made = drawn(picture, spectrum(NAN))
        assert isinstance(made, SpectrumPanel)
        assert made.standing == ()
        assert made.legend == ""
    assert drawn(Spectrum("s", "absent", "found"), spectrum()) is None


def test_a_spectrum_of_zeros_is_drawn_and_an_empty_one_is_not() -> None:
    zeros = {"bins": last((-1.0, 0.0, 0.0), (0.0, 1.0, 4.0)), "found": last(0.0)}
    assert isinstance(drawn(Spectrum("s", "bins", "found"), zeros), SpectrumPanel)
    assert drawn(Spectrum("s", "bins", "found"), {"bins": last((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))}) is None


def test_tracks_are_a_line_for_each_entry() -> None:
    data = torch.tensor([[1.0, NAN], [2.0, 0.1], [2.5, 0.01]], dtype=torch.float64)
    made = drawn(Tracks("t", "λ", "y"), {"λ": Column([1, 2, 3], data)}, {"λ": (("top", "bottom"),)})
    assert isinstance(made, CurvesPanel)
    assert [line.name for line in made.lines] == ["top", "bottom"]
    assert made.lines[0].y == (1.0, 2.0, 2.5)
    assert made.ylog
    assert made.note == ""
    assert drawn(Tracks("t", "absent"), {}) is None


def test_of_many_tracks_the_first_are_drawn() -> None:
    made = drawn(Tracks("t", "λ"), {"λ": Column([0, 1], torch.ones(2, 100, dtype=torch.float64))})
    assert isinstance(made, CurvesPanel)
    assert len(made.lines) == 30
    assert made.note == "the first 30 of 100"


def test_multiples_are_a_panel_for_each_row() -> None:
    t = torch.linspace(-1, 1, 5, dtype=torch.float64)
    columns = {"loss": last(*(t**2).expand(2, 5).tolist()), "model": last(*(t**2).expand(2, 5).tolist())}
    columns["offset"] = last(t.tolist(), (2 * t).tolist())
    made = drawn(Multiples("m", ("loss", "model"), "offset", "how far"), columns, {"loss": (("one", "two"), ("",) * 5)})
    assert isinstance(made, MultiplesPanel)
    assert [part.title for part in made.panels] == ["one", "two"]
    assert [line.dashed for line in made.panels[0].lines] == [False, True]
    assert made.panels[1].lines[0].x == tuple((2 * t).tolist())
    assert drawn(Multiples("m", ("loss", "absent"), "offset", ""), columns) is None


@pytest.mark.parametrize("broken", [False, True])
def test_a_surface_has_its_model_at_its_own_levels(broken: bool) -> None:
    x, y = torch.linspace(-1, 1, 6).double(), torch.linspace(-2, 2, 5).double()
    z = x[None, :] ** 2 + y[:, None] ** 2
    if broken:
        z[0, 0] = NAN
    columns = {"z": last(*z.tolist()), "model": last(*(2 * z).tolist()), "x": last(*x.tolist()), "y": last(*y.tolist())}
    made = drawn(Surface("s", "z", "model", "x", "y"), columns)
    assert isinstance(made, SurfacePanel)
    assert made.field.levels == made.model.levels
    assert len(made.field.values) == len(y)
    assert made.model.values[2][2] == pytest.approx(2 * float(z[2, 2]))
    flat = {**columns, "x": last(*[0.0] * 6)}
    assert drawn(Surface("s", "z", "model", "x", "y"), flat) is None
