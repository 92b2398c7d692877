"""Questions: one function a topic. Each takes a subject and the topic's knobs, and gives a `Result`.

A question and a command line are one computation: the knobs, their defaults and ranges are those of ``conf/`` and
``schema/``, the topic is built by the same function, and the same loop carries it.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import torch

from calclab import schema
from calclab.app import build
from calclab.app.request import filled
from calclab.app.tree import resolved
from calclab.core import Function, Outcome, Rule, Status, Topic
from calclab.drive import drive, evidence_of_interrupted
from calclab.errors import UserError
from calclab.library import knobs as typed
from calclab.library.result import Interrupted, Result, keep
from calclab.schema import catalogue
from calclab.sink.memory import MemorySink
from calclab.subject.network import Network

Subject = Function | Network
ROOT = ("seed", "figures")  # knobs of every run that a question takes too
PARTS = {"descent": ("optimizer", "schedule", "line_search"), "law": ("law", "optimizer")}  # groups taken by name


def derivative(subject: Subject, **knobs: Unpack[typed.Derivative]) -> Result:
    """f and f' at a point, which way to go, and how difference quotients do as h shrinks.

    >>> import calclab
    >>> calclab.derivative(calclab.formula("(w*3-10)**2", at=1.5)).derivative
    -33.0
    """
    return ask("derivative", subject, knobs)


def partial(subject: Subject, **knobs: Unpack[typed.Partial]) -> Result:
    """Every ∂f/∂xᵢ and ∂²f/∂xᵢ∂xⱼ; of a network, the gradient of every parameter.

    >>> import calclab
    >>> calclab.partial(calclab.formula("x**2*y + x*y**2", at=[1, 2])).gradient.tolist()
    [8.0, 5.0]
    """
    return ask("partial", subject, knobs)


def chain(subject: Subject, **knobs: Unpack[typed.Chain]) -> Result:
    """The chain rule, link by link through a composition or layer by layer through a network."""
    return ask("chain", subject, knobs)


def descent(
    subject: Subject,
    *,
    optimizer: str | Mapping[str, Any] | Rule = "gd",
    schedule: str | Mapping[str, Any] | None = None,
    line_search: str | Mapping[str, Any] | None = None,
    **knobs: Unpack[typed.Descent],
) -> Result:
    """A point walks downhill. ``optimizer``, ``schedule`` and ``line_search`` are options of ``conf/`` by name, or
    dicts with ``name`` and knobs; an optimizer may also be a rule.

    >>> import calclab
    >>> calclab.descent(calclab.formula("x**2 + 3*y**2", at=[1, 1]), lr=0.1, steps=200).ended
    'minimum'
    """
    parts = {"optimizer": optimizer, "schedule": schedule, "line_search": line_search}
    return ask("descent", subject, {**parts, **knobs})


def compare(subject: Subject, **knobs: Unpack[typed.Comparison]) -> Result:
    """Which optimizer does best here: equal budgets of gradient evaluations, each at the best of its own rates."""
    return ask("comparison", subject, knobs)


def hessian(subject: Subject, **knobs: Unpack[typed.Hessian]) -> Result:
    """Curvature at a point: eigenvalues, condition, trace and density of the Hessian and its relatives.

    >>> import calclab
    >>> calclab.hessian(calclab.formula("x**2 - y**2", at=[0, 0])).kind
    'saddle'
    """
    return ask("hessian", subject, knobs)


def jacobian(subject: Subject, **knobs: Unpack[typed.Jacobian]) -> Result:
    """How outputs move with inputs: the matrix, its singular values and condition.

    >>> import calclab
    >>> calclab.jacobian(calclab.formula(["x0**2 + x1", "x0*x1"], at=[1, 2])).jacobian.tolist()
    [[2.0, 1.0], [2.0, 1.0]]
    """
    return ask("jacobian", subject, knobs)


def importance(subject: Subject, **knobs: Unpack[typed.Importance]) -> Result:
    """Which inputs matter, by one method or several, ranked, and how far the ranking is to be trusted."""
    return ask("importance", subject, knobs)


def influence(subject: Subject, **knobs: Unpack[typed.Influence]) -> Result:
    """Which training rows made the prediction of ``row``, held against really training without some of them.

    >>> import calclab, torch
    >>> x = torch.linspace(-1, 1, 12, dtype=torch.float64)[:, None]
    >>> found = calclab.influence(calclab.loss(torch.nn.Linear(1, 1).double(), "mse", (x, x**3)), row=11, retrains=12)
    >>> found.largest_gap_one_step < 1e-9  # of a linear model one Newton step is exact
    True
    """
    return ask("influence", subject, knobs)


def law(
    subject: Subject,
    law: str | Mapping[str, Any] = "implicit_regularisation",
    *,
    optimizer: str | Mapping[str, Any] | Rule | None = None,
    **knobs: Unpack[typed.Law],
) -> Result:
    """A law of the field, measured at many settings beside what theory says. ``law`` is an option of ``conf/law`` by
    name, or a dict with ``name`` and knobs.

    >>> import calclab
    >>> found = calclab.law(calclab.formula("exp(x) + y**2*x", at=[1, 1]), "implicit_regularisation")
    >>> round(found.slope_flow_gap, 1), round(found.slope_modified_gap, 1)
    (2.0, 3.0)
    """
    return ask("law", subject, {"law": law, "optimizer": optimizer, **knobs})


def ask(topic: str, subject: Subject, knobs: Mapping[str, Any]) -> Result:
    """The result of ``topic`` about ``subject``. Raises UserError for a knob that is not there or out of its range."""
    if not isinstance(subject, Function | Network):
        raise UserError(
            f"{topic} is about a subject, not a {type(subject).__name__}. Make one: calclab.formula('x**2', at=1), "
            "calclab.loss(model, criterion, data) or calclab.outputs(model, data)"
        )
    config = configuration(topic, knobs) | precision_of(subject)
    began = time.perf_counter()
    with torch.inference_mode(False), torch.enable_grad(), threads(build.work(subject, config.get("batch"))):
        method = build.topic(config, subject)
        memory = MemorySink()
        scan = drive(method, [memory])
        if scan.step < 0:
            raise KeyboardInterrupt
        rows = [*scan.evidence, *evidence_of_interrupted(method, scan)]
        answer = method.answer(scan.state)
    notes = [text for text in (*getattr(subject, "notes", ()), *method.notes()) if text]
    outcome = Outcome(scan.status, scan.step, time.perf_counter() - began, scan.last, answer, rows, notes=notes)
    files = {} if scan.status is Status.INTERRUPTED else artifacts(method, scan.state)
    result = keep(Result(build.described(topic, subject, method, config), outcome, memory.columns, files))
    if scan.status is Status.INTERRUPTED:
        raise Interrupted(result)
    return result


def precision_of(subject: Subject) -> dict[str, str]:
    """In which type and where a subject computes, as a configuration names it."""
    if isinstance(subject, Function):
        like = subject.start
    else:
        like = next(iter(subject.parameters().values()), torch.zeros(0, dtype=torch.float64))
    return {"dtype": str(like.dtype).removeprefix("torch."), "device": str(like.device)}


def artifacts(method: Topic, state: Any) -> dict[str, bytes]:
    """The files that the topic leaves for other runs, such as weights, by name."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        method.write_artifacts(state, Path(folder))
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def configuration(topic: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved configuration of a question: defaults of ``conf/``, and the knobs given, each held to its range."""
    own = catalogue.values("topic", topic)
    common = {key: catalogue.values("", "config")[key] for key in (*ROOT, "train", "dtype", "device", "claims")}
    config = {**common, **{key: value for key, value in own.items() if key != "defaults"}}
    known = catalogue.root_knobs(topic)
    for name, value in knobs.items():
        if name in PARTS.get(topic, ()):
            config[name] = part(name, value)
        elif name in config and name not in ("topic", "train", "dtype", "device", "claims"):
            known[name].check(value)
            config[name] = value
        else:
            raise UserError(catalogue.unknown_key(name, topic))
    return filled(resolved(config, config), topic)


def part(group: str, given: Any) -> Any:
    """An option of a group: by name, with knobs of its own, or made already."""
    if given is None:
        return None
    name = given if isinstance(given, str) else given.get("name", "") if isinstance(given, Mapping) else None
    if name is None:
        return {"_target_": "calclab.library.questions.same", "made": given, "lr": 0.01}
    if catalogue.path(group, name) is None:
        raise UserError(catalogue.unknown(group, name))
    node = {key: value for key, value in catalogue.values(group, name).items() if key != "defaults"}
    known = catalogue.knobs(group, name)
    for key, value in ({} if isinstance(given, str) else given).items():
        if key == "name":
            continue
        if key not in node:
            raise UserError(catalogue.unknown_key(f"{group}.{key}", "descent", [f"{group}.{knob}" for knob in known]))
        if key in known:
            known[key].check(value, f"{group}.{key}")
        node[key] = value
    return node


def same(made: Any) -> Any:
    """What is made already."""
    return made


@contextmanager
def threads(numbers: int) -> Iterator[None]:
    """One thread for small problems, which is quicker by far; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if numbers > build.LARGE else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def signature(topic: str) -> inspect.Signature:
    """The knobs of a topic as keywords, with the defaults of ``conf/``: what completion and ``help`` show."""
    kind = inspect.Parameter
    values = catalogue.values("topic", topic)
    named = [
        kind(name, kind.KEYWORD_ONLY, default=values[name], annotation=knob.type)
        for name, knob in schema.find("topic", topic).items()
        if name in values
    ]
    parts = [kind(name, kind.KEYWORD_ONLY, default=None) for name in PARTS.get(topic, ())]
    root = [kind(name, kind.KEYWORD_ONLY, default=catalogue.values("", "config")[name]) for name in ROOT]
    return inspect.Signature(
        [kind("subject", kind.POSITIONAL_OR_KEYWORD, annotation=Subject), *parts, *named, *root],
        return_annotation=Result,
    )


for name, question in {
    "derivative": derivative,
    "partial": partial,
    "chain": chain,
    "descent": descent,
    "comparison": compare,
    "hessian": hessian,
    "jacobian": jacobian,
    "importance": importance,
    "influence": influence,
    "law": law,
}.items():
    question.__signature__ = signature(name)  # type: ignore[attr-defined]

__all__ = [
    "chain",
    "compare",
    "derivative",
    "descent",
    "hessian",
    "importance",
    "influence",
    "jacobian",
    "law",
    "partial",
]
