"""What logging costs: the lab's descent, everything written, against the notebook's bare loop, nothing written.

    python tests/benchmark/logging_cost.py

Both walk 20,000 steps down Rosenbrock's valley in float64 on one thread, in turn, five times; CPU time of each, ratio
of each pair, median. The lab logs loss, gradient norm, step length and position at every step to CSV and TensorBoard,
and gathers its evidence; "scan only" is the same scan with no sink, to see where the time goes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from calclab.core import Outcome, Run, Sink
from calclab.drive import drive
from calclab.optimizer.rules import GradientDescent
from calclab.sink.csv import CsvSink
from calclab.sink.tensorboard import TensorBoardSink
from calclab.subject.formula import formula
from calclab.topic.descent import Descent

STEPS, LR, ROUNDS = 20_000, 1e-4, 5


def bare() -> None:
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    for _ in range(STEPS):
        loss = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        loss.backward()
        with torch.no_grad():
            x -= LR * x.grad
            x.grad.zero_()


def lab(make_sinks: Callable[[], list[Sink]]) -> None:
    place = {"dtype": torch.float64, "device": torch.device("cpu")}
    f = formula(name="rosenbrock", expr="100*(x1 - x0**2)**2 + (1 - x0)**2", at=[-1.2, 1.0], **place)
    topic = Descent(
        subject=f,
        optimizer=GradientDescent(),
        lr=LR,
        steps=STEPS,
        tol=0.0,
        batch=None,
        epochs=None,
        sharpness={"every": 0},
        watch=None,
        animation=False,
        evidence="full",
        flow=None,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = Run("descent", f.name, "descent", Path(folder), STEPS, topic.labels(), (), {})
        sinks = make_sinks()
        for sink in sinks:
            sink.open(run)
        scan = drive(topic, sinks)
        for sink in sinks:
            sink.close(Outcome(scan.status, scan.step, 0.0, scan.last))


def cpu(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    torch.set_num_threads(1)
    ways = {"scan only": lambda: lab(list), "logged": lambda: lab(lambda: [CsvSink(), TensorBoardSink()])}
    times: dict[str, list[float]] = {name: [] for name in ("bare", *ways)}
    for _ in range(ROUNDS):
        times["bare"].append(cpu(bare))
        for name, way in ways.items():
            times[name].append(cpu(way))
    for name, seconds in times.items():
        ratio = statistics.median(s / b for s, b in zip(seconds, times["bare"], strict=True))
        print(f"{name:<10} {statistics.median(seconds) / STEPS * 1e6:7.1f} µs a step   {ratio:5.2f} × bare")


if __name__ == "__main__":
    main()
