"""What a user may ask for in vain: a target, a method, a baseline, a layer or a neuron that there is not."""

from __future__ import annotations

import re

import torch

from calclab.attribution.target import choose
from calclab.errors import UserError
from calclab.subject.network import Network
from calclab.text import quoted
from calclab.topic import words
from calclab.topic.importance.asked import Asked
from calclab.topic.importance.methods import LAYERED, METHODS, OF_CODES, OF_FUNCTIONS, OF_NEURON, OF_UNITS

LAYERS = 14  # that a message names


def refuse(asked: Asked) -> None:
    """UserError for a target, a method or a baseline that there is not."""
    network = asked.subject if isinstance(asked.subject, Network) else None
    allowed = [f"output.{i}" for i in range(len(asked.outputs))]
    if network is not None:
        label = ["label"] * (network.data.classification and len(asked.outputs) > 1)
        allowed = ["loss", "predicted", *allowed, *label]
    allowed = allowed or ["loss"]
    if asked.target not in (*allowed, *asked.outputs) and not is_formula(asked):
        more = ", or a formula in y0, y1, ..." if asked.outputs else ""
        missing = network is None and asked.target == "loss"
        which = "no target is given: " if missing else f"target={asked.target}: "
        raise UserError(
            f"{which}of {asked.subject.name} there is {words.listing(allowed, 14)}{more}. "
            f"Type for example target={quoted(allowed[0])}"
        )
    asked.origin  # noqa: B018  (a wrong baseline is refused)
    if network is not None:
        first_look(asked)


def first_look(asked: Asked) -> list[str]:
    """Every method on a row or two: UserError for what it refuses, notes for what it says of the network."""
    notes: list[str] = []
    for name in asked.methods:
        rows = asked.reference[: 2 if name == "permutation" else 1]
        seen = asked.look(name, rows, None if asked.labels is None else asked.labels[: len(rows)])
        notes += [note for note in seen.notes if note not in notes and not note.startswith("constant in these rows")]
    return notes


def refuse_methods(asked: Asked) -> None:
    """UserError for a method that there is not, or that does not go with the subject, the layer or the others."""
    for name in asked.methods:
        if name not in METHODS:
            raise UserError(f"method={name}: no such method. {words.nearest(name, METHODS)}")
        if not isinstance(asked.subject, Network) and name not in OF_FUNCTIONS:
            listed = ", ".join(OF_FUNCTIONS)
            raise UserError(f"method={name} needs data, and {asked.subject.name} is a function. There are: {listed}")
        if name == "permutation" and isinstance(asked.subject, Network) and not asked.subject.data.targets.numel():
            raise UserError(f"method=permutation: {asked.subject.data.name} has no targets to be right about")
    refuse_derivatives(asked)
    refuse_layer(asked)
    units = [name for name in asked.methods if name in OF_UNITS]
    others = [name for name in asked.methods if name not in OF_UNITS]
    if units and others:
        raise UserError(
            f"method={words.listing(asked.methods)}: {units[0]} ranks the units of a layer, {others[0]} the "
            "inputs, and one table cannot hold both. Ask for them in two runs"
        )


def refuse_derivatives(asked: Asked) -> None:
    """UserError for a method that goes between two codes, or asks how an output moves with one."""
    wrong = [name for name in asked.methods if name not in OF_CODES]
    if asked.codes and wrong:
        named = words.listing([asked.columns.inputs[code] for code in asked.codes], 5)
        known = ",".join(name for name in asked.methods if name in OF_CODES) or "ablation,permutation"
        raise UserError(
            f"method={wrong[0]}: {named} is a code, by which the network looks "
            "something up: there is no derivative by it, and nothing between two codes. Other values can be put in its "
            f"place: type method='[{known}]', or some of {', '.join(OF_CODES)}"
        )


def refuse_layer(asked: Asked) -> None:
    """UserError for a layer or a neuron that is missing, that nothing asks for, or that the network does not have."""
    layered = [name for name in asked.methods if name in LAYERED]
    if not layered:
        for knob, given, example in (("layer", asked.layer, "conductance"), ("neuron", asked.neuron, OF_NEURON[0])):
            if given is not None:
                raise UserError(
                    f"{knob}={given}: {words.listing(asked.methods)} looks at no {knob}. Leave {knob} out, or type "
                    f"method={example}; these look at a layer: {', '.join(LAYERED)}"
                )
        return
    assert isinstance(asked.subject, Network)
    names = [name for name, _ in asked.subject.layers()]
    there = f"{asked.subject.name} has the layers {words.listing(names, LAYERS)}"
    if asked.layer is None:
        raise UserError(f"method={layered[0]} needs a layer. {there}. Type for example layer={quoted(names[0])}")
    with torch.no_grad():
        known = asked.subject.activations(asked.subject.data.inputs[:1])
    if asked.layer not in known:
        close = words.nearest(asked.layer, names)
        raise UserError(f"layer={asked.layer}: {there}{f'. {close}' if close.startswith('Did') else ''}")
    of_neuron = [name for name in layered if name in OF_NEURON]
    if of_neuron and asked.neuron is None:
        shape = known[asked.layer].shape[1:]
        example = "0" if len(shape) == 1 else f"'[{','.join('0' * len(shape))}]'"
        raise UserError(
            f"method={of_neuron[0]} needs a neuron of layer={asked.layer}, whose output is {tuple(shape)} a row. "
            f"Type for example neuron={example}"
        )
    if not of_neuron and asked.neuron is not None:
        raise UserError(
            f"neuron={asked.neuron}: {words.listing(layered)} looks at a whole layer. Leave neuron out, or type "
            f"method={OF_NEURON[0]}"
        )


def is_formula(asked: Asked) -> bool:
    """Whether the target is a formula in the outputs y0, y1, ... that can be read."""
    if not asked.outputs or not re.search(r"y\d", asked.target):
        return False
    try:
        choose(asked.target, torch.zeros_like(asked.reference[:1, :1]).expand(1, len(asked.outputs)))
    except UserError:
        return False
    return True
