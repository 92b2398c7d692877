"""The comparison: theory's rates come out, budgets are kept, and a walk of the batch is a descent alone."""

from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pytest
import torch

from calclab.core import Column, Function, Point, Rule, Spread, State, Verdict
from calclab.drive import advance, begin, block, drive
from calclab.errors import UserError
from calclab.figure.kinds import draw, panel
from calclab.network.mlp import Mlp
from calclab.numerics.operators import loss_and_gradient
from calclab.optimizer.adaptive import Adam
from calclab.optimizer.lbfgs import LBFGS
from calclab.optimizer.line_search import Armijo, Wolfe
from calclab.optimizer.newton import DampedNewton, Newton
from calclab.optimizer.rules import GradientDescent, Momentum, Nesterov
from calclab.sink.memory import MemorySink
from calclab.subject.custom import custom
from calclab.subject.formula import formula
from calclab.topic.comparison import Comparison, tuning
from calclab.topic.comparison.starts import starts
from calclab.topic.descent import Descent

INF = float("inf")
PLACE: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}
WOLFE = {"c1": 1e-4, "c2": 0.9, "trials": 25}
RULES: dict[str, Rule] = {
    "gd": GradientDescent(),
    "momentum": Momentum(momentum=0.7),
    "adam": Adam(beta1=0.9, beta2=0.999, eps=1e-8),
    "newton": Newton(limit=10),
    "damped_newton": DampedNewton(damping=1e-3, limit=10),
    "lbfgs": LBFGS(history=5),
    "lbfgs+wolfe": Wolfe(rule=LBFGS(history=5), **WOLFE),
    "gd+armijo": Armijo(rule=GradientDescent(), c1=1e-4, shrink=0.5, trials=40),
}


def bowl(**more: Any) -> Function:
    """Eigenvalues 3 and 20, neither at an end of the axes of symmetry: minimum at (1, -2)."""
    return formula(name="bowl", expr="1.5*(x-1)**2 + 10*(y+2)**2", at=[4, 0.5], **PLACE, **more)


def valley(**more: Any) -> Function:
    return formula(
        name="valley", expr="(1-x)**2 + 7*(y-x**2)**2", at=[-1.2, 1], domain=[[-2, 2], [-1, 3]], **more, **PLACE
    )


def comparison(function: Function, *names: str, **knobs: Any) -> Comparison:
    given: dict[str, Any] = {"budget": 30, "rates": [1e-3, 1.0, 5], "own": None, "seeds": 4, "tol": 1e-8, **knobs}
    return Comparison(subject=function, rules={name: RULES[name] for name in names or RULES}, **given)


def carried(topic: Comparison) -> tuple[State, dict[str, Column]]:
    memory = MemorySink()
    scan = drive(topic, [memory])
    return scan.state, memory.columns


# --- what it finds ---


def test_the_tuned_rate_of_gradient_descent_is_theorys_best(walk: Any) -> None:
    topic = comparison(bowl(), "gd", rates=[0.05, 0.0999, 41], budget=80, tol=0.0, seeds=6)
    found = walk(topic)
    ratio = topic.sweeps[0][1] / topic.sweeps[0][0]
    assert 1 / ratio <= float(found.answer.values["tuned_lr_gd"]) / (2 / 23) <= ratio
    assert found.verdicts <= {Verdict.CERTIFIED, Verdict.CONSISTENT}


@pytest.mark.parametrize(("name", "limit"), [("gd", 2 / 20), ("momentum", 2 * 1.7 / 20)])
def test_the_divergence_boundary_is_theorys_limit(name: str, limit: float) -> None:
    topic = comparison(bowl(), name, rates=[limit / 1.3, limit * 1.3, 40], budget=1500, seeds=3)
    state, _ = carried(topic)
    values = topic.answer(state).values
    assert float(values[f"theory_{name}"]) == pytest.approx(limit, rel=1e-9)
    assert limit / 1.03 < float(values[f"boundary_{name}"]) < limit * 1.03


def test_newton_is_there_as_soon_as_it_can_pay_for_a_hessian_and_not_before() -> None:
    topic = comparison(bowl(), "gd", "newton", rates=[0.01, 1.0, 9], budget=6)
    state, columns = carried(topic)
    best = columns["best_newton"].data[:, -1]  # lr = 1
    assert torch.equal(best[:3], best[:1].expand(3))
    assert float(best[3]) < 1e-25 * float(best[0])
    answer = topic.answer(state)
    assert answer.values["winner"] == "newton"
    assert float(answer.values["evaluations_newton"]) == 3
    assert float(answer.values["tuned_lr_newton"]) == 1


def test_known_minima_are_not_looked_at() -> None:
    told, untold = (carried(comparison(f, "gd", "lbfgs"))[0] for f in (valley(), valley(minima=[[1, 1]])))
    assert torch.equal(told["best"], untold["best"])
    values = [comparison(f, "gd", "lbfgs").answer(told).values for f in (valley(), valley(minima=[[1, 1]]))]
    assert all(str(values[0][name]) == str(values[1][name]) for name in values[0])


def test_what_an_optimizer_does_is_independent_of_its_rivals() -> None:
    alone, among = (carried(comparison(valley(), *names))[1] for names in (("adam",), ("gd", "adam", "lbfgs")))
    assert torch.equal(alone["best_adam"].data, among["best_adam"].data)


def test_a_rule_against_itself_is_not_distinguishable(walk: Any) -> None:
    topic = dataclasses.replace(
        comparison(valley(), seeds=14), rules={"a": GradientDescent(), "b": Momentum(momentum=0.0)}
    )
    found = walk(topic)
    assert found.answer.values["distinguishable"] == "no"
    assert float(found.answer.values["p_value"]) == 1
    assert "not distinguishable" in found.answer.sentence
    assert torch.equal(found.values[-1]["wins"], torch.full((2, 2), 0.5, dtype=torch.float64))


def test_one_that_is_better_from_every_start_is_distinguishable_only_from_enough_of_them() -> None:
    for seeds, word in ((12, "yes"), (10, "no")):
        topic = comparison(bowl(domain=[[-5, 5], [-5, 5]]), "gd", "newton", rates=[0.01, 1.0, 3], seeds=seeds)
        answer = topic.answer(carried(topic)[0])
        assert answer.values["distinguishable"] == word
        assert ("take seeds=12" in answer.sentence) == (word == "no")


FUNCTIONS = {
    "bowl": ("1.5*(x-1)**2 + 10*(y+2)**2", None),
    "valley": ("(1-x)**2 + 7*(y-x**2)**2", [[-2, 2], [-1, 3]]),
    "rosenbrock": ("(1-x)**2 + 100*(y-x**2)**2", [[-5, 10], [-5, 10]]),
    "quartic": ("x**4 + 3*y**4 + x*y", [[-3, 3], [-3, 3]]),
    "steep": ("exp(x**2 + 2*y**2) + x", [[-1.5, 1.5], [-1.5, 1.5]]),
    "edge": ("x - log(x) + 2*(y - 1)**2", [[0.1, 6], [-4, 4]]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_reported_is_what_a_user_would_choose(name: str, seed: int) -> None:
    """Of the starts that choose: no rate at which no walk diverged has a lower median, and where some diverge, so that
    no more than RISK of them do, that is worth it. Of those that report: walks that diverged are not counted as the
    points that they passed, and of the rates at which no walk at all did none is forty times better."""
    expr, domain = FUNCTIONS[name]
    f = formula(name=name, expr=expr, at=[2.0, 1.5], domain=domain, **PLACE)
    topic = comparison(f, "gd", "momentum", "adam", budget=60, rates=[1e-4, 1.0, 17], seeds=12, seed=seed)
    state, columns = carried(topic)
    scores = torch.where(state["diverged"], torch.inf, state["best"]).reshape(3, 17, 12)
    chooses, reports = tuning.split(12)
    tuned, table = topic.tuned(state), columns["table"].data[-1]
    lost = scores[..., chooses].isinf().double().mean(-1)
    base = float(tuning.median(scores[..., chooses].flatten(0, 1).min(0).values))
    for i, rate in enumerate(tuned.rate.tolist()):
        levels = tuning.median(scores[i, :, chooses])
        safe = levels[lost[i] == 0]
        if len(safe):
            assert float(lost[i, rate]) <= tuning.RISK
            gap = float(levels[rate]) - base
            assert gap <= (float(safe.min()) - base) * (1 if lost[i, rate] == 0 else 1 / tuning.WORTH) + 1e-12
        told = float(table[i, 2])
        assert told == float(tuning.median(scores[i, rate, reports]))
        everywhere = scores[i][scores[i].isfinite().all(-1)][:, reports]
        if len(everywhere) and torch.isfinite(table[i, 2]):
            lowest = float(state["best"].min())
            best = float(tuning.median(everywhere).min())
            assert told - lowest <= 40 * (best - lowest) + 1e-9 * (1 + abs(lowest))


def test_a_rate_at_which_half_of_the_walks_diverge_is_not_reported_by_the_other_half() -> None:
    """Gradient descent on x⁴ overshoots from the far starts and not from the near ones; the lowest loss of a walk that
    diverged is that of its start, and no walk is judged by it."""
    best = torch.tensor([[[3.0, 3.0, 3.0, 3.0], [INF, INF, 0.1, 0.1], [2.0, 2.0, 2.0, 2.0], [INF, 0.01, 0.01, 0.01]]])
    settled, noise = torch.ones(1, 4, 4, dtype=torch.int64), torch.zeros(4)
    assert tuning.choose(best, settled, noise).tolist() == [3]  # a quarter, and 200 times nearer to the lowest
    assert tuning.choose(best[:, :3], settled[:, :3], noise).tolist() == [2]
    all_lost = torch.full((1, 2, 4), INF)
    all_lost[0, 1, :1] = 5.0
    assert tuning.choose(all_lost, settled[:, :2], noise).tolist() == [1]


# --- the books, and walks alone ---


def test_every_rule_is_honest_and_no_walk_uses_more_than_the_clock(walk: Any) -> None:
    found = walk(comparison(valley(), budget=25, rates=[1e-3, 1.0, 3]))
    assert found.verdicts <= {Verdict.CERTIFIED, Verdict.CONSISTENT, Verdict.UNDEFINED}
    assert {row.method for row in found.evidence} >= {"at most the clock", "the same descent alone"}
    for name in RULES:
        key = name.replace("+", "_")
        assert found.values[-1][f"best_{key}"][0].isfinite()
        assert all(  # it falls, until so many have diverged that the median has
            bool(((later[f"best_{key}"] <= sooner[f"best_{key}"]) | later[f"best_{key}"].isinf()).all())
            for sooner, later in zip(found.values, found.values[1:], strict=False)
        )


@pytest.mark.parametrize("name", [name for name in RULES if name != "lbfgs"])
def test_every_walk_is_the_descent_alone_to_the_last_bit(name: str) -> None:
    topic = comparison(valley(), name, seeds=2)
    state, _ = carried(topic)
    for b, lr in enumerate(topic.walks.lrs[0]):
        f = dataclasses.replace(topic.function, start=topic.walks.starts[b % 2])
        moves = int(state["moves"][0, b])
        knobs: dict[str, Any] = {
            "tol": 1e-8,
            "sharpness": {"every": 0},
            "watch": None,
            "animation": False,
            "evidence": "full",
            "flow": None,
            "batch": None,
            "epochs": None,
        }
        alone = Descent(subject=f, optimizer=RULES[name], lr=lr, steps=moves, **knobs)
        memory = MemorySink()
        scan = drive(alone, [memory])
        assert scan.step == moves
        assert torch.equal(scan.state["x"], state["x"][0, b])
        assert memory.columns["loss"].data[: moves + int(not state["diverged"][0, b])].min() == state["best"][0, b]
        spent = memory.columns["evaluations"].data[-1] if "evaluations" in memory.columns else moves + 1
        assert int(state["used"][0, b]) == int(spent) - 1 <= topic.budget


def test_lbfgs_of_many_walks_at_once_is_the_rule_until_rounding_tells() -> None:
    """More steps than pairs are kept, on four variables; at a small rate the walks are smooth enough to compare."""
    expr, rule = "(1-a)**2 + 7*(b-a**2)**2 + (c-d)**4 + cosh(b*d)", LBFGS(history=3)
    f = formula(name="four", expr=expr, at=[0.3, 1.4, -1, 2], **PLACE)
    topic = Comparison(subject=f, rules={"lbfgs": rule}, budget=12, rates=[0.05, 0.5, 4], own={}, seeds=3, tol=0.0)
    state, _ = carried(topic)
    assert state["alive"].all()
    for b, lr in enumerate(topic.walks.lrs[0]):
        x = topic.walks.starts[b % 3]
        own = rule.init(x)
        for _ in range(12):
            loss, g = loss_and_gradient(f, x)
            move, own = rule.update(Point(x, loss, g, f), own, lr)
            x = x + move
        assert torch.allclose(x, state["x"][0, b], rtol=1e-8, atol=1e-9), (b, lr)


def test_however_blocks_fall_the_run_is_the_same() -> None:
    topic, twin = (comparison(valley(), rates=[1e-3, 1.0, 3]) for _ in range(2))
    memory = MemorySink()
    scan = drive(topic, [memory])
    other, parts = begin(twin), MemorySink()
    for size in (1, 4, 2, 9, 30):
        buffer = io.BytesIO()
        torch.save(other.state, buffer)
        buffer.seek(0)
        other = dataclasses.replace(other, state=torch.load(buffer, weights_only=True))
        other = advance(twin, other, size, [parts])
    assert other.step == scan.step
    assert set(parts.columns) == set(memory.columns)
    for name, column in memory.columns.items():
        assert torch.equal(column.data.nan_to_num(7.25), parts.columns[name].data.nan_to_num(7.25)), name


# --- starts ---


def test_starts_are_the_functions_own_then_seeded_ones_within_the_domain() -> None:
    f = valley()
    few, many, others = starts(f, f, 3, 5), starts(f, f, 40, 5), starts(f, f, 3, 6)
    assert torch.equal(few[0], f.start)
    assert torch.equal(few, many[:3])
    assert not torch.equal(few[1:], others[1:])
    assert f.domain is not None
    assert bool(((many[1:] >= f.domain[:, 0]) & (many[1:] <= f.domain[:, 1])).all())
    assert float(many[1:].std(0)[0]) == pytest.approx(4 / math.sqrt(12), rel=0.3)


def test_without_a_domain_starts_scatter_by_their_size_and_where_the_function_is_finite() -> None:
    f = formula(name="logs", expr="x - log(x) + y**2", at=[2, 100], **PLACE)
    many = starts(f, f, 200, 0)
    assert bool((many[:, 0] > 0).all())
    assert float(many[1:, 1].std()) == pytest.approx(101, rel=0.3)


def test_a_networks_other_starts_are_its_weights_shuffled(walk: Any, make_data: Any, make_network: Any) -> None:
    def module() -> Mlp:
        return Mlp(shape=(3,), outputs=2, width=5, depth=1, activation="tanh", bias=True)

    net = make_network(module, make_data(6, (3,), 2))
    x = starts(net, net.objective(), 3, 1)
    first, second = net.unflatten(x[0]), net.unflatten(x[1])
    assert not torch.equal(x[0], x[1])
    assert not torch.equal(x[1], x[2])
    for name, own in first.items():
        assert torch.equal(own.reshape(-1).sort().values, second[name].reshape(-1).sort().values)
    rules = {name: RULES[name] for name in ("gd", "adam", "lbfgs")}
    found = walk(Comparison(subject=net, rules=rules, budget=8, rates=[1e-3, 0.1, 2], own={}, seeds=3, tol=1e-8))
    assert found.verdicts <= {Verdict.CONSISTENT, Verdict.INCONCLUSIVE}
    assert "shuffled" in " ".join(dataclasses.replace(comparison(valley(), "gd"), subject=net).notes())


# --- what is not finite ---


@pytest.mark.parametrize("expr", ["x - log(x) + 3*y**2", "sqrt(x) + exp(3*y**2)", "x**3 + y", "-(x**4) - y**2"])
def test_walks_that_leave_the_numbers_end_named_and_every_picture_is_drawn(expr: str) -> None:
    topic = comparison(formula(name="cliff", expr=expr, at=[0.7, 1.5], **PLACE), rates=[1e-2, 1e2, 3], budget=15)
    memory = MemorySink()
    scan = drive(topic, [memory])
    assert bool(scan.state["diverged"].any())
    assert bool(scan.state["best"].isfinite().all())
    assert int(scan.state["used"].max()) <= 15
    assert "nan" not in topic.answer(scan.state).sentence
    for picture in topic.pictures():
        record = panel(picture, memory.columns, topic.labels(), "cliff")
        assert record is not None
        if "log" in expr or isinstance(picture, Spread):
            assert draw(record).startswith(b"\x89PNG")


def test_a_callable_that_takes_one_point_at_a_time(walk: Any) -> None:
    def branch(x: torch.Tensor) -> torch.Tensor:
        return (x**2).sum() if bool(x[0] > 0) else 3 * (x**2).sum()

    f = custom(callable=branch, at=[1.5, -0.5], **PLACE)
    found = walk(comparison(f, "gd", "adam", budget=10))
    assert not comparison(f, "gd").walks.batched
    assert found.verdicts <= {Verdict.CONSISTENT, Verdict.INCONCLUSIVE}


def test_the_band_is_in_the_picture_around_its_line() -> None:
    topic = comparison(valley(), "gd", "adam")
    _, columns = carried(topic)
    record: Any = panel(topic.pictures()[0], columns, topic.labels(), "valley")
    assert [line.name for line in record.lines] == ["gd", "adam"]
    for line, band in zip(record.lines, record.bands, strict=True):
        assert band.x == line.x == tuple(map(float, topic.marks))
        assert all(low <= y <= high for low, y, high in zip(band.low, line.y, band.high, strict=True))


# --- what is refused ---


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"rates": [1e-3, 1.0]}, "how many"),
        ({"rates": [1e-3, 1.0, 2.5]}, "how many"),
        ({"rates": [0.0, 1.0, 5]}, "above 0"),
        ({"rates": [1.0, 0.1, 5]}, "rise"),
        ({"rates": ["a", 1.0, 5]}, "rates is a list of numbers"),
        ({"own": {"sgd": [0.1, 1]}}, "own.sgd"),
        ({"own": {"gd": [0.1]}}, "own.gd"),
        ({"own": {"gd": 0.1}}, "own.gd"),
        ({"budget": 0}, "budget"),
        ({"seeds": 0}, "seeds"),
        ({"tol": -1.0}, "tol"),
        ({"seeds": 10_000, "rates": [0.1, 1.0, 1000]}, "more than fit"),
    ],
)
def test_mistakes_are_refused_before_anything_starts(knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        comparison(valley(), "gd", **knobs)


def test_a_vector_function_and_no_optimizer_are_refused() -> None:
    with pytest.raises(UserError, match="outputs"):
        comparison(formula(name="pair", expr=["x", "x*y"], at=[1, 2], **PLACE), "gd")
    with pytest.raises(UserError, match="nothing to compare"):
        Comparison(subject=valley(), rules={}, budget=3, rates=[0.1, 1, 2], own={}, seeds=1, tol=0.0)
    with pytest.raises(UserError, match="forms the Hessian"):
        dataclasses.replace(comparison(valley(), "gd"), rules={"newton": Newton(limit=1)})


def test_a_sweep_of_its_own_has_as_many_rates() -> None:
    topic = comparison(valley(), "gd", "lbfgs", own={"lbfgs": [0.5, 2]})
    assert topic.sweeps[1][0] == 0.5
    assert topic.sweeps[1][-1] == 2
    assert len(topic.sweeps[0]) == len(topic.sweeps[1]) == 5
    assert topic.labels()["final_loss"][1] == ("0", "1", "2", "3", "4")
    state, _, columns, _ = block(topic, topic.init(), range(topic.budget + 1))
    assert torch.equal(columns["rates"].data[-1], torch.tensor(topic.sweeps, dtype=torch.float64))
    assert topic.answer(state).values["winner"] in topic.names


def test_nesterov_momentum_and_descent_share_their_first_step_up_to_the_look_ahead() -> None:
    """v_1 = g: momentum moves by lr g, as descent does; Nesterov by (1 + μ) lr g."""
    rules: dict[str, Rule] = {"m": Momentum(momentum=0.5), "n": Nesterov(momentum=0.5), "g": GradientDescent()}
    topic = dataclasses.replace(comparison(valley()), rules=rules)
    state = topic.step(topic.step(topic.init(), 0)[0], 1)[0]
    m, n, g = state["x"] - topic.walks.starts.repeat(5, 1)
    assert torch.equal(m, g)
    assert torch.allclose(n, 1.5 * g, rtol=1e-12, atol=1e-15)
