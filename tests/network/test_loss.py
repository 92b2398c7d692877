"""Losses against torch's own, against each other, and against data that they do not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.nn import functional

from calclab.core import Data
from calclab.errors import UserError
from calclab.network.loss import LOSSES, choose

NUMBERS = torch.tensor([[0.3, -2.0, 5.0], [1.0, 0.1, -0.7]], dtype=torch.float64)
CLASSES = torch.tensor([2, 0])
UNIT = torch.tensor([[1.0, 0.0, 0.25], [0.0, 1.0, 0.5]], dtype=torch.float64)
STOCK: dict[str, tuple[Callable[..., Tensor], Tensor]] = {
    "cross_entropy": (functional.cross_entropy, CLASSES),
    "mse": (functional.mse_loss, UNIT),
    "mae": (functional.l1_loss, UNIT),
    "huber": (functional.huber_loss, UNIT),
    "bce": (functional.binary_cross_entropy_with_logits, UNIT),
}


def data(targets: Tensor, classes: int, classification: bool) -> Data:
    names = tuple(map(str, range(classes)))
    return Data("data", torch.zeros(len(targets), 1), targets, ("x",), names, classification)


@pytest.mark.parametrize("name", STOCK)
def test_values_and_gradients_are_those_of_torch(name: str) -> None:
    stock, targets = STOCK[name]
    loss = LOSSES[name]
    torch.testing.assert_close(loss(NUMBERS, targets), stock(NUMBERS, targets))
    found, expected = (grad(f)(NUMBERS, targets) for f in (loss, stock))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_forward_over_reverse_and_vmap(name: str) -> None:
    loss, targets = LOSSES[name], CLASSES if name == "cross_entropy" else UNIT
    v = torch.ones_like(NUMBERS)
    _, product = jvp(grad(lambda y: loss(y, targets)), (NUMBERS,), (v,))
    H = torch.autograd.functional.hessian(lambda y: loss(y, targets), NUMBERS)
    torch.testing.assert_close(product, torch.einsum("ijkl,kl->ij", H, v))
    by_row = vmap(lambda y, t: loss.rows(y.unsqueeze(0), t.unsqueeze(0))[0])(NUMBERS, targets)
    torch.testing.assert_close(by_row, loss.rows(NUMBERS, targets))


def test_the_mean_is_over_rows_and_the_sum_is_not_divided() -> None:
    twice, targets = torch.cat([NUMBERS, NUMBERS]), torch.cat([UNIT, UNIT])
    for name, loss in LOSSES.items():
        if name != "cross_entropy":
            factor = 2 if name == "sum" else 1
            torch.testing.assert_close(loss(twice, targets), factor * loss(NUMBERS, UNIT))
    torch.testing.assert_close(LOSSES["sum"](NUMBERS, UNIT), NUMBERS.sum())
    torch.testing.assert_close(LOSSES["half_mse"](NUMBERS, UNIT), 0.5 * (NUMBERS - UNIT).square().sum() / 2)


def test_classes_are_written_out_for_losses_of_numbers() -> None:
    one_hot = torch.eye(3, dtype=torch.float64)[CLASSES]
    for name in ("mse", "half_mse", "mae", "huber", "bce"):
        torch.testing.assert_close(LOSSES[name](NUMBERS, CLASSES), LOSSES[name](NUMBERS, one_hot))


def test_bce_of_one_logit_is_cross_entropy_of_two() -> None:
    y, c = torch.tensor([[1.3], [-0.2]], dtype=torch.float64), torch.tensor([1, 0])
    two = torch.cat([torch.zeros_like(y), y], dim=1)
    torch.testing.assert_close(LOSSES["bce"](y, c), LOSSES["cross_entropy"](two, c))


def test_the_usual_loss_for_each_kind_of_data() -> None:
    assert choose(None, data(CLASSES, 3, True), 3).name == "cross_entropy"
    assert choose(None, data(CLASSES, 2, True), 1).name == "bce"
    assert choose(None, data(UNIT, 3, False), 3).name == "mse"
    assert choose(None, data(UNIT[:, :0], 3, False), 3).name == "sum"


@pytest.mark.parametrize(
    ("name", "given", "outputs", "message"),
    [
        ("mes", data(UNIT, 3, False), 3, "the losses are cross_entropy"),
        ("cross_entropy", data(UNIT, 3, False), 3, "needs classes"),
        ("bce", data(10 * UNIT, 3, False), 3, "from 0 to 1"),
        ("mse", data(UNIT[:, :0], 3, False), 3, "needs targets.*network.loss=sum"),
        (None, data(UNIT, 3, False), 2, "has 2 outputs, and data has 3 numbers"),
        (None, data(CLASSES, 3, True), 1, "has 1 outputs, and data has 3 classes"),
        ("cross_entropy", data(CLASSES, 2, True), 1, "has 1 outputs"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(name: str | None, given: Data, outputs: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose(name, given, outputs)
