"""What a run takes from the environment is used, and stands in no file and no message of the lab's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import calclab
from calclab.app.rerun import main as rerun
from calclab.app.secrets import SECRETS, hidden, shown

TOKEN, RATE = "s3cr3t-t0ken-of-ours", "0.0421337"
NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self, token, again="", within="", size=3):
        super().__init__()
        assert token == {token!r} and again == token and within == "a-" + token + "-b", (token, again, within)
        self.layer = torch.nn.Linear(4, 3)
    def forward(self, x):
        {forward}
        return self.layer(x)
"""
LINE = (
    "topic=descent network._target_=own_secret{name}.Net data=iris steps=3 figures=false "
    "'network.token=${{oc.env:CALCLAB_TEST_TOKEN}}' 'network.again=${{network.token}}' "
    "'network.within=a-${{network.token}}-b' 'lr=\"${{oc.decode:${{oc.env:CALCLAB_TEST_RATE}}}}\"'"
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALCLAB_TEST_TOKEN", TOKEN)
    monkeypatch.setenv("CALCLAB_TEST_RATE", RATE)


def module(place: Path, name: str, forward: str = "pass") -> str:
    """A network of one's own that must be given the token, and the line that asks for it."""
    (place / f"own_secret{name}.py").write_text(NET.format(token=TOKEN, forward=forward))
    return LINE.format(name=name)


def files_with(place: Path, text: str) -> list[str]:
    return [path.name for path in place.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.usefixtures("environment")
def test_a_secret_is_used_and_written_nowhere(lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = lab(module(tmp_path, "_used"))
    assert result.status == 0, result.err
    outputs = tmp_path / "outputs"
    assert not files_with(outputs, TOKEN)
    assert TOKEN not in result.out + result.err
    (folder,) = (outputs / "descent").iterdir()
    config = json.loads((folder / "outcome.json").read_text())["config"]
    assert config["network"]["token"] == config["network"]["again"] == "${oc.env:CALCLAB_TEST_TOKEN}"
    assert config["network"]["within"] == "a-${oc.env:CALCLAB_TEST_TOKEN}-b"
    assert config["lr"] == config["topic"]["lr"] == "${oc.decode:${oc.env:CALCLAB_TEST_RATE}}"
    assert SECRETS not in config
    assert calclab.load(folder).knobs["network.token"] == "${oc.env:CALCLAB_TEST_TOKEN}"
    assert lab(module(tmp_path, "_used")).out.count("finished before") == 1
    assert rerun([str(folder)]) == 0
    assert "bit for bit" in capsys.readouterr().out


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("sweep", ["", "-m "])
def test_nor_is_it_told_by_an_error(lab, tmp_path: Path, sweep: str) -> None:
    forward = f"raise RuntimeError('no use of ' + {TOKEN!r})"
    line = sweep + module(tmp_path, f"_told{len(sweep)}", forward) + (" seed=1,2" if sweep else "")
    result = lab(line)
    assert result.status in (1, 2)
    assert TOKEN not in result.out + result.err
    assert not [name for name in files_with(tmp_path, TOKEN) if not name.startswith("own_secret")]


@pytest.mark.usefixtures("environment")
def test_nor_by_a_refusal(lab) -> None:
    result = lab("topic=descent 'lr=${oc.env:CALCLAB_TEST_TOKEN}'")
    assert result.status == 2
    assert TOKEN not in result.err
    assert "${oc.env:CALCLAB_TEST_TOKEN}" in result.err


def test_a_configuration_without_is_written_as_it_is() -> None:
    config: dict[str, Any] = {"lr": 0.1, "network": {"token": "plain"}, "list": [1, {"a": None}]}
    assert shown(config) == config
    assert hidden("plain", config) == "plain"
    with_one = {**config, SECRETS: {"network.token": "${oc.env:A}", "list.1.a": "${oc.env:B}"}}
    assert shown(with_one) == {"lr": 0.1, "network": {"token": "${oc.env:A}"}, "list": [1, {"a": "${oc.env:B}"}]}
    assert hidden("a plain word", with_one) == "a ${oc.env:A} word"
