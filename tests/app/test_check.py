"""`calclab check`: exit status and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from calclab.app import main

MODULE = """
import torch

def f(x):
    return x[0] ** 2 * x[1]

def gradient(x):
    return torch.stack([2 * x[0] * x[1], x[0] ** 2])

def doubled(x):
    return 2 * gradient(x)
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checked_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


AT = ["--at", "[1,2]"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["checked_here:f", *AT], 0, "consistent"),
        (["checked_here:f", *AT, "--gradient", "checked_here:gradient"], 0, "consistent"),
        (["checked_here:f", *AT, "--gradient", "checked_here:doubled"], 3, "factor 2"),
        (["checked_here:f", *AT, "--gradient", "[4,1]"], 0, "consistent"),
        (["x**2*y", *AT, "--gradient", "[2*x*y, x**2]"], 0, "proven"),
        (["x**2*y", *AT, "--gradient", "[2*x*y, x]"], 3, "only wrong for some inputs"),
        (["x**2*y", *AT, "--hessian", "[[2*y, 2*x], [2*x, 0]]"], 0, "proven"),
        (["atan2(y, x)", *AT, "--gradient", "[-y/(x**2+y**2), x/(x**2+y**2)]"], 0, "proven"),
    ],
)
def test_right_and_wrong(words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *words]) == status
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["checked_here:f"],
        ["checked_here:g", *AT],
        ["no_module_of_this_name:f", *AT],
        ["checked_here:f", "--at", "[1,a]"],
        ["checked_here:f", "--at", "[[1],[2,3]]"],
        ["checked_here:f", "--at", "[1]"],
        ["checked_here:f", *AT, "--gradient", "[1,2,3]"],
        ["x**", "--at", "1"],
        ["x**2*y", *AT, "--gradient", "[2*x*q, x]"],
        ["checked_here:f", *AT, "--elsewhere", "-1"],
        ["checked_here:f", *AT, "--tolerance", "2"],
    ],
)
def test_a_mistake_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
