"""Edited code is another question: a run's digest covers the user's own modules, and nothing is imported for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import calclab
from calclab.app.place import code_paths
from calclab.app.sources import UNSEEN, sources

FILES = {
    "nets/__init__.py": "",
    "nets/own.py": "import torch\nfrom . import parts\nfrom .more.deep import d\nimport helper\nclass Net: ...\n",
    "nets/parts.py": "import math\n",
    "nets/other.py": "",
    "nets/more/__init__.py": "",
    "nets/more/deep.py": "from ..sibling import s\nd = 1\n",
    "nets/sibling.py": "s = 1\n",
    "helper.py": "import nets.own\n",
    "losses.py": "def focal(o, t): ...\n",
}
REACHED = {"nets", "nets.own", "nets.parts", "nets.more", "nets.more.deep", "nets.sibling", "helper"}
CONFIG = {"network": {"_target_": "nets.own.Net", "loss": "losses.focal"}, "data": {"_target_": "calclab.data.iris"}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_modules_that_are_reached_are_read_and_none_is_imported(place: Path) -> None:
    assert sources(code_paths(CONFIG)).keys() == {f"code.{name}" for name in REACHED | {"losses"}}
    assert not {"nets", "helper", "losses"} & sys.modules.keys()


@pytest.mark.parametrize("name", FILES)
def test_an_edit_is_seen_where_it_is_reached(place: Path, name: str) -> None:
    before = sources(code_paths(CONFIG))
    (place / name).write_text(FILES[name] + "# edited\n")
    assert (sources(code_paths(CONFIG)) != before) == (name != "nets/other.py")


def test_installed_packages_are_nobodys_own(place: Path) -> None:
    assert (
        sources(code_paths({"network": {"_target_": "torch.nn.Linear"}, "optimizer": {"_target_": "torch.optim.Adam"}}))
        == {}
    )
    assert sources(code_paths({"function": {"callable": "math.sin"}})) == {}


def test_what_cannot_be_seen_is_said(place: Path) -> None:
    assert sources(code_paths({"function": {"callable": "nowhere.f"}})) == {"code.nowhere": UNSEEN}
    (place / "broken.py").write_text("def (")
    assert sources(code_paths({"function": {"callable": "broken.f"}}))["code.broken"] != UNSEEN


def test_a_run_of_edited_code_is_another_run(place: Path) -> None:
    words = ("topic=partial", "function._target_=mine.f", "function.at=[2]", "figures=false", f"outputs={place / 'o'}")
    found = []
    for power in (2, 3, 2):
        (place / "mine.py").write_text(f"def f(x):\n    return (x**{power}).sum()\n")
        sys.modules.pop("mine", None)
        found.append(calclab.run(*words))
    assert [run.values["value"] for run in found] == [4.0, 8.0, 4.0]
    assert found[0].folder == found[2].folder != found[1].folder
