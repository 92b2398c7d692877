"""What a run says of itself: outcome.json, the Markdown summary, the lines in the terminal."""

from __future__ import annotations

import io
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from calclab.archive.folder import write_record
from calclab.core import Answer, Claim, Contours, Curves, Evidence, Guide, Outcome, Run, Status, Verdict
from calclab.report.numbers import number, seconds
from calclab.report.outcome import outcome_dict, quantity, verdict_sentence, worst
from calclab.report.page import page
from calclab.report.summary import markdown
from calclab.terminal import show


def row(verdict: Verdict, note: str = "") -> Evidence:
    return Evidence(3, "gradient[x0]", "Arb | 106 bits", 2.5, math.nan, math.inf, 1e-16, 1e-12, verdict, note)


def a_run(folder: Path, **config: Any) -> Run:
    return Run("descent", "rosenbrock", "descent of rosenbrock", folder, 10, {}, (), config, ("f = x_0^2",))


def an_outcome(*verdicts: Verdict, **knobs: Any) -> Outcome:
    values = {"value": torch.tensor(0.1), "x": torch.tensor([1.0, 2.0], dtype=torch.float64), "kind": "a | saddle"}
    answer = Answer("the minimum is at (1, 2)", values, ())
    last = {"loss": torch.tensor(math.nan), "J": torch.zeros(50, 50), "rank": torch.tensor(3)}
    settings: dict[str, Any] = {"answer": answer, "provenance": {"command": "python -m calclab", "git_commit": None}}
    return Outcome(Status.CONVERGED, 7, 1.25, last, evidence=tuple(map(row, verdicts)), **(settings | knobs))


def test_outcome_json_is_strict_and_complete(tmp_path: Path) -> None:
    claims = (Claim("value is 0.1", "0.1", "0.2", False),)
    outcome = an_outcome(Verdict.CERTIFIED, Verdict.REFUTED, claims=claims, notes=("auto took cpu",))
    path = write_record(tmp_path, outcome_dict(a_run(tmp_path), outcome))

    def refuse(literal: str) -> None:
        raise AssertionError(f"{literal} is not JSON")

    read = json.loads(path.read_text(), parse_constant=refuse)
    assert (read["status"], read["steps"], read["seconds"]) == ("converged", 7, 1.25)
    assert read["sentence"] == Status.CONVERGED.value
    assert read["answer"]["values"] == {"value": 0.1, "x": [1.0, 2.0], "kind": "a | saddle"}
    assert read["last"] == {"loss": "nan", "J": {"shape": [50, 50]}, "rank": 3}
    assert read["evidence"]["verdict"] == "refuted"
    assert read["evidence"]["counts"] == {"certified": 1, "refuted": 1}
    (bad,) = read["evidence"]["rows"]
    assert (bad["verdict"], bad["reference"], float(bad["gap"])) == ("refuted", "nan", math.inf)
    assert read["claims"] == [{"text": "value is 0.1", "expected": "0.1", "found": "0.2", "holds": False}]
    assert read["provenance"] == {"command": "python -m calclab", "git_commit": None}
    assert read["notes"] == ["auto took cpu"]
    assert [p.name for p in tmp_path.iterdir()] == ["outcome.json"]


def test_outcome_json_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path, outcome_dict(a_run(tmp_path), an_outcome()))
    before = (tmp_path / "outcome.json").read_bytes()

    def crash(*paths: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        write_record(tmp_path, outcome_dict(a_run(tmp_path), an_outcome(Verdict.REFUTED)))
    assert [p.name for p in tmp_path.iterdir()] == ["outcome.json"]
    assert (tmp_path / "outcome.json").read_bytes() == before


def test_a_failed_run_has_an_outcome_without_an_answer(tmp_path: Path) -> None:
    failed = Outcome(Status.FAILED, -1, 0.0, {}, error="ValueError: no")
    read = outcome_dict(a_run(tmp_path), failed)
    assert (read["answer"], read["error"], read["evidence"]["verdict"]) == (None, "ValueError: no", None)
    assert "ValueError: no" in markdown(a_run(tmp_path), failed)


def test_float32_stands_as_its_shortest_decimal(tmp_path: Path) -> None:
    outcome = an_outcome(answer=Answer("a", {"v": torch.tensor([0.1, 1e-30])}))
    assert outcome_dict(a_run(tmp_path), outcome)["answer"]["values"]["v"] == [0.1, 1e-30]


def test_summary_says_what_matters(tmp_path: Path) -> None:
    claims = (Claim("value is 1", "1", "1", True), Claim("κ < 100", "at most 100", "101", False))
    run = a_run(tmp_path, function={"expr": "x0**2 | `x`"})
    text = markdown(run, an_outcome(Verdict.CERTIFIED, Verdict.REFUTED, claims=claims, notes=("a note",)))
    assert text.startswith("# descent of rosenbrock\n")
    assert "**the minimum is at (1, 2)**" in text
    assert "`` x0**2 ¦ `x` ``" in text
    assert "**REFUTED.** 2 checks: 1 certified, 1 REFUTED" in text
    assert "| κ &lt; 100 | at most 100 | 101 | **DOES NOT HOLD** |" in text
    assert "    python -m calclab" in text
    assert "- a note" in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head(tmp_path: Path) -> None:
    text = markdown(a_run(tmp_path), an_outcome(*Verdict))
    widths: list[int] = []
    for line in text.splitlines():
        if line.startswith("|"):
            widths.append(line.count("|"))
        elif widths:
            assert len(set(widths)) == 1
            widths = []


def test_without_a_typed_formula_the_latex_is_shown(tmp_path: Path) -> None:
    assert "`f = x_0^2`" in markdown(a_run(tmp_path), an_outcome())
    assert "`[x0, x1]`" in markdown(a_run(tmp_path, function={"expr": ["x0", "x1"]}), an_outcome())


def shown(run: Run, outcome: Outcome, terminal: bool = False) -> str:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    stream = Stream()
    show(page(outcome_dict(run, outcome), str(run.folder)), stream)
    return stream.getvalue()


def test_terminal_lines_are_few_and_plain_in_a_pipe(tmp_path: Path) -> None:
    claims = tuple(Claim(f"c{i}", "1", "2", False) for i in range(9))
    outcome = an_outcome(*[Verdict.CERTIFIED] * 30, *[Verdict.SUSPECT] * 30, claims=claims)
    text = shown(a_run(tmp_path), outcome)
    assert "\x1b" not in text
    assert len(text.splitlines()) <= 18
    for words in ("descent of rosenbrock", "the minimum is at (1, 2)", "0 of 9 hold", "DOES NOT HOLD", str(tmp_path)):
        assert words in text
    assert "60 checks: 30 certified, 30 suspect" in text


def test_refuted_is_loud(tmp_path: Path) -> None:
    outcome = an_outcome(Verdict.CERTIFIED, Verdict.REFUTED)
    assert "REFUTED: gradient[x0] at step 3 is 2.5" in shown(a_run(tmp_path), outcome)
    coloured = shown(a_run(tmp_path), outcome, terminal=True)
    assert "REFUTED" in coloured
    assert "REFUTED" not in shown(a_run(tmp_path), an_outcome(Verdict.CERTIFIED))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.tensor(3.0), "3"),
        (torch.tensor(1 / 3), "0.333333"),
        (torch.tensor(-1.5e-9), "-1.5e-09"),
        (torch.tensor(math.nan), "nan"),
        (torch.tensor(7), "7"),
        (torch.tensor(True), "True"),
        (torch.tensor([1.0, -math.inf]), "[1, -inf]"),
        (torch.tensor([[1.0, 0.5], [0.5, 2.0]]), "[[1, 0.5], [0.5, 2]]"),
        (torch.arange(10.0), "10 entries from 0 to 9"),
        (torch.zeros(0, 3), "empty (0 × 3)"),
        (torch.ones(1, 2, 1, 3), "1 × 2 × 1 × 3 entries from 1 to 1"),
        ("a word", "a word"),
    ],
)
def test_quantities(value: torch.Tensor | str, text: str) -> None:
    assert quantity(value) == text


def test_numbers_and_durations() -> None:
    assert [number(v) for v in (1e20, 0.0, 1234567.0, 1234567.8)] == ["1e+20", "0", "1234567", "1.23457e+06"]
    assert [seconds(v) for v in (0.314, 42.0, 200.0, 7500.0)] == ["0.31 s", "42.0 s", "3 min 20 s", "2 h 5 min"]


def test_the_worst_verdict_and_its_sentence() -> None:
    assert worst([]) is None
    assert worst([row(v) for v in Verdict]) is Verdict.REFUTED
    assert worst([row(Verdict.CONSISTENT), row(Verdict.CERTIFIED)]) is Verdict.CONSISTENT
    assert verdict_sentence([row(Verdict.CERTIFIED)] * 3) == "all 3 checks certified"
    assert verdict_sentence([row(Verdict.REFUTED)]) == "1 check: REFUTED"
    assert verdict_sentence([]) == "nothing was checked"


def test_formulas_and_pictures_are_recorded_as_they_were_defined(tmp_path: Path) -> None:
    theory = Guide("theory", "loss", "factor", 2.0)
    pictures = (Curves("loss", ("loss", "best"), log="xy", guides=(theory,)), Contours("path", "x", lambda: None))  # type: ignore[arg-type]
    run = replace(a_run(tmp_path, figures=True), pictures=pictures)
    answer = Answer("the slope is 2", {}, ("f' = 2 x", "f'' = 2"))
    record = json.loads(json.dumps(outcome_dict(run, an_outcome(answer=answer))))
    assert record["latex"] == ["f = x_0^2", "f' = 2 x", "f'' = 2"]
    curves, contours = record["pictures"]
    guide = {"name": "theory", "of": "loss", "factor": "factor", "power": 2.0}
    assert curves == {
        "kind": "Curves", "name": "loss", "columns": ["loss", "best"], "against": "step", "log": "xy", "axis": "",
        "guides": [guide],
    }  # fmt: skip
    assert contours == {"kind": "Contours", "name": "path", "path": "x"}
    assert outcome_dict(replace(run, config={"figures": False}), an_outcome())["pictures"] == []
