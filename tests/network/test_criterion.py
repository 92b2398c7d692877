"""Losses of the user's own: the rule by which rows make them up is found, and what is made of chunks is the whole."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import calclab
from calclab.errors import UserError
from calclab.network.criterion import own
from calclab.second_order import curvature
from calclab.subject.network import Network

B, M = 40, 3
MAKER = torch.Generator().manual_seed(5)
X = torch.randn(B, 4, generator=MAKER, dtype=torch.float64)
NUMBERS = torch.randn(B, M, generator=MAKER, dtype=torch.float64)
CLASSES = torch.randint(0, M, (B,), generator=MAKER)
WEIGHTS = torch.tensor([1.0, 2.5, 0.3], dtype=torch.float64)
RARE = torch.zeros(B, dtype=torch.int64).index_fill(0, torch.tensor([17]), 2)  # one row, which no sample sees


class Focal(nn.Module):
    """Lin et al. 2017, with a focus that is a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.focus = nn.Parameter(torch.tensor(2.0))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        log_p = functional.log_softmax(outputs, 1).gather(1, targets[:, None])[:, 0]
        return (-((1 - log_p.exp()) ** self.focus) * log_p).mean()


def contrast(outputs: Tensor, targets: Tensor) -> Tensor:
    z = functional.normalize(outputs)
    return functional.cross_entropy(z @ z.T, torch.arange(len(z)))


def hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.multi_margin_loss(outputs, targets, reduction="sum")


CASES: dict[str, tuple[Callable[..., Tensor], Tensor, str]] = {
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), CLASSES, "mean"),
    "summed": (nn.CrossEntropyLoss(reduction="sum"), CLASSES, "sum"),
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHTS), CLASSES, "weighted mean"),
    "weights, smoothed": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1), CLASSES, "weighted mean"),
    "ignored": (nn.CrossEntropyLoss(ignore_index=1), CLASSES, "weighted mean"),
    "a rare class": (nn.CrossEntropyLoss(weight=WEIGHTS), RARE, "weighted mean"),
    "nll": (lambda o, t: functional.nll_loss(o.log_softmax(1), t, weight=WEIGHTS), CLASSES, "weighted mean"),
    "rows": (nn.CrossEntropyLoss(reduction="none"), CLASSES, "mean"),
    "entries": (nn.MSELoss(reduction="none"), NUMBERS, "mean"),
    "huber": (nn.HuberLoss(delta=0.3), NUMBERS, "mean"),
    "focal": (Focal(), CLASSES, "mean"),
    "kl": (lambda o, t: functional.kl_div(o.log_softmax(1), t.softmax(1), reduction="batchmean"), NUMBERS, "mean"),
    "positive weights": (nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), (NUMBERS > 0).double(), "mean"),
    "sample weights": (lambda o, t: (t[:, 0].exp() * o.square().sum(1)).sum() / t[:, 0].exp().sum(), NUMBERS,
                       "weighted mean"),
    "contrast": (contrast, CLASSES, "all rows"),
    "batch statistics": (lambda o, t: (o - o.mean(0) - t).square().mean(), NUMBERS, "all rows"),
}  # fmt: skip


def net(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, M)).to(dtype)


def plainly(found: Network, model: nn.Module, loss: Callable[..., Tensor], targets: Tensor) -> Callable[..., Tensor]:
    """θ to the loss of all rows, by torch alone."""
    called = copy.deepcopy(loss).double() if isinstance(loss, nn.Module) else loss

    def value(θ: Tensor) -> Tensor:
        given = called(functional_call(model, found.unflatten(θ), (X,)), targets)
        return given if given.ndim == 0 else given.mean()

    return value


@pytest.mark.parametrize("name", CASES)
def test_the_rule_is_found_and_chunks_are_the_whole(name: str) -> None:
    criterion, targets, rule = CASES[name]
    model = net()
    found = calclab.loss(model, criterion, (X, targets))
    assert found.loss.rule == rule
    assert any("the loss" in note for note in found.notes)
    value = plainly(found, model, criterion, targets)
    θ = found.flatten(found.parameters())
    torch.testing.assert_close(found.objective().call(θ), value(θ))
    H = torch.func.hessian(value)(θ).detach()
    rows = None if rule == "all rows" else 7
    torch.testing.assert_close(curvature(found, rows=rows).dense(), H, atol=1e-12, rtol=1e-9)
    if rule == "all rows":
        with pytest.raises(UserError, match="no gradient of its own"):
            curvature(found, "empirical_fisher")
        return
    mean = found.losses(found.rows, found.data.targets)
    torch.testing.assert_close(mean.sum() if rule == "sum" else mean.mean(), value(θ).detach())


@pytest.mark.parametrize("name", ["class weights", "ignored", "sample weights"])
def test_a_row_has_its_weight_in_every_matrix(name: str) -> None:
    """Σ of the rows' gradients is that of the loss, and the matrices are made of these rows."""
    criterion, targets, _ = CASES[name]
    found = calclab.loss(net(), criterion, (X, targets))
    θ = found.flatten(found.parameters())
    J = torch.autograd.functional.jacobian(
        lambda θ: found.loss.rows(found.evaluate(found.data.inputs, found.unflatten(θ)), targets), θ
    )
    torch.testing.assert_close(J.mean(0), torch.func.grad(found.objective().call)(θ))
    torch.testing.assert_close(curvature(found, "empirical_fisher", rows=7).dense(), J.T @ J / B)
    centred = J - J.mean(0)
    torch.testing.assert_close(curvature(found, "gradient_covariance", rows=7).dense(), centred.T @ centred / B)


def test_a_loss_of_tokens_weighs_rows_by_theirs() -> None:
    """Outputs (B, L, V), targets (B, L): a row without tokens to predict adds nothing."""
    targets = torch.randint(0, 5, (B, 4), generator=torch.Generator().manual_seed(1))
    targets[3], targets[:, 3][::2], targets[0, 1:] = -100, -100, -100
    model = nn.Sequential(nn.Linear(4, 20), nn.Unflatten(1, (4, 5))).double()

    def tokens(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    outputs = model(X)
    loss, sentence = own(tokens, outputs[[0, 3, 5, 9, 11, 12]], targets[[0, 3, 5, 9, 11, 12]], targets)
    assert (loss.rule, "weighted" in sentence) == ("weighted mean", True)
    whole = tokens(outputs, targets)
    bounds = [0, 3, 4, 11, B]
    pieces = [slice(a, b) for a, b in itertools.pairwise(bounds)]
    flat = outputs.flatten(1)
    parts = sum(loss.total(flat[p], targets[p]) for p in pieces)
    torch.testing.assert_close(parts / loss.amount(targets), whole)
    count = (targets != -100).sum(1)
    for rows in pieces:
        torch.testing.assert_close(float(loss.amount(targets[rows])), float(count[rows].sum() / count.double().mean()))


def test_margins_that_all_rows_keep_are_no_mean() -> None:
    """Where the loss and its slope are 0 on all rows, other targets tell the rule."""
    outputs = 9 * nn.functional.one_hot(torch.arange(6) % 3, 3).double()
    assert not bool(hinge(outputs, torch.arange(6) % 3))
    assert own(hinge, outputs, torch.arange(6) % 3)[0].rule == "sum"


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (nn.CTCLoss(), "CTCLoss asks for input_lengths, target_lengths too"),
        (nn.GaussianNLLLoss(), "GaussianNLLLoss asks for var too"),
        (nn.BCELoss(), "does not take outputs"),
        (lambda o, t: 3.0, "gives float. It must give one number"),
        (lambda o, t: o.argmax(1), "gives .*int64"),
        (lambda o: o.sum(), "does not take outputs"),
    ],
)
def test_what_is_no_loss_of_outputs_and_targets_is_refused(criterion: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        calclab.loss(net(), criterion, (X, CLASSES))


def test_a_loss_is_left_as_it_is() -> None:
    criterion = Focal()
    calclab.hessian(calclab.loss(net(torch.float64), criterion, (X, CLASSES)))
    assert (criterion.focus.dtype, criterion.focus.requires_grad, criterion.focus.grad) == (torch.float32, True, None)
    assert criterion.training
    weighted = nn.CrossEntropyLoss(weight=WEIGHTS.float())
    calclab.partial(calclab.loss(net(), weighted, (X, CLASSES)))
    assert weighted.weight is not None
    assert weighted.weight.dtype == torch.float32


def test_float32_finds_the_same_rules() -> None:
    for name, (criterion, targets, rule) in CASES.items():
        if name in ("nll", "contrast"):  # which hold numbers in float64
            continue
        given = targets.float() if targets.is_floating_point() else targets
        assert calclab.loss(net(torch.float32), criterion, (X.float(), given)).loss.rule == rule, name
