"""What is said of walks that did not settle: the word is the one that the loss, the scores and the curvature decide,
and who follows the advice does better."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from calclab.core import Answer, Data, Function, Status
from calclab.drive import drive
from calclab.optimizer.adaptive import Adam
from calclab.optimizer.newton import Newton
from calclab.optimizer.rules import GradientDescent, Momentum, Nesterov
from calclab.optimizer.schedule import Cosine, Warmup
from calclab.subject.formula import formula
from calclab.subject.network import Network
from calclab.topic.descent import Descent
from calclab.topic.descent.advice import grown

Made = Callable[..., Any]
ADAM = partial(Adam, beta1=0.9, beta2=0.999, eps=1e-8)
RULES: Mapping[str, Made] = {
    "gd": GradientDescent,
    "momentum": partial(Momentum, momentum=0.9),
    "nesterov": partial(Nesterov, momentum=0.9),
    "adam": ADAM,
}
LOST = ("risen", "diverged", "nonfinite", "chance", "unstable")


def descent(subject: Function | Network, lr: float, steps: int = 60, rule: Any = None, **more: Any) -> Descent:
    given = {
        "tol": 1e-8,
        "batch": None,
        "epochs": None,
        "sharpness": {"every": 0},
        "watch": None,
        "animation": False,
        "evidence": "full",
        "flow": None,
        **more,
    }
    return Descent(subject=subject, optimizer=rule or GradientDescent(), lr=lr, steps=steps, **given)


def ended(topic: Descent) -> tuple[str, str]:
    answer: Answer = topic.answer(drive(topic, []).state)
    return str(answer.values["ended"]), answer.sentence


def advised(sentence: str) -> float:
    """The rate that is advised."""
    (number,) = re.findall(
        r"\blr=([\d.e-]+?)(?=$|[,;. ](?!\d))", sentence[max(sentence.rfind("try"), sentence.rfind("Try")) :]
    )
    return float(number)


def of(expr: str, at: list[float]) -> Function:
    return formula(name="f", expr=expr, at=at, dtype=torch.float64, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def clouds() -> Data:
    """Three clouds in the plane, 20 rows of each, that reach into each other: no weights get all right."""
    generator = torch.Generator().manual_seed(1)
    centres = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    inputs = centres.repeat_interleave(20, 0) + torch.randn(60, 2, generator=generator, dtype=torch.float64)
    names = ("a", "b", "c")
    return Data("clouds", inputs, torch.arange(3).repeat_interleave(20), ("x", "y"), names, classification=True)


@pytest.fixture(scope="module")
def net(clouds: Data) -> Network:
    from calclab.subject.network import network

    return network(perceptron, clouds, name="net", seed=0)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))


# --- networks that blow up ---


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("lr", [50.0, 1e4])
def test_a_network_that_blew_up_is_told_a_rate_that_works(net: Network, rule: str, lr: float) -> None:
    word, sentence = ended(descent(net, lr, rule=RULES[rule]()))
    assert word in LOST, sentence
    assert "larger lr" not in sentence
    assert "steps more" not in sentence
    better = advised(sentence)
    assert better < lr
    if rule != "adam":  # its rate has no theory: a tenth is the next to try, and it may not be the last
        after, again = ended(descent(net, better, rule=RULES[rule]()))
        assert after in ("moving", "minimum", "stationary"), again


@pytest.mark.parametrize("rule", RULES)
def test_a_network_that_learns_is_told_nothing_of_the_kind(net: Network, rule: str) -> None:
    word, sentence = ended(descent(net, 0.02, 100, rule=RULES[rule]()))
    assert word == "moving", sentence


def test_the_loss_far_above_its_start_decides(net: Network) -> None:
    """Twice its start is far; whatever the gradient in the last step says."""
    topic = descent(net, 3.0, 40, rule=Momentum(momentum=0.9))
    state = drive(topic, []).state
    start, walk = float(topic.function.call(topic.function.start)), topic.walk(state)
    assert float(walk.loss) > 2 * start
    for size in (0.0, 1e-9, 1.0):
        ending = topic.answer({**state, "gradient": state["gradient"] * size})
        assert ending.values["ended"] == "risen"


def test_a_rate_beyond_the_largest_stable_one_is_why_the_loss_rose(net: Network) -> None:
    """It is named with what was measured, and not where it was within."""
    topic = descent(net, 1.0, 1)
    walk = topic.walk(drive(topic, []).state)
    limit = walk.limit_at_start
    assert limit is not None
    for share in (2.5, 0.5):
        found = grown(replace(walk, lr=share * limit, x=topic.function.start))
        assert ("λmax·lr/2 is 2.5" in found) is (share > 1)
        assert ("beyond 1" in found) is (share > 1)


def test_the_rate_is_held_against_what_was_measured_on_the_way(net: Network) -> None:
    """λmax·lr/2 of the last look, not of another."""
    topic = descent(net, 0.01, 20, sharpness={"every": 5})
    state = drive(topic, []).state
    assert ended(topic)[0] == "moving"
    for ratio, word in ((0.99, "moving"), (1.01, "unstable")):
        answer = topic.answer({**state, "sharpness": torch.tensor(ratio * 2 / 0.01)})
        assert answer.values["ended"] == word, answer.sentence
    assert "λmax·lr/2 = 1.01" in answer.sentence
    assert advised(answer.sentence) < 0.01


def test_at_chance(net: Network) -> None:
    """Weights at zero tell nothing of the rows; steps that are too small leave it so, and lr is then not too large."""
    still = {name: torch.zeros_like(p) for name, p in net.parameters().items()}
    module = perceptron().double()
    module.load_state_dict(still)
    from calclab.subject.network import network

    dead = network(module, net.data, name="dead")
    word, sentence = ended(descent(dead, 1e-9, 3))
    assert word == "chance"
    assert "33.3% of the rows are right, and 33.3% would be by always saying a" in sentence
    assert "all rows get the same outputs" in sentence
    assert "smaller lr" not in sentence
    assert "start again" not in sentence


def test_where_the_gradient_has_vanished_no_rate_is_advised(clouds: Data) -> None:
    """Twelve sigmoids one behind the other pass nothing on."""
    from calclab.subject.network import network

    layers: list[nn.Module] = [nn.Linear(2, 8), nn.Sigmoid()]
    for _ in range(11):
        layers += [nn.Linear(8, 8), nn.Sigmoid()]
    deep = network(nn.Sequential(*layers, nn.Linear(8, 3)), clouds, name="deep", seed=0)
    word, sentence = ended(descent(deep, 0.3, 400))
    assert word == "chance"
    assert "no lr helps" in sentence
    assert "larger lr" not in sentence


def test_numbers_at_chance_and_not(clouds: Data) -> None:
    """r² <= 0 is no better than the mean; of constant targets nothing is said."""
    from calclab.subject.network import network

    line = replace(clouds, targets=clouds.inputs[:, :1] * 3 + 2, classes=("t",), classification=False)
    found = network(partial(nn.Linear, 2, 1), line, name="line", seed=0)
    assert ended(descent(found, 0.05, 400))[0] == "minimum"
    nothing = network(found.module, line, name="line", parameters={"weight": [[0.0, 0.0]], "bias": [0.0]})
    assert ended(descent(nothing, 1e-6, 5))[0] == "chance"
    constant = replace(line, targets=torch.full((60, 1), 2.0, dtype=torch.float64))
    same = network(partial(nn.Linear, 2, 1), constant, name="same", seed=0)
    word, sentence = ended(descent(same, 1e-4, 5))
    assert word == "moving", sentence


def test_a_class_that_most_rows_have_may_be_right(clouds: Data) -> None:
    """Accuracy at the share of the most frequent class is chance only while the loss is that of always saying it."""
    from calclab.subject.network import network

    rare = clouds.take(torch.cat([torch.arange(20), torch.arange(20, 23)]))
    rare = replace(rare, classes=("a", "b"))
    found = network(partial(nn.Linear, 2, 2), rare, name="rare", seed=0)
    assert ended(descent(found, 0.05, 1000))[0] == "moving"


# --- schedules and mini-batches ---


def test_under_a_schedule_the_limit_is_that_of_its_peak(net: Network) -> None:
    """The schedule multiplies lr by up to 0.2 here: the advice, too, is multiplied by it."""

    def fifth(steps: int) -> Callable[[int], float]:
        return lambda k: 0.2

    plain = ended(descent(net, 20.0))[1]
    word, sentence = ended(descent(net, 100.0, schedule=fifth))
    assert word in LOST
    assert "schedule multiplies it by up to 0.2" in sentence
    assert advised(sentence) == pytest.approx(5 * advised(plain), rel=0.3)


def test_a_schedule_that_ended_the_walk_is_named(net: Network) -> None:
    word, sentence = ended(descent(net, 0.05, 50, schedule=partial(Cosine, floor=0.0, over=None)))
    assert word == "moving"
    assert "the schedule has brought lr down to" in sentence
    assert "pace" not in sentence
    warm = ended(descent(net, 0.05, 50, schedule=partial(Warmup, over=10, start=0.0, floor=0.0, then="constant")))
    assert "pace" not in warm[1]


def test_of_minibatches_no_pace_is_told(net: Network) -> None:
    word, sentence = ended(descent(net, 0.05, 50, batch=7))
    assert word == "moving"
    assert "pace" not in sentence
    assert "epochs" in sentence
    assert "schedule=cosine" in sentence
    scheduled = ended(
        descent(net, 0.05, 50, batch=7, schedule=partial(Warmup, over=10, start=0.0, floor=0.0, then="constant"))
    )[1]
    assert "schedule=cosine" not in scheduled


def test_minibatches_that_blow_up_know_of_batches(net: Network) -> None:
    word, sentence = ended(descent(net, 30.0, batch=7))
    assert word in LOST
    assert "batches of 7 stand less" in sentence
    assert ended(descent(net, advised(sentence), batch=7))[0] == "moving"


# --- functions ---


@pytest.mark.parametrize("times", [0.3, 0.9, 0.999, 1.001, 1.01])
def test_of_a_quadratic_the_limit_decides(times: float) -> None:
    """½·10·x² stands lr < 0.2: beyond it no step count is promised, below it no smaller lr is advised."""
    word, sentence = ended(descent(of("5*x**2 + y**2", [1, 1]), 0.2 * times, 15))
    assert word == ("unstable" if times > 1 else "moving")
    assert ("try lr=0.1" in sentence) == (times > 1)


@pytest.mark.parametrize("expr", ["-x**2", "x**3", "x - exp(y)", "x*y"])
def test_downhill_without_end_is_not_blamed_on_the_rate(expr: str) -> None:
    f = of(expr, [-1.0] if "y" not in expr else [-1.0, 2.0])
    word, sentence = ended(descent(f, 0.3, 5000))
    assert word in ("diverged", "nonfinite")
    if word == "diverged":
        assert "no minimum" in sentence or "no lowest value" in sentence
        assert "try lr=" not in sentence


def test_slow_is_told_a_larger_rate_only_where_there_is_room() -> None:
    """At the limit of one direction the other, a hundred thousand times flatter, hardly moves."""
    f = of("x**2 + 1e-5*y**2", [0, 1000])
    assert "larger lr" in ended(descent(f, 0.01, 5))[1]
    assert "larger lr" not in ended(descent(f, 0.9, 5))[1]


# --- NaN ---


class Root(nn.Module):
    """The root of a linear layer: of negative numbers there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        nn.init.constant_(self.linear.bias, -100.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).sqrt()


def logarithm(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs[:, 0] - outputs[:, 0].log() * 2).mean()


def broken(net: Network) -> dict[str, Network]:
    """Networks with something that is no number, each in another place."""
    torch.manual_seed(0)
    inputs, weight = net.data.inputs.clone(), net.parameters()["0.weight"].clone()
    inputs[4, 1], weight[2, 1] = torch.nan, torch.inf
    module = perceptron().double()
    module.load_state_dict({**net.parameters(), "0.weight": weight})
    far = replace(net.data, inputs=net.data.inputs * 1e200)
    return {
        "the inputs of row 4 are not finite": replace(net, data=replace(net.data, inputs=inputs)),
        "such as 0.weight[2,1]": replace(net, module=module),
        "it begins in Square, pow: float64 holds numbers up to 1.8e+308: it overflows": made(net, Square(), far),
        "it begins in Root, sqrt: the square root of a negative number": made(net, Root().double(), line(net.data)),
        "does not take such outputs": made(net, nn.Linear(2, 1).double(), line(net.data), loss=logarithm),
    }


class Square(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) ** 4


def line(data: Data) -> Data:
    return replace(data, targets=data.inputs[:, :1].abs() + 1, classes=("t",), classification=False)


def made(net: Network, module: nn.Module, data: Data, loss: Any = None) -> Network:
    from calclab.subject.network import network

    return network(module, data, name="broken", loss=loss, seed=0)


def test_what_was_no_number_at_the_start_is_named(net: Network) -> None:
    for place, network in broken(net).items():
        topic = descent(network, 0.01, 5)
        scan = drive(topic, [])
        sentence = topic.answer(scan.state).sentence
        assert scan.status is Status.NONFINITE
        assert place in sentence, sentence
        assert "lr is not the cause" in sentence
        assert "smaller lr" not in f"{sentence} {scan.status.value}"
        assert "try lr" not in sentence


@pytest.mark.parametrize(
    ("expr", "at"), [("log(x)", [-1.0]), ("sqrt(x)", [0.0]), ("exp(x**2)", [1e3]), ("1/x", [0.0]), ("x**x", [-0.5])]
)
def test_a_function_without_a_number_at_its_start(expr: str, at: list[float]) -> None:
    word, sentence = ended(descent(of(expr, at), 0.01, 5))
    assert word == "nonfinite"
    assert "lr is not the cause" in sentence
    assert "try" not in sentence


def test_a_step_out_of_the_domain_is_told_as_one() -> None:
    """x - 2 log x has its minimum at 2: a step of 9 leads beyond 0, one of a tenth of it does not."""
    f = of("x - 2*log(x)", [8.0])
    word, sentence = ended(descent(f, 12.0, 5))
    assert word == "nonfinite"
    assert "A shorter step would have stayed" in sentence
    assert "line_search=armijo" in sentence
    assert ended(descent(f, 0.5, 500))[0] == "minimum"


def test_a_rule_that_makes_no_number_of_a_gradient() -> None:
    """Newton's step where the Hessian is singular."""
    word, sentence = ended(descent(of("x**4 + y", [0.0, 1.0]), 1.0, 5, rule=Newton(limit=10)))
    assert word == "nonfinite"
    assert "lr is not the cause" in sentence


def test_growth_beyond_the_largest_float_is_blamed_on_the_rate() -> None:
    word, sentence = ended(descent(of("exp(x**2)", [2.0]), 1.0, 50))
    assert word == "nonfinite"
    assert advised(sentence.split(", or keep")[0]) < 1.0
