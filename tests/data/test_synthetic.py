"""Drawn data have the truth that they promise."""

from __future__ import annotations

import math

import pytest
import torch

from calclab.data import synthetic
from calclab.errors import UserError

KW = {"standardize": False, "held_out": 0.0, "dtype": torch.float64, "device": "cpu"}


def test_blobs_lie_around_centres_at_the_separation() -> None:
    data = synthetic.blobs(rows=4000, classes=3, dimension=5, separation=7.0, seed=1, **KW)
    assert data.targets.bincount().tolist() == [4000] * 3
    for c in range(3):
        rows = data.inputs[data.targets == c]
        assert abs(float(rows.mean(0).norm()) - 7) < 0.1  # deviation 1/√4000 of the mean
        torch.testing.assert_close(rows.T.cov(), torch.eye(5, dtype=torch.float64), rtol=0, atol=0.12)


def test_moons_are_half_circles() -> None:
    data = synthetic.moons(rows=30, noise=0.0, seed=0, **KW)
    outer, inner = data.inputs[data.targets == 0], data.inputs[data.targets == 1]
    torch.testing.assert_close(outer.norm(dim=1), torch.ones(30, dtype=torch.float64))
    centre = torch.tensor([1.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close((inner - centre).norm(dim=1), torch.ones(30, dtype=torch.float64))
    assert outer[:, 1].min() > -1e-12
    assert inner[:, 1].max() < 0.5 + 1e-12


def test_spirals_wind_as_often_as_asked_and_face_each_other() -> None:
    data = synthetic.spirals(rows=50, noise=0.0, turns=1.5, seed=0, **KW)
    one, other = data.inputs[:50], data.inputs[50:]
    assert torch.equal(one, -other)
    angle = torch.atan2(one[:, 1], one[:, 0])
    wound = (angle.diff() % (2 * math.pi)).sum() / (2 * math.pi)
    torch.testing.assert_close(wound, torch.tensor(1.5 * 49 / 50, dtype=torch.float64))


def test_linear_is_solved_by_its_weights() -> None:
    data = synthetic.linear(rows=20, weights=[2, -3.5], bias=0.25, noise=0.0, seed=3, **KW)
    ones = torch.ones(20, 1, dtype=torch.float64)
    found = torch.linalg.lstsq(torch.cat([data.inputs, ones], 1), data.targets).solution.flatten()
    torch.testing.assert_close(found, torch.tensor([2, -3.5, 0.25], dtype=torch.float64))
    noisy = synthetic.linear(rows=20, weights=[2, -3.5], bias=0.25, noise=0.5, seed=3, **KW)
    assert torch.equal(noisy.inputs, data.inputs)
    assert not torch.equal(noisy.targets, data.targets)


@pytest.mark.parametrize("weights", [[], ["a"], [[1, 2]]])
def test_linear_needs_weights(weights: list[object]) -> None:
    with pytest.raises(UserError, match=r"data\.weights"):
        synthetic.linear(rows=5, weights=weights, bias=0.0, noise=0.0, seed=0, **KW)


@pytest.mark.parametrize("degree", [0, 1, 3, 8])
def test_chebyshev_is_a_cosine(degree: int) -> None:
    data = synthetic.chebyshev(degree=degree, points=20, seed=0, **KW)
    x = data.inputs.clamp(-1, 1)
    torch.testing.assert_close(data.targets, torch.cos(degree * torch.arccos(x)), rtol=0, atol=1e-12)
    assert (x[0], x[-1], len(x)) == (-1, 1, 20)


def test_the_seed_decides_and_the_dtype_does_not() -> None:
    def drawn(seed: int, dtype: torch.dtype) -> torch.Tensor:
        kw = {"standardize": False, "held_out": 0.0, "dtype": dtype, "device": "cpu"}
        return synthetic.blobs(rows=3, classes=2, dimension=4, separation=1.0, seed=seed, **kw).inputs

    assert torch.equal(drawn(1, torch.float64), drawn(1, torch.float64))
    assert not torch.equal(drawn(1, torch.float64), drawn(2, torch.float64))
    assert torch.equal(drawn(1, torch.float32), drawn(1, torch.float64).float())
