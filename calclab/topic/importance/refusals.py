"""What a user may ask for in vain: rows, a target, a method, a baseline, a layer or a neuron that there is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from calclab.attribution.target import choose
from calclab.core import Rows
from calclab.errors import UserError
from calclab.subject.network import Network
from calclab.text import quoted
from calclab.topic import words
from calclab.topic.importance.attributions import attributions
from calclab.topic.importance.methods import (
    LAYERED,
    METHODS,
    OF_CODES,
    OF_FUNCTIONS,
    OF_NEURON,
    OF_ONE_TRAINING,
    OF_UNITS,
)
from calclab.topic.importance.perturbations import no_retraining
from calclab.topic.importance.problem import ImportanceProblem

LAYERS = 14  # that a message names
NUMBERS = 5 * 10**7  # attributions that are kept, at most: 400 MB


def refuse(problem: ImportanceProblem, roar: Sequence[Any]) -> None:
    """UserError for whatever there is not, or does not go together."""
    refuse_rows(problem)
    refuse_methods(problem)
    refuse_size(problem)
    refuse_target(problem)
    refuse_removal(problem, roar)


def refuse_rows(problem: ImportanceProblem) -> None:
    """UserError for more rows than there are, or for rows of a function."""
    most, subject = problem.most, problem.subject
    if most is not None and not isinstance(subject, Network):
        raise UserError(f"rows={most}: {subject.name} is a function, not data. Leave rows out")
    if most is not None and isinstance(subject, Network) and most > len(subject.rows):
        there = len(subject.rows)
        raise UserError(f"rows={most}: {subject.data.name} has {there} rows. Type rows={there} or less")


def refuse_size(problem: ImportanceProblem) -> None:
    """UserError for more attributions than are kept."""
    width = problem.features.width
    each = width * max(1, len(problem.by_row))
    rows = problem.inputs
    room = min(NUMBERS, rows.most * width) if isinstance(rows, Rows) else NUMBERS
    if problem.count * each > room:
        most = max(1, room // each)
        raise UserError(f"{problem.count} rows of {width} values are more than fit. Type rows={most}")


def refuse_removal(problem: ImportanceProblem, roar: Sequence[Any]) -> None:
    """UserError for parts of the columns that cannot be removed."""
    if roar and (why := no_retraining(problem.subject)):
        raise UserError(f"roar={roar}: {why}. Leave roar out")
    if any(not isinstance(part, int | float) or not 0 < part <= 1 for part in roar):
        raise UserError(f"roar={roar}: fractions of the columns, above 0 and at most 1. Type roar='[0.1,0.5]'")
    if roar and (problem.most is not None or not problem.by_row or problem.head in OF_ONE_TRAINING):
        raise UserError(
            "roar removes columns from every row. Leave rows out, and name a method first that goes by row and "
            "speaks of the target, such as method=integrated_gradients"
        )


def refuse_target(problem: ImportanceProblem) -> None:
    """UserError for a target or a baseline that there is not, and for what a method refuses at its first look."""
    network = problem.subject if isinstance(problem.subject, Network) else None
    allowed = [f"output.{i}" for i in range(len(problem.outputs))]
    if network is not None:
        label = ["label"] * (network.data.classification and len(problem.outputs) > 1)
        allowed = ["loss", "predicted", *allowed, *label]
    allowed = allowed or ["loss"]
    if problem.target not in (*allowed, *problem.outputs) and not is_formula(problem):
        more = ", or a formula in y0, y1, ..." if problem.outputs else ""
        missing = network is None and problem.target == "loss"
        which = "no target is given: " if missing else f"target={problem.target}: "
        raise UserError(
            f"{which}of {problem.subject.name} there is {words.listing(allowed, 14)}{more}. "
            f"Type for example target={quoted(allowed[0])}"
        )
    problem.origin  # noqa: B018  (a wrong baseline is refused)
    if network is not None:
        trial(problem)


def trial(problem: ImportanceProblem) -> list[str]:
    """Every method on a row or two: UserError for what it refuses, notes for what it says of the network."""
    notes: list[str] = []
    for name in problem.methods:
        rows = problem.reference[: 2 if name == "permutation" else 1]
        seen = attributions(problem, name, rows, None if problem.labels is None else problem.labels[: len(rows)])
        notes += [note for note in seen.notes if note not in notes and not note.startswith("constant in these rows")]
    return notes


def refuse_methods(problem: ImportanceProblem) -> None:
    """UserError for a method that there is not, or that does not go with the subject, the layer or the others."""
    for name in problem.methods:
        if name not in METHODS:
            raise UserError(f"method={name}: no such method. {words.nearest(name, METHODS)}")
        if not isinstance(problem.subject, Network) and name not in OF_FUNCTIONS:
            listed = ", ".join(OF_FUNCTIONS)
            raise UserError(f"method={name} needs data, and {problem.subject.name} is a function. There are: {listed}")
        if name == "permutation" and isinstance(problem.subject, Network) and not problem.subject.data.targets.numel():
            raise UserError(f"method=permutation: {problem.subject.data.name} has no targets to be right about")
    refuse_derivatives(problem)
    refuse_layer(problem)
    units = [name for name in problem.methods if name in OF_UNITS]
    others = [name for name in problem.methods if name not in OF_UNITS]
    if units and others:
        raise UserError(
            f"method={words.listing(problem.methods)}: {units[0]} ranks the units of a layer, {others[0]} the "
            "inputs, and one table cannot hold both. Ask for them in two runs"
        )


def refuse_derivatives(problem: ImportanceProblem) -> None:
    """UserError for a method that goes between two codes, or asks how an output moves with one."""
    wrong = [name for name in problem.methods if name not in OF_CODES]
    if problem.codes and wrong:
        named = words.listing([problem.columns.inputs[code] for code in problem.codes], 5)
        known = ",".join(name for name in problem.methods if name in OF_CODES) or "ablation,permutation"
        raise UserError(
            f"method={wrong[0]}: {named} is a code, by which the network looks "
            "something up: there is no derivative by it, and nothing between two codes. Other values can be put in its "
            f"place: type method='[{known}]', or some of {', '.join(OF_CODES)}"
        )


def refuse_layer(problem: ImportanceProblem) -> None:
    """UserError for a layer or a neuron that is missing, that nothing asks for, or that the network does not have."""
    layered = [name for name in problem.methods if name in LAYERED]
    if not layered:
        for knob, given, example in (("layer", problem.layer, "conductance"), ("neuron", problem.neuron, OF_NEURON[0])):
            if given is not None:
                raise UserError(
                    f"{knob}={given}: {words.listing(problem.methods)} looks at no {knob}. Leave {knob} out, or type "
                    f"method={example}; these look at a layer: {', '.join(LAYERED)}"
                )
        return
    assert isinstance(problem.subject, Network)
    names = [name for name, _ in problem.subject.layers()]
    there = f"{problem.subject.name} has the layers {words.listing(names, LAYERS)}"
    if problem.layer is None:
        raise UserError(f"method={layered[0]} needs a layer. {there}. Type for example layer={quoted(names[0])}")
    with torch.no_grad():
        known = problem.subject.activations(problem.subject.data.inputs[:1])
    if problem.layer not in known:
        close = words.nearest(problem.layer, names)
        raise UserError(f"layer={problem.layer}: {there}{f'. {close}' if close.startswith('Did') else ''}")
    of_neuron = [name for name in layered if name in OF_NEURON]
    if of_neuron and problem.neuron is None:
        shape = known[problem.layer].shape[1:]
        example = "0" if len(shape) == 1 else f"'[{','.join('0' * len(shape))}]'"
        raise UserError(
            f"method={of_neuron[0]} needs a neuron of layer={problem.layer}, whose output is {tuple(shape)} a row. "
            f"Type for example neuron={example}"
        )
    if not of_neuron and problem.neuron is not None:
        raise UserError(
            f"neuron={problem.neuron}: {words.listing(layered)} looks at a whole layer. Leave neuron out, or type "
            f"method={OF_NEURON[0]}"
        )


def is_formula(problem: ImportanceProblem) -> bool:
    """Whether the target is a formula in the outputs y0, y1, ... that can be read."""
    if not problem.outputs or not re.search(r"y\d", problem.target):
        return False
    try:
        choose(problem.target, torch.zeros_like(problem.reference[:1, :1]).expand(1, len(problem.outputs)))
    except UserError:
        return False
    return True
