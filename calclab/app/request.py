"""What is asked: a composed configuration, every knob held against its schema, about one subject, and its place.

No torch and no Hydra here: a finished run is found again without the one, a job of a sweep is asked for without the
other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calclab.app import ranks, trackers
from calclab.app.place import Place, locate
from calclab.app.provenance import changed
from calclab.app.secrets import SECRETS, hidden, shown
from calclab.errors import UserError
from calclab.schema import Knob, catalogue
from calclab.schema.knob import written

LABELS = ("_target_", "name")  # of a group's node: what is built, and a name for readers


@dataclass(frozen=True)
class Request:
    """A run that was asked for: its configuration, checked and without what it has no use for, and its place.

    ``words`` are what the user typed, ``overrides`` what they stand for; ``swept`` are the knobs that its sweep varies,
    and ``sweep`` is that sweep's folder.
    """

    config: Mapping[str, Any]
    choices: Mapping[str, Any]
    overrides: Sequence[str]
    words: Sequence[str]
    place: Place
    swept: Sequence[str] = ()
    sweep: Path | None = None

    def finished(self) -> dict[str, Any] | None:
        """The record of the run if it need not be computed; all ranks hear the same. UserError where a run that is to
        be computed could not be written down."""
        record = None if self.config["rerun"] else self.place.finished()
        if record is None:
            self.place.check_writable()
        return ranks.agree(found_again(record))

    def shown_again(self) -> dict[str, Any] | None:
        """The same, for whoever is to see it: a finished run is put into the trackers that are asked for, too."""
        record = self.finished()
        if record is None or not ranks.first():
            return record
        said = trackers.put(self.place.folder, self.config.get("sinks", ()), self.sweep)
        return record | {"notes": [*record.get("notes", ()), *said]} if said else record

    def settled(self, anew: bool) -> dict[str, Any] | None:
        """The same for whoever holds the run: what was computed ``anew`` by a process since killed, is what
        ``rerun=true`` asks for."""
        return ranks.agree(found_again(self.place.finished() if anew or not self.config["rerun"] else None))

    @property
    def shown(self) -> Mapping[str, Any]:
        """The configuration as it is written down: without what it takes from the environment."""
        return shown(self.config) if SECRETS in self.config else self.config

    def hidden(self, text: str) -> str:
        """A message without what the configuration takes from the environment."""
        return hidden(text, self.config) if SECRETS in self.config else text


def ask(
    config: Mapping[str, Any],
    choices: Mapping[str, str | None],
    overrides: Sequence[str],
    words: Sequence[str],
    swept: Sequence[str] = (),
    sweep: Path | None = None,
) -> Request:
    """The run of a composed configuration; UserError for a knob out of its range, or for none or two subjects.

    The run is called by its ``words``; in a sweep by those for a ``swept`` knob alone.
    """
    topic = choices["topic"] or ""
    try:
        check_config(config, choices)
    except UserError as mistake:
        if SECRETS in config:
            raise UserError(hidden(str(mistake), config)) from None
        raise
    if choices.get("law") and topic != "law":
        raise UserError(f"law={choices['law']}: topic={topic} holds no laws. Type topic=law law={choices['law']}")
    config = filled(about(subject_kind(choices, overrides), config), topic)
    naming = [word for word in words if word.lstrip("+").partition("=")[0] in swept] or words
    return Request(config, choices, overrides, words, locate(config, topic, naming), swept, sweep)


def found_again(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """The record of a run that was finished before, with a note that says so."""
    if record is None:
        return None
    made = record.get("provenance") or {}
    note = f"finished before (started {made.get('started')}); {changed(made) or 'rerun=true runs it anew'}"
    return record | {"notes": [*record.get("notes", ()), note]}


# --- knobs ---


def check_config(config: Mapping[str, Any], choices: Mapping[str, str | None]) -> None:
    """Every knob has its type and lies in its range; UserError names the first that not.

    A knob that nobody would read, or one that was taken away, is refused too.
    """
    topic = choices["topic"] or ""
    known = catalogue.root_knobs(topic)
    for name in config:
        if name not in known and name not in (*catalogue.GROUPS, SECRETS):
            raise UserError(catalogue.unknown_key(name, topic))
    for name in catalogue.taken(topic):
        if name not in config:
            raise UserError(f"{name} was taken away and has no value. Leave ~{name} out.")
    check(config, known)
    trackers.require(config.get("sinks", ()))
    if not config["outputs"].strip():
        raise UserError("outputs=: the folder that holds all runs has a name. Type for example outputs=outputs")
    for group in ("topic", *catalogue.PARTS):
        node = config.get(group)
        if not isinstance(node, Mapping) and (node is not None or group == "topic"):
            raise UserError(f"{group}={written(node)}: {catalogue.named(group, node)}")
    for group in catalogue.PARTS:
        option, node = choices.get(group), config.get(group)
        if not option or node is None:
            continue
        own, prefix = catalogue.knobs(group, option), f"{group}."
        check(node, own, prefix)
        given = catalogue.values(group, option)
        if "_target_" in given and node.get("_target_") == given["_target_"]:  # and not a module of the user's
            known_here = [f"{prefix}{name}" for name in own]
            for name in node:
                if name not in own and name not in given and name not in LABELS:
                    raise UserError(catalogue.unknown_key(f"{prefix}{name}", topic, known_here))
            for name in own:
                if name in given and name not in node:
                    raise UserError(f"{prefix}{name} was taken away and has no value. Leave ~{prefix}{name} out.")


def check(values: Mapping[str, Any], knobs: Mapping[str, Knob], prefix: str = "") -> None:
    for name, knob in knobs.items():
        if name in values:
            knob.check(values[name], f"{prefix}{name}")


def filled(config: Mapping[str, Any], topic: str) -> dict[str, Any]:
    """The configuration with the values at its root that the topic is built with in the topic's own node, by name."""
    names = catalogue.taken(topic)
    node = {**config["topic"], **{name: config[name] for name in names if name not in config["topic"]}}
    texts = config.get(SECRETS)
    if not texts:
        return {**config, "topic": node}
    secret = {f"topic.{key}": text for key, text in texts.items() if key.partition(".")[0] in names}
    return {**config, "topic": node, SECRETS: texts | secret}


# --- the subject ---


def subject_kind(choices: Mapping[str, str | None], words: Sequence[str]) -> str:
    """ "function" or "network".

    A topic brings a subject of its own; whoever names the other kind gives that up. Both named, on the command line
    or by a study, is a question with two answers.
    """
    law = choices.get("law") or ""
    default = catalogue.default_of(choices["topic"] or "") | (catalogue.default_of(law, "law") if law else {})
    typed = {word.lstrip("+").partition("=")[0].partition(".")[0] for word in words}
    named = {
        kind
        for kind in ("function", "network")
        if choices.get(kind) and (kind in typed or choices[kind] != default.get(kind))
    }
    if "data" in typed and not named and not default.get("network"):
        raise UserError("data=... goes with a network: name one, for example network=mlp.")
    if named == {"function", "network"}:
        raise UserError(
            f"function={choices['function']} and network={choices['network']} are both named, and a run has one "
            "subject. Leave one out, or set it to null."
        )
    kinds = named or {kind for kind in ("function", "network") if choices.get(kind)}
    if not kinds:
        raise UserError("no subject: name a function (function=rosenbrock) or a network (network=mlp).")
    return kinds.pop()


def about(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the default subject that was given up: it has no part in the run."""
    gone = ("network", "data") if kind == "function" else ("function",)
    return {key: value for key, value in config.items() if key not in gone}
