"""Rows typed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from calclab.core import Data
from calclab.data.inline import inline
from calclab.errors import UserError


def made(**given: Any) -> Data:
    knobs = {
        "targets": None,
        "outputs": None,
        "features": None,
        "classes": None,
        "task": "auto",
        "standardize": False,
        "held_out": 0.0,
    }
    return inline(**{**knobs, **given}, dtype=torch.float64, device="cpu", seed=0)


def test_numbers_to_predict() -> None:
    data = made(inputs=[[1, 2], [3, 4.5]], targets=[0.5, 1.5])
    assert data.inputs.tolist() == [[1, 2], [3, 4.5]]
    assert data.targets.tolist() == [[0.5], [1.5]]
    assert (data.features, data.classes, data.classification) == (("x0", "x1"), ("output.0",), False)
    several = made(inputs=[[1]], targets=[[1, 0, 2]])
    assert (several.classes, several.classification) == (("output.0", "output.1", "output.2"), False)


@pytest.mark.parametrize(
    ("targets", "numbers", "classes"),
    [
        (["yes", "no", "yes"], [1, 0, 1], ("no", "yes")),
        ([3, 10, 3], [0, 1, 0], ("3", "10")),
        ([True, False, False], [1, 0, 0], ("False", "True")),
    ],
)
def test_classes(targets: list[Any], numbers: list[int], classes: tuple[str, ...]) -> None:
    data = made(inputs=[[1], [2], [3]], targets=targets)
    assert data.classification
    assert data.targets.tolist() == numbers
    assert data.targets.dtype == torch.int64
    assert data.classes == classes


def test_the_task_can_be_told() -> None:
    assert not made(inputs=[[1], [2]], targets=[0, 1], task="regression").classification
    assert made(inputs=[[1], [2]], targets=[0.5, 1.5], task="classification").classes == ("0.5", "1.5")


def test_no_targets_and_names() -> None:
    data = made(inputs=[[1, 2]], outputs=2, features=["age", "height"], classes=["a", "b"])
    assert data.targets.shape == (1, 0)
    assert (data.features, data.classes) == (("age", "height"), ("a", "b"))


def test_rows_may_be_images() -> None:
    data = made(inputs=[[[[1, 2], [3, 4]]]])
    assert data.inputs.shape == (1, 1, 2, 2)
    assert data.features == ("x[0,0,0]", "x[0,0,1]", "x[0,1,0]", "x[0,1,1]")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": []}, "empty"),
        ({"inputs": [[]]}, "empty"),
        ({"inputs": [1, 2]}, "list of rows"),
        ({"inputs": [[1, 2], [3]]}, "differ in length"),
        ({"inputs": [["a"]]}, "more than numbers"),
        ({"inputs": [[float("nan")]]}, "not finite"),
        ({"inputs": [[1], [2]], "targets": [0.5]}, "1 entries and data.inputs 2 rows"),
        ({"inputs": [[1], [2]], "targets": []}, "0 entries"),
        ({"inputs": [[1], [2]], "targets": [[1], [2, 3]]}, "differ in length"),
        ({"inputs": [[1], [2]], "targets": [[1], [2]], "task": "classification"}, "flat list"),
        ({"inputs": [[1], [2]], "targets": [0.5, 1.5], "outputs": 3}, "targets ask for 1"),
        ({"inputs": [[1, 2]], "features": ["a"]}, "1 names for 2"),
        ({"inputs": [[1, 2]], "targets": ["a"], "task": "regression"}, "data.targets"),
    ],
)
def test_mistakes_are_told(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(**given)
