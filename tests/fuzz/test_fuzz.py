"""A few of what ``formulas.py`` does in full; its truth beside closed forms; and that it notices what is planted."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mpmath
import pytest
from mpmath import mp, mpf

HERE = Path(__file__).parent
X, Y = ("x", 0), ("x", 1)


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module beside this file, by its name."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module


@pytest.mark.slow
def test_formulas_at_hostile_points() -> None:
    command = [sys.executable, HERE / "formulas.py", "--cases", "300", "--seed", "11", "--processes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_of_the_truth(part: Any) -> None:
    truth = part("truth")
    places = {"acosh": 1.7, "gamma": 2.3, "lgamma": -0.7}
    for op, (f, first, second) in truth.RULES.items():
        with mp.workdps(40):
            x = mpf(places.get(op, 0.4))
            assert abs(first(x, f(x)) - mpmath.diff(f, x)) < mpf(10) ** -15, op
            assert abs(second(x, f(x)) - mpmath.diff(f, x, 2)) < mpf(10) ** -10, op


def test_truths_that_are_known(part: Any) -> None:
    truth = part("truth").truth

    def slopes(tree: Any, *x: float) -> list[Any]:
        return [g.value if g.exists else g.exists for g in truth(tree, x).gradient]

    one, four, three = ("number", 1.0), ("number", 4.0), ("number", 3.0)
    assert truth(("sub", ("add", one, X), X), (1e16,)).value.value == 1
    assert slopes(("sqrt", ("pow", X, four)), 0.0) == [0]
    assert abs(slopes(("cbrt", ("pow", X, three)), 0.0)[0] - 1) < 1e-20
    assert slopes(("abs", X), 0.0) == [False]
    assert slopes(("mul", ("abs", X), X), 0.0) == [0]
    assert slopes(("max", X, X), 0.5) == [1]
    assert slopes(("atan2", Y, X), -1.0, 0.0)[1] is False
    assert truth(("log", X), (-1.0,)).value.exists is False
    assert slopes(("mul", ("sign", X), X), 0.0) == [False]  # |x|, by 0 times a slope that there is not
    assert truth(("mul", ("sqrt", X), X), (0.0,)).gradient[0].exists is None  # it ends there
    assert truth(("acos", ("sub", one, ("pow", X, ("number", 2.0)))), (0.0,)).gradient[0].exists is False
    assert slopes(("where", "==", Y, X, one, four), 0.0, 0.0) == [False, False]  # a jump between two constants
    small = truth(("mul", Y, ("add", X, ("add", ("mul", X, Y), ("abs", X)))), (-1e-323, -1e-323))
    assert small.hessian[1][0].value == 2 * mpf(-1e-323)  # 1 + y - 1 = y


def test_formulas_are_written_as_they_are_meant(part: Any) -> None:
    """What calclab reads is the tree that the truth evaluates."""
    grammar, truth, asked = part("grammar"), part("truth"), part("asked")
    chance = random.Random(3)
    for template in grammar.TEMPLATES:
        tree = grammar.replaced(grammar.read(template), {"a": X, "b": Y})
        at = (chance.uniform(1.1, 1.9), chance.uniform(0.2, 0.9))
        case = grammar.Case("partial", (grammar.every(tree, 2),), at)
        value = truth.truth(case.trees[0], at).value
        if not value.exists or abs(value.value) > 1e300:
            continue
        ball = asked.function_of(case).exact.enclose(asked.function_of(case).start, 0)
        assert abs(value.value - float(ball.mid)) <= float(ball.rad), template


def test_what_is_planted_is_found(part: Any) -> None:
    grammar, asked, verdicts = part("grammar"), part("asked"), part("verdicts")
    case = grammar.Case("derivative", (("mul", X, ("sin", X)),), (0.7,))
    said = asked.ask(case)
    assert verdicts.judge(case, said) == []
    slope = next(row for row in said.rows if row.quantity == "∂f/∂x")
    rest = [row for row in said.rows if row is not slope]

    def kinds(**changes: Any) -> set[str]:
        return {kind for kind, _ in verdicts.judge(case, replace(said, rows=[*rest, replace(slope, **changes)]))}

    assert "wrong" in kinds(value=slope.value * (1 + 1e-8))
    assert "wrong" in kinds(value=float("nan"))
    assert "miss" in kinds(value=slope.value * (1 + 1e-8), verdict="suspect")
    assert "refuted" in kinds(verdict="refuted")
    assert "missing" in kinds(verdict="undefined", note="kink in x: slope 0 from the left")
    mid, rad = said.balls["gradient"]
    moved = replace(said, balls={**said.balls, "gradient": ([mid[0] + 3 * rad[0] + 1e-12], rad)})
    assert {kind for kind, _ in verdicts.judge(case, moved)} == {"miss"}
    turned = replace(said, values={**said.values, "direction": "stay"})
    assert {kind for kind, _ in verdicts.judge(case, turned)} == {"wrong"}
