"""What starting costs: one derivative, as a whole process, against the imports and the composing that it cannot avoid.

    python tests/benchmark/startup_cost.py

CPU time (user and system) of child processes, run in turn; median of the ratios of pairs.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 5
BASE = """
import torch, hydra
from calclab.app.studies import register
register()
from calclab.schema.catalogue import home
with hydra.initialize_config_dir(str(home("conf")), version_base="1.3"):
    hydra.compose("config", ["topic=derivative"], return_hydra_config=True)
"""
LAB = [sys.executable, "-m", "calclab", "topic=derivative", "rerun=true"]


def cpu(command: list[str], folder: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    ways = {
        "imports and composing": [sys.executable, "-c", BASE],
        "figures=false": [*LAB, "figures=false"],
        "figures=true": [*LAB, "figures=true"],
        "--help": [*LAB, "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS + 1):
            for name, command in ways.items():
                seconds = cpu(command, folder)
                if turn:  # the first round warms the caches
                    times[name].append(seconds)
    base = times["imports and composing"]
    for name, seconds in times.items():
        ratio = statistics.median(s / b for s, b in zip(seconds, base, strict=True))
        print(f"{name:<22} {statistics.median(seconds):5.2f} s CPU   {ratio:4.2f} × imports and composing")


if __name__ == "__main__":
    main()
