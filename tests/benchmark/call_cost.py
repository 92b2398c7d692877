"""What a question costs beyond its engine: a Hessian of a user's own small model, in a warm interpreter.

    python tests/benchmark/call_cost.py

CPU milliseconds of `calclab.hessian(calclab.loss(model, criterion, (X, y)), top=5, matrix="never")`, the least of
sixty calls, since other work on the machine only adds to them: the products with the operator, the rest of the scan
(Lanczos' and Hutchinson's algebra, cuts through the loss), the evidence, and the call itself, which is everything else:
subject, knobs, result. Then the seconds of `import calclab` in a new process.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import nn

import calclab
from calclab.numerics.linear import LinearOperator
from calclab.topic.hessian.matrix_free import MatrixFree

CALLS, WARM = 60, 3


class Clock:
    """CPU seconds spent in functions, by name; those within another of them count for both."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.inside: set[str] = set()

    def around(self, owner: type, method: str, name: str) -> None:
        called: Callable[..., Any] = getattr(owner, method)

        def timed(*given: Any, **named: Any) -> Any:
            if name in self.inside:
                return called(*given, **named)
            self.inside.add(name)
            began = time.process_time()
            try:
                return called(*given, **named)
            finally:
                self.inside.discard(name)
                self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - began

        setattr(owner, method, timed)


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    X, y = torch.randn(50, 4), torch.randint(0, 3, (50,))
    clock = Clock()
    clock.around(LinearOperator, "__matmul__", "products")
    clock.around(MatrixFree, "step", "scan")
    clock.around(MatrixFree, "verify", "evidence")
    rows: list[dict[str, float]] = []
    for _ in range(WARM + CALLS):
        clock.spent.clear()
        began = time.process_time()
        calclab.hessian(calclab.loss(model, nn.CrossEntropyLoss(), (X, y)), top=5, matrix="never")
        rows.append({"whole": time.process_time() - began, **clock.spent})
    for row in rows:
        row["beyond"] = row["whole"] - row["products"]
        row["call"] = row["whole"] - row["scan"] - row["evidence"]
    kept = {name: 1e3 * min(row[name] for row in rows[WARM:]) for name in rows[-1]}
    print(f"whole question {kept['whole']:6.1f} ms, {kept['beyond']:.1f} of them beyond the products")
    print(f"  products     {kept['products']:6.1f} ms (those of the evidence among them)")
    print(f"  scan         {kept['scan']:6.1f} ms (products among it)")
    print(f"  evidence     {kept['evidence']:6.1f} ms")
    print(f"  the call     {kept['call']:6.1f} ms")
    bare, light = (seconds(f"import {name}") for name in ("sys", "calclab"))
    print(f"import calclab {light - bare:.3f} s beyond an empty interpreter")


def seconds(code: str) -> float:
    """CPU seconds of a new process."""
    import resource

    found = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return median(found)


if __name__ == "__main__":
    main()
