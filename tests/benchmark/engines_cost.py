"""What an engine gives: 64 jobs of a second each, on two processes of joblib against the lab's own one.

    python tests/benchmark/engines_cost.py [JOBS]

A job is topic=partial of a user's own function that waits at every call, so that the figure does not depend on what
else the machine is doing. The wait is set by a short sweep so that a job takes one second in a warm process, by the
sweep's own column ``seconds``; that column's median is shown again for what is measured. Wall clock of whole commands,
start-up included.
"""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOBS, AIM = int(sys.argv[1]) if len(sys.argv) > 1 else 64, 1.7
OWN = """
import time

def slow(x):
    open("calls", "a").write(".")
    time.sleep({pause})
    return (x**2).sum()
"""


def sweep(place: Path, name: str, jobs: int, *more: str) -> tuple[float, list[float]]:
    """Seconds of a whole command, and of its jobs in order."""
    words = ["topic=partial", "function._target_=slow_function.slow", "function.at=[1,2]", "figures=false", *more]
    seeds = "seed=" + ",".join(str(k + 1) for k in range(jobs))
    command = [sys.executable, "-m", "calclab", "-m", *words, seeds, f"outputs={name}"]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    taken = time.perf_counter() - began
    if done.returncode or f"{jobs} of {jobs} jobs done" not in done.stdout:
        sys.exit(done.stdout + done.stderr)
    (table,) = (place / name / "sweeps").glob("*/sweep.csv")
    with table.open(newline="", encoding="utf-8") as file:
        return taken, [float(row["seconds"]) for row in csv.DictReader(file)]


def calibrated(place: Path) -> float:
    """The wait at a call with which a job takes a second."""
    jobs = 4
    (place / "slow_function.py").write_text(OWN.format(pause=0.005))
    _, seconds = sweep(place, "trial", jobs)
    calls = (place / "calls").stat().st_size / jobs
    return 0.005 + (1 - statistics.median(seconds[1:])) / calls  # the first imports what all need


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "slow_function.py").write_text(OWN.format(pause=calibrated(place)))
        one, alone = sweep(place, "one", JOBS, "hydra/launcher=lab")
        two, beside = sweep(place, "two", JOBS, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    for name, taken, seconds in (("one process", one, alone), ("joblib on two", two, beside)):
        print(f"{name:14}{JOBS} jobs of {statistics.median(seconds):.2f} s: {taken:6.1f} s, {taken / JOBS:.2f} a job")
    print(f"throughput {one / two:.2f} times (aim: {AIM})")
    sys.exit(one / two < AIM)


if __name__ == "__main__":
    main()
