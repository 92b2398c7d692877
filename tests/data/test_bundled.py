"""The bundled sets have their published sizes, and the last steps of every builder do what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch

from calclab.core import Data
from calclab.data import bundled
from calclab.data.finish import finish, standardized
from calclab.errors import UserError

SIZES: list[tuple[Callable[..., Data], tuple[int, ...], int, bool]] = [
    (bundled.digits, (1797, 1, 8, 8), 10, True),
    (bundled.breast_cancer, (569, 30), 2, True),
    (bundled.wine, (178, 13), 3, True),
    (bundled.iris, (150, 4), 3, True),
    (bundled.diabetes, (442, 10), 1, False),
]


@pytest.mark.parametrize(("builder", "shape", "classes", "classification"), SIZES)
def test_sizes_names_and_types(
    builder: Callable[..., Data], shape: tuple[int, ...], classes: int, classification: bool
) -> None:
    data = builder(standardize=False, held_out=0.0, rows=None, dtype=torch.float32, device="cpu", seed=0)
    assert data.inputs.shape == shape
    assert data.inputs.dtype == torch.float32
    assert data.classification is classification
    assert len(data.classes) == classes
    assert len(data.features) == data.inputs[0].numel() == len(set(data.features))
    assert type(data.features[0]) is type(data.classes[0]) is str
    if classification:
        assert data.targets.dtype == torch.int64
        assert data.targets.unique().tolist() == list(range(classes))
    else:
        assert data.targets.shape == (shape[0], 1)
        assert data.targets.dtype == torch.float32


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "iris", "diabetes"])
def test_the_files_read_are_what_scikit_learn_gives(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read where they lie or, where they are not found, loaded by scikit-learn: the same numbers and names."""
    common: Any = {"standardize": False, "held_out": 0.0, "rows": None, "dtype": torch.float64, "device": "cpu"}
    read = getattr(bundled, name)(seed=0, **common)
    loaded = getattr(sklearn.datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
    scale = 16 if name == "digits" else 1
    assert np.array_equal(read.inputs.flatten(1).numpy() * scale, loaded.data)
    assert np.array_equal(read.targets.flatten().numpy(), loaded.target)
    if name != "digits":
        assert list(read.features) == list(loaded.feature_names)
    if read.classification:
        assert list(read.classes) == [str(c) for c in loaded.target_names]
    monkeypatch.setattr(bundled, "place", lambda file: tmp_path / file)
    elsewhere = getattr(bundled, name)(seed=0, **common)
    assert torch.equal(elsewhere.inputs, read.inputs)
    assert torch.equal(elsewhere.targets, read.targets)


def test_the_names_of_pixels_are_their_places() -> None:
    data = bundled.digits(standardize=False, held_out=0.0, rows=None, dtype=torch.float64, device="cpu", seed=0)
    assert data.features[10] == "pixel[1,2]"
    assert data.inputs.flatten(1)[5, 10] == data.inputs[5, 0, 1, 2]
    assert data.inputs.max() == 1
    assert "pixel[0,0]" in data.notes[0]  # always black


def test_some_rows_are_chosen_by_the_seed() -> None:
    def some(seed: int) -> Data:
        return bundled.iris(standardize=False, held_out=0.0, rows=60, dtype=torch.float64, device="cpu", seed=seed)

    every = bundled.iris(standardize=False, held_out=0.0, rows=None, dtype=torch.float64, device="cpu", seed=0)
    assert torch.equal(some(1).inputs, some(1).inputs)
    assert not torch.equal(some(1).inputs, some(2).inputs)
    assert some(1).targets.unique().tolist() == [0, 1, 2]
    known = {(*row.tolist(), int(t)) for row, t in zip(every.inputs, every.targets, strict=True)}
    assert {(*row.tolist(), int(t)) for row, t in zip(some(1).inputs, some(1).targets, strict=True)} <= known
    assert "60 of 150" in some(1).notes[0]


def test_standardised_means_mean_0_and_variance_1() -> None:
    data = bundled.diabetes(standardize=True, held_out=0.0, rows=100, dtype=torch.float64, device="cpu", seed=4)
    for x in (data.inputs, data.targets):
        torch.testing.assert_close(x.mean(0), torch.zeros(x.shape[1], dtype=x.dtype), rtol=0, atol=1e-12)
        torch.testing.assert_close(x.var(0, correction=0), torch.ones(x.shape[1], dtype=x.dtype))
    assert any("targets standardised" in note for note in data.notes)


def test_a_constant_input_becomes_0_and_is_noted() -> None:
    x = torch.tensor([[0.1, 2.0], [0.1, 5.0], [0.1, -1.0]], dtype=torch.float64)
    assert standardized(x)[:, 0].tolist() == [0, 0, 0]
    y = torch.zeros(3, dtype=torch.int64)
    kw = {"held_out": 0.0, "classification": True, "dtype": torch.float64, "device": "cpu", "seed": 0}
    data = finish("data", x, y, features=["a", "b"], classes=["c"], standardize=True, **kw)
    assert "1 of 2 inputs are constant: a" in data.notes
    with pytest.raises(UserError, match="not finite"):
        finish("data", x * torch.inf, y, features=["a", "b"], classes=["c"], standardize=True, **kw)


def test_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    bundled.iris(standardize=False, held_out=0.0, rows=10, dtype=torch.float64, device="cpu", seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_device() -> None:
    data = bundled.wine(standardize=True, held_out=0.0, rows=10, dtype=torch.float32, device="meta", seed=0)
    assert data.inputs.is_meta
    assert data.targets.is_meta
