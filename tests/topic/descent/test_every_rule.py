"""Every rule on every function of the public table: no crash, and an end that has a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from calclab.app.build import maker
from calclab.core import Status
from calclab.drive import drive
from calclab.errors import UserError
from calclab.optimizer import as_rule
from calclab.schema import catalogue
from calclab.sink.memory import MemorySink
from calclab.subject.formula import formula
from calclab.topic.descent import Descent

TRUTH = json.loads((Path(__file__).parents[2] / "truth" / "public_functions.json").read_text(encoding="utf-8"))
ITEMS: list[dict[str, Any]] = TRUTH["items"]
RULES = [name for name in catalogue.options("optimizer") if name != "custom"]
OF_NETWORKS = ("gauss_newton", "natural_gradient")
WORDS = ("minimum", "saddle", "maximum", "flat", "stationary", "moving", "unstable", "risen", "diverged", "nonfinite")


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_every_end_is_named(name: str) -> None:
    node = dict(catalogue.values("optimizer", name))
    lr = node.pop("lr")
    for item in ITEMS:
        f = formula(name=item["name"], expr=item["expr"], variables=item["vars"], at=item["point"])
        rule, knobs = (
            as_rule(maker(node)),
            {
                "batch": None,
                "epochs": None,
                "sharpness": {"every": 0},
                "watch": None,
                "animation": False,
                "evidence": "full",
                "flow": None,
            },
        )
        if name in OF_NETWORKS:
            with pytest.raises(UserError, match="network"):
                Descent(subject=f, optimizer=rule, lr=lr, steps=40, tol=1e-8, **knobs)
            continue
        topic, memory = Descent(subject=f, optimizer=rule, lr=lr, steps=40, tol=1e-8, **knobs), MemorySink()
        scan = drive(topic, [memory])
        answer = topic.answer(scan.state)
        assert scan.status in (Status.COMPLETED, Status.CONVERGED, Status.DIVERGED, Status.NONFINITE), item["name"]
        assert answer.values["ended"] in WORDS
        assert (scan.status is Status.DIVERGED) == (answer.values["ended"] == "diverged"), item["name"]
        assert (scan.status is Status.NONFINITE) == (answer.values["ended"] == "nonfinite"), item["name"]
        assert torch.isfinite(memory.columns["x"].data[0]).all()
