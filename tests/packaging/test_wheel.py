"""A wheel built from the tree carries all it needs: its topics and studies run from an empty folder."""

from __future__ import annotations

import email
import json
import os
import runpy
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from trove_classifiers import classifiers

import calclab

ROOT = Path(__file__).resolve().parents[2]


TRIED = runpy.run_path(str(ROOT / "tests" / "environments" / "run.py"))["ALL"]

pytestmark = pytest.mark.slow


def done(*words: object, cwd: Path, **environment: str) -> str:
    """What a command printed; it must end well."""
    ended = subprocess.run(
        list(map(str, words)), cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, f"{words}: status {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with the hatchling of this environment, so that no registry is needed."""
    folder = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("calclab-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's own files alone; what it depends on is taken from this environment."""
    folder = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check")
    done(*pip, "--target", folder, wheel, cwd=folder)
    return folder


def committed(folder: str) -> set[str]:
    """The YAML files below a folder of the tree."""
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.yaml")}


def test_the_wheel_holds_every_choice_every_study_and_every_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = committed("conf") | committed("experiments")
    assert len(wanted) > 50
    assert {f"calclab/{name}" for name in wanted} <= names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "calclab").rglob("*.py")} <= names
    assert "calclab/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "outputs/", "docs/")) or "__pycache__" in name]


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        told = email.message_from_bytes(archive.read(name))
    assert told["Version"] == calclab.__version__
    assert told["License-Expression"] == "MIT"
    assert set(told.get_all("Classifier", [])) <= set(classifiers)
    pythons = {entry.rpartition(" :: ")[2] for entry in told.get_all("Classifier", []) if "Python :: 3." in entry}
    assert pythons == {which.python for which in TRIED}


def test_the_citation_names_what_the_wheel_names() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(cited)  # what its format asks for
    assert cited["title"].startswith(project["name"])
    assert cited["authors"] == project["authors"]
    assert cited["license"] == project["license"]
    assert "version" not in cited  # said in one place: calclab.__version__


def lab(installed: Path, folder: Path, *words: str) -> tuple[str, dict[str, object]]:
    """Run the installed lab in a folder: what it printed, and its outcome.json."""
    code = "import calclab; print(calclab.__file__)"
    found = done(sys.executable, "-c", code, cwd=folder, PYTHONPATH=str(installed)).strip()
    assert Path(found).is_relative_to(installed), "the tree's own calclab was found instead of the wheel's"
    before = set(folder.rglob("outcome.json"))
    told = done(sys.executable, "-m", "calclab", *words, "figures=false", cwd=folder, PYTHONPATH=str(installed))
    (outcome,) = set(folder.rglob("outcome.json")) - before
    return told, json.loads(outcome.read_text(encoding="utf-8"))


def test_a_topic_runs_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    told, outcome = lab(installed, tmp_path, "topic=derivative", "function.expr=x**3", "function.at=[2]")
    assert "12" in told
    assert outcome["answer"]["values"]["derivative"] == 12  # type: ignore[index]
    assert [entry.name for entry in tmp_path.iterdir()] == ["outputs"]


def test_python_is_asked_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    code = "import calclab; print(calclab.hessian(calclab.formula('x**2 - 3*y**2', at=[1, 2])).eigenvalues.tolist())"
    assert done(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).strip() == "[-6.0, 2.0]"
    assert not list(tmp_path.iterdir())


def test_a_study_of_the_lab_runs_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    _, outcome = lab(installed, tmp_path, "experiment=notebook/07_bowl")
    claims = outcome["claims"]
    assert isinstance(claims, list)
    assert claims
    assert all(claim["holds"] for claim in claims)


def test_a_study_and_a_network_of_the_user_run_from_the_folder_they_stand_in(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.only = torch.nn.Linear(4, 3)\n\n"
        "    def forward(self, x):\n"
        "        return self.only(x)\n"
    )
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "own.yaml").write_text(
        "# @package _global_\n# A study of one's own\ndefaults:\n  - override /topic: hessian\n"
        "  - override /data: iris\n  - override /network: custom\nnetwork:\n  _target_: mine.Net\n"
    )
    _, outcome = lab(installed, tmp_path, "experiment=own")
    assert outcome["topic"] == "hessian"
    assert len(outcome["answer"]["values"]["eigenvalues"]) == 15  # type: ignore[index]
