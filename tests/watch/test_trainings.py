"""What is told of whole trainings: of healthy ones nothing, of diverging ones the step, the place and the cause."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import calclab

sys.path.insert(0, str(Path(__file__).parent))

from trainings import DIVERGING, DIVERGING_TOO, HEALTHY, HEALTHY_TOO, Training, edge, far_sgd


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


def test_the_edge_of_stability_is_told_as_information() -> None:
    """λmax·lr/2 passes 1 in a run of full batches whose loss goes on falling."""
    torch.manual_seed(0)
    training = edge()
    assert training.run("sharpness") == []
    (event,) = (event for event in training.events if event.name == "edge")
    assert event.numbers["ratio"] + event.numbers["error"] >= 1
    assert "λmax·lr/2" in event.text


def test_what_would_have_been_stable_is_told() -> None:
    """At the weights that the training began with, by calclab.stable_lr on the same batch."""
    torch.manual_seed(0)
    training = far_sgd()
    found = calclab.stable_lr(training.model, training.criterion, training.batches(1), training.optimizer)
    training.run()
    told = re.search(r"The largest stable rate at step 0 was ([0-9.]+) ±", training.told[0].text)
    assert told is not None
    assert float(told[1]) == pytest.approx(found.largest_stable_lr, rel=1e-2)
