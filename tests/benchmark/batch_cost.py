"""A sweep of 1,000 learning rates × 1,000 steps as one scan, against Hydra's basic launcher; and how it grows.

    python tests/benchmark/batch_cost.py [--grow]

Both are whole commands, everything logged (CSV, TensorBoard, evidence; no pictures), wall clock. The basic launcher is
measured on 20 of the jobs and on one; the difference, scaled to all of them, and the start-up of the one stand for the
1,000. ``--grow`` prints time and peak memory for up to 10,000 jobs and 10,000 steps.
"""

from __future__ import annotations

import sys
import tempfile
import time

from family import adopt, peak, reap, run

JOBS, STEPS, FEW, AIM = 1000, 1000, 20, 100


def sweep(launcher: str, jobs: int, steps: int) -> tuple[float, float]:
    """Seconds of the command, and the largest memory of any process so far in MB."""
    rates = f"lr=logspace(1e-5,1e-3,{jobs})" if jobs > 1 else "lr=1e-5"
    words = ["-m", "topic=descent", "function=rosenbrock", rates, f"steps={steps}", "tol=0", "figures=false"]
    command = [sys.executable, "-m", "calclab", *words, f"hydra/launcher={launcher}"]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        done = run(command, folder)
        taken = time.perf_counter() - began
    if done.returncode or f"{jobs} of {jobs} jobs done" not in done.stdout:
        sys.exit(done.stdout[-2000:] + done.stderr)
    reap()
    return taken, peak()


def grow() -> None:
    print(f"{'jobs':>7} {'steps':>7} {'seconds':>9} {'ms a job':>9} {'peak MB of a process':>21}")
    for jobs, steps in ((10, 1000), (100, 1000), (1000, 1000), (10_000, 1000), (1000, 100), (100, 10_000)):
        taken, memory = sweep("batch", jobs, steps)
        print(f"{jobs:7} {steps:7} {taken:9.1f} {taken / jobs * 1e3:9.1f} {memory:21.0f}")


def main() -> None:
    adopt()
    if "--grow" in sys.argv:
        return grow()
    sweep("batch", 2, 5)  # warms the disk's cache
    one, few = sweep("basic", 1, STEPS)[0], sweep("basic", FEW, STEPS)[0]
    job = (few - one) / (FEW - 1)
    together, memory = sweep("batch", JOBS, STEPS)
    basic = one + (JOBS - 1) * job
    print(
        f"basic launcher: 1 job {one:.2f} s, {FEW} jobs {few:.2f} s: {job * 1e3:.0f} ms each, {basic:.0f} s for {JOBS}"
    )
    print(f"batch launcher: {together:.2f} s for {JOBS} jobs; no process above {memory:.0f} MB")
    print(f"{basic / together:.0f} times as quick (aim: {AIM})")


if __name__ == "__main__":
    main()
