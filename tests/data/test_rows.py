"""Rows in any form that a user has; a loader that is odd is told of; what cannot be taken is refused in words."""

from __future__ import annotations

import random
from collections import UserDict
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    random_split,
)

from calclab.core import Rows
from calclab.data.rows import data
from calclab.errors import UserError

G = torch.Generator().manual_seed(0)
X = torch.randn(45, 3, generator=G, dtype=torch.float64)
Y = torch.randint(0, 3, (45,), generator=G)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


class Noisy(Dataset[Any]):
    """Rows to which something is added each time they are asked for."""

    def __len__(self) -> int:
        return 45

    def __getitem__(self, k: int) -> Any:
        return X[k] + torch.randn(3) + random.random() + np.random.rand(), Y[k]


def named(k: int) -> dict[str, Tensor]:
    return {"pixels": X[k], "labels": Y[k]}


BOTH = TensorDataset(X, Y)
FORMS = {
    "tensors": (X, Y),
    "a list of both": [X, Y],
    "arrays": (X.numpy(), Y.numpy()),
    "a mapping": {"x": X, "y": Y},
    "a Dataset": BOTH,
    "a loader": DataLoader(BOTH, batch_size=7),
    "workers": DataLoader(BOTH, batch_size=7, num_workers=2),
    "a Subset": Subset(ConcatDataset([BOTH, BOTH]), range(45)),
    "an IterableDataset": Stream(),
    "an IterableDataset in a loader": DataLoader(Stream(), batch_size=4),
    "no batches of the loader's own": DataLoader(
        [(X[i : i + 9], Y[i : i + 9]) for i in range(0, 45, 9)], batch_size=None
    ),
    "dicts": DataLoader([named(k) for k in range(45)], batch_size=8),
    "a list of batches": [(X[:40], Y[:40]), (X[40:], Y[40:])],
    "mappings that are no dicts": [UserDict(pixels=X, labels=Y)],
    "collated": DataLoader(
        BOTH, batch_size=5, collate_fn=lambda rows: tuple(map(torch.stack, zip(*rows, strict=True)))
    ),
    "a frame": pd.DataFrame(X.numpy()).assign(y=Y.numpy()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("memory", [None, 1e-9])
def test_every_form_gives_the_same_rows(form: str, memory: float | None) -> None:
    given = FORMS[form]
    found = data(given, target="y" if form == "a frame" else None, memory=memory)
    assert torch.equal(torch.cat([found.inputs[k : k + 1] for k in range(45)]), X)
    assert torch.equal(found.targets, Y)
    assert found.classification
    held = form in ("tensors", "a list of both", "arrays", "a mapping", "a frame")  # and is looked at where it is
    assert isinstance(found.inputs, Rows) == (memory is not None and not held)


def test_random_split_is_a_part_of_the_rows() -> None:
    part, rest = random_split(BOTH, [0.6, 0.4], torch.Generator().manual_seed(0))
    assert torch.equal(data(part).inputs, X[part.indices])
    assert len(data(rest).inputs) == len(rest)


def test_several_inputs_lie_side_by_side() -> None:
    mask = X > 0
    found = data(DataLoader(TensorDataset(X, mask, Y), batch_size=7))
    assert found.layout is not None
    assert not found.layout.named
    assert torch.equal(found.inputs, torch.cat([X, mask.double()], dim=1))
    tokens = [{"input_ids": Y[:, None].expand(45, 4), "attention_mask": mask.long(), "labels": Y}]
    named = data(tokens, memory=1e-9)
    assert named.layout is not None
    assert named.layout.named
    assert named.inputs.dtype == torch.int64
    assert isinstance(named.inputs, Rows)
    assert torch.equal(named.targets, Y)


@pytest.mark.parametrize(
    ("given", "dtype", "classification"),
    [
        ((X.half().numpy(), Y), torch.float64, True),
        ((X.float(), Y.float()), torch.float64, False),
        ((X, Y == 1), torch.float64, True),
        ((X > 0, Y), torch.float64, True),
        ((Y[:, None].int(), Y), torch.int64, True),
        ((X, torch.nn.functional.one_hot(Y)), torch.float64, False),
        ((torch.zeros(4, 3, 5, 5, dtype=torch.uint8), Y[:4]), torch.float64, True),
        ((X.bfloat16(), Y), torch.float64, True),
    ],
)
def test_numbers_are_numbers_and_codes_are_codes(given: Any, dtype: torch.dtype, classification: bool) -> None:
    for form in (given, DataLoader(TensorDataset(*map(torch.as_tensor, given)), batch_size=3)):
        found = data(form)
        assert found.inputs.dtype == dtype
        assert found.classification is classification
        assert found.targets.dtype == (torch.int64 if classification else torch.float64)


def test_images_are_told_of() -> None:
    said = " ".join(data((np.zeros((2, 5, 5, 3), dtype=np.uint8), np.array([0, 1]))).notes)
    assert "0 to 255" in said
    assert "channels" in said


def test_a_loader_that_is_odd_is_told_of() -> None:
    def notes(given: Any) -> str:
        return " ".join(data(given).notes)

    assert notes(DataLoader(BOTH, batch_size=7)) == ""
    assert "shuffles: its rows are kept" in notes(DataLoader(BOTH, batch_size=7, shuffle=True))
    assert "gives other rows from pass to pass" in notes(DataLoader(Noisy(), batch_size=7))
    assert "shuffles, and the rows change" in notes(DataLoader(Noisy(), batch_size=7, shuffle=True))
    assert "leaves out 3 of 45 rows" in notes(DataLoader(BOTH, batch_size=7, drop_last=True))
    assert "gives its 45 rows once" in notes(iter([(X, Y)]))
    assert "gives its 45 rows once" in notes(part for part in [(X[:30], Y[:30]), (X[30:], Y[30:])])


def test_a_pass_draws_from_the_seed_and_leaves_random_state_alone() -> None:
    own = torch.Generator().manual_seed(5)
    sampler = RandomSampler(BOTH, generator=own)
    loader = DataLoader(Noisy(), batch_size=7, sampler=sampler)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate(), own.get_state()
    first, second, other = data(loader), data(loader), data(loader, seed=1)
    assert torch.equal(first.inputs, second.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert before[2] == random.getstate()
    assert torch.equal(before[3], own.get_state())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no rows"),
        (DataLoader(TensorDataset(X[:0], Y[:0]), batch_size=2), "no rows"),
        ((X[:0], Y[:0]), "no rows"),
        (["a", "b"], "a batch of the data is a str"),
        ("rows.csv", "the data are a str"),
        ([(["a", "b"], Y[:2])], "texts such as 'a'"),
        ([{"text": ["a", "b"], "labels": Y[:2]}], "text are no array"),
        ([(X, Y), (X[:, :2], Y)], "batches disagree"),
        ([(X, Y), (X.float(), Y)], "batches disagree"),
        ([(X, Y), X], "some batches have targets"),
        ([(X, Y[:-1])], "as many"),
        ((X, Y[:-1]), "as many"),
        ((torch.where(X[7, 1] == X, torch.nan, X), Y), "row 7 are not finite"),
        ([(X[:40], Y[:40]), (torch.where(X[2, 1] == X, torch.inf, X), Y)], "row 42 are not finite"),
        (3, "the data are a int"),
        (None, "the data are a NoneType"),
        (((k for k in ())), "no rows"),
        (torch.tensor(3.0), "axis of rows|no rows"),
        ([{"labels": Y}], "no inputs beside the target"),
        ((X.to(torch.complex128), Y), "complex"),
        ([([torch.ones(2), torch.ones(3)], Y[:2])], "different shapes"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_words(given: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        data(given)


def test_a_mapped_file_is_read_where_it_lies(tmp_path: Any) -> None:
    np.save(tmp_path / "x.npy", X.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = data((mapped, Y), memory=1e-6)
    assert isinstance(found.inputs, Rows)
    assert torch.equal(found.inputs[:5], X[:5])
    assert "at a time" in " ".join(found.notes)
    assert not isinstance(data((mapped, Y)).inputs, Rows)


def test_several_inputs_in_a_tuple_of_their_own() -> None:
    """All rows at once, batch by batch, and row by row through a loader: always the same rows."""
    x, z, y = torch.randn(9, 3).double(), torch.randn(9, 2).double(), torch.arange(9) % 2
    rows = [((x[i], z[i]), y[i]) for i in range(9)]
    batches = [((x[:5], z[:5]), y[:5]), ((x[5:], z[5:]), y[5:])]
    side_by_side = torch.cat([x, z], 1)
    for given in (((x, z), y), batches, DataLoader(rows, batch_size=4), DataLoader(rows, batch_size=2)):
        found = data(given)
        assert torch.equal(found.inputs, side_by_side)
        assert torch.equal(found.targets, y)
        assert found.layout is not None
