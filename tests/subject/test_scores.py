"""Scores against scikit-learn's, in pieces and whole."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score
from torch.func import vmap

from calclab.core import Data
from calclab.data import bundled, synthetic
from calclab.network.mlp import Mlp
from calclab.subject import scores as module
from calclab.subject.network import Network, network
from calclab.subject.scores import scores

MLP = functools.partial(Mlp, width=6, depth=1, activation="tanh", bias=True)
KW = {"dtype": torch.float64, "device": "cpu", "seed": 0}


def iris(held_out: float = 0.2, **given: str) -> Network:
    data = bundled.iris(standardize=True, held_out=held_out, rows=None, **KW)
    return network(MLP, data, name="mlp", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [7, 1024])
def test_loss_and_accuracy_of_both_parts(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    net = iris()
    θ = (net.objective().start * 1.5).requires_grad_()
    found = scores(net, θ)
    assert list(found) == ["train_loss", "train_accuracy", "held_out_loss", "held_out_accuracy"]
    assert all(value.shape == () and not value.requires_grad for value in found.values())
    torch.testing.assert_close(found["train_loss"], net.objective().call(θ.detach()))
    for part, data in (("train", net.data), ("held_out", net.data.held_out)):
        assert data is not None
        outputs = net.evaluate(data.inputs, net.unflatten(θ.detach()))
        expected = accuracy_score(data.targets.numpy(), outputs.argmax(1).numpy())
        assert float(found[f"{part}_accuracy"]) == pytest.approx(expected, abs=1e-15)
        torch.testing.assert_close(found[f"{part}_loss"], net.loss(outputs, data.targets))


def test_numbers_have_r2() -> None:
    data = bundled.diabetes(standardize=True, held_out=0.25, rows=None, **KW)
    net = network(MLP, data, name="mlp", train=30)
    θ = net.objective().start
    found = scores(net, θ)
    assert set(found) == {"train_loss", "train_r2", "held_out_loss", "held_out_r2"}
    assert data.held_out is not None
    for part, of in (("train", data), ("held_out", data.held_out)):
        outputs = net.batch_outputs(of.inputs)
        assert float(found[f"{part}_r2"]) == pytest.approx(r2_score(of.targets.numpy(), outputs.numpy()), abs=1e-12)


def test_only_the_rows_that_there_are() -> None:
    assert set(scores(iris(held_out=0.0), iris().objective().start)) == {"train_loss", "train_accuracy"}
    summed = iris(loss="sum")
    assert set(scores(summed, summed.objective().start)) == {"train_loss", "held_out_loss"}


@pytest.mark.parametrize(("loss", "threshold"), [("bce", 0.0), ("mse", 0.5)])
def test_one_output_for_two_classes(loss: str, threshold: float) -> None:
    data = synthetic.moons(rows=40, noise=0.3, standardize=False, held_out=0.0, **KW)
    torch.manual_seed(0)
    net = network(torch.nn.Linear(2, 1), data, name="line", loss=loss, train=800)
    θ = net.objective().start
    right = (net.batch_outputs(data.inputs)[:, 0] > threshold) == (data.targets == 1)
    other = (net.batch_outputs(data.inputs)[:, 0] > 0.5 - threshold) == (data.targets == 1)
    assert scores(net, θ)["train_accuracy"] == right.double().mean()
    assert right.sum() > other.sum()  # the other threshold is the worse one


def test_many_points_at_once() -> None:
    net = iris()
    θ = net.objective().start
    points = torch.stack([θ, 0.5 * θ, -θ])
    together = vmap(functools.partial(scores, net))(points)
    for i, point in enumerate(points):
        for name, value in scores(net, point).items():
            torch.testing.assert_close(together[name][i], value)


def test_pieces_are_small_where_rows_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    evaluate = Network.evaluate

    def watched(self: Network, inputs: torch.Tensor, parameters: object = None) -> torch.Tensor:
        seen.append(len(inputs))
        return evaluate(self, inputs, parameters)  # type: ignore[arg-type]

    net = iris(held_out=0.0)
    monkeypatch.setattr(Network, "evaluate", watched)
    monkeypatch.setattr(module, "NUMBERS", 4 * 64)
    scores(net, net.objective().start)
    assert seen == [64, 64, 22]


def test_training_tells_of_the_held_out_rows() -> None:
    data: Data = bundled.iris(standardize=True, held_out=0.2, rows=None, **KW)
    net = network(MLP, data, name="mlp", train=20)
    found = scores(net, net.objective().start)
    note = f"{float(found['train_accuracy']):.1%} of the rows right, {float(found['held_out_accuracy']):.1%} of those"
    assert note in net.notes[-1]
    alone = network(MLP, dataclasses.replace(data, held_out=None), name="mlp", train=20)
    assert torch.equal(alone.objective().start, net.objective().start)  # what is held out teaches nothing
