"""A question asked from Python: the same computation as the command line, of the user's own model, loss and data."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import random
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import calclab
from calclab.app import build
from calclab.app.compose import compose, lab_config
from calclab.app.request import about, subject_kind
from calclab.app.words import prepare
from calclab.archive.read import load
from calclab.library import questions
from calclab.library.subjects import function
from calclab.schema import catalogue

FORMULA = ("function.expr='x**2*y + x*y**2'", "function.at=[1,2]")
MLP = ("network=mlp", "network.width=4", "network.depth=1", "data=iris")
ASKED = {  # topic: the words of a command line, and the same knobs as keywords
    "derivative": (FORMULA, {"steps": 12}),
    "partial": (FORMULA, {}),
    "chain": (("function.links='[h = x**2, f = h + 1]'", "function.at=[2]"), {}),
    "descent": ((*FORMULA, "optimizer=adam"), {"lr": 0.05, "steps": 30}),
    "comparison": (
        ("function=booth",),
        {"optimizers": ["gd", "adam"], "budget": 20, "seeds": 4, "rates": [1e-3, 0.1, 3]},
    ),
    "hessian": (MLP, {"matrix": "never", "top": 3, "slices": 0}),
    "jacobian": (MLP, {"rows": 3}),
    "importance": (MLP, {"method": ["gradient"], "retrains": 0, "bootstrap": 20}),
}  # fmt: skip
ASK = {"comparison": "compare"}


def subject_of(topic: str, words: tuple[str, ...]) -> calclab.core.Function:
    ready = prepare([f"topic={topic}", *words, "train=0"])
    config = compose(ready)
    choices = dict(config.hydra.runtime.choices)
    return build.subject(about(subject_kind(choices, ready), lab_config(config)), choices, torch.device("cpu"))


@pytest.mark.parametrize("topic", ASKED)
def test_a_command_line_and_a_call_are_one_computation(topic: str, tmp_path: Path) -> None:
    words, knobs = ASKED[topic]
    typed = [f"{name}={str(value).replace(chr(39), '')}" for name, value in knobs.items()]
    run = calclab.run(f"topic={topic}", *words, *typed, "train=0", "figures=false", f"outputs={tmp_path / 'outputs'}")
    given = {**knobs, **({"optimizer": "adam"} if topic == "descent" else {})}
    result = getattr(calclab, ASK.get(topic, topic))(subject_of(topic, words), figures=False, **given)
    saved = result.save(tmp_path / "saved")
    ours, theirs = ({p.name: p.read_bytes() for p in folder.glob("*.csv")} for folder in (saved, run.folder))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name] == theirs[name], name
    assert result.headline == run.outcome["answer"]["headline"]
    assert load(saved).outcome["answer"] == run.outcome["answer"]


@pytest.mark.parametrize("topic", ASKED)
def test_a_question_has_the_knobs_and_defaults_of_the_command_line(topic: str) -> None:
    found = inspect.signature(getattr(calclab, ASK.get(topic, topic))).parameters
    for name, value in catalogue.values("topic", topic).items():
        if name not in ("defaults", "topic", "train"):
            assert found[name].default == value


def net(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.5), nn.Linear(5, 3)).to(dtype)


def rows(count: int = 23) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(count, 4, generator=g, dtype=torch.float64), torch.randint(0, 3, (count,), generator=g)


def top_by_torch(model: nn.Module, X: Tensor, y: Tensor, count: int) -> Tensor:
    """The largest eigenvalues of the dense Hessian of the mean cross entropy, by plain torch."""
    own = copy.deepcopy(model).eval()
    named = {name: p.detach() for name, p in own.named_parameters()}
    flat = torch.cat([p.reshape(-1) for p in named.values()])

    def value(θ: Tensor) -> Tensor:
        parts = dict(zip(named, θ.split([p.numel() for p in named.values()]), strict=True))
        shaped = {name: part.reshape(named[name].shape) for name, part in parts.items()}
        return nn.functional.cross_entropy(torch.func.functional_call(own, shaped, X), y)

    H = torch.autograd.functional.hessian(value, flat)
    return torch.linalg.eigvalsh(H).flip(0)[:count]


def test_the_largest_eigenvalues_of_an_own_model_take_three_lines() -> None:
    model, (X, y) = net(), rows()
    loader = DataLoader(TensorDataset(X, y), batch_size=7)
    loss = calclab.loss(model, nn.CrossEntropyLoss(), loader)
    result = calclab.hessian(loss, top=5, matrix="never", tol=1e-8)
    assert torch.allclose(result.eigenvalues[:5], top_by_torch(model, X, y, 5), rtol=1e-6)


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        "cross_entropy",
        lambda out, t: nn.functional.cross_entropy(out, t, reduction="sum"),
    ],
)
def test_an_own_loss_is_its_own_value(criterion: object) -> None:
    model, (X, y) = net(), rows()
    called = nn.CrossEntropyLoss() if isinstance(criterion, str) else criterion
    with torch.no_grad():
        truth = called(copy.deepcopy(model).eval()(X), y)
    assert calclab.partial(calclab.loss(model, criterion, (X, y))).value == pytest.approx(float(truth), rel=1e-12)


def test_a_model_is_left_bit_identical() -> None:
    model, (X, y) = net(dtype=torch.float32), rows()
    model.train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    model[4].bias.requires_grad_(False)
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    before, random_state = copy.deepcopy(model), (torch.get_rng_state(), random.getstate(), np.random.get_state()[1])
    with torch.no_grad():
        loss = calclab.loss(model, nn.CrossEntropyLoss(), (X.float(), y))
        for ask in (calclab.hessian, calclab.partial, calclab.jacobian, calclab.chain):
            ask(loss)
        calclab.descent(loss, lr=0.1, steps=3)
        calclab.importance(loss, method="gradient", trust=False)
    assert model.training
    assert all(part.training for part in model.modules())
    for (name, one), other in zip(model.state_dict(keep_vars=True).items(), before.state_dict(keep_vars=True).values(),
                                  strict=True):  # fmt: skip
        assert torch.equal(one, other), name
        assert (one.dtype, one.requires_grad) == (other.dtype, other.requires_grad)
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert [len(part._forward_hooks) for part in model.modules()] == [len(p._forward_hooks) for p in before.modules()]
    assert torch.equal(torch.get_rng_state(), random_state[0])
    assert random.getstate() == random_state[1]
    assert (np.random.get_state()[1] == random_state[2]).all()


def forms(X: Tensor, y: Tensor) -> dict[str, dict[str, object]]:
    table = pd.DataFrame(X.numpy(), columns=list("abcd")).assign(kind=y.numpy())
    pairs = TensorDataset(X, y)
    return {
        "tensors": {"data": (X, y)},
        "arrays": {"data": (X.numpy(), y.numpy())},
        "frame": {"data": table, "target": "kind"},
        "dataset": {"data": pairs},
        "loader": {"data": DataLoader(pairs, batch_size=5)},
        "batches": {"data": [(X[:9], y[:9]), (X[9:], y[9:])]},
        "generator": {"data": (pair for pair in [(X[:2], y[:2]), (X[2:], y[2:])])},
    }


@pytest.mark.parametrize("form", forms(*rows()))
def test_rows_come_in_any_form(form: str) -> None:
    model, (X, y) = net(), rows()
    loss = calclab.loss(model, "cross_entropy", **forms(X, y)[form])
    assert torch.equal(loss.data.inputs, X)
    assert torch.equal(loss.data.targets, y)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((torch.randn(3, 4), torch.zeros(2, dtype=torch.int64)), "as many"),
        ({"a": 1}, "dict"),
        ([], "no rows"),
        (5, "int"),
        ((torch.randn(3, 4), torch.tensor([0, -1, 1])), "negative"),
        (pd.DataFrame({"a": [1.0, None], "b": [0, 1]}), "missing"),
        (pd.DataFrame({"a": ["x", "y"]}), "'a'"),
    ],
)
def test_data_that_are_none_are_refused_in_words(data: object, words: str) -> None:
    with pytest.raises(calclab.UserError, match=words):
        calclab.loss(net(), "cross_entropy", data)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: calclab.hessian("x**2"), "calclab.formula"),
        (lambda: calclab.hessian(calclab.formula("x**2", at=1), topp=3), "top"),
        (lambda: calclab.descent(calclab.formula("x**2", at=1), lr=-1), "lr"),
        (lambda: calclab.descent(calclab.formula("x**2", at=1), optimizer="adma"), "adam"),
        (lambda: calclab.descent(calclab.formula("x**2", at=1), optimizer={"name": "adam", "beta": 1}), "beta1"),
        (lambda: calclab.formula("x**2", at=1, dtype="float16"), "float32"),
        (lambda: calclab.run("-m", "lr=1,2"), "sweep"),
    ],
)
def test_mistakes_are_answered_by_what_to_type(ask: object, words: str) -> None:
    with pytest.raises(calclab.UserError, match=words):
        ask()


def test_a_result_is_kept_shown_and_compared(tmp_path: Path) -> None:
    f = calclab.formula("x**2 - 3*y**2", at=[0.5, 0.25], name="<script>")
    result, other = calclab.hessian(f), calclab.hessian(calclab.formula("x**2 - 3*y**2", at=[0.5, 0.5]))
    assert result == pickle.loads(pickle.dumps(result)) == calclab.hessian(f)
    assert result != other
    assert torch.equal(result.eigenvalues, torch.tensor([-6.0, 2.0], dtype=torch.float64))
    assert bool((result.bounds["eigenvalues"] < 1e-14).all())
    assert (result.evidence.verdict == "certified").any()
    assert result.raise_if_refuted() is result
    assert result.frames["hessian"].to_numpy().tolist() == [[2.0, 0.0], [0.0, -6.0]]
    assert "<script>" not in result._repr_html_()
    assert repr(result).splitlines()[0] == "hessian of <script>"
    result.figures["hessian"].savefig(tmp_path / "hessian.svg")
    assert (tmp_path / "hessian.svg").read_text().lstrip().startswith("<?xml")
    folder = result.save(tmp_path / "run")
    names = {path.name for path in folder.iterdir()}
    assert {"outcome.json", "summary.md", "verify.csv", "hessian.0.csv", "hessian.png"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert load(folder).outcome["answer"]["values"]["eigenvalues"] == [-6.0, 2.0]
    with pytest.raises(calclab.UserError, match="new folder"):
        result.save(folder)


def test_an_interrupted_question_raises_with_what_it_has_found() -> None:
    calls: list[int] = []

    def slow(x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 3000:
            raise KeyboardInterrupt
        return (x**4).sum()

    with pytest.raises(KeyboardInterrupt) as caught:
        calclab.descent(function(slow, at=[1.0, 2.0]), lr=1e-5, steps=1_000_000, tol=0)
    assert isinstance(caught.value, calclab.Interrupted)
    result = caught.value.result
    assert calclab.last() is result
    assert result.outcome.status.word == "interrupted"
    assert 0 < result.outcome.steps < 3000
    assert result.loss < 17
    assert result.verdict in ("consistent", "certified")
    assert f"was interrupted after step {result.outcome.steps}" in repr(result)
    assert pickle.loads(pickle.dumps(caught.value)).result == result
    other = calclab.derivative(calclab.formula("x**2", at=3))
    assert calclab.last() is other


def test_what_is_refuted_raises_on_request() -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square().sum()

        @staticmethod
        def backward(ctx, g):
            return 3 * g * ctx.saved_tensors[0]

    result = calclab.partial(function(Wrong.apply, at=[1.0, 2.0]))
    assert result.verdict == "refuted"
    with pytest.raises(calclab.RefutedError, match="gradient"):
        result.raise_if_refuted()


def test_every_public_name_is_there() -> None:
    for name in calclab.WHERE:
        assert getattr(calclab, name).__name__ == name
    assert set(questions.__all__) <= set(dir(calclab))


def test_the_typed_keywords_say_what_conf_and_the_schemas_say() -> None:
    """If not: python tests/library/typed_knobs.py."""
    script = runpy.run_path(str(Path(__file__).with_name("typed_knobs.py")))
    assert ast.dump(ast.parse(script["FILE"].read_text(encoding="utf-8"))) == ast.dump(ast.parse(script["text"]()))


def test_the_chain_rule_from_codes_and_of_a_models_own_loss() -> None:
    """Of codes there is no derivative, of all behind them there is; a loss that is not one of outputs is refused."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(7, 3), nn.Linear(6, 2)

        def forward(self, ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            y = self.head(self.table(ids).flatten(1))
            return {"logits": y} if labels is None else {"loss": nn.functional.cross_entropy(y, labels), "logits": y}

    torch.manual_seed(0)
    ids, labels = torch.randint(0, 7, (9, 2)), torch.randint(0, 2, (9,))
    plain = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 2)).double()
    found = calclab.chain(calclab.loss(plain, nn.CrossEntropyLoss(), (ids, labels)))
    assert found.verdict == "consistent"
    assert found.gap < 1e-14
    rows = [{"ids": i, "labels": label} for i, label in zip(ids, labels, strict=True)]
    with pytest.raises(calclab.UserError, match="Own's own, and topic=chain needs one of its outputs"):
        calclab.chain(calclab.loss(Own(), None, torch.utils.data.DataLoader(rows, batch_size=4)))


def test_a_model_that_gives_outputs_and_its_loss_in_a_tuple() -> None:
    """As small GPTs are written: without targets there is no loss in it."""

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(7, 3), nn.Linear(3, 7)

        def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
            y = self.head(self.table(idx))
            if targets is None:
                return y, None
            return y, 2 * nn.functional.cross_entropy(y.flatten(0, 1), targets.flatten())

    torch.manual_seed(0)
    model, idx, targets = Tiny().double(), torch.randint(0, 7, (9, 4)), torch.randint(0, 7, (9, 4))
    found = calclab.partial(calclab.loss(model, None, DataLoader(TensorDataset(idx, targets), batch_size=4)))
    truth = torch.autograd.grad(model(idx, targets)[1], list(model.parameters()))
    assert torch.allclose(found.gradient, torch.cat([g.flatten() for g in truth]), atol=1e-14)
