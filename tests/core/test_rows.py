"""Rows that are read when they are asked for: like a tensor where a few are taken, refused where all would be."""

from __future__ import annotations

import doctest
import importlib

import pytest
import torch
from torch import Tensor

from calclab.core import Rows
from calclab.core.rows import row_wise, windows
from calclab.errors import UserError

X = torch.randn(101, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
EACH = 6 * 8


def rows(most: int = 20) -> Rows:
    """X, of which a window has ``most`` rows."""
    return Rows(lambda index: X[index], X.shape, memory=8 * EACH * most, dtype=X.dtype)


@pytest.mark.parametrize(
    "taken",
    [
        lambda x: x[3],
        lambda x: x[-1],
        lambda x: x[5:17],
        lambda x: x[::20],
        lambda x: x[torch.tensor([90, 3, 3])],
        lambda x: x[torch.arange(101) < 4],
        lambda x: x.flatten(1)[2:4],
        lambda x: x.reshape(101, 3, 2)[7],
        lambda x: x.to(torch.float32)[:3],
        lambda x: x.sum(0),
        lambda x: x.mean(dim=0),
        lambda x: torch.cat(list(torch.split(x, 7))),
        lambda x: x[40:][torch.arange(60)][5:8],
        lambda x: row_wise(x, lambda part: 2 * part)[:5],
        lambda x: torch.cat([x[window] for window in windows(x)]),
    ],
)
def test_what_is_taken_is_what_a_tensor_gives(taken: object) -> None:
    assert callable(taken)
    found, true = taken(rows()), taken(X)
    assert type(found) is Tensor
    torch.testing.assert_close(found, true, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize(
    "asked", [torch.isfinite, torch.clone, lambda x: x + 1, lambda x: x[:, 0], lambda x: torch.cat([x, x]), list]
)
def test_what_would_load_all_rows_is_refused(asked: object) -> None:
    assert callable(asked)
    with pytest.raises(UserError, match="all of them at once"):
        asked(rows())


def test_many_rows_stay_on_disk_and_are_windows_again() -> None:
    many = rows()[20:]
    assert isinstance(many, Rows)
    assert torch.equal(many[:5], X[20:25])
    assert isinstance(many[torch.arange(79, -1, -1)], Rows)
    assert max(w.stop - w.start for w in windows(many)) <= 20
    narrow = row_wise(rows(), lambda part: part.sum((1, 2)))  # one number a row: it still takes a whole row to read it
    assert max(w.stop - w.start for w in windows(narrow)) <= 20
    assert windows(X) == [slice(0, 101)]


def test_no_transform_has_a_part_in_what_is_read() -> None:
    def call(x: Tensor) -> Tensor:
        return (rows()[:4].sum((1, 2)) * x).sum()

    (slope,) = (torch.func.jvp(call, (torch.ones(4).double(),), (torch.ones(4).double(),))[1],)
    torch.testing.assert_close(slope, X[:4].sum())


@pytest.mark.parametrize("module", ["core.rows", "subject.streamed"])
def test_examples_of_docstrings_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"calclab.{module}")).failed == 0
