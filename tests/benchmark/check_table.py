"""Wrong derivatives passed and right ones refuted: `calclab.check` beside torch's gradcheck and gradgradcheck.

    python tests/benchmark/check_table.py            the table, a line a case that any of them got wrong
    python tests/benchmark/check_table.py --all      a line every case
    python tests/benchmark/check_table.py --unseen   cases written after the last change to the check

torch's two are called with their defaults, in float64 where a case has it, and pass a wrong derivative where neither
raises; they refute a right one where either says that Jacobians differ.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck

import calclab

# ruff: noqa: E501
sys.path.insert(0, str(Path(__file__).parent))
from check_cases import RIGHT, WRONG, Case


@dataclass(frozen=True)
class Row:
    case: Case
    verdict: str
    place: str
    cause: str
    seconds: float
    torch_says: str  # "passed", "refuted", "raised"
    torch_seconds: float


def torchs(case: Case) -> str:
    """What gradcheck and gradgradcheck say, by their defaults."""
    inputs = tuple(x.detach().clone().requires_grad_(x.is_floating_point() or x.is_complex()) for x in case.inputs)
    said = []
    for ask in (gradcheck, gradgradcheck):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ask(case.call, inputs)
            said.append("passed")
        except GradcheckError:
            said.append("refuted")
        except Exception:
            said.append("raised")
    return "refuted" if "refuted" in said else said[0]


def look(case: Case) -> Row:
    torch.manual_seed(0)
    begun = perf_counter()
    found = calclab.check(case.call, case.inputs)
    between = perf_counter()
    says = torchs(case)
    seconds = between - begun, perf_counter() - between
    return Row(case, found.verdict, found.place, found.cause, seconds[0], says, seconds[1])


def table(wrong: list[Case], right: list[Case], *, every: bool) -> tuple[int, int]:
    """Print the table; how many wrong ones `check` has passed, and how many right ones it has refuted."""
    counts = []
    for title, cases in (("wrong", wrong), ("right", right)):
        rows = []
        for case in cases:
            row = look(case)
            rows.append(row)
            good = row.verdict == "refuted" if title == "wrong" else row.verdict != "refuted"
            theirs = row.torch_says == "refuted" if title == "wrong" else row.torch_says != "refuted"
            if every or not good or not theirs:
                print(f"{title:<6} {row.case.name:<40} {row.verdict:<13} {row.seconds:6.2f} s  {row.torch_says:<8} {row.torch_seconds:6.2f} s  {row.place}  {row.cause}", flush=True)  # fmt: skip
        passed = sum(row.verdict in ("consistent", "certified") for row in rows)
        refuted = sum(row.verdict == "refuted" for row in rows)
        theirs = sum(row.torch_says == ("passed" if title == "wrong" else "refuted") for row in rows)
        ours = passed if title == "wrong" else refuted
        what = "passed" if title == "wrong" else "refuted"
        said = {word: sum(row.verdict == word for row in rows) for word in sorted({row.verdict for row in rows})}
        times = sum(row.seconds for row in rows), sum(row.torch_seconds for row in rows)
        print(f"{title}: {len(rows)} cases, {what} by calclab {ours} ({said}), by torch {theirs}; {times[0]:.1f} s and {times[1]:.1f} s\n")  # fmt: skip
        counts.append(ours)
    return counts[0], counts[1]


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--unseen" in sys.argv:
        from check_unseen import RIGHT, WRONG
    table(WRONG, RIGHT, every="--all" in sys.argv)
