"""Names that can be read: what differs first, numbers clean, nothing cut in the middle, safe as a folder's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from calclab.archive.naming import BYTES, LENGTH, called, clean, folder_name


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        ("steps=500 lr=0.010000000000000004 optimizer=adam topic=descent", ["adam", "lr=0.01", "steps=500"]),
        ("network=custom network._target_=my_net.Net data=iris lr=1e-3", ["Net", "iris", "lr=0.001"]),
        ("function=formula function.expr=x**2 function.at=[1.0000000000000009,2]", ["x**2", "at=[1,2]"]),
        ("network.width=8 hydra/launcher=joblib +network.depth=2", ["width=8", "depth=2"]),
        ("network.name=a data.name=b", ["network.name=a", "data.name=b"]),  # else the one hid the other
        ("experiment=notebook/limits schedule=null ~line_search", ["notebook-limits", "schedule=null"]),
        ("network.weights=outputs/descent/gd,lr=1-0123456789ab/weights.pt", ["weights=weights.pt"]),
    ],
)
def test_what_tells_most_comes_first(words: str, pieces: list[str]) -> None:
    assert called(words.split())[: len(pieces)] == pieces


@pytest.mark.parametrize("text", ["0.1", "1e-30", "-2.5", "12345678901234", "3", "gauss2", "x0", "v1.2.3", ""])
def test_numbers_that_are_clean_stay(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("n", range(1, 40, 7))
def test_a_number_keeps_its_value_to_six_digits(n: int) -> None:
    number = 0.1 * n / 3
    assert float(clean(repr(number))) == pytest.approx(number, rel=1e-5)


def test_no_piece_is_cut_in_the_middle() -> None:
    words = [f"network.knob{i}=0.{i}1" for i in range(30)]
    name = folder_name(words)
    assert len(name) <= LENGTH
    assert all(part in called(words) for part in name.split(","))


@pytest.mark.parametrize(
    "word",
    [
        "function.expr=" + "sin(x)/" * 300,
        "data.path=" + "λ" * 300,
        "data.path=../../etc",
        "x=\0\n\t'\"$`;|&<>",
        "a=*?[!]",
    ],
)
def test_any_word_is_a_name_that_a_file_system_takes(tmp_path: Path, word: str) -> None:
    name = folder_name([word])
    assert len(os.fsencode(name)) <= BYTES
    assert not set(name) & set("/\0\n\t'\"$`;|&<>*?! ")
    assert not name.startswith(".")
    (tmp_path / f"{name}-0").mkdir()


def test_what_has_no_effect_is_not_told() -> None:
    assert folder_name(["outputs=here", "lr=1", "figures=false", "rerun=true"], ("outputs", "rerun")) == "lr=1"
