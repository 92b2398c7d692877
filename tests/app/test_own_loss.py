"""``network.loss`` names a loss of the user's: a function, a class, or a class with its knobs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import calclab
from calclab.data.bundled import iris
from calclab.network.mlp import Mlp

SOURCE = """
import torch
from torch import nn
from torch.nn import functional

def focal(outputs, targets, focus=2.0):
    log_p = functional.log_softmax(outputs, 1).gather(1, targets[:, None])[:, 0]
    return (-((1 - log_p.exp()) ** focus) * log_p).mean()

class Focal(nn.Module):
    def __init__(self, focus=2.0):
        super().__init__()
        self.focus = focus

    def forward(self, outputs, targets):
        return focal(outputs, targets, self.focus)

class Two(nn.Module):
    def __init__(self, shape, outputs):
        super().__init__()
        self.linear = nn.Linear(shape[0], outputs)

    def forward(self, x):
        return {"rows": x, "scores": self.linear(x)}

def scores(given):
    return given["scores"]

class Needs(nn.Module):
    def __init__(self, focus):
        super().__init__()
"""


@pytest.fixture
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_losses.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("own_losses", None)


WORDS = ("topic=partial", "network=mlp", "data=iris", "network.width=3", "figures=false")


@pytest.mark.usefixtures("_module")
@pytest.mark.parametrize(
    ("given", "focus"),
    [("own_losses.focal", 2.0), ("own_losses.Focal", 2.0), ("'{_target_: own_losses.Focal, focus: 3.0}'", 3.0)],
)
def test_a_loss_by_its_path_is_that_loss(given: str, focus: float) -> None:
    run = calclab.run(*WORDS, f"network.loss={given.strip(chr(39))}")
    torch.manual_seed(0)
    data = iris(rows=None, standardize=False, held_out=0.0, dtype=torch.float64, device="cpu", seed=0)
    model: nn.Module = Mlp((4,), 3, width=3, depth=2, activation="tanh", bias=True).double()
    with torch.no_grad():
        log_p = functional.log_softmax(model(data.inputs), 1).gather(1, data.targets[:, None])[:, 0]
    truth = float((-((1 - log_p.exp()) ** focus) * log_p).mean())
    assert run.outcome["answer"]["values"]["value"] == pytest.approx(truth, rel=1e-12)


@pytest.mark.usefixtures("_module")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("own_losses.Needs", "missing 1 required positional argument: 'focus'. Give its knobs"),
        ("own_losses.absent", "has no attribute 'absent'"),
        ("fokal", "the dotted path of your own, or null"),
        ("own_losses..focal", "the dotted path of your own, or null"),
    ],
)
def test_what_is_no_loss_is_refused(given: str, message: str) -> None:
    with pytest.raises(calclab.UserError, match=message):
        calclab.run(*WORDS, f"network.loss={given}")


@pytest.mark.usefixtures("_module")
def test_what_is_looked_at_of_several_outputs() -> None:
    words = ("topic=partial", "network._target_=own_losses.Two", "data=iris", "figures=false")
    found = [
        calclab.run(*words, f"network.output={each}").outcome["answer"] for each in ("scores", "1", "own_losses.scores")
    ]
    assert found[0] == found[1] == found[2]
    with pytest.raises(calclab.UserError, match="output=absent: the model gives a dict with rows, scores"):
        calclab.run(*words, "network.output=absent")
