"""A real TensorBoard server over a run written by the sinks: tags, values, text, images and hyperparameters."""

from __future__ import annotations

import json
import math
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
from calclab.sink.figures import FiguresSink
from calclab.sink.tensorboard import TensorBoardSink, flatten

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
        "x": Column(steps, torch.stack([0.9**k, 0.5**k], 1)),
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
        "lr": 0.1, "tol": math.inf, "train": None, "topic": {"_target_": "a.B", "lr": 0.1, "depth": 3},
        "function": {"_target_": "c", "expr": "x0**2 + 3*x1**2", "at": [1, 2]}, "claims": [{"quantity": "loss"}],
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("logs") / "descent"
    folder.mkdir()
    run = Run("descent", "bowl", "descent of bowl", folder, STEPS - 1, labels, pictures, config, (LATEX,))
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


def test_scalar_tags(server: str) -> None:
    tags = get(server, "data/plugin/scalars/tags")["descent"]
    assert set(tags) == {"scalars/loss", "scalars/sharpness", "x/x0", "x/x1"}  # a row of 17 is too wide


def test_scalar_values(server: str) -> None:
    """Every step is there; a value is the float32 next to it."""
    points = get(server, "data/plugin/scalars/scalars", run="descent", tag="x/x0")
    assert [k for _, k, _ in points] == list(range(STEPS))
    expected = (0.9 ** torch.arange(STEPS, dtype=torch.float64)).float().tolist()
    assert [v for *_, v in points] == pytest.approx(expected, rel=1e-7)
    times = [when for when, *_ in points]
    assert times == sorted(times)
    rare = get(server, "data/plugin/scalars/scalars", run="descent", tag="scalars/sharpness")
    assert [(k, v) for _, k, v in rare] == [(k, float(k)) for k in range(0, STEPS, 50)]


def test_images_are_the_files_in_the_folder(server: str, run: Run) -> None:
    tags = get(server, "data/plugin/images/tags")["descent"]
    assert set(tags) == {f"figures/{name}" for name in ("formula", "curves", "path", "hessian", "last")}
    for tag in tags:
        (info,) = get(server, "data/plugin/images/images", run="descent", tag=tag, sample="0")
        png = fetch(server, "data/plugin/images/individualImage", **dict(urllib.parse.parse_qsl(info["query"])))
        assert png == (run.folder / f"{tag.split('/')[1]}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert info["step"] == STEPS - 1


def test_summary_is_shown_as_markdown(server: str) -> None:
    assert get(server, "data/plugin/text/tags")["descent"] == ["summary"]
    (entry,) = get(server, "data/plugin/text/text", run="descent", tag="summary")
    assert "<h1>descent of bowl</h1>" in entry["text"]
    assert "<strong>it goes down</strong>" in entry["text"]
    assert "<td><code>value</code></td>" in entry["text"]
    assert "x0**2 + 3*x1**2" in entry["text"]


def test_hyperparameters_and_status(server: str) -> None:
    query = {"allowedStatuses": ["STATUS_SUCCESS"], "colParams": [], "startIndex": 0, "sliceSize": 10}
    request = json.dumps(query).encode()
    (group,) = get(server, "data/plugin/hparams/session_groups", request)["sessionGroups"]
    assert group["hparams"] == {
        "topic": "descent", "subject": "bowl", "lr": 0.1, "tol": "inf", "topic.depth": 3.0,
        "function.expr": "x0**2 + 3*x1**2", "function.at": "[1, 2]",
    }  # fmt: skip
    (session,) = group["sessions"]
    assert session["status"] == "STATUS_SUCCESS"


def test_flatten_leaves_out_builders_and_repeated_knobs() -> None:
    found = dict(flatten({"lr": 0.5, "topic": {"name": "t", "_target_": "z", "lr": 0.5}, "seed": True}))
    assert found == {"lr": 0.5, "seed": True}


def test_a_failed_run_is_closed_all_the_same(tmp_path: Path) -> None:
    run, board = Run("t", "s", "t of s", tmp_path, 9, {}, (), {}), TensorBoardSink()
    board.open(run)
    for sink in (SummarySink(run, board), board):
        sink.close(Outcome(Status.FAILED, -1, 0.0, {}, error="ZeroDivisionError: division by zero"))
    (path,) = tmp_path.glob("events.out.tfevents.*")
    assert b"ZeroDivisionError" in path.read_bytes()
    assert "ZeroDivisionError" in (tmp_path / "summary.md").read_text()
