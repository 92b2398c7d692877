"""The trust report: what is said of a network that has learned and of one that has not, of methods and of columns."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calclab.core import Data, Verdict
from calclab.data.table import table
from calclab.drive import begin, block
from calclab.errors import UserError
from calclab.network.mlp import Mlp
from calclab.subject.formula import formula
from calclab.subject.network import Network, network
from calclab.topic.importance import Importance, answer
from calclab.topic.importance.attributions import findings

torch.set_num_threads(1)
SMALL = partial(Mlp, width=6, depth=1, activation="tanh", bias=True)
FILES = Path(__file__).parent.parent.parent / "data_files"


def importance(subject: Any, **given: Any) -> Importance:
    knobs = {"method": ["gradient", "integrated_gradients", "ablation", "permutation"], "target": "predicted"}
    rest = {"baseline": None, "rows": None, "tol": None, "samples": 6, "trust": True}
    more = {"retrains": 3, "bootstrap": 100, "roar": [], "layer": None, "neuron": None}
    return Importance(**{"subject": subject, **knobs, **rest, **more, **given})


def learned(rows: int = 60, seed: int = 0, noise: float = 0.0) -> Data:
    """Four inputs, of which the class depends on the second alone; or on nothing."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=draw, dtype=torch.float64)
    told = x[:, 1] + noise * torch.randn(rows, generator=draw, dtype=torch.float64)
    names = tuple("abcd"), ("no", "yes")
    return Data("made", x, (told > 0).long(), *names, True)


@pytest.fixture(scope="module")
def good() -> Network:
    return network(SMALL, learned(), name="net", seed=0, train=80)


def test_a_network_that_has_learned(walk, good) -> None:
    found = walk(importance(good, rows=20))
    values, said = found.answer.values, found.answer.sentence
    assert "on 60 rows, 3 times trained without them" in said
    assert values["better than guessing"] == "yes"
    assert float(values["held_out_accuracy"]) > 0.85
    assert values["most important"] == "b"
    assert "the first rank is distinguishable" in said
    assert values["rank_first"][1] == values["rank_last"][1] == 1
    assert float(values["deletion_area_gradient"]) < float(values["deletion_area_random"])
    assert float(values["insertion_area_gradient"]) > float(values["insertion_area_random"])
    assert Verdict.REFUTED not in found.verdicts
    assert {row.quantity for row in found.evidence} >= {"Σ integrated_gradients", "randomisation test"}


def test_a_network_that_has_learned_nothing(walk) -> None:
    data = learned(noise=1000.0)
    net = network(SMALL, data, name="net", seed=0, train=80)
    found = walk(importance(net, method="gradient", rows=12))
    assert found.answer.values["better than guessing"] == "no"
    assert "no better than guessing" in found.answer.headline


def test_rows_of_its_own_that_were_held_out(walk, good) -> None:
    net = replace(good, data=replace(good.data, held_out=learned(40, seed=9)))
    found = walk(importance(net, method="gradient", retrains=2, rows=12))
    assert "on 40 rows, the network's own" in found.answer.sentence
    outputs = net.evaluate(net.data.held_out.inputs).argmax(1)
    right = (outputs == net.data.held_out.targets).double().mean()
    torch.testing.assert_close(found.answer.values["held_out_accuracy"], right)


def test_a_run_that_goes_on_has_the_same_bits(good) -> None:
    topic = importance(good, method=["shapley", "gradient"], roar=[0.5], retrains=2)
    steps = range(topic.steps + 1)
    state, _, whole, _ = block(topic, begin(topic).state, steps)
    kinds = [kind for kind, _ in topic.plan]
    for stop in (
        1,
        topic.problem.count - 3,
        *(topic.problem.count + kinds.index(kind) + 1 for kind in dict.fromkeys(kinds)),
    ):
        half, _, first, _ = block(topic, begin(topic).state, steps[:stop])
        file = io.BytesIO()
        torch.save(half, file)
        file.seek(0)
        again, _, second, _ = block(topic, torch.load(file, weights_only=True), steps[stop:])
        for name, column in whole.items():
            parts = [part[name].data for part in (first, second) if name in part]
            assert torch.equal(torch.cat(parts).nan_to_num(7.25), column.data.nan_to_num(7.25)), (stop, name)
        assert topic.answer(again).sentence == topic.answer(state).sentence
        assert topic.answer(half).sentence


def test_removing_what_matters_hurts_more_than_removing_anything_else(good) -> None:
    topic = importance(good, method="ablation", roar=[0.25], retrains=1)
    state, _, columns, _ = block(topic, topic.init(), range(topic.steps + 1))
    assert float(columns["roar"].data[-1]) < float(columns["roar_random"].data[-1]) - 0.1
    assert "trained without the most important 25% of the columns" in topic.answer(state).sentence


def test_nothing_drawn_anew_changes_nothing(good) -> None:
    topic = importance(good, retrains=0)
    columns = block(topic, topic.init(), range(topic.steps + 1))[2]
    torch.testing.assert_close(columns["randomised_gradient"].data[0], torch.ones((), dtype=torch.float64))
    assert float(columns["randomised_gradient"].data[-1]) < 1
    assert columns["layers_drawn_anew"].data.tolist() == [0, 1, 2]


def test_columns_so_alike_that_they_share_are_named(good) -> None:
    inputs = good.data.inputs.clone()
    inputs[:, 3] = 2 * inputs[:, 0] + 1e-3 * inputs[:, 2]
    net = replace(good, data=replace(good.data, inputs=inputs))
    assert any("a with d (1.000)" in note for note in importance(net).notes())
    assert not any("alike" in note for note in importance(good).notes())


def test_one_order_in_the_answer_and_in_what_is_logged_where_trainings_change_it(good) -> None:
    """On the rows alone b leads; trainings that say otherwise decide, as they do in the picture and ranking.csv."""
    topic = importance(good, method="gradient", retrains=2)
    state = block(topic, begin(topic).state, range(topic.steps + 1))[0]
    other = torch.tensor([40.0, 1.0, 3.0, 2.0], dtype=torch.float64)
    found = findings(topic.problem, state)
    found = replace(found, trainings=tuple({**entry, "importance": other} for entry in found.trainings))
    known = topic.ranks(found)
    assert found.sizes.mean(0).argmax() == 1
    assert int(known.centre.argmax()) == 0
    text, lines, values = answer.importance(topic.problem, found, found.sizes, known, ranked=True)
    ranking = next(line for line in lines if line.label == "ranking")
    assert [row[0] for row in ranking.rows] == ["abcd"[int(i)] for i in known.rank.argsort()]
    assert torch.equal(values["ranks"], known.rank)
    assert values["most important"] == "a"
    assert text.startswith("a matters most")


def test_few_rows_have_no_rank_sets(walk, good) -> None:
    found = walk(importance(good, method="gradient", rows=9, retrains=0))
    assert "distinguishable" not in found.answer.sentence
    assert "ranking" not in found.values[-1]


def test_without_trust_it_only_looks_at_the_rows(good) -> None:
    topic = importance(good, trust=False, method="gradient")
    assert topic.steps == 59
    assert not topic.notes()


# --- the user's table -------------------------------------------------------------------------------------------------


def read(path: Path, target: str, **given: Any) -> Data:
    knobs = {
        "features": None,
        "categories": None,
        "missing": "drop",
        "na": None,
        "separator": None,
        "header": True,
        "memory": 2.0,
    }
    more = {
        "task": "auto",
        "rows": None,
        "standardize": True,
        "held_out": 0.0,
        "dtype": torch.float64,
        "device": "cpu",
        "seed": 0,
    }
    return table(**{"path": str(path), "target": target, **knobs, **more, **given})


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """price = 3·area - 2·age + 10 in Rome, nothing in Oslo."""
    lines = ["area,age,city,price"]
    for k in range(24):
        area, age, city = 50 + (k * k) % 37, 5 + (7 * k) % 11, ("Rome", "Oslo", "Bonn")[k % 3]
        lines.append(f"{area},{age},{city},{3 * area - 2 * age + 10 * (city == 'Rome')}")
    path = tmp_path / "houses.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def solved(data: Data) -> Network:
    """The linear network that fits exactly."""
    ones = torch.ones(len(data.inputs), 1, dtype=torch.float64)
    w = torch.linalg.lstsq(torch.cat([data.inputs, ones], 1), data.targets, driver="gelsd").solution[:, 0]
    parameters = {"weight": [w[:-1].tolist()], "bias": [float(w[-1])]}
    return network(lambda: nn.Linear(len(w) - 1, 1), data, name="net", parameters=parameters)


def tidy(topic: Importance, folder: Path) -> dict[tuple[str, str, str], tuple[float, str]]:
    state, _, _, _ = block(topic, topic.init(), range(topic.steps + 1))
    topic.write_artifacts(state, folder)
    with (folder / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "feature", "method", "target", "value", "error"]
    return {(r["row"], r["feature"], r["method"]): (float(r["value"] or "nan"), r["target"]) for r in rows}


def test_results_are_in_the_users_units(houses: Path, tmp_path: Path) -> None:
    data = read(houses, "price")
    topic = importance(solved(data), method=["gradient", "integrated_gradients"], target="price")
    found = tidy(topic, tmp_path)
    plain = read(houses, "price", standardize=False).inputs
    assert topic.problem.features.names == ("area", "age", "city")
    for k in range(24):
        assert found[str(k), "area", "gradient"] == (pytest.approx(3), "price")
        assert found[str(k), "age", "gradient"] == (pytest.approx(-2), "price")
        part = 3 * float(plain[k, 0] - plain[:, 0].mean())
        assert found[str(k), "area", "integrated_gradients"] == (pytest.approx(part), "price")
        rome = 10 * (float(plain[k, 4]) - 1 / 3)  # all inputs of the city together
        assert found[str(k), "city", "integrated_gradients"] == (pytest.approx(rome), "price")
    # drawn anew, the city moves the price by the deviation of 10·[Rome]
    assert found["0", "city", "gradient"][0] == pytest.approx(10 * (1 / 3 * 2 / 3) ** 0.5)


def test_what_never_varies_has_no_slope(tmp_path: Path, walk) -> None:
    """The network has a weight for it all the same, which training left where it was drawn."""
    path = tmp_path / "t.csv"
    path.write_text("a,same,y\n" + "".join(f"{k},7,{k * k % 5}.5\n" for k in range(20)))
    data = read(path, "y")
    net = network(partial(nn.Linear, 2, 1), data, name="net", seed=0)
    topic = importance(net, method=["gradient", "smoothgrad"], target="y", trust=False)
    found = walk(topic)
    assert found.answer.values["importance"][1] == 0
    assert "constant: in the data: same" in found.answer.sentence
    cells = tidy(topic, tmp_path)
    assert math.isnan(cells["0", "same", "gradient"][0])


def test_a_baseline_in_the_users_units(houses: Path, tmp_path: Path) -> None:
    data = read(houses, "price", features=["area", "age"])
    w = torch.tensor([3.0, -2.0], dtype=torch.float64)
    data = replace(data, targets=data.inputs @ (w * data.units.scale)[:, None], target_units=None)
    topic = importance(solved(data), method="integrated_gradients", target="output.0", baseline=[50, 5])
    found = tidy(topic, tmp_path)
    plain = read(houses, "price", features=["area", "age"], standardize=False).inputs
    for k in range(24):
        assert found[str(k), "area", "integrated_gradients"][0] == pytest.approx(3 * (float(plain[k, 0]) - 50))


@pytest.mark.parametrize("method", ["ablation", "shapley", "permutation"])
def test_inputs_of_one_column_change_together(houses: Path, tmp_path: Path, method: str) -> None:
    data = read(houses, "price")
    topic = importance(solved(data), method=method, target="loss" if method == "permutation" else "price")
    found = tidy(topic, tmp_path)
    assert {feature for _, feature, _ in found} == {"area", "age", "city"}
    if method != "permutation":
        plain = read(houses, "price", standardize=False).inputs
        for k in range(24):
            assert found[str(k), "city", method][0] == pytest.approx(10 * (float(plain[k, 4]) - 1 / 3))
    else:
        assert {row for row, _, _ in found} == {"all"}


def test_penguins(walk) -> None:
    net = network(SMALL, read(FILES / "penguins.csv", "species"), name="net", seed=0, train=60)
    found = walk(importance(net, method=["integrated_gradients", "permutation"], rows=80, samples=3, retrains=3))
    assert "on 333 rows" in found.answer.sentence
    assert float(found.answer.values["held_out_accuracy"]) > 0.95
    assert set(found.values[-1]["importance"].shape) == {7}


# --- functions --------------------------------------------------------------------------------------------------------


def test_methods_on_a_formula_know_the_answer(walk) -> None:
    f = formula(name="f", expr="x*y + z**2", at=[2.0, 3.0, 1.0], dtype=torch.float64, device="cpu")
    names = ["integrated_gradients", "gradient", "gradient_x_input", "shapley", "occlusion"]
    found = walk(importance(f, method=names, target="loss", samples=None))
    parts = found.state["blocks"]["0"]["values"][:, 0]
    expected = [[3, 3, 1], [3, 2, 2], [6, 6, 2], [3, 3, 1], [6, 6, 1]]  # of xy each half, where they share it
    torch.testing.assert_close(parts, torch.tensor(expected, dtype=torch.float64))
    assert Verdict.CERTIFIED in found.verdicts


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "gradients"}, "Did you mean gradient"),
        ({"method": []}, "a method, or a list of them"),
        ({"method": [1]}, "a method, or a list of them"),
        ({"target": "y9"}, "there is loss, predicted, output.0"),
        ({"target": "y0 +"}, "there is loss, predicted, output.0"),
        ({"baseline": "ones"}, "the baselines are"),
        ({"baseline": "row.60"}, "rows 0 to 59"),
        ({"baseline": "class.maybe"}, "class.no, class.yes"),
        ({"baseline": [1.0, 2.0]}, "each of the 4 inputs"),
        ({"rows": 61}, "60 rows"),
        ({"roar": [1.5]}, "above 0 and at most 1"),
        ({"roar": [0.5], "rows": 10}, "every row"),
        ({"roar": [0.5], "method": "permutation"}, "goes by row"),
        ({"samples": 1}, "samples"),
        ({"tol": 0.0}, "tol"),
    ],
)
def test_mistakes_are_told_before_anything_runs(good, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        importance(good, **given)


def test_a_function_has_no_data() -> None:
    f = formula(name="f", expr="x**2", at=[1.0], dtype=torch.float64, device="cpu")
    for given in ({"method": "permutation"}, {"method": "smoothgrad"}, {"roar": [0.5]}, {"rows": 2}):
        with pytest.raises(UserError):
            importance(f, **{"target": "loss", "method": "gradient", **given})


def test_the_network_is_left_as_it_was(good) -> None:
    def seen(net: Network) -> list[Any]:
        tensors: list[Tensor] = list(net.module.state_dict().values())
        return [net.module.training, *(t.clone().tolist() for t in tensors), [p.grad for p in net.module.parameters()]]

    before, random = seen(good), torch.get_rng_state()
    topic = importance(good)
    block(topic, topic.init(), range(topic.steps + 1))
    assert seen(good) == before
    assert torch.equal(torch.get_rng_state(), random)
