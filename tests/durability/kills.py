"""Kill runs at random moments, go on, and compare every byte with a run that was never stopped.

    python tests/durability/kills.py --kills 200 --seed 0

Over all seven topics, on functions and networks. A run is a forked child of this process, killed by SIGKILL after a
random part of the time that the whole run takes (once or twice), then started again until it ends. What is compared:
every CSV byte for byte, the event file's steps and values, the outcome's status, answer and evidence.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

COMMANDS = [
    "topic=descent function=rosenbrock lr=0.0001 steps=3000",
    "topic=descent network=mlp network.width=8 data=iris lr=0.1 steps=150 optimizer=adam",
    "topic=derivative steps=900",
    "topic=partial",
    "topic=chain network=mlp data=iris",
    "topic=hessian function=himmelblau",
    "topic=jacobian network=mlp network.width=4 data=iris",
    "topic=importance network=mlp network.width=4 data=iris train=20",
    "experiment=notebook/07_bowl",
]


def child(outputs: Path, command: str) -> int:
    """Start ``command`` in a forked child; its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        from calclab.app import main

        status = main([*command.split(), f"outputs={outputs}", "checkpoint_every=0.02", "figures=false"])
    finally:
        os._exit(status)


def finish(outputs: Path, command: str) -> float:
    """Run ``command`` to its end; the seconds that took."""
    began = time.perf_counter()
    _, status = os.waitpid(child(outputs, command), 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{command}: left with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - began


def fingerprint(outputs: Path) -> dict[str, object]:
    """All of a run that must not depend on when it was stopped."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (record,) = outputs.glob("*/*/outcome.json")
    folder = record.parent
    content = json.loads(record.read_text(encoding="utf-8"))
    print_of: dict[str, object] = {path.name: path.read_bytes() for path in sorted(folder.glob("*.csv"))}
    print_of["outcome"] = [content[key] for key in ("status", "steps", "answer", "last", "evidence", "claims", "exit")]
    (events,) = folder.glob("events.out.tfevents.*")
    values = [
        (event.step, value.tag, value.tensor.SerializeToString() if "scalars" in value.tag else b"")
        for event in EventFileLoader(str(events)).Load()
        for value in event.summary.value
    ]
    print_of["events"] = sorted(values)  # how steps share events depends on the blocks
    return print_of


def trial(command: str, seconds: float, whole: dict[str, object], chance: random.Random) -> str:
    """One run killed once or twice, then finished; what differs from the whole run ("" when nothing does)."""
    with tempfile.TemporaryDirectory() as place:
        outputs = Path(place)
        for _ in range(chance.choice([1, 1, 2])):
            pid = child(outputs, command)
            time.sleep(chance.uniform(0.02, 1.0) * seconds)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            readable(outputs)
        finish(outputs, command)
        found = fingerprint(outputs)
    return ", ".join(key for key in whole.keys() | found.keys() if whole.get(key) != found.get(key))


def readable(outputs: Path) -> None:
    """After a kill: whole rows in every CSV, and an outcome that parses."""
    for path in outputs.glob("*/*/*.csv"):
        lines = path.read_bytes()
        if not lines.endswith(b"\n"):
            raise SystemExit(f"{path} has half a row")
    for path in outputs.glob("*/*/outcome.json"):
        json.loads(path.read_text(encoding="utf-8"))


def run(kills: int, seed: int, say: Callable[[str], None]) -> int:
    """``kills`` trials; how many went wrong."""
    import tensorboard.summary.writer.event_file_writer  # noqa: F401
    import torch

    torch.set_num_threads(1)
    chance = random.Random(seed)
    known: dict[str, tuple[float, dict[str, object]]] = {}
    wrong = 0
    for number in range(kills):
        command = COMMANDS[number % len(COMMANDS)]
        if command not in known:
            with tempfile.TemporaryDirectory() as place:
                known[command] = (finish(Path(place), command), fingerprint(Path(place)))
        seconds, whole = known[command]
        differs = trial(command, seconds, whole, chance)
        wrong += bool(differs)
        if differs:
            say(f"kill {number}: {command}: differs in {differs}")
    say(f"{kills - wrong} of {kills} killed runs resumed to identical bytes, seed {seed}")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(min(1, run(options.kills, options.seed, lambda text: print(text, flush=True))))
