"""The help page: every knob with its meaning, type, range and default, from the schema and conf/."""

from __future__ import annotations

import re

import pytest

from calclab.schema import catalogue


@pytest.mark.parametrize("topic", catalogue.options("topic"))
def test_every_knob_of_a_topic_is_told(lab, topic: str) -> None:
    result = lab(f"--help topic={topic}")
    assert result.status == 0
    for name, knob in catalogue.root_knobs(topic).items():
        assert f"{name}=" in result.out
        assert knob.meaning in result.out
        assert knob.kind in result.out


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
    assert [row.split()[0] for row in rows] == catalogue.options(group)
    for row, option in zip(rows, catalogue.options(group), strict=True):
        assert row.endswith(f"  {catalogue.description(group, option)}")


def test_the_front_page_names_every_choice_or_says_how_to_list_them(lab) -> None:
    out = lab("--help").out
    choices = out[out.index("Choices") : out.index("Flags")]
    for group in catalogue.GROUPS[1:]:
        if f"--help {group} " in choices:
            assert f"{len(catalogue.options(group))} of them" in choices
        else:
            for option in catalogue.options(group):
                assert re.search(rf"[ ]{re.escape(option)}(,|\n)", choices), f"{group}={option}"
    assert "--help function " in choices
    assert max(map(len, choices.splitlines())) <= 120


def test_a_default_that_another_group_has_is_shown(lab) -> None:
    assert "lr=0.05" in lab("--help topic=descent").out


def test_common_defaults_lie_in_their_ranges() -> None:
    values = catalogue.values("", "config")
    for name, knob in catalogue.knobs("common", "common").items():
        knob.check(values[name])
