"""What an engine gives: 64 jobs of a second each, on two processes of joblib against the lab's own one.

    python tests/benchmark/engines_cost.py [JOBS]

A job is one value of a user's own function that waits for a second, so that the figure does not depend on what else
the machine is doing. Wall clock of whole commands, start-up included.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOBS, AIM = int(sys.argv[1]) if len(sys.argv) > 1 else 64, 1.7
OWN = "import time\n\ndef slow(x):\n    time.sleep(PAUSE)\n    return (x**2).sum()\n"
STEPS = 4  # descents: 5 values and gradients, and the evidence beside them


def seconds(place: Path, *more: str) -> float:
    values = ",".join(str(k + 1) for k in range(JOBS))
    words = ["topic=descent", "function._target_=slow_function.slow", f"seed={values}", f"steps={STEPS}", "lr=0.1"]
    began = time.perf_counter()
    command = [sys.executable, "-m", "calclab", "-m", *words, "function.at=[1,2]", "figures=false", *more]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    taken = time.perf_counter() - began
    if done.returncode or f"{JOBS} of {JOBS} jobs done" not in done.stdout:
        sys.exit(done.stdout + done.stderr)
    return taken


def main() -> None:
    pause = calls_per_job()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "slow_function.py").write_text(OWN.replace("PAUSE", str(1 / pause)))
        one = seconds(place, "hydra/launcher=lab", "outputs=one")
        two = seconds(place, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "outputs=two")
    print(f"{JOBS} jobs: one process {one:.1f} s ({one / JOBS:.2f} a job), joblib on two {two:.1f} s")
    print(f"throughput {one / two:.2f} times (aim: {AIM})")


def calls_per_job() -> int:
    """How often one job calls its function."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        counting = "def slow(x):\n    open('calls', 'a').write('.')\n    return (x**2).sum()\n"
        (place / "slow_function.py").write_text(counting)
        words = ["topic=descent", "function._target_=slow_function.slow", f"steps={STEPS}", "lr=0.1", "figures=false"]
        subprocess.run([sys.executable, "-m", "calclab", *words, "function.at=[1,2]"], cwd=place, capture_output=True)
        return max(1, len((place / "calls").read_text()))


if __name__ == "__main__":
    main()
