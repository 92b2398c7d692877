"""Networks drawn and trained again are those that another seed would have made."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from calclab.network.mlp import Mlp
from calclab.network.transformer import Transformer
from calclab.subject import retraining
from calclab.subject.network import Network, network
from calclab.topic.importance.perturbations import no_retraining

torch.set_num_threads(1)
SMALL = partial(Mlp, width=5, depth=2, activation="tanh", bias=True)


def parameters(net: Network) -> list[Tensor]:
    return list(net.parameters().values())


def test_drawn_anew_is_what_the_seed_draws(make_data, make_network) -> None:
    rows = make_data(9, (4,), 3, classification=True)
    net = make_network(SMALL, rows, train=3)
    before = [p.clone() for p in parameters(net)]
    other = network(SMALL, rows, name="net", seed=7)
    assert all(
        torch.equal(a, b) for a, b in zip(parameters(retraining.with_new(net, None, 7)), parameters(other), strict=True)
    )
    assert all(torch.equal(a, b) for a, b in zip(parameters(net), before, strict=True))


def test_trained_again_is_what_the_seed_trains(make_data, make_network) -> None:
    rows = make_data(12, (4,), 2)
    net = make_network(SMALL, rows, train=4)
    assert net.training == 4
    other = network(SMALL, rows, name="net", seed=11, train=4)
    found = retraining.train(net, rows, 4, 11)
    assert found is not None
    assert all(torch.equal(a, b) for a, b in zip(parameters(found), parameters(other), strict=True))


def test_layers_are_drawn_anew_from_the_output_on(make_data, make_network) -> None:
    net = make_network(SMALL, make_data(9, (4,), 3, classification=True), train=3)
    names = retraining.resettable(net)
    assert names == ["output", "hidden.2", "hidden.0"]
    for count in range(4):
        new = retraining.with_new(net, names[:count], 5)
        same = {name for name, p in new.parameters().items() if torch.equal(p, net.parameters()[name])}
        changed = {name.rpartition(".")[0] for name in net.parameters() if name not in same}
        assert changed == set(names[:count])


def test_a_transformer_is_trained_again_from_other_positions(make_data, make_network) -> None:
    rows = make_data(40, (24,), 2)
    module = partial(Transformer, width=16, heads=2, blocks=1, activation="gelu")
    net = make_network(module, rows, train=2)
    assert no_retraining(net) == ""
    new = retraining.with_new(net, None, 3)
    moved = [name for name, p in new.parameters().items() if not torch.equal(p, net.parameters()[name])]
    assert "position" in moved
    norms = {name for name in net.parameters() if "norm" in name}  # these begin as 1 and 0, as they were drawn
    assert set(net.parameters()) - set(moved) <= norms
    position = new.parameters()["position"]
    assert float(position.std()) == pytest.approx(0.02, rel=0.2)
    assert torch.equal(position, retraining.with_new(net, None, 3).parameters()["position"])
    assert retraining.train(net, rows, 2, 3) is not None


def test_what_cannot_be_drawn_is_named(make_data, make_network) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(4, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.w

    rows = make_data(20, (4,), 1)
    assert "reset_parameters" in no_retraining(make_network(Own, rows, train=2))
    assert "train=0" in no_retraining(make_network(SMALL, rows))
    assert no_retraining(make_network(SMALL, rows, train=2)) == ""
    assert "too few" in no_retraining(make_network(SMALL, make_data(4, (4,), 1), train=2))


@pytest.mark.parametrize("count", [3, 5])
def test_folds_part_the_rows_and_their_classes(make_data, count) -> None:
    data = make_data(31, (2,), 3, classification=True)
    fold = retraining.folds(data, count, seed=1)
    for c in range(3):
        sizes = fold[data.targets == c].bincount(minlength=count)
        assert int(sizes.max() - sizes.min()) <= 1
    assert torch.equal(fold, retraining.folds(data, count, seed=1))
    assert not torch.equal(fold, retraining.folds(data, count, seed=2))


def test_errors_and_guesses(make_data, make_network) -> None:
    numbers = make_data(8, (3,), 2)
    net = make_network(lambda: nn.Linear(3, 2), numbers)
    outputs = net.evaluate(numbers.inputs).detach()
    torch.testing.assert_close(retraining.errors(net, numbers), (outputs - numbers.targets).square().mean(1))
    spread = (numbers.targets - numbers.targets.mean(0)).square().mean(1)
    torch.testing.assert_close(retraining.guesses(numbers, numbers), spread)
    classes = make_data(10, (3,), 4, classification=True)
    net = make_network(lambda: nn.Linear(3, 4), classes)
    right = net.evaluate(classes.inputs).argmax(1) == classes.targets
    assert retraining.errors(net, classes).tolist() == [float(not r) for r in right]
    assert float(retraining.guesses(classes, classes).mean()) == 0.7  # 3 of 10 rows have the commonest class
