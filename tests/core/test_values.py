"""The type in which numbers are added up."""

from __future__ import annotations

import pytest
import torch

from calclab.core.values import wide


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float64), ("cuda", torch.float64), ("mps", torch.float32)])
def test_sums_are_in_the_widest_type_of_the_device(device: str, dtype: torch.dtype) -> None:
    assert wide(torch.device(device)) is dtype
