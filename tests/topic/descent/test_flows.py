"""Theory's flows beside a descent: where they are exact, what is compared, and where there are none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from calclab.core import Function, Verdict
from calclab.drive import drive
from calclab.errors import UserError
from calclab.optimizer.rules import GradientDescent, Momentum
from calclab.sink.memory import MemorySink
from calclab.subject.formula import formula
from calclab.topic.descent import Descent
from calclab.topic.descent.flows import CentralFlow

PLACE: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}
CYCLE = {"name": "cycle", "expr": "y*x**2/2 + 5*(y - 21)**2", "at": [0.5, 19]}
KNOBS: dict[str, Any] = {
    **{"optimizer": GradientDescent(), "lr": 0.1, "steps": 40, "tol": 0.0, "batch": None, "epochs": None},
    **{
        "evidence": "full",
        "sharpness": {"every": 0},
        "watch": None,
        "animation": False,
        "flow": ["gradient", "central"],
    },
}


def descent(f: dict[str, Any] = CYCLE, **knobs: Any) -> Descent:
    return Descent(subject=formula(**f, **PLACE), **{**KNOBS, **knobs})


def columns(topic: Descent) -> dict[str, torch.Tensor]:
    memory = MemorySink()
    drive(topic, [memory])
    return {name: column.data for name, column in memory.columns.items()}


def test_gradient_flow_of_a_quadratic_and_the_error_said_of_it() -> None:
    f = {"name": "bowl", "expr": "x**2 + 4*y**2", "at": [1, 1]}
    found = columns(descent(f, steps=20))
    t = 0.1 * torch.arange(21, dtype=torch.float64)
    exact = (-4 * t).exp() + 4 * (-16 * t).exp()
    assert found["gradient_flow_loss"] == pytest.approx(exact, abs=1e-5)
    off = (found["gradient_flow_loss"] - exact).abs()
    assert bool((off <= 16 * found["gradient_flow_error"] + 1e-15).all())
    assert found["central_flow_variance"].tolist() == [0.0] * 21


def test_beside_the_cycle_of_two() -> None:
    """The loss of the run is that which the central flow has on average, and gradient flow is elsewhere."""
    topic, memory = descent(steps=120), MemorySink()
    seen = drive(topic, [memory])
    last = seen.last
    assert float(last["central_flow_mean_loss"]) == pytest.approx(float(last["loss"]), rel=1e-9)
    assert float(last["central_flow_loss"]) == pytest.approx(5.0, rel=1e-9)
    assert float(last["central_flow_sharpness"]) == pytest.approx(20.0, rel=1e-9)
    assert float(last["central_flow_distance"]) < 1e-9
    assert float(last["gradient_flow_sharpness"]) == pytest.approx(21.0, rel=1e-6)
    assert {row.verdict for row in seen.evidence} <= {Verdict.CERTIFIED, Verdict.CONSISTENT}
    methods = {row.method for row in seen.evidence}
    assert {"step halving", "at most 2/lr", "0 ⪯ Σ ⊥ 2/lr - H ⪰ 0"} <= methods
    values = topic.answer(seen.state).values
    assert float(values["edge_reached"]) == 1.0
    for flow, of in (("central", "loss"), ("gradient", "sharpness")):
        gaps = memory.columns[f"{flow}_flow_{of}_gap"].data[1:]
        assert float(values[f"{flow}_flow_mean_{of}_gap"]) == pytest.approx(float(gaps.mean()))


def test_running_means_have_the_memory_they_say() -> None:
    found = columns(descent(steps=60))
    fade, run, flow = 1 - math.exp(-1 / 20), found["loss"][0], found["central_flow_mean_loss"][0]
    for k in range(1, 61):
        run, flow = run + fade * (found["loss"][k] - run), flow + fade * (found["central_flow_mean_loss"][k] - flow)
    assert float(found["central_flow_loss_gap"][-1]) == pytest.approx(float((flow - run).abs() / run))


def test_the_run_itself_is_what_it_is_alone() -> None:
    alone, beside = columns(descent(flow=None, sharpness={"every": 1})), columns(descent(sharpness={"every": 1}))
    assert all(torch.equal(alone[name].nan_to_num(), beside[name].nan_to_num()) for name in alone)
    assert set(beside) - set(alone) == {name for name in beside if name.startswith(("gradient_flow", "central_flow"))}


def test_the_sharpness_is_looked_at_where_nobody_asked() -> None:
    assert [descent(steps=n).every for n in (40, 800, 1000)] == [1, 5, 5]
    assert descent(sharpness={"every": 7}).every == 7
    assert descent(flow=None).every == 0


def test_one_flow_alone_is_what_it_is_beside_the_other() -> None:
    both = columns(descent())
    for name in ("gradient", "central"):
        own = {key: data for key, data in columns(descent(flow=[name])).items() if key.startswith(name)}
        assert own
        assert all(torch.equal(data, both[key]) for key, data in own.items())


def test_why_there_is_no_central_flow() -> None:
    early = descent(lr=0.2)
    found = drive(early, [])
    assert "above 2/lr: type a smaller lr" in early.answer(found.state).sentence
    ends = descent({"name": "late", "expr": "20*x**4 + 9*x**2 + (y - 1)**2", "at": [0.05, 5]}, steps=20)
    assert "has not reached 2/lr" in ends.answer(drive(ends, []).state).sentence
    law = CentralFlow(ends.function, 0.1)
    state = law.init(ends.function.start)
    assert law.broken(state) == ""
    assert "no oscillation would lower it" in law.broken({**state, "residual": torch.tensor(0.5)})
    assert "finite" in law.broken({**state, "x": torch.full((2,), torch.nan)})


def test_gradient_flow_comes_to_a_kink_and_is_given_up() -> None:
    topic = descent({"name": "kink", "expr": "3*abs(x) + x**2", "at": [1]}, lr=0.5, steps=3)
    assert "it has a kink here" in topic.answer(drive(topic, []).state).sentence


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"optimizer": Momentum(momentum=0.9)}, "gradient descent, and not of Momentum. Type optimizer=gd"),
        ({"schedule": lambda steps: lambda k: 1.0}, "constant rate"),
        ({"flow": []}, "there are gradient and central"),
        ({"flow": ["centre"]}, "some of gradient, central"),
    ],
)
def test_refused_in_a_sentence(knobs: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        descent(**knobs)


def test_what_else_is_refused() -> None:
    single = formula(**CYCLE, dtype=torch.float32, device=torch.device("cpu"))
    with pytest.raises(UserError, match="Type dtype=float64"):
        Descent(subject=single, **KNOBS)
    start = torch.ones(10_001, dtype=torch.float64)
    many = Function("many", lambda x: (x * x).sum(), start, tuple(f"x{i}" for i in range(len(start))))
    with pytest.raises(UserError, match="at most 10,000 variables, and here are 10,001"):
        Descent(subject=many, **KNOBS)


def test_a_network_beside_its_flows(make_network, make_data) -> None:
    """Of more variables than one, at the edge: the central flow is nearer in loss and sharpness, and below 2/lr."""
    rows = make_data(12, (2,), 1)
    nn = torch.nn
    net = make_network(lambda shape, outputs: nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), rows)
    topic = Descent(subject=net, **{**KNOBS, "lr": 0.05, "steps": 10})
    seen = columns(topic)
    assert bool((seen["central_flow_sharpness"] <= 2 / 0.05 * 1.001).all())
    assert bool(seen["central_flow_distance"].isfinite().all())


def test_a_run_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    """From the state after any step, as a checkpoint keeps it."""
    topic = descent()
    state, values = topic.init(), []
    for k in range(41):
        if k == 17:
            torch.save(state, tmp_path / "state.pt")
        state, found = topic.step(state, k)
        values.append(found)
    state = torch.load(tmp_path / "state.pt")
    for k in range(17, 41):
        state, found = descent().step(state, k)
        assert {name: value.tolist() for name, value in found.items()} == {
            name: value.tolist() for name, value in values[k].items()
        }
