"""Many at once: different runs, all started together, and the same command given by many processes at the same moment.

    python tests/durability/crowd.py --different 64 --same 16

Real processes, ``python -m calclab`` each. Then every folder is compared with the same run done alone, elsewhere: every
CSV byte for byte, the event file, the outcome, and the names of all files.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from forked import BrokenError, differences, fingerprint, finish, folder_of, readable, warm

KINDS = [
    "topic=descent function=rosenbrock lr={lr} steps=300",
    "topic=descent network=linear data=iris optimizer=adam lr={lr} steps=30",
    "topic=derivative steps={k}",
    "topic=descent function=himmelblau lr={lr} steps=200",
    "topic=hessian function=himmelblau seed={k}",
    "topic=jacobian network=linear data=iris seed={k}",
    "topic=partial seed={k}",
    "topic=importance network=linear data=iris train={k}",
]
SAME = "topic=descent function=rosenbrock lr=0.0001 steps=20000 tol=0"
Ended = tuple[int, str, str]  # status, what was said, and on stderr


def different(number: int) -> list[str]:
    command = KINDS[number % len(KINDS)]
    return [*command.format(lr=1e-5 * (number + 1), k=number + 1).split(), "figures=false"]


def together(commands: Sequence[Sequence[str]], folder: Path) -> list[Ended]:
    """All of ``commands`` started at once in ``folder``."""
    around = {**os.environ, "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "calclab", *command],
            cwd=folder, env=around, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for command in commands
    ]  # fmt: skip
    return [(run.returncode, out, err) for run in runs for out, err in [run.communicate()]]


def alone(command: Sequence[str]) -> dict[str, object]:
    """The fingerprint of the run of ``command``, done alone."""
    with tempfile.TemporaryDirectory() as place:
        finish([*command, f"outputs={place}"])
        return fingerprint(folder_of(Path(place)))


def unexpected(end: Ended) -> list[str]:
    """The lines on stderr that are no notes of the run's own, which are told before its first step."""
    return [line for line in end[2].splitlines() if line.removeprefix("calclab: ") not in end[1]]


def crowd(count: int, folder: Path) -> list[str]:
    """``count`` different runs at once; what went wrong."""
    commands = [different(number) for number in range(count)]
    ends = together(commands, folder)
    readable(folder / "outputs")
    wrong = [f"{' '.join(c)}: {end}" for c, end in zip(commands, ends, strict=True) if end[0] != 0 or unexpected(end)]
    folders = sorted(record.parent for record in (folder / "outputs").glob("*/*/outcome.json"))
    if len(folders) != count:
        wrong.append(f"{len(folders)} folders of {count} runs")
    for command, (_, out, _) in zip(commands, ends, strict=True):
        said = re.search(r"outputs/\S+", out)
        if said is None or not (folder / said[0]).is_dir():
            wrong.append(f"{' '.join(command)}: did not say where it lies: {out}")
        elif differs := differences(alone(command), fingerprint(folder / said[0])):
            wrong.append(f"{' '.join(command)}: differs in {differs} from the run done alone")
    return wrong


def chorus(count: int, folder: Path) -> tuple[list[str], Counter[str]]:
    """One command by ``count`` processes at once; what went wrong, and what the processes met."""
    command = [*SAME.split(), "figures=false"]
    ends = together([command] * count, folder)
    readable(folder / "outputs")
    met: Counter[str] = Counter()
    wrong = []
    for status, out, err in ends:
        if status == 0 and not err:
            met["found it finished" if "finished before" in out else "computed it"] += 1
        elif status == 2 and re.fullmatch(r"calclab: \S+ is being computed by process \d+ on .*\n", err):
            met["were told who computes it"] += 1
        else:
            wrong.append(f"left with {status}: {err or out}")
    if met["computed it"] != 1:
        wrong.append(f"{met['computed it']} processes computed it")
    try:
        if differs := differences(alone(command), fingerprint(folder_of(folder / "outputs"))):
            wrong.append(f"differs in {differs} from the run done alone")
    except BrokenError as broken:
        wrong.append(str(broken))
    return wrong, met


def run(many: int, same: int, say: Callable[[str], None]) -> int:
    warm()
    with tempfile.TemporaryDirectory() as place:
        began = time.monotonic()
        wrong = crowd(many, Path(place))
        say(f"{many} different runs at once, {time.monotonic() - began:.0f} s: {len(wrong) or 'nothing'} went wrong")
    with tempfile.TemporaryDirectory() as place:
        more, met = chorus(same, Path(place))
        listed = ", ".join(f"{number} {what}" for what, number in met.items())
        say(f"{same} processes of the same command: {listed}; {len(more) or 'nothing'} went wrong")
    for text in wrong + more:
        say(text)
    return len(wrong) + len(more)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--different", type=int, default=64)
    parser.add_argument("--same", type=int, default=16)
    options = parser.parse_args()
    sys.exit(min(1, run(options.different, options.same, lambda text: print(text, flush=True))))
