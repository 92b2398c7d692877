"""Kill runs at random moments, go on, and compare every byte with a run that was never stopped.

    python tests/durability/kills.py --kills 200 --seed 0

Over the topics, on functions, networks and a table of data, with batches in random order, the state of optimizers,
claims and pictures. A run is a forked child of this process, killed by SIGKILL after a random part of the CPU time that
the whole run takes; what goes on from there may be killed again, and again; then it is let end. Compared are every CSV
and picture byte for byte, the event file's steps and values, the outcome's status, answer and evidence, and the names
of all files.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from forked import BrokenError, child, differences, fingerprint, finish, folder_of, kill, readable, warm

COMMANDS = [
    "topic=descent function=rosenbrock lr=0.0001 steps=3000",
    "topic=descent network=mlp network.width=8 data=iris lr=0.1 steps=150 optimizer=adam",
    "topic=descent network=linear data=table data.path={table} data.target=kind lr=0.1 steps=200 optimizer=momentum",
    "topic=descent network=mlp network.width=4 data=wine lr=0.01 steps=150 optimizer=nesterov train=5 seed=3",
    "topic=descent network=mlp network.width=4 data=wine lr=0.01 batch=16 steps=150 optimizer=adam seed=4",
    "topic=descent function=himmelblau lr=0.001 steps=400 figures=true",
    "topic=derivative steps=900",
    "topic=partial",
    "topic=chain network=mlp data=iris",
    "topic=hessian function=himmelblau",
    "topic=hessian network=mlp network.width=3 data=iris",
    "topic=jacobian network=mlp network.width=4 data=iris",
    "topic=importance network=mlp network.width=4 data=iris train=20",
    "topic=hessian network=mlp network.width=8 data=iris matrix=never lanes=4 seed=2",
    "topic=jacobian network=mlp network.width=4 data=wine rows=null",
    "topic=comparison function=himmelblau optimizers=[gd,adam] budget=150 seeds=4",
    "experiment=notebook/07_bowl",
]
FAST = ("checkpoint_every=0.001", "figures=false")


def words(command: str, outputs: Path, table: Path) -> list[str]:
    asked = [word.format(table=table) for word in command.split()]
    fast = [word for word in FAST if word.split("=")[0] not in command]
    return [*asked, *fast, f"outputs={outputs}"]


def make_table(path: Path) -> Path:
    """Thirty rows of three kinds, that a linear network can tell apart."""
    chance = random.Random(5)
    rows = [[k % 3 + chance.gauss(0, 0.5), k % 2 + chance.gauss(0, 0.5), f"kind{k % 3}"] for k in range(30)]
    path.write_text("a,b,kind\n" + "".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


def trial(
    command: str, table: Path, seconds: float, whole: dict[str, object], chance: random.Random, met: Counter[str]
) -> str:
    """One run killed one to three times, then let end; what differs from the whole run ("" when nothing does)."""
    with tempfile.TemporaryDirectory() as place:
        outputs = Path(place)
        asked = words(command, outputs, table)
        for _ in range(chance.choice([1, 1, 2, 3])):
            met["kills"] += 1
            at_work = kill(child(asked), chance.uniform(0.02, 1.0) * seconds)
            met["at work"] += at_work
            met["saved"] += at_work and bool(list(outputs.glob("*/*/checkpoint.pt")))
            readable(outputs)
        finish(asked)
        return differences(whole, fingerprint(folder_of(outputs)))


def run(kills: int, seed: int, say: Callable[[str], None]) -> int:
    """``kills`` trials; how many went wrong."""
    warm()
    chance = random.Random(seed)
    known: dict[str, tuple[float, dict[str, object]]] = {}
    met: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as aside:
        table = make_table(Path(aside) / "kinds.csv")
        for number in range(kills):
            command = COMMANDS[number % len(COMMANDS)]
            if command not in known:
                with tempfile.TemporaryDirectory() as place:
                    seconds = finish(words(command, Path(place), table))
                    known[command] = seconds, fingerprint(folder_of(Path(place)))
            try:
                differs = trial(command, table, *known[command], chance, met)
            except BrokenError as broken:
                differs = str(broken)
            wrong += bool(differs)
            if differs:
                say(f"run {number}: {command}: {differs}")
    say(f"{met['kills']} kills, {met['at work']} of a run still at work, {met['saved']} when it had a checkpoint")
    say(f"{kills - wrong} of {kills} killed runs resumed to identical bytes, seed {seed}")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many runs are killed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.exit(min(1, run(options.kills, options.seed, lambda text: print(text, flush=True))))
