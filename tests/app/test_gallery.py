"""The gallery runs each study at its settings and seeds, and gives a verdict that the study may have foreseen."""

from __future__ import annotations

from pathlib import Path

import pytest

STUDY = """# @package _global_
# A bowl
defaults:
  - override /topic: descent
  - override /function: formula

function:
  expr: x**2
  at: [1.0]
steps: 6
tol: 0.0
figures: false
study:
  paper: Cauchy 1847
  words: it falls at every short step
  picture: none
  sweep: {lr: [0.1, 0.7]}
  short: [steps=2]
claims:
  - {quantity: contraction, equals: "1 - 2*${lr}", within: 1.0e-12}
"""


def write(text: str, name: str = "bowl") -> None:
    folder = Path("experiments", "mine")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)


def test_a_claim_that_holds_at_some_settings_says_which(lab) -> None:
    write(STUDY)
    assert lab("gallery mine/bowl").status == 3
    page = Path("outputs", "gallery.html").read_text(encoding="utf-8")
    for told in ("holds only for lr=0.1", "it falls at every short step", "Cauchy 1847", "held in 1 of 2",
                 "contraction is 1 - 2*lr"):  # fmt: skip
        assert told in page
    write(STUDY.replace("  short:", "  verdict: holds only for lr=0.1\n  short:"), "foreseen")
    assert lab("gallery mine/foreseen").status == 0


def test_the_short_form_takes_its_words_and_seeds_are_counted(lab) -> None:
    write(STUDY.replace("[0.1, 0.7]", "[0.1]"))
    assert lab("gallery mine/bowl --short").status == 0
    assert [path.name for path in Path("outputs", "descent").iterdir() if "steps=2" in path.name]
    assert lab("gallery mine/bowl --seeds 3").status == 0
    assert "held in 3 of 3" in Path("outputs", "gallery.html").read_text(encoding="utf-8")
    wrong = lab("gallery mine/bowl --seeds 0")
    assert wrong.status == 2
    assert "--seeds" in wrong.err


def test_a_word_of_a_study_that_there_is_none_of_is_told(lab) -> None:
    write(STUDY.replace("  words:", "  wrods:"))
    assert lab("gallery mine/bowl").status == 3
    assert "no such key" in Path("outputs", "gallery.html").read_text(encoding="utf-8")
    refused = lab("experiment=mine/bowl")
    assert refused.status == 2
    assert "study.wrods" in refused.err


def test_a_sweep_says_how_often_claims_held(lab) -> None:
    write(STUDY)
    done = lab("-m experiment=mine/bowl lr=0.1,0.2,0.7")
    assert "the claim holds in 2 of 3 jobs" in done.out


@pytest.mark.minutes
def test_every_claim_of_the_short_gallery_comes_to_its_verdict(lab) -> None:
    for group in ("edge", "momentum_map", "deep_linear", "implicit_regularisation", "double_descent", "initialisation",
                  "influence"):  # fmt: skip
        done = lab(f"gallery published/{group} --short --to {group}.html")
        assert done.status == 0, group
