"""Lines and tables in a terminal of any width, and in a pipe."""

from __future__ import annotations

import io
import json

import pytest
from rich.cells import cell_len

from calclab.lines import Line, Said, Table, of_plain
from calclab.report.page import page
from calclab.terminal import grid, plain, show

SAID: list[Said] = [
    Line("hessian of a function with a long name", "", kind="title"),
    Line("answer", "a minimum at (1, 2), where it is well-conditioned", kind="headline"),
    Line("eigenvalues", "2, 18 " * 30, of="eigenvalues"),
    Table("H", ("", "x", "长度"), (("x", "10", "-8.5"), ("长度", "-8.5", "1e-09"))),
    Line("note", "rounding moves it", kind="doubtful"),
    Line("folder", "outputs/" + "long," * 60, kind="place"),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(said: list[Said], width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    show(said, stream)
    text = stream.getvalue()
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;31m"):
        text = text.replace(code, "")
    return text.splitlines()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal_but_for_what_is_to_be_copied(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(SAID, width, monkeypatch)
    (place,) = [line for line in lines if line.startswith("folder")]
    assert place.endswith("long," * 60)
    assert max(cell_len(line) for line in lines if line != place) <= width
    edge = len("eigenvalues") + 2
    assert all(line[:edge].rstrip() in {"", *(s.label for s in SAID)} for line in lines[1:])


def test_a_pipe_gets_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    show(SAID)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(SAID) + 2  # two rows more of the table
    assert not any("\x1b" in line for line in lines)
    assert lines == list(plain(SAID))


def test_a_table_is_aligned_and_goes_on_below_where_it_is_wide() -> None:
    names = [f"x{i}" for i in range(6)]
    table = Table("J", ("", *names), [(f"y{i}", *(f"{i}.25e-{j:02}" for j in range(6))) for i in range(3)])
    whole = grid(table)
    assert len(whole) == 4
    assert len({len(line) for line in whole}) == 1
    narrow = grid(table, 30)
    assert max(map(len, narrow)) <= 30
    assert " ".join(narrow).split().count("y2") == len(narrow) // 4
    assert sorted({*" ".join(narrow).split()}) == sorted({*" ".join(whole).split()})


def test_lines_and_tables_pass_through_json() -> None:
    for entry in SAID:
        read = of_plain(json.loads(json.dumps(entry.plain())))
        assert read.plain() == entry.plain()
        assert type(read) is type(entry)


OLD = {
    "title": "hessian of f",
    "status": "completed",
    "sentence": "took all its steps",
    "steps": 3,
    "seconds": 0.5,
    "answer": {"sentence": "a minimum; eigenvalues 2, 18 (0 negative; 2 positive); trace 20", "values": {}},
    "evidence": {"verdict": None, "sentence": "", "rows": []},
}


def test_the_sentence_of_an_old_run_is_shown_clause_by_clause() -> None:
    lines = list(plain(list(page(OLD, "outputs/hessian/a"))))
    assert [line.split(maxsplit=1) for line in lines[1:2]] == [["answer", "a minimum"]]
    assert [line.strip() for line in lines[2:4]] == ["eigenvalues 2, 18 (0 negative; 2 positive)", "trace 20"]


@pytest.mark.parametrize(("status", "place"), [("interrupted", 2), ("failed", 1), ("completed", 4)])
def test_what_went_wrong_stands_before_the_numbers(status: str, place: int) -> None:
    record = OLD | {"status": status, "sentence": f"was {status}", "error": "no" if status == "failed" else None}
    if status == "failed":
        record |= {"answer": None}
    lines = list(plain(list(page(record, "outputs/hessian/a"))))
    assert lines[place].startswith("status")
    assert ("the same command goes on" in lines[place]) == (status == "interrupted")


def test_what_is_refuted_is_said_first() -> None:
    row = {"verdict": "refuted", "quantity": "trace", "step": 0, "value": 1.0, "reference": "nan", "gap": "inf"}
    row |= {"method": "Arb ball", "tolerance": 1e-9, "note": ""}
    record = OLD | {"evidence": {"verdict": "refuted", "sentence": "1 check: REFUTED", "rows": [row]}}
    lines = list(plain(list(page(record))))
    assert lines[2].startswith("evidence")
    assert "REFUTED: trace at step 0 is 1, Arb ball says nan" in lines[3]
