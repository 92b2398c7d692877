"""What a job of a sweep costs beyond its computation: composing, folder, sinks, outcome.

    python tests/benchmark/sweep_cost.py

Two sweeps of 100 and 500 small descents (50 steps, no pictures) as whole processes; the difference of their CPU times
over 400 jobs is the cost of a job. The computation itself (the same descents, evidence included, written nowhere) is
timed in this process, and taken off. Three rounds, medians.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import torch
from family import adopt, cpu, reap, run

from calclab.drive import drive
from calclab.optimizer.rules import GradientDescent
from calclab.subject.formula import formula
from calclab.topic.descent import Descent

FEW, MANY, STEPS, ROUNDS, AIM = 100, 500, 50, 3, 10
RATE = 1e-6  # job k descends at (k + 1) × this: slowly enough for every one to take all its steps


def sweep(jobs: int) -> float:
    """CPU seconds of a sweep over ``jobs`` learning rates."""
    rates = f"lr=range({RATE},{(jobs + 0.5) * RATE},{RATE})"
    command = [
        sys.executable,
        "-m",
        "calclab",
        "-m",
        "topic=descent",
        "function=rosenbrock",
        rates,
        f"steps={STEPS}",
        "figures=false",
    ]
    before = cpu()
    with tempfile.TemporaryDirectory() as folder:
        done = run(command, folder)
        reap()
    if f"{jobs} of {jobs} jobs done" not in done.stdout:
        sys.exit(done.stdout[-2000:] + done.stderr)
    return cpu() - before


def computation(jobs: range) -> float:
    """CPU seconds of the scans of ``jobs`` alone."""
    torch.set_num_threads(1)
    place = {"dtype": torch.float64, "device": torch.device("cpu")}
    expr = "sum(i, 0, n - 2, 100*(x[i + 1] - x[i]**2)**2 + (1 - x[i])**2)"
    began = time.process_time()
    for i in jobs:
        lr = (i + 1) * RATE
        f = formula(name="rosenbrock", expr=expr, at=[-1.2, 1.0], **place)
        topic = Descent(
            subject=f,
            optimizer=GradientDescent(),
            lr=lr,
            steps=STEPS,
            tol=1e-8,
            batch=None,
            epochs=None,
            sharpness={"every": 0},
            watch=None,
            animation=False,
            evidence="full",
            flow=None,
        )
        topic.answer(drive(topic, []).state)
    return time.process_time() - began


def main() -> None:
    adopt()
    computation(range(3))  # warms up
    jobs, own = [], []
    for _ in range(ROUNDS):
        jobs.append((sweep(MANY) - sweep(FEW)) / (MANY - FEW) * 1e3)
        own.append(computation(range(FEW, MANY)) / (MANY - FEW) * 1e3)  # the very jobs in which the sweeps differ
    over = [job - alone for job, alone in zip(jobs, own, strict=True)]
    print(f"a job of a sweep   {statistics.median(jobs):6.1f} ms CPU")
    print(f"its computation    {statistics.median(own):6.1f} ms CPU")
    rounds = ", ".join(f"{ms:.1f}" for ms in over)
    print(f"over it            {statistics.median(over):6.1f} ms CPU ({rounds}; aim: {AIM})")


if __name__ == "__main__":
    main()
