"""What calclab says of a case: a topic carried through in this process, and everything that it would show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from grammar import Case

from calclab.core import Function, Outcome, Run, Topic
from calclab.drive import drive
from calclab.optimizer.rules import GradientDescent
from calclab.report.outcome import outcome_dict
from calclab.report.page import page
from calclab.report.summary import markdown
from calclab.schema import catalogue
from calclab.sink.memory import MemorySink
from calclab.subject.formula import formula
from calclab.subject.links import links
from calclab.terminal import plain as plain_lines
from calclab.topic.chain import chain
from calclab.topic.derivative import Derivative
from calclab.topic.descent import Descent
from calclab.topic.hessian import hessian
from calclab.topic.jacobian import jacobian
from calclab.topic.partial import Partial

TOPICS = {"derivative": Derivative, "partial": Partial, "chain": chain, "hessian": hessian, "jacobian": jacobian}
STEPS = 4  # of a descent


@dataclass(frozen=True)
class Row:
    """One row of verify.csv."""

    step: int
    quantity: str
    method: str
    value: float
    reference: float
    bound: float
    tolerance: float
    verdict: str
    note: str


@dataclass(frozen=True)
class Said:
    """Plain data: ``values`` are words, floats and nested lists; ``balls`` are (orders of derivatives) the midpoints
    and radii of what is proven at the start; ``points`` the inputs of a chain's links, or a descent's points by step.
    """

    sentence: str
    values: Mapping[str, Any]
    rows: Sequence[Row]
    balls: Mapping[str, tuple[Any, Any]]
    points: Mapping[int, list[float]] = field(default_factory=dict)


def function_of(case: Case) -> Function:
    texts, at = case.texts(), list(case.at)
    if case.links:
        return links(links=texts, at=at)
    vector = case.topic == "jacobian"
    return formula(name="f", expr=texts if vector else texts[0], at=at)


def topic_of(case: Case, function: Function) -> Topic:
    knobs: dict[str, Any] = {
        name: catalogue.values("topic", case.topic).get(name) for name in catalogue.knobs("topic", case.topic)
    }
    if case.topic == "descent":
        knobs |= {"lr": 0.01, "steps": STEPS, "optimizer": GradientDescent()}
    return (Descent if case.topic == "descent" else TOPICS[case.topic])(subject=function, **knobs)


def ask(case: Case) -> Said:
    """All of it. Raises UserError where calclab refuses; whatever else is raised is a crash."""
    function = function_of(case)
    topic = topic_of(case, function)
    memory = MemorySink()
    scan = drive(topic, [memory])
    answer = topic.answer(scan.state)
    latex = [function.exact.latex] if function.exact is not None else []
    run = Run(case.topic, "f", "f", Path("runs"), topic.steps, topic.labels(), topic.pictures(), {}, latex)
    outcome = Outcome(scan.status, scan.step, 0.0, scan.last, answer, scan.evidence, notes=list(topic.notes()))
    list(plain_lines([*page(outcome_dict(run, outcome))]))
    assert "Traceback" not in markdown(run, outcome)
    rows = [
        Row(e.step, e.quantity, e.method, e.value, e.reference, e.bound, e.tolerance, e.verdict.word, e.note)
        for e in scan.evidence
    ]
    values = {k: plain(v) for k, v in answer.values.items()}
    return Said(answer.sentence, values, rows, balls(case, function), points(case, scan.state, memory))


def plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else value


def balls(case: Case, function: Function) -> dict[str, tuple[Any, Any]]:
    exact = function.exact
    assert exact is not None
    found = {"value": exact.enclose(function.start, 0), "gradient": exact.enclose(function.start, 1)}
    if case.topic in ("partial", "hessian"):
        found["hessian"] = exact.enclose(function.start, 2)
        found["eigenvalues"] = exact.eigenvalues(function.start)
    return {name: (ball.mid.tolist(), ball.rad.tolist()) for name, ball in found.items()}


def points(case: Case, state: Mapping[str, Any], memory: MemorySink) -> dict[int, list[float]]:
    if case.topic == "descent":
        column = memory.columns["x"]
        return dict(zip(column.steps, column.data.tolist(), strict=True))
    if not case.links:
        return {0: list(case.at)}
    inputs = {0: list(case.at)}
    for k in range(len(case.trees) - 1):
        inputs[k + 1] = state[f"value.h{k}"].reshape(-1).tolist()
    return {k: x for k, x in inputs.items() if all(map(math.isfinite, x))}
