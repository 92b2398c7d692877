"""What the user's own code raises is told in one line that names it, with exit status 2 and nothing left behind."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

NET = """
import os, sys, torch

class Net(torch.nn.Module):
    def __init__(self, outputs=1):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)
        {make}

    def forward(self, x):
        y = self.fc(x)
        {call}
        return y

def f(x):
    {call}
    return (x ** 2).sum()

def rows(**given):
    {make}
"""
RAISED = {
    "sys.exit(0)": "SystemExit: 0 (net.py, line",
    "sys.exit('enough')": "SystemExit: enough (net.py, line",
    "raise SystemExit": "SystemExit (net.py, line",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise ValueError('one' + chr(10) + 'two')": "ValueError: one (net.py, line",
    "open('nowhere')": "FileNotFoundError",
    "assert False": "AssertionError",
    "[][1]": "IndexError",
    "json": "NameError",
    "raise StopIteration": "StopIteration",
}


def test_what_torch_cannot_do_is_refused_before_anything_is_kept(lab, tmp_path, monkeypatch) -> None:
    fresh(monkeypatch)
    code = """
        from torch.nn import Hardsigmoid, Linear, Sequential

        def net():
            return Sequential(Linear(4, 3), Hardsigmoid())
    """
    (tmp_path / "net.py").write_text(textwrap.dedent(code))
    one_line(lab("topic=hessian network._target_=net.net data=iris"), "derivative", tmp_path)


def one_line(result, phrase: str, folder: Path) -> None:
    assert result.status == 2, result.out + result.err
    message = result.err.strip()
    assert message.startswith("calclab: ")
    assert len(message.splitlines()) == 1
    assert phrase in message
    assert not list(folder.glob("outputs/*/*/outcome.json"))


@pytest.mark.parametrize(("code", "phrase"), RAISED.items(), ids=RAISED)
@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("network._target_=net.Net data=iris", "make"),
        ("network._target_=net.Net data=iris", "call"),
        ("function._target_=net.f function.at=[1,2]", "call"),
        ("network=mlp data._target_=net.rows", "make"),
    ],
)
def test_code_that_raises(lab, tmp_path, monkeypatch, code, phrase, line, place) -> None:
    fresh(monkeypatch)
    (tmp_path / "net.py").write_text(NET.format(**{"make": "pass", "call": "pass", place: code}))
    one_line(lab(f"topic=descent {line} steps=3 optimizer=gd lr=0.1"), phrase, tmp_path)


@pytest.mark.parametrize("code", ["sys.exit(0)", "raise KeyboardInterrupt", "1 / 0", "def broken("])
def test_a_module_that_cannot_be_imported(lab, tmp_path, monkeypatch, code) -> None:
    fresh(monkeypatch)
    (tmp_path / "net.py").write_text("import sys\n" + code)
    result = lab("topic=partial network._target_=net.Net data=iris")
    one_line(result, "net.py, line 2", tmp_path)


@pytest.mark.parametrize("code", ["sys.exit(0)", "raise KeyboardInterrupt", "raise ValueError('late')"])
@pytest.mark.parametrize("topic", ["topic=descent optimizer=gd lr=0.01 steps=2000 tol=0", "topic=hessian slices=0"])
def test_a_run_that_is_ended_from_inside_has_failed(lab, tmp_path, monkeypatch, code, topic) -> None:
    """Not at the first look at the network, but in the middle of the run or at its first step."""
    fresh(monkeypatch)
    after = 1500 if "descent" in topic else 40  # calls: beyond the first blocks, or at the first step
    call = f"CALLS.append(1)\n        if len(CALLS) > {after}: {code}"
    text = NET.format(make="pass", call=call).replace("import os", "CALLS = []\nimport os")
    (tmp_path / "net.py").write_text(text.partition("def f(x)")[0])
    result = lab(f"{topic} network._target_=net.Net data=iris")
    assert result.status == 2, result.out + result.err
    records = list(tmp_path.glob("outputs/*/*/outcome.json"))
    (path,) = records
    record = json.loads(path.read_text())
    assert (record["status"], record["exit"]) == ("failed", 2)
    assert ("net.Net" if "Keyboard" in code else "net.py, line") in record["error"]


def test_a_job_of_a_sweep_that_leaves_is_a_failure_of_its_own(lab, tmp_path, monkeypatch) -> None:
    fresh(monkeypatch)
    (tmp_path / "net.py").write_text(NET.format(make="pass", call="pass").replace("pass", "sys.exit(0)", 1))
    result = lab("-m topic=partial network._target_=net.Net data=iris seed=1,2")
    assert result.status != 0
    assert "2 failed" in result.out + result.err


def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of each case is a module of its own."""
    import sys

    monkeypatch.delitem(sys.modules, "net", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.path_importer_cache.clear()
