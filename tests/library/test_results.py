"""A result as an object: numbers with bounds that hold, text and HTML, figures, and what is kept of it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from fractions import Fraction
from html.parser import HTMLParser
from math import isfinite
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import calclab
from calclab.archive.read import load
from calclab.core import Line


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def loss() -> calclab.subject.network.Network:
    g = torch.Generator().manual_seed(1)
    X, y = torch.randn(23, 4, generator=g, dtype=torch.float64), torch.randint(0, 3, (23,), generator=g)
    return calclab.loss(net(), nn.CrossEntropyLoss(), (X, y))


@pytest.fixture(scope="module")
def spectrum() -> calclab.Result:
    return calclab.hessian(loss(), matrix="never", top=2, diagonal=True, tol=1e-6)


def test_proven_bounds_hold_entry_by_entry() -> None:
    x, y = Fraction(1.1), Fraction(2.3)
    result = calclab.partial(calclab.formula("x**2*y + x*y**2", at=[1.1, 2.3]))
    truth = {
        "value": [x * x * y + x * y * y],
        "gradient": [2 * x * y + y * y, x * x + 2 * x * y],
        "mixed_partials": [2 * y, 2 * x + 2 * y, 2 * x + 2 * y, 2 * x],
    }
    for name, exact in truth.items():
        found, size = (torch.as_tensor(part, dtype=torch.float64) for part in (result[name], result.bounds[name]))
        assert found.shape == size.shape
        assert result.numbers.loc[name, "by"].startswith("proven")
        for number, bound, true in zip(found.reshape(-1), size.reshape(-1), exact, strict=True):
            assert abs(Fraction(float(number)) - true) <= Fraction(float(bound)), name
            assert float(bound) < 1e-13


def test_every_number_has_a_bound_or_says_that_it_has_none(spectrum: calclab.Result) -> None:
    results = [spectrum, calclab.descent(calclab.formula("x**2 + 3*y**2", at=[1, 1]), lr=0.1)]
    results += [calclab.chain(loss()), calclab.jacobian(loss(), rows=3)]
    for result in results:
        for name, size in result.bounds.items():
            assert torch.as_tensor(size).shape == torch.as_tensor(result[name]).shape
            known = bool(torch.as_tensor(size).isfinite().all())
            assert known == (result.numbers.loc[name, "by"] != "not known"), name
        unbounded = {name for name, value in result.values.items() if isinstance(value, Tensor | float)}
        aside = unbounded - set(result.bounds)
        assert all(name.endswith(("_error", "_within", "_low", "_high", "residuals")) for name in aside), aside


def test_bounds_of_a_large_hessian_are_residuals_and_intervals(spectrum: calclab.Result) -> None:
    H = calclab.curvature(loss()).dense()
    λ = torch.linalg.eigvalsh(H)
    wanted = torch.stack([λ[-1], λ[-2], λ[0]])
    assert bool(((spectrum.eigenvalues - wanted).abs() <= spectrum.bounds["eigenvalues"] + 1e-14).all())
    assert spectrum.numbers.loc["eigenvalues", "by"] == "residual"
    assert spectrum.numbers.loc["trace", "by"] == "95 % interval"
    assert spectrum.bounds["trace"] == spectrum.trace_within
    assert torch.equal(spectrum.bounds["diagonal"], spectrum.diagonal_error)


def test_names_are_found_by_tab_by_item_and_by_a_near_miss(spectrum: calclab.Result) -> None:
    assert {"eigenvalues", "trace", "bounds", "figures"} <= set(dir(spectrum))
    assert spectrum["trace"] == spectrum.trace
    with pytest.raises(AttributeError, match="eigenvalues"):
        spectrum.eigenvalue  # noqa: B018
    with pytest.raises(KeyError, match="trace"):
        spectrum["trase"]


def test_an_answer_is_told_line_by_line(spectrum: calclab.Result) -> None:
    title, first, *rest = repr(spectrum).splitlines()
    assert title == spectrum.run.title
    assert first.split(maxsplit=1) == ["answer", spectrum.headline]
    assert spectrum.outcome.answer is not None
    for line in spectrum.outcome.answer.lines:
        if isinstance(line, Line):
            assert any(text.startswith(line.label) and line.text in text for text in rest)


class Tags(HTMLParser):
    VOID = ("img",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_notebook_shows_answer_bounds_evidence_and_pictures(spectrum: calclab.Result) -> None:
    page = spectrum._repr_html_()
    assert not Tags(page).open
    assert page.count("<img") == len(spectrum.figures)
    for words in ("residual", "consistent", "95 % interval", "differences of gradients along v"):
        assert words in page
    quiet = calclab.hessian(calclab.formula("x**2 - y**2", at=[1, 2]), figures=False)
    assert "<img" not in quiet._repr_html_()


@pytest.mark.parametrize(("format", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_figures_are_saved(format: str, start: bytes, tmp_path: Path) -> None:
    result = calclab.hessian(calclab.formula("x**2 - 3*y**2", at=[0.5, 0.25]))
    paths = result.figures.save(tmp_path / "pictures", format)
    assert [path.stem for path in paths] == list(result.figures)
    assert all(path.read_bytes().startswith(start) for path in paths)
    assert result.figures["hessian"]._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(calclab.UserError, match="eigenvalues"):
        result.figures["spectrum"]
    with pytest.raises(calclab.UserError, match="svg"):
        result.figures.save(tmp_path, "jpeg")


def test_a_pickled_result_holds_no_model_and_is_whole_in_another_process(tmp_path: Path) -> None:
    class Local(nn.Module):  # cannot be pickled
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    g = torch.Generator().manual_seed(1)
    rows = torch.randn(23, 4, generator=g, dtype=torch.float64), torch.randint(0, 3, (23,), generator=g)
    result = calclab.descent(calclab.loss(Local(), nn.CrossEntropyLoss(), rows), lr=0.1, steps=4)
    assert pickle.loads(pickle.dumps(result)) == result
    (tmp_path / "result.pkl").write_bytes(pickle.dumps(result))
    code = (
        "import pickle, sys; r = pickle.load(open('result.pkl', 'rb')); r.save('there')\n"
        "assert r == pickle.loads(pickle.dumps(r)) and list(r.figures)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    here = result.save(tmp_path / "here")
    ours, theirs = ({p.name: p for p in folder.iterdir()} for folder in (here, tmp_path / "there"))
    named = [name for name in ours if not name.startswith("events")]
    assert sorted(named) == sorted(name for name in theirs if not name.startswith("events"))
    for name in named:
        if name.endswith((".csv", ".png", ".pt")):
            assert ours[name].read_bytes() == theirs[name].read_bytes(), name


def test_results_differ_where_a_bit_does() -> None:
    def of(at: float) -> calclab.Result:
        return calclab.derivative(calclab.formula("1/x", at=at), steps=3)

    assert of(2.0) == of(2.0)
    assert of(2.0) != of(2.0 + 2**-50)
    assert of(0.0) == of(0.0)  # NaN are the same
    assert of(2.0) != "2"


def test_a_saved_result_gives_the_same_frames(tmp_path: Path) -> None:
    result = calclab.descent(loss(), lr=0.1, steps=5)
    read = load(result.save(tmp_path / "run"))
    assert result.frames.keys() == read.frames.keys()
    for name, frame in result.frames.items():
        pd.testing.assert_frame_equal(frame, read.frames[name], check_names=False, check_column_type=False)
    assert read.verify["bound"].tolist() == result.evidence["bound"].tolist()
    assert isfinite(read.frames["scalars"]["loss"].iloc[-1])


def test_save_leaves_what_the_command_leaves(tmp_path: Path) -> None:
    words = ("topic=hessian", "function.expr='x**2 - 3*y**2'", "function.at=[0.5,0.25]")
    run = calclab.run(*words, f"outputs={tmp_path / 'outputs'}")
    folder = calclab.hessian(calclab.formula("x**2 - 3*y**2", at=[0.5, 0.25])).save(tmp_path / "saved")
    ours, theirs = (
        {"events" if p.name.startswith("events.out.tfevents") else p.name: p for p in place.iterdir() if p.is_file()}
        for place in (folder, run.folder)
    )
    assert ours.keys() == theirs.keys() - {".files"}  # which a folder has that runs go on in
    for name, path in ours.items():
        if path.suffix in (".csv", ".png"):
            assert path.read_bytes() == theirs[name].read_bytes(), name
    assert load(folder).record is not None


def test_a_saved_result_says_in_which_type_it_was_computed(tmp_path: Path) -> None:
    f = calclab.formula("x**2", at=3, dtype="float32")
    outcome = load(calclab.derivative(f, figures=False).save(tmp_path / "run")).outcome
    assert (outcome["provenance"]["dtype"], outcome["provenance"]["device"]) == ("float32", "cpu")
    assert outcome["config"]["dtype"] == "float32"
