"""The bar of a scan that is counted by products: no total, the products so far, and the residual."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from calclab.core import Column, Outcome, Run, Status
from calclab.sink import progress
from calclab.sink.progress import ProgressSink, current


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def one(k: int, value: float) -> Column:
    return Column([k], torch.tensor([value], dtype=torch.float64))


def test_products_are_counted_and_the_residual_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    stream = Terminal()
    sink = ProgressSink(stream)
    sink.open(Run("hessian", "s", "t of s", Path(), 100_000, {}, (), {}))
    for k in range(5):
        sink.write({"products": one(k, 8.0 * k), "stage": one(k, 1.0), "residual": one(k, 10.0**-k)})
    sink.close(Outcome(Status.COMPLETED, 4, 0.0, {"products": torch.tensor(32.0)}))
    text = stream.getvalue()
    assert "32 products" in text
    assert "/s" in text
    assert text.index("residual 0.1") < text.index("residual 0.001")
    assert "100001" not in text


def test_neither_products_nor_the_stage_stand_beside_the_bar() -> None:
    assert current({"products": one(0, 3.0), "stage": one(0, 1.0)}) == ""
    assert current({"products": one(0, 3.0), "trace": one(0, 2.0), "trace_error": one(0, 0.5)}) == "trace_error 0.5"
