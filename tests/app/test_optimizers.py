"""The rules of a comparison from their names."""

from __future__ import annotations

from typing import Any

import pytest

from calclab.app.build import rule
from calclab.app.optimizers import compared
from calclab.core import Rule
from calclab.errors import UserError
from calclab.optimizer.lbfgs import LBFGS
from calclab.optimizer.line_search import Wolfe
from calclab.optimizer.rules import Momentum
from calclab.schema.catalogue import options, values


def rules(config: dict[str, Any]) -> dict[str, Rule]:
    return {name: rule(*nodes) for name, nodes in compared(config).items()}


NAMED = [name for name in options("optimizer") if values("optimizer", name)["_target_"] != "???"]


@pytest.mark.parametrize("search", ["", "+armijo", "+wolfe"])
def test_every_option_makes_its_rule(search: str) -> None:
    names = [name + search for name in NAMED]
    made = rules({"optimizers": names})
    assert list(made) == names
    assert len({type(rule) for rule in made.values()}) == (1 if search else len(NAMED))


def test_defaults_stand_in_conf_and_settings_replace_them() -> None:
    made = rules({"optimizers": ["momentum", "lbfgs+wolfe"], "settings": {"momentum": {"momentum": 0.99}}})
    assert made["momentum"] == Momentum(momentum=0.99)
    search = made["lbfgs+wolfe"]
    assert isinstance(search, Wolfe)
    assert search.rule == LBFGS(history=values("optimizer", "lbfgs")["history"])
    assert search.c2 == values("line_search", "wolfe")["c2"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"optimizers": []}, "nothing to compare"),
        ({"optimizers": ["adma"]}, "adam"),
        ({"optimizers": ["lbfgs+wolf"]}, "wolfe"),
        ({"optimizers": ["custom"]}, "names no rule"),
        ({"optimizers": ["gd", "gd"]}, "twice"),
        ({"optimizers": ["gd"], "settings": {"adam": {"beta1": 0.5}}}, "not among"),
        ({"optimizers": ["adam"], "settings": {"adam": {"beta": 0.5}}}, "beta1"),
        ({"optimizers": ["adam"], "settings": {"adam": {"beta1": 1.5}}}, "settings.adam.beta1"),
        ({"optimizers": ["adam"], "settings": {"adam": {"lr": 0.5}}}, "rates are tried"),
        ({"optimizers": ["adam"], "settings": {"adam": 3}}, "knobs by name"),
        ({"optimizers": ["adam"], "optimizer": {"_target_": "x"}}, "one descent"),
    ],
)
def test_mistakes_are_refused_with_what_to_type(config: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        compared(config)
