"""Identities between two tensors, and the worst of many verdicts."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isnan, nan

import pytest
import torch

from calclab.core import Verdict
from calclab.numerics.agreement import identity, worst


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e100])
def test_gaps_are_judged_by_the_largest_entry(scale: float) -> None:
    left = scale * torch.tensor([[1.0, -300.0], [0.0, 2.0]], dtype=torch.float64)
    for gap, verdict in ((1e-13, Verdict.CONSISTENT), (1e-10, Verdict.SUSPECT), (1e-6, Verdict.REFUTED)):
        right = left.clone()
        right[1, 0] += 300 * scale * gap
        row = identity("H", "symmetry", left, right, 7)
        assert row.verdict is verdict
        assert row.gap == pytest.approx(300 * scale * gap)
        assert (row.value, row.step) == (0.0, 7)


def test_tolerance_may_be_given() -> None:
    one = torch.tensor(1.0)
    assert identity("f", "links", one, one + 0.1, 0, tolerance=0.2).verdict is Verdict.CONSISTENT
    assert identity("f", "links", one, one + 0.3, 0, tolerance=0.2).verdict is Verdict.REFUTED


def test_not_finite() -> None:
    both = torch.tensor([nan, 1.0])
    assert identity("f", "m", both, both, 0).verdict is Verdict.UNDEFINED
    row = identity("f", "m", both, torch.tensor([2.0, 1.0]), 0)
    assert row.verdict is Verdict.UNDEFINED
    assert isnan(row.value)
    assert row.reference == 2
    assert identity("f", "m", torch.tensor([inf]), torch.tensor([-inf]), 0).verdict is Verdict.UNDEFINED
    assert identity("f", "m", both, torch.tensor([nan, 1.1]), 0).verdict is Verdict.REFUTED
    assert identity("f", "m", both, torch.tensor([2.0, 1.1]), 0, tolerance=inf).verdict is Verdict.UNDEFINED
    assert identity("f", "m", both[1:], torch.tensor([1.1]), 0, tolerance=inf).verdict is Verdict.INCONCLUSIVE
    assert identity("f", "m", torch.zeros(0), torch.zeros(0), 0).verdict is Verdict.CONSISTENT


def test_worst() -> None:
    row = identity("f", "m", torch.ones(1), torch.ones(1), 0)
    assert worst([row]) is Verdict.CONSISTENT
    assert (
        worst([row, replace(row, verdict=Verdict.SUSPECT), replace(row, verdict=Verdict.UNDEFINED)]) is Verdict.SUSPECT
    )
    assert worst([]) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_below_the_normal_range_a_gap_of_few_steps_is_suspect_and_never_refuted(dtype: torch.dtype) -> None:
    finfo = torch.finfo(dtype)
    step = finfo.tiny * finfo.eps
    for steps in (1, 2, 40):
        left = torch.tensor([16 * step, 0.0], dtype=dtype)
        right = torch.tensor([(16 + steps) * step, 0.0], dtype=dtype)
        assert identity("H", "H = V diag(λ) Vᵀ", left, right, 0).verdict is Verdict.SUSPECT
    above = torch.tensor([1e8 * finfo.tiny], dtype=dtype)
    assert identity("H", "H = V diag(λ) Vᵀ", above, 2 * above, 0).verdict is Verdict.REFUTED
