"""Every example runs: of docstrings, of the README, of the documentation. Each in a temporary folder."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser
from torch.utils.data import DataLoader, TensorDataset

from calclab.app import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if not {"_build", "reference"} & set(path.parts))
MODULES = sorted(path for path in (ROOT / "calclab").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))
COMMAND = re.compile(r"python -m calclab ((?:[^`\n|]|\|(?!\s))+)")
PASSING = re.compile(r"(?:`|^    )python -m calclab ([^`\n]+)", re.MULTILINE)
NEEDED = {"howto/lightning.md": "lightning", "howto/huggingface.md": "accelerate"}  # pages of extras
TESTED = "=(ray|optuna|submitit_local)"  # engines, of which tests/engines has more
OTHERS = ("pip", "tensorboard", "torchrun", "git", "python3")  # programs that are not the lab's


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], Any]:
    """Types a command line in an empty folder: its status, and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr("sys.argv", ["calclab"])
    threads = torch.get_num_threads()

    def run(line: str) -> tuple[int, str]:
        python, flag, module, *words = shlex.split(line, comments=True)
        assert (python, flag) == ("python", "-m")
        program = main if module == "calclab" else importlib.import_module(module).main
        status = program(words)
        torch.set_num_threads(threads)
        captured = capsys.readouterr()
        return status, captured.err + captured.out

    return run


# --- docstrings ---


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


# --- commands in a line of text or of a table ---


def commands() -> list[Any]:
    """Those of the README, and those that a page of the documentation says in passing."""
    lines = COMMAND.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    for path in PAGES:
        lines += PASSING.findall(path.read_text(encoding="utf-8"))
    lines = [line.strip() for line in dict.fromkeys(lines) if "<" not in line and "..." not in line]
    return [pytest.param(line, marks=pytest.mark.minutes) if re.search(TESTED, line) else line for line in lines]


@pytest.mark.parametrize("line", commands())
def test_every_command_in_passing(lab: Callable[[str], Any], line: str, tmp_path: Path) -> None:
    rows = "size,price\n" + "".join(f"{i % 7},{3 * (i % 7) + i % 2}\n" for i in range(40))
    (tmp_path / "houses.csv").write_text(rows)
    module = "import torch\n\ndef rows(count):\n    X = torch.randn(count, 4)\n    return X, (X[:, 0] > 0).long()\n"
    (tmp_path / "my_module.py").write_text(module)
    pixels = np.random.default_rng(0).integers(0, 255, (4, 9, 12, 3), dtype=np.uint8)
    np.savez(tmp_path / "rows.npz", X=pixels[:, 0, :3, 0] / 255, y=[0, 1, 0, 1])
    for k, image in enumerate(pixels):
        place = tmp_path / "photos" / ("cat", "dog")[k % 2] / f"{k}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    status, told = lab(f"python -m calclab {line}")
    if "needs an extra" in told:
        pytest.skip(told.strip())
    assert status == 0, told


def test_the_python_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    rows = TensorDataset(torch.randn(30, 4), torch.randint(0, 3, (30,)))
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    document = Sybil([PythonCodeBlockParser()]).parse(ROOT / "README.md")
    document.namespace.update(torch=torch, model=model, loader=DataLoader(rows, batch_size=7))
    examples = list(document.examples())
    assert examples
    for example in examples:
        example.evaluate()


# --- the documentation ---


def files(document: Document) -> Any:
    """Blocks with a caption: files that the reader is told to have."""
    block = re.compile(r"^```\{code-block\} \w+\n:caption: (\S+)\n\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for match in block.finditer(document.text):
        yield Region(match.start(), match.end(), match.groups(), written)


def written(example: Example) -> None:
    name, text = example.parsed
    path = Path.cwd() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT / "docs")))
def test_every_example_of_the_documentation(
    lab: Callable[[str], Any], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the top of a page to its end, all in one folder, as a reader would who types everything."""
    if extra := NEEDED.get(str(path.relative_to(ROOT / "docs"))):
        monkeypatch.syspath_prepend(ROOT / "tests" / "networks")
        importlib.import_module("network_zoo").load_torchvision()
        pytest.importorskip(extra)

    def shell(example: Example) -> None:
        for line in filter(None, example.parsed.splitlines()):
            if shlex.split(line, comments=True)[0] not in OTHERS:
                status, told = lab(line)
                assert status == 0, told

    document = Sybil([files, PythonCodeBlockParser(), CodeBlockParser("shell", shell)]).parse(path)
    for example in document.examples():
        example.evaluate()


def test_every_page_has_its_examples_where_the_tests_look() -> None:
    """No block of code of another kind, which nothing would run."""
    for path in PAGES:
        kinds = set(re.findall(r"^```(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert kinds <= {"python", "shell", "{code-block}", "{include}", "{toctree}", "{image}", "{run}"}, path


def test_every_extra_that_is_told_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for path in (*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for names in re.findall(r"(?:calclab|\.)\[([a-z,]+)\]", path.read_text(encoding="utf-8")):
            assert set(names.split(",")) <= set(extras), path


# --- the reference ---


def test_the_reference_has_every_public_name_and_every_knob(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    import calclab
    from calclab.schema import catalogue

    pages = importlib.import_module("reference").pages()
    for name in calclab.WHERE:
        assert f":: calclab.{name}\n" in pages["python.md"]
    for group in catalogue.GROUPS:
        text = pages[f"{group}.md"]
        for option in catalogue.options(group):
            assert re.search(rf"^(## {option}|\| `{option}` )", text, re.MULTILINE), option
            prefix = "" if group == "topic" else f"{group}."
            for knob in {} if group in ("function", "experiment") else catalogue.knobs(group, option):
                section = text.partition(f"\n## {option}\n")[2].partition("\n## ")[0]
                assert f"`{prefix}{knob}`" in section, (option, knob)
