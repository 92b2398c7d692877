"""Several inputs of a model in one tensor of rows: there and back, and through a network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from calclab.core import Data, Layout
from calclab.errors import UserError
from calclab.subject.network import network

B = 6


def maker() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def tokens(**more: Tensor) -> dict[str, Tensor]:
    ids = torch.randint(0, 9, (B, 3), generator=maker())
    return {"input_ids": ids, "attention_mask": torch.ones(B, 3, dtype=torch.bool), **more}


def pixels() -> Tensor:
    return torch.randn(B, 2, 2, generator=maker(), dtype=torch.float64)


@pytest.mark.parametrize(
    "batch",
    [
        tokens(),
        tokens(pixel_values=pixels()),
        tokens(age=torch.arange(B, dtype=torch.float64)),
        [pixels(), torch.randn(B, 5, generator=maker(), dtype=torch.float64)],
        [pixels(), torch.arange(B, dtype=torch.int32)],
    ],
    ids=["tokens", "named", "number", "positional", "mixed"],
)
def test_there_and_back(batch: dict[str, Tensor] | list[Tensor]) -> None:
    layout = Layout.of(batch)
    packed = layout.pack(batch, torch.float64)
    assert packed.shape == (B, len(layout.features))
    assert len(set(layout.features)) == packed.shape[1]
    given = batch if isinstance(batch, dict) else {f"input{i}": x for i, x in enumerate(batch)}
    found = layout.unpack(packed)
    assert list(found) == list(given)
    for name, x in given.items():
        assert found[name].dtype == x.dtype
        assert torch.equal(found[name], x)
    assert packed.is_floating_point() == any(x.is_floating_point() for x in given.values())
    assert len(layout.codes) == sum(math.prod(x.shape[1:]) for x in given.values() if not x.is_floating_point())
    positional, keywords = layout.arguments(packed)
    assert (len(positional), len(keywords)) == ((0, len(given)) if isinstance(batch, dict) else (len(given), 0))


def test_what_does_not_fit_is_refused_in_words() -> None:
    layout = Layout.of(tokens())
    with pytest.raises(UserError, match="padding='max_length'"):
        layout.pack(tokens() | {"input_ids": torch.ones(B, 5, dtype=torch.int64)}, torch.float64)
    with pytest.raises(UserError, match="not alike: one has input_ids, and the first had input_ids, attention_mask"):
        layout.pack({"input_ids": tokens()["input_ids"]}, torch.float64)
    with pytest.raises(UserError, match="different numbers of rows: 6 of input_ids, 2 of attention_mask"):
        layout.pack(tokens() | {"attention_mask": torch.ones(2, 3, dtype=torch.bool)}, torch.float64)
    large = [pixels(), torch.full((B, 1), 2**24 + 1)]
    with pytest.raises(UserError, match=r"holds whole numbers that torch\.float32 does not"):
        Layout.of(large).pack(large, torch.float32)
    with pytest.raises(UserError, match="is empty"):
        Layout.of({})


class Named(nn.Module):
    """Takes its inputs by name, ids and mask as what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.output = nn.Linear(8, 2)

    def forward(self, *, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor) -> Tensor:
        assert input_ids.dtype == torch.int64
        assert attention_mask.dtype == torch.bool
        found = (self.embedding(input_ids) * attention_mask[:, :, None]).mean(1)
        return self.output(torch.cat([found, pixel_values.flatten(1)], dim=1))


class Placed(nn.Module):
    """Takes its inputs in their order, and writes over one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(4, 2)

    def forward(self, image: Tensor, scale: Tensor) -> Tensor:
        image.mul_(scale[:, None, None])
        return self.output(image.flatten(1))


def data(batch: dict[str, Tensor] | list[Tensor]) -> Data:
    layout = Layout.of(batch)
    packed = layout.pack(batch, torch.float64)
    return Data("batch", packed, torch.zeros(B, 2).double(), layout.features, ("a", "b"), False, layout=layout)


def test_a_network_gets_its_inputs_by_name() -> None:
    batch = tokens(pixel_values=pixels())
    own = Named()
    found = network(own, data(batch), name="named")
    assert torch.equal(found.evaluate(found.data.inputs), own.double()(**batch))
    with pytest.raises(UserError, match=r"input_ids\[0\].*no derivative"):
        found.response()


def test_a_network_gets_its_inputs_in_order_and_may_write_over_them() -> None:
    batch = [pixels(), torch.randn(B, generator=maker(), dtype=torch.float64)]
    own = Placed()
    found = network(own, data(batch), name="placed")
    before = found.data.inputs.clone()
    expected = own.double()(batch[0].clone(), batch[1])
    assert torch.equal(found.evaluate(found.data.inputs), expected)
    assert torch.equal(found.data.inputs, before)
    J = torch.func.jacrev(found.response().call)(found.response().start)
    assert torch.allclose(J[:, :4], own.output.weight.detach() * batch[1][0])
    assert found.response().variables[-1] == "input1"
