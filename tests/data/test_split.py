"""What is held out is held out: of everything, by the seed, and of classes alike."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calclab.core import Data
from calclab.data import bundled, synthetic
from calclab.data.finish import finish
from calclab.data.split import quotas, split
from calclab.errors import UserError

KW = {"dtype": torch.float64, "device": "cpu"}


def iris(held_out: float, seed: int = 0, standardize: bool = False, rows: int | None = None) -> Data:
    return bundled.iris(standardize=standardize, held_out=held_out, rows=rows, seed=seed, **KW)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**40),
)
def test_every_row_is_on_one_side_and_no_class_is_used_up(sizes: list[int], fraction: float, seed: int) -> None:
    targets = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))]
    try:
        learned, held = split("drawn", targets, fraction, classification=True, seed=seed)
    except UserError:
        assert int(quotas(torch.tensor(sizes), fraction).sum()) == 0
        return
    assert torch.cat([learned, held]).sort().values.tolist() == list(range(len(targets)))
    assert learned.tolist() == sorted(learned.tolist())
    left = targets[learned].bincount(minlength=len(sizes))
    assert bool((left >= 1).all())
    taken = torch.tensor(sizes) - left
    exact = torch.tensor(sizes) * fraction
    assert bool(((taken - exact).abs() <= 1).all())
    if bool((exact.ceil() < torch.tensor(sizes)).all()):
        assert len(held) == round(sum(sizes) * fraction)


def test_classes_without_rows_do_no_harm() -> None:
    learned, held = split("gaps", torch.tensor([0, 3, 3, 0]), 0.5, classification=True, seed=1)
    assert (len(learned), len(held)) == (2, 2)


def test_the_seed_decides() -> None:
    targets = torch.zeros(50, 1)
    one, again, other = (split("t", targets, 0.2, classification=False, seed=seed)[1] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    chances = torch.zeros(50)
    for seed in range(300):
        chances[split("t", targets, 0.2, classification=False, seed=seed)[1]] += 1
    assert (chances / 300 - 0.2).abs().max() < 0.1  # four deviations √(.2 · .8 / 300)


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.5), (20, 0.01)])
def test_nothing_to_hold_out_is_refused(count: int, fraction: float) -> None:
    with pytest.raises(UserError, match=r"data\.held_out=.* none can be held out"):
        split("few", torch.zeros(count, 1), fraction, classification=False, seed=0)
    with pytest.raises(UserError, match="losing its last"):
        split("few", torch.arange(5), 0.5, classification=True, seed=0)


def test_data_hold_their_held_out_rows() -> None:
    every, data = iris(0.0), iris(0.2)
    assert every.held_out is None
    held = data.held_out
    assert held is not None
    assert (len(data.inputs), len(held.inputs)) == (120, 30)
    assert data.targets.bincount().tolist() == [40] * 3
    assert held.targets.bincount().tolist() == [10] * 3
    together = torch.cat([torch.cat([d.inputs, d.targets[:, None]], dim=1) for d in (data, held)])
    whole = torch.cat([every.inputs, every.targets[:, None]], dim=1)
    assert sorted(together.tolist()) == sorted(whole.tolist())
    assert "30 of 150 rows held out, chosen by the seed, of each class alike" in data.notes
    assert (held.features, held.classes, held.held_out) == (data.features, data.classes, None)
    some = iris(0.2, rows=50)
    assert some.held_out is not None
    assert (len(some.inputs), len(some.held_out.inputs)) == (40, 10)


def test_mean_and_variance_are_those_of_the_rows_to_learn_from() -> None:
    data = bundled.diabetes(standardize=True, held_out=0.3, rows=None, seed=3, **KW)
    raw = bundled.diabetes(standardize=False, held_out=0.3, rows=None, seed=3, **KW)
    assert data.held_out is not None
    assert raw.held_out is not None
    for name in ("inputs", "targets"):
        x, y, z = getattr(raw, name), getattr(data, name), getattr(data.held_out, name)
        mean, deviation = x.mean(0), x.std(0, correction=0)
        torch.testing.assert_close(y, (x - mean) / deviation)
        torch.testing.assert_close(z, (getattr(raw.held_out, name) - mean) / deviation)
        assert float(y.mean(0).abs().max()) < 1e-12 < float(z.mean(0).abs().max())


def test_an_input_that_varies_among_held_out_rows_only_becomes_0() -> None:
    targets = torch.zeros(10, 1, dtype=torch.float64)
    _, held = split("data", targets, 0.2, classification=False, seed=0)
    x = torch.ones(10, 1, dtype=torch.float64)
    x[held[0]] = 7
    names = {"features": ["a"], "classes": ["y"], "classification": False}
    data = finish("data", x, targets, **names, standardize=True, held_out=0.2, seed=0, **KW)  # type: ignore[arg-type]
    assert data.held_out is not None
    assert not data.inputs.any()
    assert not data.held_out.inputs.any()
    assert "1 of 1 inputs are constant: a" in data.notes


def test_dtype_and_device_make_no_difference() -> None:
    def moons(dtype: torch.dtype, device: str) -> Data:
        return synthetic.moons(rows=30, noise=0.1, standardize=True, held_out=0.25, dtype=dtype, device=device, seed=5)

    one, other, meta = moons(torch.float64, "cpu"), moons(torch.float32, "cpu"), moons(torch.float32, "meta")
    assert one.held_out is not None
    assert other.held_out is not None
    assert meta.held_out is not None
    assert torch.equal(one.held_out.inputs.float(), other.held_out.inputs)
    assert meta.held_out.inputs.shape == other.held_out.inputs.shape
    assert meta.held_out.targets.is_meta
