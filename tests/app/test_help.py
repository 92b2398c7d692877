"""The help page: every knob with its meaning, type, range and default, from the schema and conf/."""

from __future__ import annotations

import re
import shlex

import pytest

from calclab.app.compose import compose, lab_config
from calclab.app.request import check_config
from calclab.app.words import prepare
from calclab.schema import catalogue


def unfolded(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("topic", catalogue.options("topic"))
def test_the_page_of_a_topic_tells_its_common_knobs_and_names_all(lab, topic: str) -> None:
    result = lab(f"--help topic={topic}")
    assert result.status == 0
    text = unfolded(result.out)
    assert text.startswith(f"topic={topic}: {catalogue.description('topic', topic)}")
    for name in catalogue.root_knobs(topic):
        assert f"{name}=" in text
    for knob in catalogue.knobs("topic", topic).values():
        assert (f"{knob.meaning} ({knob.kind})" in text) is not knob.rare
    others = {key for other in catalogue.options("topic") for key in catalogue.knobs("topic", other)}
    for name in others - set(catalogue.root_knobs(topic)):  # it is about this topic
        assert f" {name}=" not in text.replace("function.", "")


@pytest.mark.parametrize("topic", catalogue.options("topic"))
def test_every_knob_of_a_topic_is_told_on_request(lab, topic: str) -> None:
    text = unfolded(lab(f"--help all topic={topic}").out)
    for name, knob in catalogue.root_knobs(topic).items():
        assert f"{name}=" in text
        assert f"{knob.meaning} ({knob.kind})" in text


@pytest.mark.parametrize("topic", catalogue.options("topic"))
def test_the_examples_of_a_topic_are_right(lab, topic: str) -> None:
    examples = catalogue.examples("topic", topic)
    assert examples
    for line in examples:
        assert f"topic={topic}" in line
        words = [word for word in shlex.split(line) if word != "-m"]
        if "-m" not in line:
            config = compose(prepare(words))
            check_config(lab_config(config), dict(config.hydra.runtime.choices))


@pytest.mark.parametrize("key", catalogue.homes())
def test_the_page_of_a_knob_tells_all_that_is_known_of_it(lab, key: str) -> None:
    result = lab(f"--help {key}=")  # rerun and report are commands, too
    assert result.status == 0
    text = unfolded(result.out)
    for option, knob in catalogue.homes()[key].items():
        assert f"{key}: {knob.meaning}." in text
        assert f"value {knob.kind}" in text
        assert not knob.unit or f"unit {knob.unit}" in text
        assert "default " in text
        if "." not in key and option != "every run":
            assert f"topic={option}" in text
    assert f"{key}=" in text.partition("example ")[2]


def test_a_name_by_itself_is_found_whatever_it_is(lab) -> None:
    assert lab("--help lr").out == lab("help lr").out == lab("help lr=0.1").out
    assert "lr: learning rate" in lab("help learning_rate").out
    assert "optimizer=adam: Adam" in unfolded(lab("help adam").out)
    assert lab("help hessian").out == lab("help topic=hessian").out
    assert lab("help width").out.startswith("network.width: units")
    assert "the optimizer's own: adagrad" in unfolded(lab("help lr").out)
    missed = lab("help hesian")
    assert missed.status == 2
    assert "Type calclab help hessian" in missed.err


PAGES = ["", "all", *catalogue.GROUPS, *(f"topic={topic}" for topic in catalogue.options("topic")), "adam", "mlp", "lr"]


@pytest.mark.parametrize("words", PAGES)
def test_no_line_is_wider_than_a_terminal(lab, words: str) -> None:
    for line in lab(f"--help {words}").out.splitlines():
        assert len(line) <= 80 or " " not in line.strip(), line  # what is one word is never broken


@pytest.mark.parametrize("group", catalogue.GROUPS)
def test_every_option_has_a_description(group: str) -> None:
    for option in catalogue.options(group):
        assert catalogue.description(group, option), f"{group}/{option}.yaml begins with no comment"


OPTIONS = [(group, option) for group in catalogue.GROUPS[:5] for option in catalogue.options(group)]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_defaults_lie_in_their_ranges(group: str, option: str) -> None:
    values = catalogue.values(group, option)
    for name, knob in catalogue.knobs(group, option).items():
        assert name in values, f"{group}/{option}.yaml has no default for {name}"
        if not str(values[name]).startswith("${"):  # what another group says is checked there
            knob.check(values[name])


@pytest.mark.parametrize("word", [*catalogue.GROUPS, "function="])
def test_a_group_by_its_name_alone_lists_its_choices(lab, word: str) -> None:
    group = word.rstrip("=")
    heading, *rows = lab(f"--help {word}").out.rstrip("\n").split("\n")
    assert group in heading
    begun = [row for row in rows if row[2:3] != " "]
    assert [row.split()[0] for row in begun] == catalogue.options(group)
    text = unfolded(" ".join(rows))
    for option in catalogue.options(group):
        assert f"{option} {unfolded(catalogue.description(group, option))}" in text


def test_the_front_page_names_every_choice_or_says_how_to_list_them(lab) -> None:
    choices = unfolded(lab("--help").out.partition("Choices")[2].partition("Knobs")[0])
    for group in catalogue.GROUPS[1:]:
        if f"--help {group} " in choices:
            assert f"{len(catalogue.options(group))} of them" in choices
        else:
            for option in catalogue.options(group):
                assert re.search(rf"[ ]{re.escape(option)}(,| |$)", choices), f"{group}={option}"
    assert "--help function " in choices


def test_a_default_that_another_group_has_is_shown(lab) -> None:
    assert "lr=0.05" in lab("--help topic=descent").out
    assert "lr=1.0" in lab("--help topic=descent optimizer=newton").out


def test_common_defaults_lie_in_their_ranges() -> None:
    values = catalogue.values("", "config")
    for name, knob in catalogue.knobs("common", "common").items():
        knob.check(values[name])
