"""watch=layers: histograms and norms of each layer, which add up to the whole and change no number beside them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import calclab
from calclab.topic.descent.layers import BINS, KINDS, bins


def test_every_entry_is_in_one_bin() -> None:
    entries = torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = bins(entries)
    assert made.shape == (BINS, 3)
    assert (made[0, 0], made[-1, 1]) == (entries.min(), entries.max())
    assert torch.equal(made[1:, 0], made[:-1, 1])
    for low, high, count in made.tolist()[:-1]:
        assert count == ((entries >= low) & (entries < high)).sum()


@pytest.mark.parametrize("entries", [[], [torch.nan], [0.0], [3.0, 3.0], [1e-320, 0.0], [1e300, -1e300, torch.inf]])
def test_what_is_no_number_is_in_none(entries: list[float]) -> None:
    given = torch.tensor(entries, dtype=torch.float64)
    made = bins(given)
    assert made.isfinite().all()
    assert (made[:, 1] >= made[:, 0]).all()
    assert made[:, 2].sum() == given.isfinite().sum()


@pytest.fixture(scope="module")
def both() -> tuple[calclab.Result, calclab.Result]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    X, y = torch.randn(30, 3), torch.randint(0, 2, (30,))
    subject = calclab.loss(net, nn.CrossEntropyLoss(), (X, y))
    return tuple(calclab.descent(subject, lr=0.1, steps=60, watch=watch) for watch in (None, "layers"))


def test_the_layers_make_up_the_whole(both: tuple[calclab.Result, calclab.Result]) -> None:
    watched = both[1]
    for kind, whole in zip(KINDS, ("", "gradient_norm", "step_length"), strict=True):
        norms = watched.frames[f"layer_{kind}"]
        assert list(norms.columns) == ["0", "2"]
        if whole:
            steps = norms.index
            found = (norms**2).sum(axis=1) ** 0.5
            assert found.to_numpy() == pytest.approx(watched.frames["scalars"][whole].loc[steps].to_numpy(), rel=1e-5)


def test_watching_changes_no_number(both: tuple[calclab.Result, calclab.Result]) -> None:
    plain, watched = both
    assert plain.frames["scalars"].equals(watched.frames["scalars"])
    assert plain.frames["x"].equals(watched.frames["x"])


def test_layers_are_watched_as_often_as_the_scores(both: tuple[calclab.Result, calclab.Result]) -> None:
    watched = both[1].frames
    looks = watched["scalars"]["train_accuracy"].dropna().index
    assert list(watched["layer_weights"].index) == list(looks)
    assert list(watched["layer_updates"].index) == list(looks[1:])  # no step has led to the start
