"""Columns that are codes: found however a network looks them up, as the user gave them, and never cut off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calclab.core import Data
from calclab.data.finish import finish
from calclab.errors import UserError
from calclab.subject.network import network
from calclab.subject.scores import scores
from calclab.topic.importance import Importance
from calclab.topic.importance.attributions import attributions

SITES = 6
EFFECT = torch.tensor([0.0, 5, -4, 9, -8, 3], dtype=torch.float64)


class Sites(nn.Module):
    """Column 1 asks for a row of a table, in one of many ways; the others are quantities."""

    def __init__(self, way: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.way = way
        self.table = nn.Embedding(SITES, 4)
        self.bag = nn.EmbeddingBag(SITES, 4)
        self.own = nn.Parameter(torch.randn(SITES, 4))
        self.body = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(torch.cat([x[:, [0, 2]], self.way(self, x[:, 1])], 1))


WAYS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "an embedding, as it is": lambda m, c: m.table(c),
    "an embedding, cut by the user": lambda m, c: m.table(c.long()),
    "an embedding, as int32": lambda m, c: m.table(c.to(torch.int32)),
    "a bag": lambda m, c: m.bag(c.long()[:, None]),
    "functional": lambda m, c: nn.functional.embedding(c.long(), m.own),
    "a parameter, indexed": lambda m, c: m.own[c.long()],
    "index_select": lambda m, c: m.own.index_select(0, c.long()),
    "gather": lambda m, c: m.own.gather(0, c.long()[:, None].expand(-1, 4)),
}


def rows(broken: float = 0.0, **more: Any) -> Data:
    """y is an effect of the site and a slope of the dose."""
    generator = torch.Generator().manual_seed(0)
    site = torch.arange(120) % SITES
    quantities = torch.randn(120, 2, generator=generator, dtype=torch.float64) * 3 + 10
    y = EFFECT[site] + 2 * quantities[:, 0]
    inputs = torch.stack([quantities[:, 0], site.double(), quantities[:, 1]], 1)
    inputs[77, 1] += broken
    given = {"standardize": True, "held_out": 0.0, "dtype": torch.float64, "device": "cpu", "seed": 0, **more}
    names = {"features": ["dose", "site", "noise"], "classes": ["y"]}
    return finish("sites", inputs, y[:, None], **names, classification=False, **given)


def made(way: str, data: Data, **more: Any) -> Any:
    return network(partial(Sites, WAYS[way]), data, name="sites", dtype=data.inputs.dtype, **more)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("way", WAYS)
def test_codes_are_found_and_stay_what_they_were(way: str, dtype: torch.dtype) -> None:
    data = rows(dtype=dtype, held_out=0.25)
    found = made(way, data).data
    assert found.codes == (1,)
    for part, before in ((found, data), (found.held_out, data.held_out)):
        assert part is not None
        assert before is not None
        assert torch.equal(part.inputs[:, 1].long(), part.places % SITES)  # type: ignore[operator]
        assert torch.equal(part.inputs[:, [0, 2]], before.inputs[:, [0, 2]])
    assert found.units is not None
    assert (float(found.units.shift[1]), float(found.units.scale[1])) == (0, 1)
    assert any("standardised" in note and "but for site" in note for note in made(way, data).notes)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("standardize", [True, False])
def test_a_fraction_is_refused(way: str, standardize: bool) -> None:
    with pytest.raises(UserError, match=r"site is 5\.5 in row 77.*whole numbers are needed"):
        made(way, rows(broken=0.5, standardize=standardize))


def test_what_the_network_rounds_itself_is_its_affair() -> None:
    binned = {"floor": lambda m, c: m.table(c.floor().long().clamp(0, SITES - 1))}
    data = rows(broken=0.5, standardize=False)
    assert network(partial(Sites, binned["floor"]), data, name="binned").data.inputs[77, 1] == 5.5


def test_networks_without_tables_have_no_codes() -> None:
    found = network(partial(nn.Linear, 3, 1), rows(), name="line")
    assert found.data.codes == ()
    assert torch.equal(found.data.inputs, rows().inputs)


def test_it_learns_what_a_category_does() -> None:
    found = made("an embedding, as it is", rows(), train=400)
    assert float(scores(found, found.flatten(found.parameters()))["train_r2"]) > 0.99


def test_a_row_has_no_derivative_by_a_code() -> None:
    with pytest.raises(UserError, match="no derivative by a code"):
        made("an embedding, as it is", rows()).response()


# --- importance ---

KNOBS: dict[str, Any] = {
    "layer": None, "neuron": None, "target": None, "baseline": None, "rows": None, "tol": None, "samples": None,
    "trust": False, "retrains": 0, "bootstrap": 10, "roar": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def learned() -> Any:
    return made("an embedding, cut by the user", rows(), train=300)


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "smoothgrad", "deeplift", "lrp"])
def test_methods_of_derivatives_say_why_not(learned: Any, method: str) -> None:
    with pytest.raises(UserError, match=r"site is a code.*no derivative.*method='\[ablation,permutation\]'"):
        Importance(subject=learned, method=method, **KNOBS)


@pytest.mark.parametrize("method", ["ablation", "occlusion", "shapley", "permutation"])
@pytest.mark.parametrize("baseline", [None, "zeros", "row.3", [10.0, 2.0, 10.0]])
def test_methods_of_other_values_rank_a_code(learned: Any, method: str, baseline: Any) -> None:
    """The site moves y by 5.7 on average, the dose by 6 a deviation, the noise not at all; attributions of the rows
    against a baseline are those of the network itself with that value put in."""
    topic = Importance(subject=learned, method=[method], **{**KNOBS, "baseline": baseline})
    values = (
        attributions(topic.problem, method, topic.problem.inputs, topic.problem.labels_of(slice(None)))
        .values.abs()
        .mean(0)
    )
    assert values.argmin() == 2
    assert values[1] > 5 * values[2]
    if method == "ablation":
        point, inputs = topic.problem.origin[0], learned.data.inputs
        assert float(point[1]) in range(SITES)
        other = torch.where(torch.arange(3) == 1, point, inputs)
        with torch.no_grad():
            change = (learned.evaluate(inputs) - learned.evaluate(other)).abs().mean()
        torch.testing.assert_close(values[1], change)


def test_the_commonest_code_stands_for_the_mean(learned: Any) -> None:
    data = learned.data
    inputs = data.inputs.clone()
    inputs[:70, 1] = 4.0
    topic = Importance(subject=replace(learned, data=replace(data, inputs=inputs)), method=["ablation"], **KNOBS)
    torch.testing.assert_close(topic.problem.origin[0], torch.tensor([inputs[:, 0].mean(), 4.0, inputs[:, 2].mean()]))


def test_a_baseline_between_two_codes_is_refused(learned: Any) -> None:
    with pytest.raises(UserError, match="codes are whole numbers"):
        Importance(subject=learned, method=["ablation"], **{**KNOBS, "baseline": [10.0, 2.5, 10.0]})
