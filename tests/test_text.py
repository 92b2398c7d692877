"""Texts that others wrote: shown, not obeyed, by a terminal, a shell, a spreadsheet and a browser."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from calclab.app.words import prepare
from calclab.schema import Knob, catalogue
from calclab.text import cell, command, of_cell, printable, quoted

WORDS = ["plain", "lr=0.05", "a b", "it's", '"', "$HOME", "`id`", "[1, 2]", "*", "~", "!!", "\\", "a\nb", "\x1b[31m",
         "", "λ=1", "#", "&", ";", "x;rm -rf y", "{a,b}", "\t", "é\u202e", "-n", "$'x'"]  # fmt: skip


def through_bash(line: str) -> list[str]:
    """The words that bash makes of a line."""
    made = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, timeout=60)
    return made.stdout.decode().split("\0")[:-1]


def test_a_line_that_is_shown_gives_bash_the_same_words() -> None:
    line = command(WORDS)
    assert through_bash(line) == WORDS
    assert printable(line) == line
    assert all(printable(quoted(word)) == quoted(word) for word in WORDS)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=40))
def test_so_does_any_text(words: list[str]) -> None:
    line = command(words)
    assert printable(line) == line
    assert "\n" not in line


def knobs() -> Iterator[tuple[str, Knob]]:
    for topic in catalogue.options("topic"):
        yield from catalogue.root_knobs(topic).items()
    for group in catalogue.PARTS:
        for option in catalogue.options(group):
            for name, knob in catalogue.knobs(group, option).items():
                yield f"{group}.{name}", knob


def test_what_a_refusal_tells_to_type_can_be_pasted_and_is_right() -> None:
    examples = {f"{key}={knob.typed_example}": (key, knob) for key, knob in knobs()}
    words = through_bash(" ".join(examples))
    assert len(words) == len(examples)
    for word, (key, knob) in zip(words, examples.values(), strict=True):
        found = next(ready for ready in prepare([word]) if ready.startswith(f"{key}="))
        override = OverridesParser.create().parse_override(found)
        assert not override.is_sweep_override(), word
        knob.check(override.value(), key)


@given(st.text())
def test_a_cell_is_read_back_as_it_was(text: str) -> None:
    assert of_cell(cell(text)) == text


@given(st.sampled_from("=+-@\t\r"), st.text())
def test_no_cell_is_a_formula(first: str, rest: str) -> None:
    written = cell(first + rest)
    try:
        float(written)
    except ValueError:
        assert written[0] == "'"


def test_numbers_stay_numbers() -> None:
    numbers = ["-1", "+1", "-0.5e-7", "-inf", "nan", "1"]
    assert list(map(cell, numbers)) == numbers


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = printable(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)
    assert text.isprintable() <= (shown == text)
