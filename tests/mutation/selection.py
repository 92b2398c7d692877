"""Which tests execute a line: coverage's dynamic contexts, kept for each test file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from warm import Warm

TESTS = ("numerics", "second_order", "attribution", "optimizer", "subject", "topic", "archive", "test_*.py")


@dataclass
class Selection:
    """``lines[file][line]`` are tests."""

    lines: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)

    def add(self, told: dict) -> None:
        for file, lines in told["lines"].items():
            there = self.lines.setdefault(file, {})
            for line, tests in lines.items():
                there.setdefault(int(line), set()).update(told["tests"][i] for i in tests)
        self.seconds.update(told["seconds"])
        self.failing.update(told["failing"])

    def tests(self, file: str, lines: range) -> list[str]:
        """The tests that execute one of the lines: those of the file's own folder first, then the quickest."""
        there = self.lines.get(file, {})
        found = set().union(*(there.get(line, set()) for line in lines))
        found = found or set().union(*there.values(), set())  # lines of an import
        mirror = "/".join(["tests", *Path(file).parts[1:-1]])
        known = [test for test in found if test in self.seconds and test not in self.failing]
        return sorted(known, key=lambda test: (not test.startswith(mirror), self.seconds[test], test))


def files(root: Path, tests: tuple[str, ...] = TESTS) -> list[str]:
    """The files of tests that are taken."""
    found = [
        path
        for name in tests
        for path in sorted((root / "tests").glob(name if name.endswith(".py") else f"{name}/**/test_*.py"))
    ]
    return [str(path.relative_to(root)) for path in found]


def select(root: Path, names: list[str], kept: Path, process: Warm, seconds: float = 600.0) -> Selection:
    """What the files of tests ``names`` execute of the code under ``root``; what is known of a file as it is now is
    read from ``kept``."""
    code = digest(sorted((root / "calclab").rglob("*.py")))
    selection = Selection()
    for number, name in enumerate(names):
        path = root / name
        place = kept / f"{digest([path, *sorted(path.parent.glob('conftest.py'))], code)}.json"
        if not place.exists():
            print(f"\rwhich lines do tests execute: {number + 1} of {len(names)}, {name:60}", end="", flush=True)
            told = process.ask("covered", seconds, file=name)
            if not isinstance(told, dict):
                print(f"\n{name}: left out, {'it takes too long' if told is None else told[1]}")
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(told))
            print(end="\r")
        selection.add(json.loads(place.read_text()))
    return selection


def digest(files: list[Path], salt: str = "") -> str:
    total = hashlib.sha256(salt.encode())
    for path in files:
        total.update(str(path.name).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:24]
