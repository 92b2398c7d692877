"""A real TensorBoard server over a run written by the sinks: tags, values, text, images and hyperparameters."""

from __future__ import annotations

import json
import math
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from calclab.core import (
    Answer,
    Bars,
    Claim,
    Column,
    Contours,
    Curves,
    Evidence,
    Function,
    Heatmap,
    Outcome,
    Run,
    Status,
    Verdict,
)
from calclab.report.summary import SummarySink
from calclab.sink.board import metrics, tag_of
from calclab.sink.figures import FiguresSink
from calclab.sink.hyperparameters import flatten, hyperparameters
from calclab.sink.tensorboard import TensorBoardSink

STEPS = 600
LATEX = r"f = x_0^2 + 3 x_1^2"


def bowl(x: torch.Tensor) -> torch.Tensor:
    return x[0] ** 2 + 3 * x[1] ** 2


def columns(first: int, last: int) -> dict[str, Column]:
    k = torch.arange(first, last, dtype=torch.float64)
    steps = list(range(first, last))
    rare = [k for k in steps if k % 50 == 0]
    return {
        "loss": Column(steps, 2.0**-k),
        "sharpness": Column(rare, torch.tensor([float(k) for k in rare])),
        "edge": Column(rare, torch.tensor([float(k) / 20 for k in rare])),
        "gradient_norm": Column(steps, 3 * 0.5**k),
        "predicted_contraction": Column(steps, 0.5 + 0 * k),
        "ghost": Column(steps, k),
        "histogram/gradients/first": Column(rare, torch.tensor([[[-1.0, 0.0, 3.0], [0.0, 1.0, 5.0]]] * len(rare))),
        "x": Column(steps, torch.stack([0.9**k, 0.6**k], 1)),
        "wide": Column(steps, torch.zeros(len(steps), 17)),
        "hessian": Column(steps[-1:], torch.tensor([[[2.0, 0.0], [0.0, 6.0]]])),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    start = torch.ones(2, dtype=torch.float64)
    function = Function("bowl", bowl, start, ("x0", "x1"), minima=torch.zeros(1, 2, dtype=torch.float64))
    pictures = (
        Curves("curves", ("loss", "sharpness")),
        Contours("path", "x", function),
        Heatmap("hessian", "hessian"),
        Bars("last", "x", ranked=True),
    )
    labels = {"x": (("x0", "x1"),), "hessian": (("x0", "x1"), ("x0", "x1"))}
    config = {
        "lr": 0.1, "sharpness": {"every": 50},
        "tol": math.inf, "train": None, "topic": {"_target_": "a.B", "lr": 0.1, "depth": 3},
        "function": {"_target_": "c", "expr": "x0**2 + 3*x1**2", "at": [1, 2]}, "claims": [{"quantity": "loss"}],
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("logs") / "descent"
    folder.mkdir()
    choices = {"optimizer": "adam", "topic": "descent"}
    config |= {"optimizer": {"_target_": "a.Adam"}}
    run = Run(
        "descent", "bowl", "descent of bowl", folder, STEPS - 1, labels, pictures, config, (LATEX,), choices=choices
    )
    board = TensorBoardSink()
    sinks = [FiguresSink(board), SummarySink(run, board), board]
    for sink in sinks:
        sink.open(run)
    for first in range(0, STEPS, 150):
        for sink in sinks:
            sink.write(columns(first, first + 150))
    answer = Answer("it goes down", {"value": torch.tensor(0.25)}, (r"\frac{\partial f}{\partial x_0} = 2 x_0",))
    evidence = (Evidence(0, "gradient", "Arb", 2.0, 2.0, 0.0, 1e-16, 1e-12, Verdict.CERTIFIED),)
    claims = (Claim("value is 1/4", "0.25", "0.25", True),)
    outcome = Outcome(Status.COMPLETED, STEPS - 1, 0.5, {}, answer, evidence, claims)
    for sink in sinks:
        sink.close(outcome)
    return run


@pytest.fixture(scope="module")
def server(run: Run) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--logdir", str(run.folder.parent), "--port", str(port), "--host", "127.0.0.1", "--load_fast=false"]
    start = "from tensorboard.main import run_main; run_main()"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *words, "--samples_per_plugin=scalars=100000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            assert process.poll() is None, "tensorboard ended by itself"
            try:
                if "descent" in get(address, "data/runs") and get(address, "data/plugin/text/tags").get("descent"):
                    break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.2)
        else:
            pytest.fail("tensorboard did not serve the run within 90 s")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fetch(address: str, path: str, body: bytes | None = None, **query: str) -> bytes:
    request = urllib.request.Request(f"{address}{path}?{urllib.parse.urlencode(query)}", data=body)
    if body is not None:
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def get(address: str, path: str, body: bytes | None = None, **query: str) -> Any:
    return json.loads(fetch(address, path, body, **query))


def test_every_curve_is_in_its_group(server: str) -> None:
    """A row of 17 is too wide, and what the topic does not name is in the CSVs."""
    tags = get(server, "data/plugin/scalars/tags")["descent"]
    assert set(tags) == {
        "loss/loss", "gradient/norm", "curvature/sharpness", "curvature/two_over_lr",
        "theory/sharpness_times_half_lr", "theory/contraction_predicted", "theory/gradient_norm_predicted",
        "x/x0", "x/x1", "answer/objective", "run/diverged", "run/steps", "run/seconds",
    }  # fmt: skip


def values(server: str, tag: str) -> list[float]:
    return [v for _, _, v in get(server, "data/plugin/scalars/scalars", run="descent", tag=tag)]


def test_no_two_tags_hold_the_same_numbers(server: str) -> None:
    tags = get(server, "data/plugin/scalars/tags")["descent"]
    curves = {tag: tuple(values(server, tag)) for tag in tags if not tag.startswith(("run/", "theory/gradient"))}
    assert len(set(curves.values())) == len(curves)


def test_theory_stands_beside_what_was_measured(server: str) -> None:
    """The gradient shrinks here as theory says, and lr is 0.1: 2/lr is 20 at every look where λ > 0."""
    assert values(server, "theory/gradient_norm_predicted") == pytest.approx(values(server, "gradient/norm"), rel=1e-6)
    assert values(server, "curvature/two_over_lr")[1:] == pytest.approx([20.0] * (STEPS // 50 - 1))


def test_charts_are_laid_out(server: str) -> None:
    (category,) = get(server, "data/plugin/custom_scalars/layout")["category"]
    tags = get(server, "data/plugin/scalars/tags")["descent"]
    assert category["title"] == "descent"
    for chart in category["chart"]:
        patterns = chart["multiline"]["tag"]
        assert any(re.search(pattern, tag) for pattern in patterns for tag in tags), chart
        assert all(sum(bool(re.search(p, tag)) for tag in tags) <= 1 for p in patterns if "*" not in p), chart
    assert ["curvature/sharpness$", "curvature/two_over_lr$"] in [c["multiline"]["tag"] for c in category["chart"]]


def test_histograms(server: str) -> None:
    found = get(server, "data/plugin/histograms/histograms", run="descent", tag="gradients/first")
    assert [k for _, k, _ in found] == list(range(0, STEPS, 50))
    assert sum(count for *_, count in found[0][2]) == pytest.approx(8)


def test_scalar_values(server: str) -> None:
    """Every step is there; a value is the float32 next to it."""
    points = get(server, "data/plugin/scalars/scalars", run="descent", tag="x/x0")
    assert [k for _, k, _ in points] == list(range(STEPS))
    expected = (0.9 ** torch.arange(STEPS, dtype=torch.float64)).float().tolist()
    assert [v for *_, v in points] == pytest.approx(expected, rel=1e-7)
    times = [when for when, *_ in points]
    assert times == sorted(times)
    rare = get(server, "data/plugin/scalars/scalars", run="descent", tag="curvature/sharpness")
    assert [(k, v) for _, k, v in rare] == [(k, float(k)) for k in range(0, STEPS, 50)]


def test_images_are_the_files_in_the_folder(server: str, run: Run) -> None:
    tags = get(server, "data/plugin/images/tags")["descent"]
    assert set(tags) == {
        f"pictures/{k} {name}" for k, name in enumerate(("formula", "curves", "path", "hessian", "last"))
    }
    for tag in tags:
        (info,) = get(server, "data/plugin/images/images", run="descent", tag=tag, sample="0")
        png = fetch(server, "data/plugin/images/individualImage", **dict(urllib.parse.parse_qsl(info["query"])))
        assert png == (run.folder / f"{tag.split(' ')[1]}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert info["step"] == STEPS - 1


def test_summary_is_shown_as_markdown(server: str) -> None:
    assert get(server, "data/plugin/text/tags")["descent"] == ["summary"]
    (entry,) = get(server, "data/plugin/text/text", run="descent", tag="summary")
    assert "<h1>descent of bowl</h1>" in entry["text"]
    assert "<strong>it goes down</strong>" in entry["text"]
    assert "<td><code>value</code></td>" in entry["text"]
    assert "x0**2 + 3*x1**2" in entry["text"]
    assert "How to read this" in entry["text"]
    assert "<strong>theory/</strong>" in entry["text"]
    assert "<strong>score/</strong>" not in entry["text"]  # there is none


def test_hyperparameters_and_status(server: str) -> None:
    query = {"allowedStatuses": ["STATUS_SUCCESS"], "colParams": [], "startIndex": 0, "sliceSize": 10}
    request = json.dumps(query).encode()
    (group,) = get(server, "data/plugin/hparams/session_groups", request)["sessionGroups"]
    assert group["hparams"] == {
        "topic": "descent", "optimizer": "adam", "function": "x0**2 + 3*x1**2", "lr": 0.1, "tol": "inf",
        "topic.depth": 3.0, "function.expr": "x0**2 + 3*x1**2", "function.at": "[1, 2]", "sharpness.every": 50.0,
    }  # fmt: skip
    (session,) = group["sessions"]
    assert session["status"] == "STATUS_SUCCESS"


def test_flatten_leaves_out_builders_and_repeated_knobs() -> None:
    found = dict(flatten({"lr": 0.5, "topic": {"name": "t", "_target_": "z", "lr": 0.5}, "seed": True}))
    assert found == {"lr": 0.5, "seed": True}


def test_of_a_sweep_the_options_and_what_it_varies_are_told() -> None:
    config = {"lr": 0.1, "steps": 9, "optimizer": {"_target_": "o.Adam", "beta": 0.9}, "schedule": None,
              "network": {"_target_": "my.nets.Net", "width": 8}, "data": {"name": "iris"}}  # fmt: skip
    choices = {"optimizer": "adam", "network": "custom", "data": "iris"}
    run = Run("descent", "Net", "t", Path(), 9, {}, (), config, choices=choices, swept=("lr", "optimizer", "schedule"))
    assert hyperparameters(run) == {
        "optimizer": "adam", "schedule": "none", "network": "Net", "data": "iris", "lr": 0.1,
    }  # fmt: skip


def test_a_run_that_ran_away_has_no_objective(tmp_path: Path) -> None:
    """On any scale it would hide all others."""
    run = Run("descent", "s", "t", tmp_path, 9, {}, (), {})
    answer = Answer("it flew", {"loss": torch.tensor(1e30)})
    ends = {status: dict(metrics(run, Outcome(status, 3, 0.1, {}, answer))) for status in Status}
    assert [status for status in ends if "answer/objective" in ends[status]] == [
        Status.COMPLETED, Status.CONVERGED, Status.INTERRUPTED,
    ]  # fmt: skip
    assert ends[Status.DIVERGED]["run/diverged"] == 1


def test_a_line_is_over_what_goes_on() -> None:
    """Not over rows, layers or links, nor over a single look."""
    for topic in ("importance", "chain", "partial", "jacobian"):
        run = Run(topic, "s", "t", Path(), 40, {}, (), {})
        assert not [name for name in ("gradient_norm", "score", "value", "local", "attributions") if tag_of(run, name)]
    assert tag_of(Run("descent", "s", "t", Path(), 0, {}, (), {}), "loss") is None


def test_theory_goes_on_where_the_run_does(tmp_path: Path) -> None:
    """It starts at the first gradient norm of all, which the CSV has kept."""
    (tmp_path / "scalars.csv").write_text("step,loss,gradient_norm\n0,1,8.0\n1,1,4.0\n")
    run = Run("descent", "s", "t", tmp_path, 9, {}, (), {})
    first, second = TensorBoardSink(), TensorBoardSink()
    first.open(run)
    first.close(Outcome(Status.INTERRUPTED, 1, 0.1, {}))
    second.open(run)
    steps = [2, 3]
    lines = second._lines({
        "gradient_norm": Column(steps, torch.tensor([2.0, 1.0])),
        "predicted_contraction": Column(steps, torch.tensor([0.5, 0.5])),
    })  # fmt: skip
    assert lines["theory/gradient_norm_predicted"].data.tolist() == [2.0, 1.0]


def test_a_failed_run_is_closed_all_the_same(tmp_path: Path) -> None:
    run, board = Run("t", "s", "t of s", tmp_path, 9, {}, (), {}), TensorBoardSink()
    board.open(run)
    for sink in (SummarySink(run, board), board):
        sink.close(Outcome(Status.FAILED, -1, 0.0, {}, error="ZeroDivisionError: division by zero"))
    (path,) = tmp_path.glob("events.out.tfevents.*")
    assert b"ZeroDivisionError" in path.read_bytes()
    assert "ZeroDivisionError" in (tmp_path / "summary.md").read_text()
