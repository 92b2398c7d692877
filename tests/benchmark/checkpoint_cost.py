"""What checkpoints cost: the same logged run with them, at the default interval, and without, by CPU time.

    python tests/benchmark/checkpoint_cost.py --seconds 60 --rounds 3

A walk down Rosenbrock's valley, every step logged, and a network of many parameters under Adam, whose checkpoint holds
three numbers a parameter. A run is a forked child of this process that has the number of steps which take it about
``--seconds``: several times the interval. Both kinds run in turn; printed are the medians and their ratio, and, since a
difference of a percent drowns in the noise of a machine, also the CPU time spent in `checkpoint.save` itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

NEVER = 1e9
WIDTH = 600  # some 400,000 parameters
RUNS = {
    "function": "topic=descent function=rosenbrock lr=0.0001 tol=0 figures=false",
    "network": f"topic=descent network=mlp network.width={WIDTH} network.depth=2 data=digits data.rows=20 lr=0.0001"
    " tol=0 optimizer=adam figures=false",
}


def cost(words: list[str]) -> tuple[float, int, float, int]:
    """CPU seconds of a run in a child; how many times it saved, the CPU seconds of that, and the bytes of the last."""
    with tempfile.TemporaryDirectory() as place:
        told = Path(place) / "told"
        pid = os.fork()
        if not pid:
            status = 1
            try:
                status = logged([*words, f"outputs={place}"], told)
            finally:
                os._exit(status)
        _, status, usage = os.wait4(pid, 0)
        if status:
            raise SystemExit(f"left with {os.waitstatus_to_exitcode(status)}: {' '.join(words)}")
        return usage.ru_utime + usage.ru_stime, *json.loads(told.read_text(encoding="utf-8"))


def logged(words: list[str], told: Path) -> int:
    """The run itself, with a stopwatch around every checkpoint."""
    from calclab import checkpoint
    from calclab.app import main

    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    spent, sizes, save = [0.0], [0], checkpoint.save

    def timed(folder: Path, *rest: Any) -> None:
        began = time.process_time()
        save(folder, *rest)
        spent.append(time.process_time() - began)
        sizes.append((folder / checkpoint.NAME).stat().st_size)

    checkpoint.save = timed
    status = main(words)
    told.write_text(json.dumps([len(spent) - 1, sum(spent), sizes[-1]]), encoding="utf-8")
    return status


def steps_for(words: list[str], seconds: float) -> int:
    """How many steps take about ``seconds``: by two short runs, so that what a start costs falls out."""
    few, many = 50, 250
    short, longer = (cost([*words, f"steps={steps}", f"checkpoint_every={NEVER}"])[0] for steps in (few, many))
    while longer - short < 1:
        few, short, many = many, longer, 4 * many
        longer = cost([*words, f"steps={many}", f"checkpoint_every={NEVER}"])[0]
    return int(seconds * (many - few) / (longer - short))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="about what one run takes")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    import torch

    import calclab.app.compute  # noqa: F401

    torch.set_num_threads(1)
    for name, command in RUNS.items():
        words = command.split()
        words.append(f"steps={steps_for(words, options.seconds)}")
        plain, saved, shares = [], [], []
        for _ in range(options.rounds):
            plain.append(cost([*words, f"checkpoint_every={NEVER}"])[0])
            seconds, count, inside, size = cost(words)
            saved.append(seconds)
            shares.append(inside / seconds)
        ratio = statistics.median(saved) / statistics.median(plain)
        print(
            f"{name:<9} {words[-1]}: {statistics.median(plain):6.2f} s without, {statistics.median(saved):6.2f} s with"
            f" {count} checkpoints of {size / 1e6:.3g} MB: {100 * (ratio - 1):+.2f} %;"
            f" saving itself {100 * statistics.median(shares):.3f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
