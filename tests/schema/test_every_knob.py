"""A knob has its default in conf/, its meaning, type and range in a schema: neither is there without the other."""

from __future__ import annotations

import inspect
import re
from pkgutil import resolve_name
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from calclab import schema
from calclab.app.request import filled
from calclab.schema import catalogue

TOPICS = catalogue.options("topic")
COMMON = catalogue.knobs("common", "common")
SOURCE = {path: path.read_text(encoding="utf-8") for path in catalogue.PACKAGE.rglob("*.py")}


@pytest.mark.parametrize(
    "group", ["topic", "function", "network", "data", "optimizer", "line_search", "schedule", "law"]
)
def test_every_schema_is_that_of_an_option(group: str) -> None:
    """Under another name it would be silently no schema: nothing in the help, no range held."""
    options = {option.replace("_", "") for option in catalogue.options(group)}
    found = catalogue.schemas(group)
    shared = {base for each in found.values() for base in each.__mro__[1:]}
    assert {name for name, each in found.items() if each not in shared} <= options


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_its_schema(topic: str) -> None:
    assert topic.replace("_", "") in catalogue.schemas("topic")


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_has_each_of_its_knobs_in_conf_and_no_other(topic: str) -> None:
    given = catalogue.values("topic", topic).keys() - {"defaults", "topic"} - COMMON.keys()
    assert given == catalogue.knobs("topic", topic).keys()


def test_every_run_has_each_knob_of_the_common_schema_and_no_other() -> None:
    given = catalogue.values("", "config").keys() - {"defaults", "hydra"}
    assert given == COMMON.keys()


@pytest.mark.parametrize("topic", TOPICS)
def test_defaults_and_examples_lie_in_their_ranges(topic: str) -> None:
    values = catalogue.values("topic", topic)
    for name, knob in catalogue.knobs("topic", topic).items():
        if not str(values[name]).startswith("$"):
            knob.check(values[name])
        knob.check(OverridesParser.create().parse_override(f"{name}={str(knob.example).strip(chr(39))}").value())


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_built_with_its_knobs_by_name(topic: str) -> None:
    values = {**catalogue.values("", "config"), **catalogue.values("topic", topic)}
    node = filled(values, topic)["topic"]
    target = resolve_name(node["_target_"])
    parameters = inspect.signature(target).parameters
    assert set(catalogue.taken(topic)) == node.keys() - {"name", "_target_"}
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        assert set(catalogue.taken(topic)) <= parameters.keys()
    assert {name: node[name] for name in catalogue.taken(topic)} == {n: values[n] for n in catalogue.taken(topic)}


@pytest.mark.parametrize("topic", TOPICS)
def test_every_knob_of_a_topic_is_read(topic: str) -> None:
    beside = ("optimizers.py", "figures.py")  # what a comparison is between, and how a run is drawn
    text = "\n".join(text for path, text in SOURCE.items() if "topic" in path.parts or path.name in beside)
    for name in schema.find("topic", topic):
        assert re.search(rf"\.{name}\b|[\"']{name}[\"']", text), name


@pytest.mark.parametrize("name", COMMON)
def test_every_knob_of_all_runs_is_read(name: str) -> None:
    places = [text for path, text in SOURCE.items() if "schema" not in path.parts]
    assert any(re.search(rf"\[[\"']{name}[\"']\]|get\([\"']{name}[\"']|cfg\.{name}\b", text) for text in places), name


def test_what_comes_from_the_environment_is_no_more_told_of_the_topics_node_than_of_the_root() -> None:
    config: dict[str, Any] = {"topic": {"name": "partial"}, "layer": "hush", "oc.env": {"layer": "${oc.env:L}"}}
    assert filled(config, "partial")["oc.env"] == {"layer": "${oc.env:L}", "topic.layer": "${oc.env:L}"}
