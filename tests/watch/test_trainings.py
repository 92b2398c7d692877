"""What is told of whole trainings: of healthy ones nothing, of diverging ones the step, the place and the cause."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from trainings import DIVERGING, DIVERGING_TOO, HEALTHY, HEALTHY_TOO, Training


@pytest.mark.parametrize("maker", HEALTHY + HEALTHY_TOO)
def test_of_healthy_trainings_nothing_is_told(maker: Callable[[], Training]) -> None:
    torch.manual_seed(0)
    assert maker().run() == []


@pytest.mark.parametrize("maker", DIVERGING + DIVERGING_TOO)
def test_diverging_trainings_are_named(maker: Callable[[], Training]) -> None:
    torch.manual_seed(0)
    training = maker()
    training.run()
    assert training.right(), training.told
