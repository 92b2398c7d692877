"""From a request to a job: the device, the subject, the topic with its parts, built and checked. Nothing is written.

Objects are made without Hydra's instantiate, which is asked only for nodes within nodes: for plain ones it costs more
than many a run, and would turn a dataclass that it is given into a dict.
"""

from __future__ import annotations

import functools
import inspect
import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from calclab.app import ranks
from calclab.app.about import about as about_of
from calclab.app.blame import blame
from calclab.app.provenance import provenance
from calclab.app.request import LABELS, Request
from calclab.core import Data, Function, Rule, Run, Topic
from calclab.errors import UserError
from calclab.subject.network import Network, network

THREADS = torch.get_num_threads()
LARGE = 10**8  # parameters × rows at once from which on threads pay
CUSTOM = ("target", "features", "classes", "memory", "standardize", "held_out")  # of own rows, what the lab reads
FORMULAS = ("calclab.subject.formula.formula", "calclab.subject.links.links")


@dataclass(frozen=True)
class Job:
    """A run that is ready: every mistake of the user's has been refused by now."""

    request: Request
    topic: Topic
    run: Run
    device: torch.device
    notes: Sequence[str]
    provenance: Mapping[str, Any]


def prepare(request: Request) -> Job:
    """Build what the configuration names. UserError for what is the user's to mend; nothing was written then."""
    try:
        return built(request)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        mistake = blame(error, request.config)
        if mistake is None:
            raise
        if (text := request.hidden(str(mistake))) != str(mistake):
            raise UserError(text) from None
        if mistake is error:
            raise
        raise mistake from error


def built(request: Request) -> Job:
    config, place = request.config, request.place
    if config["claims"]:
        from calclab.study.claims import check_form

        check_form(config["claims"])
    if config.get("study"):
        from calclab.schema.study import study

        study(config["study"])
    torch.set_num_threads(1)  # for small problems one thread beats two by far
    where, note = device(config["device"], config["dtype"])
    where = ranks.own_device(where)
    about = subject(config, request.choices, where)
    method = topic(config, about)
    if work(about, config.get("batch")) > LARGE:
        torch.set_num_threads(THREADS)
    run = described(place.topic, about, method, request.shown, place.folder)
    run = replace(run, choices={group: name for group, name in request.choices.items() if name}, swept=request.swept)
    told = (*method.notes(), *place.unseen, *getattr(about, "notes", ()), note)  # what matters most first
    notes = [request.hidden(text) for text in told if text]
    made = provenance(request.words, device=where, dtype=config["dtype"], seed=run.config["seed"])
    return Job(request, method, run, where, notes, made | {"files": place.files})


def described(
    topic: str, about: Function | Network, method: Topic, config: Mapping[str, Any], folder: Path = Path()
) -> Run:
    """What a sink may know of the run."""
    latex = [about.exact.latex] if isinstance(about, Function) and about.exact is not None else []
    title = f"{topic} of {about.name}"
    line, labels, pictures = about_of(topic, about, config), method.labels(), method.pictures()
    return Run(topic, about.name, title, folder, method.steps, labels, pictures, config, latex, line)


def device(name: str, dtype: str) -> tuple[torch.device, str]:
    """The device called ``name`` and, where the lab chose it, a sentence that says so."""
    there = ["cuda"] if torch.cuda.is_available() else []
    there += [*(["mps"] if torch.backends.mps.is_available() else []), "cpu"]  # best first
    if name == "auto":
        best = next(kind for kind in there if not (kind == "mps" and dtype == "float64"))
        passed = f"device=auto took cpu: {there[0]} has no float64, which dtype=float32 does without"
        return torch.device(best), f"device=auto took {best}" if best != "cpu" else passed if there[0] != "cpu" else ""
    if name not in there:
        raise UserError(
            f"device={name}: there is none on this machine. There are: {', '.join(there)}. Type device=auto."
        )
    if name == "mps" and dtype == "float64":
        raise UserError("device=mps has no float64. Type dtype=float32, or device=cpu.")
    return torch.device(name), ""


def subject(config: Mapping[str, Any], choices: Mapping[str, str | None], where: torch.device) -> Function | Network:
    """A function, or a network with its data, on its device and in its precision."""
    place = {"dtype": getattr(torch, config["dtype"]), "device": where}
    if config.get("function"):
        node = dict(config["function"], name=config["function"].get("name") or choices["function"])
        if node["_target_"] in FORMULAS:
            return parsed(json.dumps(node), place["dtype"], where)
        return maker(node)(name=node["name"], **place)
    if not config.get("data"):
        raise UserError(f"network={choices['network']} needs data: name some, for example data=digits.")
    seed = config["seed"]
    data = rows(config["data"], **place, seed=seed)
    node = dict(config["network"])
    common: dict[str, Any] = {key: node.pop(key) for key in ("name", "weights", "parameters", "loss") if key in node}
    common["loss"] = own_function(common.get("loss"), "network.loss")
    if "output" in node and "output" not in inspect.signature(find(node["_target_"])).parameters:  # else it is its own
        common["output"] = own_function(node.pop("output"), "network.output")
    return network(maker(node), data, **common, train=config["train"], seed=seed, **place)


def rows(node: Mapping[str, Any], **place: Any) -> Data:
    """The data that a node names: a builder of the lab's, or a function of the user's that gives rows in any form."""
    if str(node.get("_target_")).startswith("calclab."):
        made: Data = maker(node)(**place)
        return made
    from calclab.data.custom import custom

    knobs = {key: value for key, value in node.items() if key not in CUSTOM}
    return custom(maker(knobs), **{key: node[key] for key in CUSTOM if key in node}, **place)


@functools.lru_cache(maxsize=256)
def parsed(node: str, dtype: torch.dtype, where: torch.device) -> Function:
    """A formula, read once a process: the jobs of a sweep have most of theirs in common."""
    known = json.loads(node)
    function: Function = maker(known)(name=known["name"], dtype=dtype, device=where)
    return function


def topic(config: Mapping[str, Any], about: Function | Network) -> Topic:
    """The method, with its parts: the rule and the schedule of a descent, the rules of a comparison."""
    parts: dict[str, Any] = {}
    if "optimizers" in config:
        from calclab.app.optimizers import compared

        parts["rules"] = {name: rule(*nodes) for name, nodes in compared(config).items()}
    elif config.get("optimizer"):
        parts["optimizer"] = rule(config["optimizer"], config.get("line_search"))
        parts["schedule"] = maker(config["schedule"]) if config.get("schedule") else None
    if config.get("law"):
        about_law = {"subject": about, "rule": parts.pop("optimizer", None), "seed": config["seed"]}
        parts = {"law": maker(config["law"])(**about_law)}
    return maker(config["topic"])(subject=about, **parts)


def rule(optimizer: Mapping[str, Any], line_search: Mapping[str, Any] | None) -> Rule:
    """An optimizer, which is handed its rate at every step; along a line searched where one is asked for."""
    from calclab.optimizer import as_rule

    made = as_rule(maker({key: value for key, value in optimizer.items() if key != "lr"}))
    return maker(line_search)(rule=made) if line_search else made


def work(about: Function | Network, batch: Any) -> int:
    """A measure of what one evaluation costs: parameters × rows."""
    if isinstance(about, Function):
        return 0
    rows = batch if isinstance(batch, int) else len(about.rows)
    return rows * sum(p.numel() for p in about.parameters().values())


def maker(node: Mapping[str, Any]) -> Callable[..., Any]:
    """What makes the object of a node: its ``_target_`` with the rest as keywords, all but called."""
    target = node.get("_target_")
    if not isinstance(target, str):
        raise UserError(f"_target_={target}: it is the dotted path of what to call, such as my.module.Net")
    knobs = {key: value for key, value in node.items() if key not in LABELS}
    if nested(knobs):
        from hydra.utils import instantiate

        knobs = {key: instantiate(value, _convert_="all") if nested(value) else value for key, value in knobs.items()}
    return functools.partial(find(target), **knobs)


def nested(value: Any) -> bool:
    """Whether a further ``_target_`` lies within."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(nested, value.values()))
    return isinstance(value, list) and any(map(nested, value))


def find(target: str, key: str = "_target_") -> Callable[..., Any]:
    """The object at a dotted path; UserError when there is none."""
    try:
        found = pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}={target}: {error}. Is it spelt right, and where Python looks for modules?") from None
    if not callable(found):
        kind = type(found).__name__
        raise UserError(f"{key}={target}: this is a {kind}, and cannot be called. Type {key}={target}.<name>")
    return found


def own_function(given: Any, key: str) -> Any:
    """A function of the user's, such as a loss: by its dotted path, or as a mapping with ``_target_`` and its knobs. A
    class is called, with these or none. Anything else is what it is: the name of one of the lab's."""
    if isinstance(given, Mapping):
        return maker(given)()
    if not isinstance(given, str) or "." not in given:
        return given
    found = find(given, key)
    if not isinstance(found, type):
        return found
    try:
        return found()
    except TypeError as error:
        raise UserError(f"{key}={given}: {error}. Give its knobs: {key}='{{_target_: {given}, knob: 2}}'") from error
