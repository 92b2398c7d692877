"""What the shell passed is what the lab gets."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from calclab.app.compose import compose
from calclab.app.words import prepare
from calclab.errors import UserError


@pytest.mark.parametrize(
    "text", ["(w*3-10)**2", "sin(x)", "x0**2+x1, x0*x1", "[x0**2 + x1, x0*x1]", "3", "null", "a=b", 'x"y', "x\\", ""]
)
def test_formula_reaches_hydra_letter_by_letter(text: str) -> None:
    word = prepare([f"function.expr={text}"])[0]
    (override,) = OverridesParser.create().parse_overrides([word])
    assert not override.is_sweep_override()
    assert override.value() == text


@given(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).filter(
        lambda t: t[0] not in "'\"" and "${" not in t
    )
)
def test_any_ascii_text_survives(text: str) -> None:
    word = prepare([f"function.expr={text}"])[0]
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == text


def test_quoted_formulas_may_be_swept() -> None:
    word = prepare(["function.expr='x**2','x**3'"])[0]
    (override,) = OverridesParser.create().parse_overrides([word])
    assert [str(value.text) for value in override.sweep_iterator()] == ["x**2", "x**3"]


def test_other_words_are_left_alone() -> None:
    assert prepare(["lr=0.1,0.2", "topic=descent"]) == ["lr=0.1,0.2", "topic=descent"]


def test_a_part_names_its_kind() -> None:
    assert "function=formula" in prepare(["function.expr=x"])
    assert "function=links" in prepare(["function.links=[h = x]"])
    assert prepare(["function._target_=a.b"]) == ["function.callable=a.b", "function=custom"]
    assert prepare(["network._target_=a.B", "network.width=3"]) == [
        "network._target_=a.B",
        "+network.width=3",
        "network=custom",
    ]


def test_two_subjects_are_refused() -> None:
    with pytest.raises(UserError, match="two subjects"):
        prepare(["function=rosenbrock", "function.expr=x"])


def test_the_name_of_a_file_is_passed_letter_by_letter(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1,a=b").mkdir()
    (tmp_path / "lr=0.1,a=b" / "weights.pt").write_bytes(b"")
    there = "network.weights=lr=0.1,a=b/weights.pt"
    assert prepare([there]) == ['network.weights="lr=0.1,a=b/weights.pt"']
    assert prepare(["data.path=a.csv,b.csv"]) == ["data.path=a.csv,b.csv"]  # no file of this name: a sweep


@pytest.mark.parametrize(
    "word",
    [
        "layer=0",
        "target=log(exp(y0) + exp(y1))",
        "target=max(y0, y1)",
        "data.target=2020",
        "data.na=-999",
        "data.separator=;",
        "data.separator=,",
    ],
)
def test_a_text_that_looks_like_something_else_stays_a_text(word: str) -> None:
    (override,) = OverridesParser.create().parse_overrides(prepare([word]))
    assert override.value() == word.partition("=")[2]


@pytest.mark.parametrize("word", ["layer=null", "target=output.0,output.1", "target=choice(a,b)", "data.na='?'"])
def test_no_text_a_sweep_and_what_is_quoted_stay_as_they_are(word: str) -> None:
    assert prepare([word]) == [word]


def test_of_a_value_typed_twice_the_last_counts() -> None:
    assert compose(["lr=0.1", "steps=3", "lr=0.2"]).lr == 0.2
