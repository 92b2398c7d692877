"""The table of right and wrong derivatives (tests/benchmark/check_table.py), a share of it that is quick."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import calclab

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmark"))
from check_cases import RIGHT, WRONG, Case

GOOD = ("consistent", "certified")


@pytest.mark.parametrize("case", WRONG[::6], ids=lambda case: case.name)
def test_a_wrong_one_is_refuted(case: Case) -> None:
    torch.manual_seed(0)
    assert calclab.check(case.call, case.inputs, elsewhere=2).verdict == "refuted"


@pytest.mark.parametrize("case", [*RIGHT[::9], *RIGHT[-24::2]], ids=lambda case: case.name)
def test_a_right_one_is_not(case: Case) -> None:
    torch.manual_seed(0)
    assert calclab.check(case.call, case.inputs, elsewhere=2).verdict != "refuted"


@pytest.mark.minutes
def test_no_wrong_one_passes() -> None:
    torch.manual_seed(0)
    assert [case.name for case in WRONG if calclab.check(case.call, case.inputs).verdict in GOOD] == []


@pytest.mark.minutes
def test_no_right_one_is_refuted() -> None:
    torch.manual_seed(0)
    assert [case.name for case in RIGHT if calclab.check(case.call, case.inputs).verdict == "refuted"] == []
