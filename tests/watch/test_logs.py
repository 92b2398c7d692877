"""Where readings go: the same numbers everywhere, in a folder that every command of the lab's reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import calclab
from calclab.errors import UserError
from calclab.report.page import page
from calclab.terminal import plain


def trained(log: Any, steps: int = 8, **knobs: Any) -> calclab.Watch:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1)
    watch = calclab.Watch(model, criterion, optimizer, log=log, **{"every": 2, "budget": None, **knobs})
    for _ in range(steps):
        x, y = torch.randn(32, 4), torch.randint(0, 2, (32,))
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
        watch.step((x, y))
    return watch


class Writer:
    """What is used of a SummaryWriter."""

    def __init__(self) -> None:
        self.scalars: dict[tuple[str, int], float] = {}

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars[tag, step] = value


def test_every_log_is_told_the_same(tmp_path: Path) -> None:
    called: dict[tuple[str, int], float] = {}

    def call(step: int, values: Mapping[str, float]) -> None:
        called.update({(tag, step): value for tag, value in values.items()})

    writer, folder = Writer(), tmp_path / "watch" / "one"
    watch = trained([writer, [call, folder]])
    watch.close()
    assert writer.scalars == called
    run: Any = calclab.load(folder)
    values = watch.values
    for row in values.itertuples():
        assert called[row.name, row.step] == row.value
        group, _, rest = row.name.partition("/")
        if group == "layers":
            kind, _, layer = rest.partition("/")
            assert run.trajectory(f"layers/{kind}")[layer][row.step] == row.value
        else:
            assert run.scalars[row.name][row.step] == row.value
    assert run.status == "completed"
    assert run.topic == "watch"
    assert set(run.names["pictures"]) >= {"gradient_and_step", "layer_gradients"}
    said = "\n".join(plain(list(page(run.record))))
    assert watch.answer.headline in said
    assert watch.answer.headline in repr(watch)
    assert "noise scale" in watch._repr_html_() or "noise: " in watch._repr_html_()


def test_the_commands_read_it(tmp_path: Path) -> None:
    for name in "ab":
        trained(tmp_path / "watch" / name, quantities=["norms"]).close()
    words: tuple[tuple[str, ...], ...] = (
        ("runs", str(tmp_path)), ("report", "watch/a"), ("compare", "watch/a", "watch/b"),
    )  # fmt: skip
    for line in words:
        done = subprocess.run(
            [sys.executable, "-m", "calclab", *line], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout
    assert (tmp_path / "watch" / "a" / "report.html").is_file()


@pytest.mark.parametrize(
    ("raised", "status"), [(None, "completed"), (KeyboardInterrupt(), "interrupted"), (RuntimeError("lost"), "failed")]
)
def test_how_the_training_ended_is_told(tmp_path: Path, raised: BaseException | None, status: str) -> None:
    watch = trained(tmp_path / "watch" / "one", quantities=["norms"])
    if raised is None:
        del watch  # a name that is used again, as in a cell that is run twice
    else:
        with pytest.raises(type(raised)), watch:
            raise raised
    run: Any = calclab.load(tmp_path / "watch" / "one")
    assert run.status == status
    assert len(run.scalars) == 4


SCRIPT = """
import sys, time, torch, calclab
from torch import nn
model = nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
watch = calclab.Watch(model, nn.MSELoss(), optimizer, every=1, budget=None, log=sys.argv[1])
for k in range(int(sys.argv[2])):
    x, y = torch.randn(8, 3), torch.randn(8, 1)
    optimizer.zero_grad(); nn.MSELoss()(model(x), y).backward(); optimizer.step(); watch.step((x, y))
    print(k, flush=True)
    time.sleep(float(sys.argv[3]))
    if k == 3: 1 / int(sys.argv[4])
"""


@pytest.mark.parametrize(("divisor", "status"), [("1", "completed"), ("0", "failed")])
def test_a_script_that_ends_leaves_a_whole_run(tmp_path: Path, divisor: str, status: str) -> None:
    folder = tmp_path / "watch" / "one"
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder), "6", "0", divisor], capture_output=True, check=False)
    run: Any = calclab.load(folder)
    assert run.status == status
    assert list(run.scalars.index) == list(range(1, 5 if divisor == "0" else 7))


def test_a_kill_leaves_what_was_seen(tmp_path: Path) -> None:
    folder = tmp_path / "watch" / "one"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), "1000", "0.05", "1"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    while process.stdout.readline().strip() != b"5":
        pass
    assert calclab.load(folder).status == "running"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    time.sleep(0.01)
    run: Any = calclab.load(folder)
    assert run.status == "interrupted"
    assert list(run.scalars.index)[:6] == [1, 2, 3, 4, 5, 6]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="Give a new folder"):
        trained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


class Broken:
    def add_scalar(self, tag: str, value: float, step: int) -> None:
        raise OSError("no space left")


def test_a_log_that_fails_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    called: list[int] = []
    watch = trained([Broken(), lambda step, values: called.append(step)])
    watch.close()
    assert called == [2, 4, 6, 8]
    assert len(caplog.records) == 1
    assert "no space left" in caplog.text
