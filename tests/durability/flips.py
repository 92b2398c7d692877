"""Flip bits in every file of a half-done run, put folders in the place of files, go on, and compare every byte.

    python tests/durability/flips.py
    python tests/durability/flips.py --runs float32 --places 3

A run is killed before file operations that are spread over its length. Then, in copies of what it left, one bit of one
file is flipped (of every file, at the first and the last byte and at random ones between, the seventh bit among them),
or the file is gone, cut, or a folder with something of the user's in it. The same command must then end as the run that
was never stopped: with the same bytes, whether it went on or said that it begins anew. It is never stuck, and never has
other numbers.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from forked import BrokenError, child, ended, finish, warm
from operations import COMMANDS, ENDS, Doom, compare, state

MOMENTS = "0.3,0.6,0.95"  # of a run's file operations
RUNS = ("float64", "float32", "network", "claims", "matrix", "table")
NOTES = "notes.txt"
SAID = ("begun anew", "is now called", "is damaged")


def operations(words: Sequence[str], outputs: Path) -> int:
    """How many file operations a run has: it is let end, and counts them."""
    told = outputs.with_name("told")
    doom = Doom(str(outputs), -1)

    def counted() -> None:
        doom()
        leave = os._exit

        def exit(status: int) -> None:
            told.write_text(str(doom.done), encoding="utf-8")
            leave(status)

        os._exit = exit  # type: ignore[assignment]

    ended(child([*words, f"outputs={outputs}"], before=counted))
    return int(told.read_text(encoding="utf-8"))


def damages(path: Path, places: int, chance: random.Random) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Ways to damage a file, each with its name."""

    def flip(place: int, bit: int) -> Callable[[Path], object]:
        def do(file: Path) -> None:
            content = bytearray(file.read_bytes())
            content[place] ^= 1 << bit
            file.write_bytes(content)

        return do

    def replace(file: Path) -> None:
        file.unlink()
        file.mkdir()
        (file / NOTES).write_text("mine")

    size = path.stat().st_size
    spots = {0, size - 1, *(chance.randrange(size) for _ in range(places))} if size else set()
    for place in sorted(spots):
        for bit in {7, chance.randrange(7)}:
            yield f"bit {bit} of byte {place}", flip(place, bit)
    yield "gone", Path.unlink
    yield "cut in half", lambda file: os.truncate(file, file.stat().st_size // 2)
    yield "a folder", replace


def trial(words: Sequence[str], half: Path, name: Path, damage: Callable[[Path], object], whole: object) -> str:
    """One damage to a copy of ``half``; what the lab said of it. BrokenError when the run does not end as it should."""
    with tempfile.TemporaryDirectory() as place:
        outputs, said = Path(place) / "outputs", Path(place) / "said"
        shutil.copytree(half, outputs, symlinks=True)
        damage(outputs / name)
        finish([*words, f"outputs={outputs}"], said, ENDS)
        text = said.read_text(encoding="utf-8", errors="replace")
        if "Traceback" in text:
            raise BrokenError(f"a traceback:\n{text}")
        for kept in outputs.glob(f"*/*/*/{NOTES}"):
            kept.unlink()
            kept.parent.rmdir()
        for kept in outputs.glob("*/*/kept1.*"):  # what was not known to be the run's own
            if str(kept.name) not in text:
                raise BrokenError(f"{kept.name} was moved, and that was not said")
            kept.unlink()
        compare(whole, state(outputs))  # type: ignore[arg-type]
        return next((word for word in SAID if word in text), "nothing")


def run(names: Sequence[str], moments: Sequence[float], places: int, seed: int, say: Callable[[str], None]) -> int:
    """All damages to the runs ``names``; how many went wrong."""
    warm()
    chance = random.Random(seed)
    wrong = 0
    for name in names:
        words, met, failed = COMMANDS[name].split(), Counter[str](), 0
        with tempfile.TemporaryDirectory() as place:
            first, half = Path(place) / "first" / "outputs", Path(place) / "half" / "outputs"
            first.parent.mkdir()
            many = operations(words, first)
            whole = state(first)
            for moment in moments:
                shutil.rmtree(half, ignore_errors=True)
                ended(child([*words, f"outputs={half}"], before=Doom(str(half), int(moment * many))))
                for file in sorted(path.relative_to(half) for path in half.rglob("*") if path.is_file()):
                    for what, damage in damages(half / file, places, chance):
                        if what == "a folder" and file.parts[0] == ".locks":
                            continue
                        try:
                            met[trial(words, half, file, damage, whole)] += 1
                        except BrokenError as broken:
                            failed += 1
                            say(f"{name}, killed at {moment}, {file.name} {what}: {broken}")
        listed = ", ".join(f"{number} × {word}" for word, number in met.items())
        say(f"{name}: {sum(met.values()) + failed} damages, said: {listed}; {failed or 'nothing'} went wrong")
        wrong += failed
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default=",".join(RUNS), help="which of %(default)s")
    parser.add_argument("--moments", default=MOMENTS, help="when it is killed: %(default)s of its operations")
    parser.add_argument("--places", type=int, default=3, help="random bytes of each file, besides its ends")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    say = lambda text: print(text, flush=True)  # noqa: E731
    moments = [float(moment) for moment in options.moments.split(",")]
    sys.exit(min(1, run(options.runs.split(","), moments, options.places, options.seed, say)))
