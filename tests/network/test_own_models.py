"""Models as their authors left them: several inputs, outputs of any kind, their own loss, or a plain function."""

from __future__ import annotations

import copy
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import calclab
from calclab.core import Data, Layout
from calclab.errors import UserError
from calclab.second_order import curvature
from calclab.subject.network import Network, network
from calclab.subject.scores import scores

B, L, V = 12, 4, 5
MAKER = torch.Generator().manual_seed(3)
X = torch.randn(B, 4, generator=MAKER, dtype=torch.float64)
Y = torch.randint(0, 3, (B,), generator=MAKER)
IDS = torch.randint(0, V, (B, L), generator=MAKER)
LABELS = IDS.clone()
LABELS[2, 1:], LABELS[5], LABELS[9, :2] = -100, -100, -100  # one row without anything to predict

Pair = namedtuple("Pair", ["hidden", "scores"])


@dataclass
class Output:
    """As Hugging Face's: what is not there is None."""

    loss: Tensor | None
    logits: Tensor
    hidden: tuple[Tensor, ...] = ()


class Gives(nn.Module):
    """A linear map whose output comes in the form asked for."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.form, self.linear, self.head = form, nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Any:
        h = torch.tanh(self.linear(x))
        y = self.head(h)
        return {
            "tuple": (y, h),
            "list": [y, h],
            "dict": {"hidden": h, "logits": y},
            "named": Pair(h, y),
            "dataclass": Output(None, y, (h,)),
            "nested": {"steps": torch.tensor(3), "all": [{"y": y}]},
        }[self.form]


@pytest.mark.parametrize("form", ["tuple", "list", "dict", "dataclass", "nested"])
def test_one_tensor_is_taken_of_what_a_model_gives(form: str) -> None:
    model = Gives(form).double()
    found = calclab.loss(model, "cross_entropy", (X, Y))
    expected = model.head(torch.tanh(model.linear(X)))
    assert torch.equal(found.evaluate(found.data.inputs), expected)
    (note,) = [note for note in found.notes if "is looked at" in note]
    assert {"tuple": "[0]", "list": "[0]", "nested": "all[0].y"}.get(form, "logits") in note
    alone = copy.deepcopy(model)
    truth = calclab.hessian(calclab.loss(nn.Sequential(alone.linear, nn.Tanh(), alone.head), "cross_entropy", (X, Y)))
    torch.testing.assert_close(calclab.hessian(found).eigenvalues, truth.eigenvalues)


@pytest.mark.parametrize(
    ("form", "output"),
    [
        ("named", "scores"),
        ("named", 1),
        ("named", "1"),
        ("dict", "logits"),
        ("tuple", lambda out: out[0]),
        ("nested", lambda out: out["all"][0]["y"]),
        ("dataclass", "logits"),
    ],
)
def test_the_user_says_which(form: str, output: Any) -> None:
    model = Gives(form).double()
    found = calclab.outputs(model, (X, Y), output=output)
    assert torch.equal(found.evaluate(found.data.inputs), model.head(torch.tanh(model.linear(X))))
    J = calclab.jacobian(found).jacobian
    torch.testing.assert_close(J, torch.func.jacrev(lambda x: model.head(torch.tanh(model.linear(x))))(X[0]).detach())


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(UserError, match="output=scores: the model gives a dict with hidden, logits"):
        calclab.outputs(Gives("dict").double(), (X, Y), output="scores")
    with pytest.raises(UserError, match="output=7: the model gives a tuple with 0, 1"):
        calclab.outputs(Gives("tuple").double(), (X, Y), output=7)
    with pytest.raises(UserError, match="the function does not take a tuple: KeyError"):
        calclab.outputs(Gives("tuple").double(), (X, Y), output=lambda out: {}["y"])


class Tokens(nn.Module):
    """A language model of its own loss, and tied weights: ids by name, labels beside them."""

    def __init__(self, reduction: str = "mean", penalty: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embedding, self.middle = nn.Embedding(V, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, V, bias=False)
        self.head.weight = self.embedding.weight
        self.reduction, self.penalty = reduction, penalty

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> Output:
        h = torch.tanh(self.middle(self.embedding(input_ids).cumsum(1)))
        h = h if attention_mask is None else h * attention_mask[:, :, None]
        logits, loss = self.head(h), None
        if labels is not None:
            flat = logits.flatten(0, 1), labels.flatten()
            loss = functional.cross_entropy(*flat, reduction=self.reduction)
            loss = loss + self.penalty * h.std(0, correction=0).sum() if self.penalty else loss
        return Output(loss, logits)


def tokens(labels: Tensor) -> Data:
    batch = {"input_ids": IDS, "attention_mask": torch.ones(B, L, dtype=torch.int64)}
    layout = Layout.of(batch)
    packed = layout.pack(batch, torch.float64)
    return Data("tokens", packed, labels, layout.features, ("y",), False, layout=layout)


def plainly(found: Network, model: nn.Module, labels: Tensor) -> Any:
    def value(θ: Tensor) -> Tensor:
        given = {"input_ids": IDS, "labels": labels}
        loss: Tensor = functional_call(model, found.unflatten(θ), (), given).loss
        return loss

    return value


@pytest.mark.parametrize(
    ("labels", "reduction", "penalty", "rule"),
    [
        (IDS, "mean", 0.0, "mean"),
        (LABELS, "mean", 0.0, "weighted mean"),
        (LABELS, "sum", 0.0, "sum"),
        (IDS, "mean", 0.1, "all rows"),
    ],
)
def test_a_model_of_its_own_loss(labels: Tensor, reduction: str, penalty: float, rule: str) -> None:
    """What is put together of chunks is the model's loss of all rows, whose rule is found."""
    model = Tokens(reduction, penalty).double()
    found = network(model, tokens(labels), name="tokens")
    assert found.loss.rule == rule
    assert sum(found.sizes) == sum(p.numel() for p in model.parameters())  # tied weights once
    value, θ = plainly(found, model, labels), found.flatten(found.parameters())
    torch.testing.assert_close(found.objective().call(θ), value(θ))
    H = torch.func.hessian(value)(θ).detach()
    rows = None if rule == "all rows" else 5
    torch.testing.assert_close(curvature(found, rows=rows).dense(), H, atol=1e-10, rtol=1e-7)
    assert float(scores(found, θ)["train_loss"]) == pytest.approx(float(value(θ).detach()), rel=1e-12)
    if rule != "all rows":
        each = found.row_losses(found.parameters(), found.data.inputs, labels)
        torch.testing.assert_close(each.sum() / found.amount(found.data.inputs, labels), value(θ).detach())
    assert found.evaluate(found.data.inputs).shape == (B, L * V)
    for kind in ("gauss_newton", "empirical_fisher"):
        with pytest.raises(UserError, match="the model's own"):
            curvature(found, kind)


def test_one_rare_row_is_enough_for_a_weighted_mean() -> None:
    labels = IDS.repeat(60, 1)
    labels[401, 1:] = -100
    data = tokens(IDS)
    data = Data("many", data.inputs.repeat(60, 1), labels, data.features, ("y",), False, layout=data.layout)
    found = network(Tokens().double(), data, name="tokens")
    assert found.loss.rule == "weighted mean"
    assert found.loss.weigh(data.inputs[401:402], labels[401:402]) == pytest.approx(0.25, rel=1e-6)


def test_descent_and_gradients_of_a_model_of_its_own_loss() -> None:
    model = Tokens().double()
    found = network(model, tokens(LABELS), name="tokens")
    result = calclab.descent(found, lr=0.1, steps=4)
    θ = found.flatten(found.parameters())
    value = plainly(found, model, LABELS)
    for _ in range(4):
        θ = θ - 0.1 * torch.func.grad(value)(θ)
    assert result.loss == pytest.approx(float(value(θ).detach()), rel=1e-9)
    with pytest.raises(UserError, match="computes its own loss"):
        calclab.hessian(found, operator="gauss_newton")


def test_a_model_in_half_precision_is_looked_at_in_float32() -> None:
    model = Gives("tuple").to(torch.bfloat16)
    found = calclab.loss(model, "cross_entropy", (X.float(), Y))
    assert {p.dtype for p in found.module.parameters()} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}

    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x).to(torch.bfloat16)

    assert calclab.loss(Inside(), "cross_entropy", (X.float(), Y)).objective().call(torch.zeros(15)) == pytest.approx(
        torch.tensor(3.0).log()
    )


@pytest.mark.parametrize("model", [Gives("dict"), Tokens()], ids=["outputs", "loss"])
def test_what_is_given_is_left_bit_identical(model: nn.Module) -> None:
    model.double().train()
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    before = copy.deepcopy(model)
    if isinstance(model, Tokens):
        found = network(model, tokens(LABELS), name="tokens")
    else:
        found = calclab.loss(model, "cross_entropy", (X, Y))
    calclab.partial(found)
    calclab.descent(found, lr=0.1, steps=2)
    first = next(model.parameters())
    assert torch.equal(torch.ones_like(first), first.grad)
    assert all(part.training for part in model.modules())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    for one, other in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(one, other)
        assert (one.dtype, one.requires_grad) == (other.dtype, other.requires_grad)


# --- the functional style ---


def parameters() -> dict[str, Any]:
    maker = torch.Generator().manual_seed(8)
    made = [torch.randn(shape, generator=maker, dtype=torch.float64) for shape in ((4, 3), (3,), ())]
    return {"layer": {"weight": made[0], "type": made[1]}, "scale": [made[2]]}


def forward(p: Any, x: Tensor) -> Tensor:
    return p["scale"][0] * torch.tanh(x @ p["layer"]["weight"] + p["layer"]["type"])


def batch_loss(p: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    assert y.dtype == torch.int64
    return functional.cross_entropy(forward(p, x), y)


def test_a_callable_of_parameters_and_batch() -> None:
    given = parameters()
    before = copy.deepcopy(given)
    whole = calclab.loss(batch_loss, None, (X, Y), parameters=given)
    parts = calclab.loss(forward, nn.CrossEntropyLoss(), (X, Y), parameters=given)
    assert whole.variables[0] == "layer.weight[0,0]"
    assert (whole.variables[-2:], len(whole.variables)) == (("layer.type[2]", "scale.0"), 16)

    def value(θ: Tensor) -> Tensor:
        w, b, s = θ.split_with_sizes([12, 3, 1])
        p = {"layer": {"weight": w.view(4, 3), "type": b}, "scale": [s[0]]}
        return functional.cross_entropy(forward(p, X), Y)

    θ = whole.objective().start
    H = torch.func.hessian(value)(θ)
    for subject in (whole, parts):
        torch.testing.assert_close(curvature(subject, rows=5).dense(), H)
    torch.testing.assert_close(calclab.hessian(whole).eigenvalues, torch.linalg.eigvalsh(H))
    each = torch.stack([functional.cross_entropy(forward(given, X[i : i + 1]), Y[i : i + 1]) for i in range(B)])
    torch.testing.assert_close(whole.evaluate(whole.data.inputs)[:, 0], each)
    for key in ("weight", "type"):
        assert torch.equal(given["layer"][key], before["layer"][key])
        assert not given["layer"][key].requires_grad


def test_weights_of_rows_in_a_callable() -> None:
    """∂² of a weighted mean of squares is 2 Σ w x xᵀ / Σ w, whatever the chunks."""
    w = torch.rand(B, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(p: Tensor, batch: Tensor) -> Tensor:
        x, weight = batch
        return (weight * (x @ p).square()).sum() / weight.sum()

    found = calclab.loss(loss, None, (X, w), parameters=torch.ones(4, dtype=torch.float64))
    assert found.loss.rule == "weighted mean"
    H = 2 * (X.T * w) @ X / w.sum()
    torch.testing.assert_close(curvature(found, rows=5).dense(), H)


def test_parameters_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match=r"parameters\.steps is a int: parameters are tensors"):
        calclab.loss(batch_loss, None, (X, Y), parameters={"w": X, "steps": 3})
    with pytest.raises(UserError, match=r"parameters\.k is torch\.int64"):
        calclab.loss(batch_loss, None, (X, Y), parameters={"k": Y})


# --- models that give their loss and nothing else ---


class Alone(nn.Module):
    """The loss of a batch, of which the targets are a part."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(self.linear(x), y)


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.code, self.back = nn.Linear(4, 2), nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        return (self.back(torch.tanh(self.code(x))) - x).square().mean()


@pytest.mark.parametrize(("model", "batch"), [(Alone(), (X, Y)), (Autoencoder(), (X,))], ids=["targets", "inputs"])
def test_a_model_that_gives_nothing_but_its_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> None:
    model.double()
    found = calclab.loss(model, None, batch if len(batch) > 1 else X)
    assert [name for name, _ in found.module.named_parameters()] == [name for name, _ in model.named_parameters()]

    def value(θ: Tensor) -> Tensor:
        loss: Tensor = functional_call(model, found.unflatten(θ), batch)
        return loss

    θ = found.flatten(found.parameters())
    torch.testing.assert_close(curvature(found, rows=5).dense(), torch.func.hessian(value)(θ).detach())
    each = torch.stack([model(*(x[i : i + 1] for x in batch)) for i in range(B)])
    torch.testing.assert_close(found.evaluate(found.data.inputs)[:, 0], each.detach())
    torch.testing.assert_close(calclab.hessian(found).value, float(value(θ).detach()))


def test_a_model_without_targets_is_asked_for_no_loss() -> None:
    data = tokens(torch.zeros(B, 0, dtype=torch.float64))
    found = network(Tokens().double(), data, name="tokens")
    assert (found.loss_name, found.own_loss) == ("sum", False)
